//! One audit from its beginning to its end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use landfall_catalog::{Catalog, Digest, Name, Ordinal};
use landfall_runtime::Shutdown;
use roaring::RoaringBitmap;
use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::cursor::{Cursor, Key, Stage};
use super::keep::{Keeper, Kept, Looked, Step};
use super::{Inner, Parts, Progress};
use crate::state::audits::{Audit, Finding, Tally};

/// Things that were looked at and may wait to be kept.
const WAITING_STEPS: usize = 256;
/// Things that are begun before the next ones are looked up.
const CHUNK: usize = 256;
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
    feed: watch::Sender<Progress>,
    steps: mpsc::Sender<Step>,
    began: Instant,
    /// Where it was when it was interrupted, and how long it had run.
    from: Cursor,
    ran: Duration,
    /// Objects whose bytes were hashed, of a registry.
    hashed: Mutex<RoaringBitmap>,
    /// Some live parent of each object that has one; made when it is needed.
    parents: OnceLock<HashMap<u32, u32>>,
}

/// What has become of an audit.
pub(super) struct Ended {
    /// Nothing is left to be looked at.
    pub(super) is_whole: bool,
    pub(super) tally: Tally,
}

/// Audits from where it was, until it is through or `stop` is requested; what is
/// amiss is stored as it is found.
pub(super) async fn run(
    inner: &Inner,
    audit: &Audit,
    kept: Kept,
    feed: watch::Sender<Progress>,
    stop: &Shutdown,
) -> Ended {
    let parts = &inner.parts;
    let (sender, steps) = mpsc::channel(WAITING_STEPS);
    let began = parts.clock.now();
    let auditor = Auditor {
        parts,
        client: &inner.client,
        repair: audit.start.repair,
        budget: Budget::new(audit.start.bytes_per_second, parts.clock.clone()),
        feed: feed.clone(),
        steps: sender,
        began,
        from: kept.cursor.clone(),
        ran: kept.elapsed,
        hashed: Mutex::new(kept.hashed.clone()),
        parents: OnceLock::new(),
    };
    let keeper = Keeper {
        state: parts.state.clone(),
        clock: parts.clock.clone(),
        audit: audit.sequence,
        feed,
        kept,
        began,
    };
    let auditing = async move {
        auditor.objects().await;
        auditor.names().await;
        auditor.withdrawn().await;
        auditor.unknown().await;
    };
    // What was looked at before a stop is kept.
    let auditing = stop.unless_requested(Box::pin(auditing));
    let (whole, tally) = tokio::join!(auditing, keeper.keep(steps));
    Ended {
        is_whole: whole.is_some(),
        tally,
    }
}

impl Auditor<'_> {
    /// Looks at everything of a stage that was not looked at before, in the order of
    /// its keys, some at a time; what that gives is kept.
    pub(super) async fn each<'a, T>(
        &'a self,
        stage: Stage,
        items: impl Iterator<Item = (Key, T)>,
        at_a_time: usize,
        look: impl Fn(T) -> BoxFuture<'a, Looked>,
    ) {
        let mut items = items.filter(|(key, _)| !self.is_done(&stage, key));
        loop {
            let mut last = None;
            let mut looking: Vec<BoxFuture<'a, (Key, Looked)>> = Vec::new();
            for (key, item) in items.by_ref().take(CHUNK) {
                last = Some(key.clone());
                looking.push(look(item).map(|looked| (key, looked)).boxed());
            }
            let Some(last) = last else {
                return;
            };
            let mut looking = futures::stream::iter(looking).buffer_unordered(at_a_time);
            while let Some((key, looked)) = looking.next().await {
                self.hashed().extend(looked.hashed);
                if !self.step(Step::Looked(stage.clone(), key, looked)).await {
                    return;
                }
            }
            if !self.step(Step::Settled(stage.clone(), last)).await {
                return;
            }
        }
    }

    /// Whether that was looked at before an interruption.
    pub(super) fn is_done(&self, stage: &Stage, key: &Key) -> bool {
        self.from.has(stage, key)
    }

    pub(super) fn hashed(&self) -> MutexGuard<'_, RoaringBitmap> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if nothing is kept any more: the state failed, which is told by itself.
    async fn step(&self, step: Step) -> bool {
        self.steps.send(step).await.is_ok()
    }

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
        let now = self.parts.clock.now();
        let elapsed = self.ran + now.saturating_duration_since(self.began);
        self.feed.send_modify(|progress| {
            change(progress);
            progress.elapsed = elapsed;
        });
    }

    /// Tells of something; what became of it is part of that.
    pub(super) fn tell(
        check: &'static str,
        digest: Option<Digest>,
        name: String,
        detail: String,
        outcome: &Outcome,
    ) -> Finding {
        let detail = match (detail.as_str(), outcome.why()) {
            (_, "") => detail,
            ("", why) => why.to_owned(),
            (detail, why) => format!("{detail}; {why}"),
        };
        match outcome {
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
        Finding {
            check: check.to_owned(),
            digest,
            name,
            detail,
            outcome: outcome.code().to_owned(),
        }
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
