//! Names that production has under a project's prefixes and that the manifests
//! no longer list.
//!
//! Removing is the dangerous half of a plan, so whatever is in doubt stays:
//!
//! - A name belongs to the projects with the longest public prefix above it. If
//!   one of those is a neighbour, or left out of the tree, the name stays.
//! - Of a project with any error or warning in its manifests nothing is removed:
//!   what they list is not known.
//! - The empty prefix lies above everybody's names: there only tags and roots of
//!   repositories that are still listed are removed, and no files.
//! - A signature, attestation or SBOM (a cosign tag) stays as long as its subject
//!   is in the repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use landfall_catalog::{Catalog, Name, Repository};

use super::PlanOptions;
use crate::finding::{Finding, finding};
use crate::mutable::cosign_subject;
use crate::parse::{Parsed, owner};
use crate::project::Kind;
use crate::rules;
use crate::separation::project_of;

/// Whose names are below which prefix.
pub(super) struct Owners<'a> {
    by_kind: HashMap<Kind, HashMap<&'a str, Vec<Owner>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Index of a project of the tree.
    Project(usize),
    Neighbour,
}

impl<'a> Owners<'a> {
    pub(super) fn new(
        parsed: &Parsed,
        prefixes: &'a [Vec<String>],
        options: &'a PlanOptions,
    ) -> Self {
        let mut by_kind: HashMap<Kind, HashMap<&str, Vec<Owner>>> = HashMap::new();
        let mut add = |kind, prefix: &'a str, owner| {
            let by_prefix = by_kind.entry(kind).or_default();
            by_prefix.entry(prefix).or_default().push(owner);
        };
        for (index, (project, prefixes)) in parsed.projects.iter().zip(prefixes).enumerate() {
            for prefix in prefixes {
                add(project.kind, prefix, Owner::Project(index));
            }
        }
        for neighbour in &options.neighbours {
            add(neighbour.kind, &neighbour.prefix, Owner::Neighbour);
        }
        Self { by_kind }
    }

    /// Whose the longest prefix strictly above a name is, and whether that is
    /// the empty one.
    fn of(&self, kind: Kind, name: &str) -> Option<(bool, &[Owner])> {
        let by_prefix = self.by_kind.get(&kind)?;
        let mut above = name;
        loop {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(owners) = by_prefix.get(above) {
                return Some((above.is_empty(), owners));
            }
            if above.is_empty() {
                return None;
            }
        }
    }
}

/// The names to remove, in order.
pub(super) fn removed(
    parsed: &Parsed,
    owners: &Owners<'_>,
    asked: &HashSet<&Name>,
    catalog: &Catalog,
    findings: &mut Vec<Finding>,
) -> Vec<Name> {
    let mut prune = Prune {
        parsed,
        owners,
        faulty: faulty(parsed),
        doubtful: BTreeSet::new(),
        removed: Vec::new(),
    };
    prune.images(asked, catalog);
    prune.files(asked, catalog);
    for index in prune.doubtful {
        let project = &parsed.projects[index];
        let message = format!("nothing of project {} is removed", project.name);
        let owner = owner(&project.name, project.kind);
        let rule = &rules::PRUNE_SKIPPED;
        findings.push(finding(
            rule,
            &project.at,
            &owner,
            message,
            String::new(),
            &[],
        ));
    }
    let mut removed = prune.removed;
    removed.sort();
    removed
}

/// Also what leaves no entry out makes a project doubtful: a misspelt `files:`
/// is a list without files.
fn faulty(parsed: &Parsed) -> HashSet<&str> {
    let quarantined = parsed
        .projects
        .iter()
        .filter(|project| project.quarantined > 0)
        .map(|project| project.name.as_str());
    let found = parsed
        .findings
        .iter()
        .filter(|finding| finding.fails(true))
        .filter_map(|finding| project_of(&finding.file));
    quarantined.chain(found).collect()
}

struct Prune<'a> {
    parsed: &'a Parsed,
    owners: &'a Owners<'a>,
    /// Names of the projects with faults in their manifests.
    faulty: HashSet<&'a str>,
    /// Projects that something was kept of because their manifests have faults.
    doubtful: BTreeSet<usize>,
    removed: Vec<Name>,
}

impl Prune<'_> {
    fn images(&mut self, asked: &HashSet<&Name>, catalog: &Catalog) {
        let listed: HashSet<&Repository> = asked
            .iter()
            .filter_map(|name| match name {
                Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
                Name::File(_) => None,
            })
            .collect();
        for repository in catalog.repositories() {
            let Some((at_top, owners)) = self.owners.of(Kind::Images, repository.as_str()) else {
                continue;
            };
            if at_top && !listed.contains(repository) {
                continue;
            }
            let tags = catalog.tags(repository.as_str()).filter(|(tag, _)| {
                let subject = cosign_subject(tag.as_str());
                !subject.is_some_and(|subject| {
                    catalog
                        .ordinal(&subject)
                        .is_some_and(|ordinal| catalog.contains(repository.as_str(), ordinal))
                })
            });
            let tags = tags.map(|(tag, _)| Name::Tag(repository.clone(), tag.clone()));
            let roots = catalog.roots(repository.as_str());
            let roots = roots.map(|(digest, _)| Name::Root(repository.clone(), *digest));
            self.remove(Kind::Images, owners, tags.chain(roots), asked);
        }
    }

    fn files(&mut self, asked: &HashSet<&Name>, catalog: &Catalog) {
        for (path, _) in catalog.files() {
            match self.owners.of(Kind::Files, path.as_str()) {
                None | Some((true, _)) => {}
                Some((false, owners)) => {
                    let name = Name::File(path.clone());
                    self.remove(Kind::Files, owners, [name].into_iter(), asked);
                }
            }
        }
    }

    fn remove(
        &mut self,
        kind: Kind,
        owners: &[Owner],
        names: impl Iterator<Item = Name>,
        asked: &HashSet<&Name>,
    ) {
        let mut unlisted = names.filter(|name| !asked.contains(name)).peekable();
        if unlisted.peek().is_none() {
            return;
        }
        // Where a project is left out whole, nobody knows what it publishes.
        let mut sound = self.parsed.left_out.iter().all(|(_, other)| *other != kind);
        for owner in owners {
            match *owner {
                Owner::Neighbour => return,
                Owner::Project(index) => {
                    let name = self.parsed.projects[index].name.as_str();
                    if self.faulty.contains(name) || !sound {
                        self.doubtful.insert(index);
                        sound = false;
                    }
                }
            }
        }
        if sound {
            self.removed.extend(unlisted);
        }
    }
}
