//! Projects and rules become public names.

use std::sync::Arc;

use landfall_catalog::{FilePath, Name, Repository};

use super::owners::Owners;
use crate::asked::{Asked, SourceRef};
use crate::finding::{Finding, Position, finding};
use crate::mutable::MutableNames;
use crate::parse::{Parsed, owner};
use crate::plain::quoted;
use crate::production::{MAX_PUBLIC_PREFIXES, ProductionRule, join, public_place, published};
use crate::project::{FileEntry, ImageEntry, Kind, Project};
use crate::rules::{self, Rule};

/// Everything that a tree asks for.
#[derive(Default)]
pub(super) struct Asking {
    /// By name and digest, each pair once, for the first project that asks. A
    /// name is there with several digests if several are asked for.
    pub(super) claims: Vec<Asked>,
    /// Names that are asked for by projects that they don't belong to, and why
    /// they are refused. They are compared with nothing, so nobody stops another.
    pub(super) outside: Vec<(Asked, String)>,
    pub(super) findings: Vec<Finding>,
}

/// The public prefixes of each project.
pub(super) fn publish(
    parsed: &Parsed,
    rules: &[ProductionRule],
    findings: &mut Vec<Finding>,
) -> Vec<Vec<String>> {
    let mut publishing = Publishing { rules, findings };
    let projects = parsed.projects.iter();
    projects
        .map(|project| publishing.publish(project))
        .collect()
}

pub(super) fn ask(
    parsed: &Parsed,
    prefixes: &[Vec<String>],
    owners: &Owners<'_>,
    mutable: &MutableNames,
) -> Asking {
    let mut asking = Asking::default();
    for (index, (project, prefixes)) in parsed.projects.iter().zip(prefixes).enumerate() {
        let mut claims = Claims {
            project,
            index,
            owners,
            mutable,
            source: project.source.as_str().into(),
            asking: &mut asking,
        };
        for prefix in prefixes {
            claims.images(prefix);
            claims.files(prefix);
        }
    }
    let claims = &mut asking.claims;
    // Stable, so that of equal claims the first project's is first.
    claims.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
    claims.dedup_by(|later, first| later.name == first.name && later.digest == first.digest);
    asking
}

struct Publishing<'a> {
    rules: &'a [ProductionRule],
    findings: &'a mut Vec<Finding>,
}

impl Publishing<'_> {
    fn publish(&mut self, project: &Project) -> Vec<String> {
        let published = published(project, self.rules);
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
            let prefixes: Vec<&str> = published.prefixes.iter().map(String::as_str).collect();
            self.find(project, &project.at, rule, message, &prefixes);
            return Vec::new();
        }
        self.tell_of_channel(project, &published.prefixes);
        published.prefixes
    }

    /// A source that is itself published: production is promoted onward.
    fn tell_of_channel(&mut self, project: &Project, destinations: &[String]) {
        let Some(place) = public_place(&project.source, project.kind, self.rules) else {
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
        self.findings.push(found(project, at, rule, message, about));
    }
}

fn found(
    project: &Project,
    at: &Position,
    rule: &Rule,
    message: String,
    about: &[&str],
) -> Finding {
    let owner = owner(&project.name, project.kind);
    finding(rule, at, &owner, message, String::new(), about)
}

/// Adds what one project asks for.
struct Claims<'a> {
    project: &'a Project,
    /// Which it is of the tree's projects.
    index: usize,
    owners: &'a Owners<'a>,
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
                    let left_out: Vec<String> = rows.iter().flat_map(left_out).collect();
                    let mut about = vec![public.as_str()];
                    about.extend(left_out.iter().map(String::as_str));
                    self.find(&first.at, rule, error.to_string(), &about);
                    continue;
                }
            };
            let others = self.owners.others(Kind::Images, &public, self.index);
            for row in rows {
                self.row(row, &repository, others.as_deref());
            }
        }
    }

    fn row(&mut self, row: &ImageEntry, repository: &Repository, others: Option<&str>) {
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
            self.claim(claim(name), others);
        }
        for tag in &row.tags {
            let name = Name::Tag(repository.clone(), tag.clone());
            self.claim(claim(name), others);
        }
    }

    fn files(&mut self, prefix: &str) {
        for file in &self.project.files {
            let public = join(prefix, &file.name);
            match public.parse::<FilePath>() {
                Ok(path) => {
                    let others = self.owners.others(Kind::Files, &public, self.index);
                    let claim = self.file(file, Name::File(path));
                    self.claim(claim, others.as_deref());
                }
                Err(error) => {
                    // Its segments were found sound: below a folder it would do.
                    let rule = if FilePath::is_valid(&join("-", &public)) {
                        &rules::RESERVED_PATH
                    } else {
                        &rules::UNPUBLISHABLE_NAME
                    };
                    let digest = file.digest.to_string();
                    self.find(&file.at, rule, error.to_string(), &[&public, &digest]);
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

    /// `others` is why the name is others', if it is not the project's.
    fn claim(&mut self, claim: Asked, others: Option<&str>) {
        let Some(others) = others else {
            self.asking.claims.push(claim);
            return;
        };
        let (project, name) = (&self.project.name, claim.name.to_string());
        let why = format!("{} is {others}, not of {project}", quoted(&name));
        let rule = &rules::OUTSIDE_PROJECT;
        let digest = claim.digest.to_string();
        self.find(&claim.at, rule, why.clone(), &[&name, &digest]);
        let refusal = format!("{}: {why}", rule.id);
        self.asking.outside.push((claim, refusal));
    }

    fn find(&mut self, at: &Position, rule: &Rule, message: String, about: &[&str]) {
        let finding = found(self.project, at, rule, message, about);
        self.asking.findings.push(finding);
    }
}

/// What a row asks for, in words.
fn left_out(row: &ImageEntry) -> impl Iterator<Item = String> {
    let tags = row.tags.iter().map(ToString::to_string);
    tags.chain([row.digest.to_string()])
}
