//! From what staging says of each root to the entries of the resolved plan. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use landfall_catalog::{Catalog, Digest, Name, Object, Repository};
use landfall_promotion::{
    Asked, EntryState, Evidence, Finding, Removal, ResolvedEntry, ResolvedPlan, Severity,
};

use super::super::facts::added;
use super::{Found, Gaps, Key, Lacking, Resolution, ToResolve, Whole, key};

/// Digests that one message names.
const FEW: usize = 3;

/// The resolved plan before the bytes to copy are known.
pub(super) struct Build {
    entries: Vec<ResolvedEntry>,
    unread: BTreeSet<usize>,
    findings: Vec<Finding>,
    removed: Vec<Removal>,
    /// Names that were looked at again, and nothing is new.
    same: HashSet<Name>,
    gaps: Gaps,
}

pub(super) fn build(wanted: &ToResolve, found: &HashMap<Key, Found>, catalog: &Catalog) -> Build {
    let mut build = Build {
        entries: Vec::new(),
        unread: BTreeSet::new(),
        findings: Vec::new(),
        removed: Vec::new(),
        same: HashSet::new(),
        gaps: Gaps::default(),
    };
    let mut names: HashSet<Name> = wanted.roots().map(|asked| asked.name.clone()).collect();
    // By name: who asks for the same index by another has to say that it is meant.
    let mut expected = HashSet::new();
    for asked in &wanted.sparse {
        expected.insert(&asked.name);
        let whole = match found.get(&key(asked)) {
            Some(Found::Whole(whole)) => Some(whole),
            Some(Found::Lost(_) | Found::Refused(_) | Found::Unread(_)) | None => None,
        };
        let is_news = whole.is_some_and(|whole| {
            withdrawn(catalog, &whole.closure).is_none()
                && !says_nothing_new(catalog, &whole.closure)
        });
        if !is_news {
            build.same.insert(asked.name.clone());
        }
    }
    let lacks = |whole: &Whole, asked: &Asked| {
        let is_meant = wanted.allow_sparse || expected.contains(&asked.name);
        !is_meant && !whole.missing.is_empty()
    };
    for asked in wanted.roots() {
        let Some(Found::Whole(whole)) = found.get(&key(asked)) else {
            continue;
        };
        if !whole.missing.is_empty() && !lacks(whole, asked) {
            build.gaps.sparse.insert(asked.digest);
        } else if whole.missing.is_empty()
            && !whole.is_held
            && says_nothing_new(catalog, &whole.closure)
        {
            build.gaps.whole.insert(asked.digest);
        }
    }
    for asked in &wanted.again {
        if let Some(Found::Whole(whole)) = found.get(&key(asked))
            && !lacks(whole, asked)
            && says_nothing_new(catalog, &whole.closure)
        {
            build.same.insert(asked.name.clone());
        }
    }
    for asked in wanted.roots() {
        if build.same.contains(&asked.name) {
            continue;
        }
        let state = match found.get(&key(asked)) {
            Some(Found::Whole(whole)) => match withdrawn(catalog, &whole.closure) {
                Some(why) => EntryState::Refused(format!("withdrawn: {why}")),
                None if lacks(whole, asked) => EntryState::Lost(whole.lacking()),
                None => {
                    build.take(asked.clone(), whole, whole.closure.clone(), catalog);
                    continue;
                }
            },
            Some(Found::Lost(why)) => EntryState::Lost(why.clone()),
            Some(Found::Refused(why)) => EntryState::Refused(why.clone()),
            Some(Found::Unread(why)) => {
                build.unread.insert(build.entries.len());
                EntryState::Refused(format!("staging cannot be read: {why}"))
            }
            None => EntryState::Refused("it was not resolved".into()),
        };
        build.leave(asked.clone(), state, catalog);
    }
    for (asked, why) in &wanted.refused {
        build.leave(asked.clone(), EntryState::Refused(why.clone()), catalog);
    }
    let mut told = HashSet::new();
    for asked in wanted.roots() {
        let Some(Found::Whole(whole)) = found.get(&key(asked)) else {
            continue;
        };
        let is_as_before = expected.contains(&asked.name) && build.same.contains(&asked.name);
        if is_as_before {
            continue;
        }
        if told.insert(key(asked)) {
            build.tell(asked, whole, catalog);
        }
        if lacks(whole, asked) || withdrawn(catalog, &whole.closure).is_some() {
            continue;
        }
        let Some(repository) = repository_of(&asked.name) else {
            continue;
        };
        for artifact in &whole.attached.artifacts {
            let name = match &artifact.tag {
                Some(tag) => Name::Tag(repository.clone(), tag.clone()),
                None => Name::Root(repository.clone(), artifact.digest),
            };
            let is_there = meaning(catalog, &name) == Some(artifact.digest);
            if is_there || withdrawn(catalog, &artifact.closure).is_some() {
                continue;
            }
            if !names.insert(name.clone()) {
                continue;
            }
            let attached = Asked {
                name,
                digest: artifact.digest,
                mutable: artifact.tag.is_some(),
                ..asked.clone()
            };
            build.take(attached, whole, artifact.closure.clone(), catalog);
        }
        for refused in &whole.attached.refused {
            let name = Name::Tag(repository.clone(), refused.tag.clone());
            if !names.insert(name.clone()) {
                continue;
            }
            let attached = Asked {
                name,
                digest: refused.digest,
                mutable: true,
                ..asked.clone()
            };
            let state = EntryState::Refused(refused.why.clone());
            build.leave(attached, state, catalog);
        }
    }
    build.removed = wanted
        .removed
        .iter()
        .filter_map(|name| {
            Some(Removal {
                name: name.clone(),
                replaces: meaning(catalog, name)?,
            })
        })
        .collect();
    build
}

