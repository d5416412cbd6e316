//! A plan with what staging really holds: what execution may do, to the byte.

use landfall_catalog::{Digest, Name, Object, Referrer};

use crate::asked::Asked;
use crate::canonical::Canonical;

/// What a look at production and staging found for an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// Production has all of its objects.
    Present,
    /// Some of its objects are to be copied from staging.
    ToCopy,
    /// Staging does not have it, or not whole; what is missing.
    Lost(String),
    /// A rule forbids it; which.
    Refused(String),
}

impl EntryState {
    /// Stable code in kebab case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::ToCopy => "to-copy",
            Self::Lost(_) => "lost",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether execution has anything to do for it.
    #[must_use]
    pub const fn is_executable(&self) -> bool {
        matches!(self, Self::Present | Self::ToCopy)
    }
}

/// Why the content of an entry may have its name.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The project's staging has it.
    #[default]
    Staging,
    /// Production has it under a name in force, from where this entry may take it.
    Production,
    /// The origin has it under this very name, which the catalog does not know: it
    /// is taken over.
    Origin,
}

impl Evidence {
    const fn code(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Origin => "origin",
        }
    }
}

/// One entry of a resolved plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedEntry {
    /// What was asked for.
    pub asked: Asked,
    /// What was found.
    pub state: EntryState,
    /// Where it was seen.
    pub evidence: Evidence,
    /// Every object of it that is to be in production: children before what
    /// holds them, the root last.
    pub closure: Vec<Object>,
    /// Bytes that are to be copied for it. An object that several entries need
    /// is counted for the first of them alone.
    pub bytes_to_copy: u64,
    /// What the name meant when this was planned. It must still mean that when
    /// the name is set.
    pub replaces: Option<Digest>,
}

/// A name that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The name.
    pub name: Name,
    /// What it meant when this was planned. It must still mean that when it is
    /// removed.
    pub replaces: Digest,
}

/// Exactly what a confirmed promotion may do. Nothing is left to choose: what is
/// executed is a subset of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPlan {
    /// Digest of the [`Plan`](crate::Plan) that was resolved.
    pub plan: Digest,
    /// What is to be set, in the order of the plan.
    pub entries: Vec<ResolvedEntry>,
    /// What is to be removed, in the order of the plan.
    pub removed: Vec<Removal>,
}

impl ResolvedPlan {
    /// What people confirm: SHA-256 over the canonical encoding (length-prefixed
    /// fields in a fixed order) of the label `landfall resolved plan 1`, the
    /// plan's digest, every entry (what is asked for, the state and its reason,
    /// where it was seen, every object of the closure, the bytes to copy, what it replaces) and
    /// every removal. Where in a manifest an entry stands is not part of it, nor
    /// is what else production holds: other people's promotions don't change it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut canonical = Canonical::new("landfall resolved plan 1");
        canonical.digest(&self.plan);
        canonical.list(&self.entries, encode_entry);
        canonical.list(&self.removed, |canonical, removal| {
            canonical.text(&removal.name.to_string());
            canonical.digest(&removal.replaces);
        });
        canonical.finish()
    }

    /// Bytes that execution copies.
    #[must_use]
    pub fn bytes_to_copy(&self) -> u64 {
        self.entries
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.bytes_to_copy))
    }
}

fn encode_entry(canonical: &mut Canonical, entry: &ResolvedEntry) {
    entry.asked.encode(canonical);
    canonical.text(entry.state.code());
    match &entry.state {
        EntryState::Present | EntryState::ToCopy => {}
        EntryState::Lost(why) | EntryState::Refused(why) => canonical.text(why),
    }
    canonical.text(entry.evidence.code());
    canonical.list(&entry.closure, encode_object);
    canonical.number(entry.bytes_to_copy);
    canonical.option(entry.replaces.as_ref(), Canonical::digest);
}

