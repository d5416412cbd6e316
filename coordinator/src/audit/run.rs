//! One audit from its beginning to its end.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

use landfall_catalog::{Catalog, Digest, Name, Ordinal};
use landfall_proto::status::chain;
use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::{Inner, Parts, Progress};
use crate::state::StateError;
use crate::state::audits::{self as rows, Finding, Tally};

/// Findings that are stored in one transaction.
const STORED_TOGETHER: usize = 256;
/// Names of an object that a finding has.
const MOST_NAMES: usize = 3;

/// What became of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody asked for a repair.
    Found,
    Repaired,
    /// No mirror has it.
    Lost(String),
    /// It may be repaired the next time, or by hand.
    Failed(String),
    /// It is no drift.
    Note,
}

impl Outcome {
    const fn code(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Repaired => "repaired",
            Self::Lost(_) => "lost",
            Self::Failed(_) => "failed",
            Self::Note => "note",
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Lost(why) | Self::Failed(why) => why,
            Self::Found | Self::Repaired | Self::Note => "",
        }
    }
}

/// What an audit works with while it runs.
pub(super) struct Auditor<'a> {
    pub(super) parts: &'a Parts,
    pub(super) client: &'a reqwest::Client,
    pub(super) repair: bool,
    pub(super) budget: Budget,
    feed: &'a watch::Sender<Progress>,
    findings: mpsc::Sender<Finding>,
    began: Instant,
    /// Some live parent of each object that has one; made when it is needed.
    parents: OnceLock<HashMap<u32, u32>>,
}

/// Audits; what is amiss is stored as it is found.
pub(super) async fn run(
    inner: &Inner,
    start: &rows::Start,
    sequence: i64,
    feed: &watch::Sender<Progress>,
) -> Tally {
    let parts = &inner.parts;
    let (sender, receiver) = mpsc::channel(STORED_TOGETHER);
    let auditor = Auditor {
        parts,
        client: &inner.client,
        repair: start.repair,
        budget: Budget::new(start.bytes_per_second, parts.clock.clone()),
        feed,
        findings: sender,
        began: parts.clock.now(),
        parents: OnceLock::new(),
    };
    let auditing = async move {
        auditor.objects().await;
        auditor.names().await;
        auditor.withdrawn().await;
        auditor.unknown().await;
    };
    let ((), (mut tally, stored)) = tokio::join!(auditing, store(parts, sequence, receiver, feed));
    if let Err(error) = stored {
        tally.error = chain(&error);
    }
    let progress = feed.borrow();
    tally.objects = progress.objects_done;
    tally.bytes = progress.bytes_done;
    tally
}

/// Stores findings and counts them, until there are no more.
async fn store(
    parts: &Parts,
    sequence: i64,
    mut receiver: mpsc::Receiver<Finding>,
    feed: &watch::Sender<Progress>,
) -> (Tally, Result<(), StateError>) {
    let mut tally = Tally::default();
    let mut stored = 0;
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, STORED_TOGETHER).await > 0 {
        for finding in &batch {
            let count = match finding.outcome.as_str() {
                "found" => &mut tally.found,
                "repaired" => &mut tally.repaired,
                "lost" => &mut tally.lost,
                "note" => &mut tally.notes,
                _ => &mut tally.failed,
            };
            *count += 1;
        }
        let (taken, after) = (std::mem::take(&mut batch), stored);
        stored += taken.len() as u64;
        let written = parts
            .state
            .write("store findings", move |tx| {
                rows::add(tx, sequence, after, &taken)
            })
            .await;
        if let Err(error) = written {
            return (tally, Err(error));
        }
        feed.send_modify(|progress| progress.findings = stored);
    }
    (tally, Ok(()))
}

impl Auditor<'_> {
    /// There is so much to do beside what was known.
    pub(super) fn expect(&self, objects: u64, bytes: u64) {
        self.progress(|progress| {
            progress.objects_total += objects;
            progress.bytes_total = progress.bytes_total.saturating_add(bytes);
        });
    }

    pub(super) fn count_object(&self) {
        self.progress(|progress| progress.objects_done += 1);
    }

    pub(super) fn count_bytes(&self, bytes: u64) {
        self.progress(|progress| progress.bytes_done += bytes);
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        let elapsed = self.parts.clock.now().saturating_duration_since(self.began);
        self.feed.send_modify(|progress| {
            change(progress);
            progress.elapsed = elapsed;
        });
    }

    /// Tells of something; what became of it is part of that.
    pub(super) async fn tell(
        &self,
        check: &'static str,
        digest: Option<Digest>,
        name: String,
        detail: String,
        outcome: Outcome,
    ) {
        let detail = match (detail.as_str(), outcome.why()) {
            (_, "") => detail,
            ("", why) => why.to_owned(),
            (detail, why) => format!("{detail}; {why}"),
        };
        match &outcome {
            Outcome::Note => tracing::info!(check, name, detail, "the audit notes something"),
            Outcome::Repaired => {
                tracing::warn!(
                    check,
                    name,
                    detail,
                    "the origin had drifted, and is repaired"
                );
            }
            Outcome::Found | Outcome::Lost(_) | Outcome::Failed(_) => {
                tracing::error!(
                    check,
                    name,
                    detail,
                    outcome = outcome.code(),
                    "the origin has drifted"
                );
            }
        }
        let finding = Finding {
            check: check.to_owned(),
            digest,
            name,
            detail,
            outcome: outcome.code().to_owned(),
        };
        // Nobody listens if the state failed, and that is told by itself.
        let _ = self.findings.send(finding).await;
    }

    /// The names that mean an object, or those that need it.
    pub(super) fn names_of(&self, ordinal: Ordinal) -> String {
        self.parts.catalog.read(|catalog| {
            let mut at = ordinal;
            // Children were added before their parents, so that this ends.
            loop {
                let names: Vec<_> = catalog
                    .names_of(at)
                    .take(MOST_NAMES + 1)
                    .map(|name| name.to_string())
                    .collect();
                if !names.is_empty() {
                    let more = if names.len() > MOST_NAMES {
                        ", …"
                    } else {
                        ""
                    };
                    let names = names[..names.len().min(MOST_NAMES)].join(", ");
                    return if at == ordinal {
                        format!("{names}{more}")
                    } else {
                        format!("part of {names}{more}")
                    };
                }
                let parents = self.parents.get_or_init(|| parents(catalog));
                let Some(parent) = parents.get(&at.get()) else {
                    return String::new();
                };
                at = Ordinal::new(*parent);
            }
        })
    }

    /// Whether the name still means that object.
    pub(super) fn means(&self, name: &Name, ordinal: Ordinal) -> bool {
        self.parts.catalog.read(|catalog| {
            let record = catalog.name(name);
            record.is_some_and(|record| record.ordinal == ordinal) && catalog.is_live(ordinal)
        })
    }
}

fn parents(catalog: &Catalog) -> HashMap<u32, u32> {
    let mut parents = HashMap::new();
    for ordinal in catalog.live() {
        let Some(object) = catalog.object(Ordinal::new(ordinal)) else {
            continue;
        };
        for child in object.children() {
            parents.entry(child.get()).or_insert(ordinal);
        }
    }
    parents
}