impl Whole {
    fn lacking(&self) -> String {
        format!(
            "staging does not have {}, which its index names; push it, or give --allow-sparse if it is meant",
            the_first(&self.missing)
        )
    }

    /// Until it is known what the origin holds of it.
    const fn state(&self) -> EntryState {
        if self.is_held {
            EntryState::Present
        } else {
            EntryState::ToCopy
        }
    }
}

impl Build {
    /// Takes what was found, or something that comes with it.
    fn take(&mut self, asked: Asked, whole: &Whole, closure: Vec<Object>, catalog: &Catalog) {
        self.entries.push(ResolvedEntry {
            replaces: meaning(catalog, &asked.name),
            asked,
            state: whole.state(),
            evidence: whole.evidence,
            closure,
            bytes_to_copy: 0,
        });
    }

    /// Takes nothing, and says why.
    fn leave(&mut self, asked: Asked, state: EntryState, catalog: &Catalog) {
        self.entries.push(ResolvedEntry {
            replaces: meaning(catalog, &asked.name),
            asked,
            state,
            evidence: Evidence::default(),
            closure: Vec::new(),
            bytes_to_copy: 0,
        });
    }

    fn tell(&mut self, asked: &Asked, whole: &Whole, catalog: &Catalog) {
        if !whole.missing.is_empty() {
            let message = format!(
                "{} names {} documents that are not in staging: {}",
                asked.source,
                whole.missing.len(),
                the_first(&whole.missing)
            );
            self.findings.push(warning(
                asked,
                "sparse-index",
                message,
                "push the missing platform, or an index without it",
            ));
        }
        if whole.foreign > 0 {
            let message = format!(
                "{} has {} layers that their publisher does not want distributed: they are not copied",
                asked.source, whole.foreign
            );
            self.findings.push(Finding {
                severity: Severity::Info,
                ..warning(
                    asked,
                    "foreign-layers",
                    message,
                    "whoever pulls the image gets them where its manifest says",
                )
            });
        }
        for artifact in &whole.attached.artifacts {
            if let Some(why) = withdrawn(catalog, &artifact.closure) {
                let message = format!("not promoted with {}: {why}", asked.source);
                self.findings.push(warning(
                    asked,
                    "referrer-withdrawn",
                    message,
                    "it stays withdrawn until it is reinstated",
                ));
            }
        }
        for what in &whole.attached.left_out {
            let message = format!("not promoted with {}: {what}", asked.source);
            self.findings.push(warning(
                asked,
                "referrer-left-out",
                message,
                "only known artifact types of bounded number and size come along",
            ));
        }
    }

    /// An object that several entries need is copied for the first of them.
    pub(super) fn finish(mut self, wanted: ToResolve, held: &HashSet<Digest>) -> Resolution {
        let mut counted = HashSet::new();
        for entry in &mut self.entries {
            if entry.state != EntryState::ToCopy {
                continue;
            }
            if entry
                .closure
                .iter()
                .all(|object| held.contains(&object.digest))
            {
                entry.state = EntryState::Present;
            }
            entry.bytes_to_copy = entry
                .closure
                .iter()
                .filter(|object| !held.contains(&object.digest) && counted.insert(object.digest))
                .fold(0, |sum, object| sum.saturating_add(object.size));
        }
        Resolution {
            plan: ResolvedPlan {
                plan: wanted.plan,
                entries: self.entries,
                removed: self.removed,
            },
            unread: self.unread,
            unchanged: self.same.len() as u64,
            findings: self.findings,
            gaps: self.gaps,
        }
    }
}

/// A few of them, and how many more there are.
fn the_first(digests: &[Lacking]) -> String {
    let few: Vec<String> = digests.iter().take(FEW).map(ToString::to_string).collect();
    match digests.len() - few.len() {
        0 => few.join(", "),
        more => format!("{} and {more} more", few.join(", ")),
    }
}

fn warning(asked: &Asked, rule: &'static str, message: String, help: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        rule,
        file: asked.at.file.to_string(),
        line: asked.at.line,
        column: asked.at.column,
        content_hash: Digest::of(format!("{rule}\n{}\n{message}", asked.project).as_bytes()),
        message,
        help: help.to_owned(),
        excerpt: String::new(),
        quarantines: false,
    }
}

/// Whether the catalog knows all of this, and as much of each.
fn says_nothing_new(catalog: &Catalog, closure: &[Object]) -> bool {
    closure.iter().all(|object| {
        let known = catalog.ordinal(&object.digest);
        let known = known.and_then(|ordinal| catalog.facts(ordinal));
        known.is_some_and(|known| matches!(added(&known, object), Ok(None)))
    })
}

/// What of these objects is withdrawn, and why.
fn withdrawn(catalog: &Catalog, closure: &[Object]) -> Option<String> {
    closure.iter().find_map(|object| {
        let reason = catalog.withdrawn(&object.digest)?;
        Some(format!("{} is withdrawn: {reason}", object.digest))
    })
}

const fn repository_of(name: &Name) -> Option<&Repository> {
    match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
        Name::File(_) => None,
    }
}

fn meaning(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let record = catalog.name(name)?;
    Some(*catalog.object(record.ordinal)?.digest())
}