fn encode_object(canonical: &mut Canonical, object: &Object) {
    canonical.digest(&object.digest);
    canonical.number(object.size);
    canonical.text(object.media_type.as_str());
    canonical.list(&object.children, Canonical::digest);
    canonical.option(object.referrer.as_ref(), encode_referrer);
    canonical.option(object.pieces.as_ref(), Canonical::digest);
}

fn encode_referrer(canonical: &mut Canonical, referrer: &Referrer) {
    canonical.digest(&referrer.subject);
    canonical.text(&referrer.artifact_type);
    canonical.number(referrer.annotations.len() as u64);
    for (key, value) in &referrer.annotations {
        canonical.text(key);
        canonical.text(value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use landfall_catalog::MediaType;

    use super::*;
    use crate::asked::SourceRef;
    use crate::finding::Position;
    use crate::project::Kind;

    fn sample() -> ResolvedPlan {
        let object = Object {
            digest: Digest::of(b"root"),
            size: 7,
            media_type: MediaType::octet_stream(),
            children: vec![Digest::of(b"child")],
            referrer: Some(Referrer {
                subject: Digest::of(b"subject"),
                artifact_type: "a/b".to_owned(),
                annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            }),
            pieces: Some(Digest::of(b"pieces")),
        };
        let asked = Asked {
            name: "a:v1".parse().unwrap(),
            digest: object.digest,
            project: "p".to_owned(),
            kind: Kind::Images,
            source: SourceRef::Image {
                registry: "h/p".into(),
                name: "a".parse().unwrap(),
                digest: object.digest,
            },
            mutable: false,
            at: Position {
                file: "f".into(),
                line: 1,
                column: 1,
            },
        };
        ResolvedPlan {
            plan: Digest::of(b"plan"),
            entries: vec![ResolvedEntry {
                asked,
                state: EntryState::ToCopy,
                evidence: Evidence::Staging,
                closure: vec![object],
                bytes_to_copy: 7,
                replaces: None,
            }],
            removed: vec![Removal {
                name: "b:v1".parse().unwrap(),
                replaces: Digest::of(b"old"),
            }],
        }
    }

    #[test]
    fn whatever_execution_depends_on_changes_the_digest() {
        type Change = fn(&mut ResolvedPlan);
        let changes: &[Change] = &[
            |plan| plan.plan = Digest::of(b"other"),
            |plan| plan.entries[0].asked.digest = Digest::of(b"other"),
            |plan| plan.entries[0].asked.name = "a:v2".parse().unwrap(),
            |plan| plan.entries[0].asked.project = "q".to_owned(),
            |plan| plan.entries[0].asked.mutable = true,
            |plan| plan.entries[0].state = EntryState::Present,
            |plan| plan.entries[0].state = EntryState::Lost("x".to_owned()),
            |plan| plan.entries[0].state = EntryState::Lost("y".to_owned()),
            |plan| plan.entries[0].evidence = Evidence::Production,
            |plan| plan.entries[0].closure[0].size = 8,
            |plan| plan.entries[0].closure[0].children.clear(),
            |plan| plan.entries[0].closure[0].pieces = None,
            |plan| plan.entries[0].closure[0].referrer = None,
            |plan| plan.entries[0].closure.clear(),
            |plan| plan.entries[0].bytes_to_copy = 8,
            |plan| plan.entries[0].replaces = Some(Digest::of(b"x")),
            |plan| plan.entries.clear(),
            |plan| plan.removed.clear(),
            |plan| plan.removed[0].replaces = Digest::of(b"x"),
        ];
        let mut seen = vec![sample().digest()];
        for change in changes {
            let mut plan = sample();
            change(&mut plan);
            let digest = plan.digest();
            assert!(!seen.contains(&digest));
            seen.push(digest);
        }
    }

    #[test]
    fn the_place_in_a_manifest_does_not_change_the_digest() {
        let mut plan = sample();
        plan.entries[0].asked.at.line = 99;
        assert_eq!(plan.digest(), sample().digest());
    }
}
