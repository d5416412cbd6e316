//! A resolved plan as it is remembered until it is confirmed, and executed.
//!
//! Execution always starts from the remembered bytes, also when it starts at
//! once; so what a restart resumes is what was confirmed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use landfall_catalog::{Digest, MediaType, Name, Object, Referrer};
use landfall_promotion::{
    EntryState, Evidence, Finding, Kind, Project, ResolvedEntry, ResolvedPlan,
};
use serde::{Deserialize, Serialize};

use crate::state::projects::{Half, HalfKind};
use crate::state::quarantine::Quarantine;
use crate::text::cut;

/// Who decided that this is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mandate {
    /// A person promotes what the manifests list.
    #[default]
    Confirmed,
    /// Nobody looked at the plan; the manifests were reviewed.
    Unattended,
    /// A person goes back to an earlier revision.
    Revert,
}

/// Everything that an operation may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) mandate: Mandate,
    /// Names that mean already what was asked for.
    pub(crate) unchanged: u64,
    /// The sensitive halves that it relies on.
    pub(crate) halves: Vec<Half>,
    /// Names to set.
    pub(crate) entries: Vec<Order>,
    /// Names to remove, and what they mean now.
    pub(crate) removals: Vec<(Name, Digest)>,
    /// What of the manifests is not among it.
    pub(crate) left_out: LeftOut,
}

/// What of the manifests was left out for findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Entries and tags.
    pub(crate) entries: u64,
    /// Why, shortened; the first [`LeftOut::MOST`] of them.
    pub(crate) findings: Vec<Quarantine>,
}

impl LeftOut {
    /// Findings that are kept.
    const MOST: usize = 1000;
    /// Longest file and message that are kept, in bytes.
    const LONGEST: usize = 1024;

    /// Keeps what findings say of what was left out.
    pub(crate) fn new<'a>(entries: u64, findings: impl Iterator<Item = &'a Finding>) -> Self {
        let quarantining = findings.filter(|finding| finding.quarantines);
        let kept = quarantining.take(Self::MOST).map(|finding| Quarantine {
            severity: finding.severity.to_string(),
            rule: finding.rule.to_owned(),
            file: cut(finding.file.clone(), Self::LONGEST),
            line: finding.line,
            column: finding.column,
            message: cut(finding.message.clone(), Self::LONGEST),
            content_hash: finding.content_hash,
        });
        Self {
            entries,
            findings: kept.collect(),
        }
    }
}

/// One name to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) name: Name,
    pub(crate) digest: Digest,
    pub(crate) project: String,
    pub(crate) kind: HalfKind,
    /// Where it is staged, in the words of the manifest, without a digest.
    pub(crate) location: String,
    pub(crate) state: OrderState,
    /// Where its content was seen.
    pub(crate) evidence: Evidence,
    /// Children first, the root last.
    pub(crate) closure: Vec<Arc<Object>>,
    /// What the name meant when this was planned.
    pub(crate) replaces: Option<Digest>,
}

/// Whether there is anything to do for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OrderState {
    /// Bring what is missing, and set the name.
    Execute,
    /// Staging does not have it.
    Lost(String),
    /// A rule forbids it.
    Refused(String),
    /// Staging could not be read when this was planned.
    Failed(String),
}

impl Orders {
    /// Takes over a resolved plan; `unread` are the numbers of entries that are
    /// refused in it only because staging could not be read.
    pub(crate) fn new(
        mandate: Mandate,
        resolved: &ResolvedPlan,
        unread: &BTreeSet<usize>,
        unchanged: u64,
        halves: Vec<Half>,
        left_out: LeftOut,
    ) -> Self {
        let mut shared: HashMap<Digest, Vec<Arc<Object>>> = HashMap::new();
        let entries = resolved
            .entries
            .iter()
            .enumerate()
            .map(|(number, entry)| {
                let order = order(entry, &mut shared);
                match &order.state {
                    OrderState::Refused(why) if unread.contains(&number) => Order {
                        state: OrderState::Failed(why.clone()),
                        ..order
                    },
                    OrderState::Execute
                    | OrderState::Lost(_)
                    | OrderState::Refused(_)
                    | OrderState::Failed(_) => order,
                }
            })
            .collect();
        let removals = resolved
            .removed
            .iter()
            .map(|removal| (removal.name.clone(), removal.replaces))
            .collect();
        Self {
            mandate,
            unchanged,
            halves,
            entries,
            removals,
            left_out,
        }
    }

    /// Name and digest of each entry of the operation: first what is set, then
    /// what is removed.
    pub(crate) fn rows(&self) -> Vec<(String, Digest)> {
        let set = self
            .entries
            .iter()
            .map(|order| (order.name.to_string(), order.digest));
        let removed = self
            .removals
            .iter()
            .map(|(name, digest)| (name.to_string(), *digest));
        set.chain(removed).collect()
    }

