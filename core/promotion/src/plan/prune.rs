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
//! - A signature, attestation or SBOM (a cosign tag, or a root that refers to
//!   another object) stays as long as its subject does: with what else is removed
//!   of the repository it goes, too.

use std::collections::{BTreeSet, HashMap, HashSet};

use landfall_catalog::{Catalog, Name, Ordinal, Repository};

use super::owners::{Owner, Owners};
use crate::asked::Asked;
use crate::finding::{Finding, finding};
use crate::mutable::cosign_subject;
use crate::parse::{Parsed, owner};
use crate::project::Kind;
use crate::rules;
use crate::separation::project_of;

/// The names to remove, in order.
pub(super) fn removed(
    parsed: &Parsed,
    owners: &Owners<'_>,
    claims: &[Asked],
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
    let asked: HashSet<&Name> = claims.iter().map(|asked| &asked.name).collect();
    prune.images(claims, &asked, catalog);
    prune.files(&asked, catalog);
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

/// The names of a repository that are neither asked for nor attached to what is;
/// `held` is what is asked for there and in the catalog, under whatever name.
fn unlisted(
    catalog: &Catalog,
    repository: &Repository,
    asked: &HashSet<&Name>,
    held: &[Ordinal],
) -> Vec<Name> {
    let tags = catalog.tags(repository.as_str()).map(|(tag, record)| {
        let subject = cosign_subject(tag.as_str());
        (
            Name::Tag(repository.clone(), tag.clone()),
            record.ordinal,
            subject,
        )
    });
    let roots = catalog.roots(repository.as_str()).map(|(digest, record)| {
        let referrer = catalog
            .object(record.ordinal)
            .and_then(|object| object.referrer());
        let subject = referrer.map(|referrer| referrer.subject);
        (
            Name::Root(repository.clone(), *digest),
            record.ordinal,
            subject,
        )
    });
    let (kept, mut rest): (Vec<_>, Vec<_>) = tags
        .chain(roots)
        .partition(|(name, ..)| asked.contains(name));
    if rest.is_empty() {
        return Vec::new();
    }
    let mut staying = BTreeSet::new();
    let kept = kept.into_iter().map(|(_, ordinal, _)| ordinal);
    for ordinal in kept.chain(held.iter().copied()) {
        stay(catalog, ordinal, &mut staying);
    }
    // What is attached to something that stays stays, and so what is attached to that.
    loop {
        let (attached, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(.., subject)| {
            let subject = subject.and_then(|subject| catalog.ordinal(&subject));
            subject.is_some_and(|subject| staying.contains(&subject))
        });
        rest = others;
        if attached.is_empty() {
            break;
        }
        for (_, ordinal, _) in attached {
            stay(catalog, ordinal, &mut staying);
        }
    }
    rest.into_iter().map(|(name, ..)| name).collect()
}

/// Adds an object and all that it holds.
fn stay(catalog: &Catalog, ordinal: Ordinal, staying: &mut BTreeSet<Ordinal>) {
    let mut open = vec![ordinal];
    while let Some(ordinal) = open.pop() {
        if staying.insert(ordinal) {
            let children = catalog.object(ordinal).map(|object| object.children());
            open.extend(children.into_iter().flatten());
        }
    }
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
    fn images(&mut self, claims: &[Asked], asked: &HashSet<&Name>, catalog: &Catalog) {
        let mut listed: HashMap<&Repository, Vec<Ordinal>> = HashMap::new();
        for claim in claims {
            if let Name::Tag(repository, _) | Name::Root(repository, _) = &claim.name {
                let held = listed.entry(repository).or_default();
                held.extend(catalog.ordinal(&claim.digest));
            }
        }
        for repository in catalog.repositories() {
            let Some((at_top, owners)) = self.owners.of(Kind::Images, repository.as_str()) else {
                continue;
            };
            let held = listed.get(repository);
            if at_top && held.is_none() {
                continue;
            }
            let held = held.map_or(&[][..], Vec::as_slice);
            let unlisted = unlisted(catalog, repository, asked, held);
            self.remove(Kind::Images, owners, unlisted.into_iter(), asked);
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
                Owner::Neighbour(_) => return,
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
