//! Projects and rules become public names.

use std::sync::Arc;

use landfall_catalog::{FilePath, Name, Repository};

use crate::asked::{Asked, SourceRef};
use crate::finding::{Finding, Position, finding, quoted};
use crate::mutable::MutableNames;
use crate::parse::{Parsed, owner};
use crate::production::{MAX_PUBLIC_PREFIXES, ProductionRule, join, public_place, published};
use crate::project::{FileEntry, ImageEntry, Kind, Project};
use crate::rules::{self, Rule};

/// Everything that a tree asks for.
#[derive(Default)]
pub(super) struct Asking {
    /// By name and digest, each pair once, for the first project that asks. A
    /// name is there with several digests if several are asked for.
    pub(super) claims: Vec<Asked>,
    /// Public prefixes of each project.
    pub(super) prefixes: Vec<Vec<String>>,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn ask(parsed: &Parsed, rules: &[ProductionRule], mutable: &MutableNames) -> Asking {
    let mut asking = Asking::default();
    for project in &parsed.projects {
        let prefixes = asking.publish(project, rules);
        let mut claims = Claims {
            project,
            mutable,
            source: project.source.as_str().into(),
            asking: &mut asking,
        };
        for prefix in &prefixes {
            claims.images(prefix);
            claims.files(prefix);
        }
        asking.prefixes.push(prefixes);
    }
    let claims = &mut asking.claims;
    // Stable, so that of equal claims the first project's is first.
    claims.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
    claims.dedup_by(|later, first| later.name == first.name && later.digest == first.digest);
    asking
}

impl Asking {
    fn publish(&mut self, project: &Project, rules: &[ProductionRule]) -> Vec<String> {
        let published = published(project, rules);
        let unmatched: Vec<&str> = published.unmatched.iter().map(String::as_str).collect();
        if let Some(first) = unmatched.first() {
            let (rule, message) = if published.prefixes.is_empty() {
                let message = format!(
                    "none of the {} destinations of project {} is published",
                    unmatched.len(),
                    project.name
                );
                (&rules::UNPUBLISHED_PROJECT, message)
            } else {
                let message = format!(
                    "{} of the destinations of project {} are not published, {} among them",
                    unmatched.len(),
                    project.name,
                    quoted(first)
                );
                (&rules::UNMATCHED_DESTINATION, message)
            };
            self.find(project, &project.at, rule, message, &unmatched);
        }
        if published.prefixes.len() > MAX_PUBLIC_PREFIXES {
            let message = format!(
                "project {} would be published under {} prefixes; at most {MAX_PUBLIC_PREFIXES} are allowed",
                project.name,
                published.prefixes.len()
            );
            let rule = &rules::TOO_MANY_PREFIXES;
            self.find(project, &project.at, rule, message, &[]);
            return Vec::new();
        }
        self.tell_of_channel(project, rules, &published.prefixes);
        published.prefixes
    }

    /// A source that is itself published: production is promoted onward.
    fn tell_of_channel(
        &mut self,
        project: &Project,
        rules: &[ProductionRule],
        destinations: &[String],
    ) {
        let Some(place) = public_place(&project.source, project.kind, rules) else {
            return;
        };
        let (source, name) = (quoted(&project.source), &project.name);
        let below = match place.name.as_str() {
            "" => "in production".to_owned(),
            prefix => format!("in production, below {}", quoted(prefix)),
        };
        let (rule, message) = if destinations.contains(&place.name) {
            let message =
                format!("project {name} is promoted from {source} to where that is published");
            (&rules::PROMOTED_ONTO_ITSELF, message)
        } else {
            let message = format!(
                "the source {source} of project {name} is {below}: unless a longer [[staging]] prefix maps it, content is not copied, and names are set to what is there"
            );
            (&rules::PROMOTED_ONWARD, message)
        };
        self.find(project, &project.at, rule, message, &[&project.source]);
    }

    fn find(
        &mut self,
        project: &Project,
        at: &Position,
        rule: &Rule,
        message: String,
        about: &[&str],
    ) {
        let owner = owner(&project.name, project.kind);
        let excerpt = String::new();
        self.findings
            .push(finding(rule, at, &owner, message, excerpt, about));
    }
}

/// Adds what one project asks for.
struct Claims<'a> {
    project: &'a Project,
    mutable: &'a MutableNames,
    source: Arc<str>,
    asking: &'a mut Asking,
}

impl Claims<'_> {
    fn images(&mut self, prefix: &str) {
        let project = self.project;
        // Rows of one image follow each other: its public name is made once.
        for rows in project.images.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = rows.first() else { continue };
            let public = join(prefix, first.name.as_str());
            let repository = match public.parse::<Repository>() {
                Ok(repository) => repository,
                Err(error) => {
                    let rule = &rules::UNPUBLISHABLE_NAME;
                    let message = error.to_string();
                    self.asking
                        .find(project, &first.at, rule, message, &[&public]);
                    continue;
                }
            };
            for row in rows {
                self.row(row, &repository);
            }
        }
    }

    fn row(&mut self, row: &ImageEntry, repository: &Repository) {
        let source = SourceRef::Image {
            registry: Arc::clone(&self.source),
            name: row.name.clone(),
            digest: row.digest,
        };
        let claim = |name: Name| Asked {
            mutable: self.mutable.allow(&name),
            name,
            digest: row.digest,
            project: self.project.name.clone(),
            kind: Kind::Images,
            source: source.clone(),
            at: row.at.clone(),
        };
        if row.tags.is_empty() {
            let name = Name::Root(repository.clone(), row.digest);
            self.asking.claims.push(claim(name));
        }
        for tag in &row.tags {
            let name = Name::Tag(repository.clone(), tag.clone());
            self.asking.claims.push(claim(name));
        }
    }

    fn files(&mut self, prefix: &str) {
        for file in &self.project.files {
            let public = join(prefix, &file.name);
            match public.parse::<FilePath>() {
                Ok(path) => {
                    let claim = self.file(file, Name::File(path));
                    self.asking.claims.push(claim);
                }
                Err(error) => {
                    // Its segments were found sound: below a folder it would do.
                    let rule = if FilePath::is_valid(&join("-", &public)) {
                        &rules::RESERVED_PATH
                    } else {
                        &rules::UNPUBLISHABLE_NAME
                    };
                    let message = error.to_string();
                    self.asking
                        .find(self.project, &file.at, rule, message, &[&public]);
                }
            }
        }
    }

    fn file(&self, file: &FileEntry, name: Name) -> Asked {
        Asked {
            mutable: self.mutable.allow(&name),
            name,
            digest: file.digest,
            project: self.project.name.clone(),
            kind: Kind::Files,
            source: SourceRef::File {
                base: Arc::clone(&self.source),
                path: Arc::clone(&file.name),
            },
            at: file.at.clone(),
        }
    }
}