    /// As stored.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Stored::from(self))
    }

    /// From what is stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Stored>(bytes)?.try_into()
    }
}

/// The sensitive half of a project.
pub(crate) fn half_of(project: &Project) -> Half {
    let mut destinations = project.destinations.clone();
    destinations.sort();
    Half {
        project: project.name.clone(),
        kind: half_kind(project.kind),
        source: project.source.clone(),
        destinations,
    }
}

pub(crate) const fn half_kind(kind: Kind) -> HalfKind {
    match kind {
        Kind::Images => HalfKind::Images,
        Kind::Files => HalfKind::Files,
    }
}

/// Each entry keeps what was found of its objects: as a file an OCI manifest is
/// bytes without children, and as an image it is not, whichever is asked first.
fn order(entry: &ResolvedEntry, shared: &mut HashMap<Digest, Vec<Arc<Object>>>) -> Order {
    let closure = entry
        .closure
        .iter()
        .map(|object| {
            let alike = shared.entry(object.digest).or_default();
            if let Some(known) = alike.iter().find(|known| ***known == *object) {
                return Arc::clone(known);
            }
            let object = Arc::new(object.clone());
            alike.push(Arc::clone(&object));
            object
        })
        .collect();
    Order {
        name: entry.asked.name.clone(),
        digest: entry.asked.digest,
        project: entry.asked.project.clone(),
        kind: half_kind(entry.asked.kind),
        location: entry.asked.source.location(),
        state: match &entry.state {
            EntryState::Present | EntryState::ToCopy => OrderState::Execute,
            EntryState::Lost(why) => OrderState::Lost(why.clone()),
            EntryState::Refused(why) => OrderState::Refused(why.clone()),
        },
        evidence: entry.evidence,
        closure,
        replaces: entry.replaces,
    }
}

/// The stored form: objects alike once, entries refer to them by number.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    mandate: Mandate,
    unchanged: u64,
    halves: Vec<Half>,
    objects: Vec<StoredObject>,
    entries: Vec<StoredEntry>,
    removals: Vec<(Name, Digest)>,
    #[serde(default)]
    left_out: LeftOut,
}

#[derive(Serialize, Deserialize)]
struct StoredObject {
    digest: Digest,
    size: u64,
    media_type: MediaType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    children: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    referrer: Option<StoredReferrer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pieces: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
struct StoredReferrer {
    subject: Digest,
    artifact_type: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    name: Name,
    digest: Digest,
    project: String,
    kind: HalfKind,
    location: String,
    state: OrderState,
    #[serde(default)]
    evidence: Evidence,
    closure: Vec<u32>,
    replaces: Option<Digest>,
}

impl From<&Orders> for Stored {
    fn from(orders: &Orders) -> Self {
        let mut numbers: HashMap<Digest, Vec<(u32, &Object)>> = HashMap::new();
        let mut objects = Vec::new();
        let entries = orders
            .entries
            .iter()
            .map(|order| StoredEntry {
                name: order.name.clone(),
                digest: order.digest,
                project: order.project.clone(),
                kind: order.kind,
                location: order.location.clone(),
                state: order.state.clone(),
                evidence: order.evidence,
                closure: order
                    .closure
                    .iter()
                    .map(|object| {
                        let alike = numbers.entry(object.digest).or_default();
                        let known = alike.iter().find(|(_, known)| *known == object.as_ref());
                        if let Some((number, _)) = known {
                            return *number;
                        }
                        objects.push(StoredObject::from(object.as_ref()));
                        // Far below: a body of four billion objects does not fit in memory.
                        let number = u32::try_from(objects.len() - 1).unwrap_or(u32::MAX);
                        alike.push((number, object.as_ref()));
                        number
                    })
                    .collect(),
                replaces: order.replaces,
            })
            .collect();
        Self {
            mandate: orders.mandate,
            unchanged: orders.unchanged,
            halves: orders.halves.clone(),
            objects,
            entries,
            removals: orders.removals.clone(),
            left_out: orders.left_out.clone(),
        }
    }
}

impl TryFrom<Stored> for Orders {
    type Error = serde_json::Error;

    fn try_from(stored: Stored) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let objects: Vec<Arc<Object>> = stored
            .objects
            .into_iter()
            .map(|object| Arc::new(object.into()))
            .collect();
        let entries = stored
            .entries
            .into_iter()
            .map(|entry| {
                let closure = entry
                    .closure
                    .iter()
                    .map(|number| objects.get(*number as usize).cloned())
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| serde_json::Error::custom("an entry refers to no object"))?;
                Ok(Order {
                    name: entry.name,
                    digest: entry.digest,
                    project: entry.project,
                    kind: entry.kind,
                    location: entry.location,
                    state: entry.state,
                    evidence: entry.evidence,
                    closure,
                    replaces: entry.replaces,
                })
            })
            .collect::<Result<_, serde_json::Error>>()?;
        Ok(Self {
            mandate: stored.mandate,
            unchanged: stored.unchanged,
            halves: stored.halves,
            entries,
            removals: stored.removals,
            left_out: stored.left_out,
        })
    }
}

impl From<&Object> for StoredObject {
    fn from(object: &Object) -> Self {
        Self {
            digest: object.digest,
            size: object.size,
            media_type: object.media_type.clone(),
            children: object.children.clone(),
            referrer: object.referrer.as_ref().map(|referrer| StoredReferrer {
                subject: referrer.subject,
                artifact_type: referrer.artifact_type.clone(),
                annotations: referrer.annotations.clone(),
            }),
            pieces: object.pieces,
        }
    }
}

impl From<StoredObject> for Object {
    fn from(object: StoredObject) -> Self {
        Self {
            digest: object.digest,
            size: object.size,
            media_type: object.media_type,
            children: object.children,
            referrer: object.referrer.map(|referrer| Referrer {
                subject: referrer.subject,
                artifact_type: referrer.artifact_type,
                annotations: referrer.annotations,
            }),
            pieces: object.pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_see_the_same_bytes_differently_keep_what_they_see() {
        let (layer, read) = (object("layer", &[]), object("m", &["layer"]));
        let unread = object("m", &[]);
        let entry = |name: &str, closure: &[&Arc<Object>]| Order {
            name: name.parse().unwrap(),
            digest: read.digest,
            project: "p".into(),
            kind: HalfKind::Images,
            location: "r.example/p".into(),
            state: OrderState::Execute,
            evidence: Evidence::Production,
            closure: closure.iter().map(|object| Arc::clone(object)).collect(),
            replaces: None,
        };
        let orders = Orders {
            mandate: Mandate::Unattended,
            unchanged: 0,
            halves: Vec::new(),
            entries: vec![entry("f/m", &[&unread]), entry("r:v1", &[&layer, &read])],
            removals: Vec::new(),
            left_out: LeftOut::default(),
        };
        let again = Orders::decode(&orders.encode().unwrap()).unwrap();
        assert_eq!(again, orders);
    }

    fn object(content: &str, children: &[&str]) -> Arc<Object> {
        Arc::new(Object {
            digest: Digest::of(content.as_bytes()),
            size: 3,
            media_type: MediaType::octet_stream(),
            children: children
                .iter()
                .map(|child| Digest::of(child.as_bytes()))
                .collect(),
            referrer: (content == "signature").then(|| Referrer {
                subject: Digest::of(b"subject"),
                artifact_type: "a/b".into(),
                annotations: BTreeMap::from([("k".into(), "v".into())]),
            }),
            pieces: None,
        })
    }

    fn entry(name: &str, state: OrderState, closure: &[&Arc<Object>]) -> Order {
        Order {
            name: name.parse().unwrap(),
            digest: Digest::of(name.as_bytes()),
            project: "kops".into(),
            kind: HalfKind::Images,
            location: "gcr.io/k8s-staging-kops/kops".into(),
            state,
            evidence: Evidence::Staging,
            closure: closure.iter().map(|&object| Arc::clone(object)).collect(),
            replaces: Some(Digest::of(b"before")),
        }
    }

    #[test]
    fn orders_read_back_as_they_were_with_shared_objects_stored_once() {
        let (layer, a, b) = (
            object("layer", &[]),
            object("a", &["layer"]),
            object("signature", &["layer"]),
        );
        let orders = Orders {
            mandate: Mandate::Revert,
            unchanged: 7,
            halves: vec![Half {
                project: "kops".into(),
                kind: HalfKind::Images,
                source: "gcr.io/k8s-staging-kops".into(),
                destinations: vec!["x".into()],
            }],
            entries: vec![
                entry("r:a", OrderState::Execute, &[&layer, &a]),
                entry("r:b", OrderState::Execute, &[&layer, &b]),
                entry("r:c", OrderState::Lost("gone".into()), &[]),
                entry("dir/file", OrderState::Refused("rule".into()), &[]),
            ],
            removals: vec![("r:old".parse().unwrap(), Digest::of(b"old"))],
            left_out: LeftOut {
                entries: 2,
                findings: vec![Quarantine {
                    severity: "error".into(),
                    rule: "bad-tag".into(),
                    file: "images.yaml".into(),
                    line: 3,
                    column: 4,
                    message: "no tag".into(),
                    content_hash: Digest::of(b"fault"),
                }],
            },
        };
        let bytes = orders.encode().unwrap();
        let layer_text = layer.digest.to_string();
        let mentions = String::from_utf8_lossy(&bytes).matches(&layer_text).count();
        assert_eq!(mentions, 3, "once itself and twice as a child");
        assert_eq!(Orders::decode(&bytes).unwrap(), orders);
        assert_eq!(orders.rows().len(), 5);
        assert!(Orders::decode(&bytes[1..]).is_err());
    }
}
