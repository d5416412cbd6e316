//! The mirrors: what they said of themselves, what they durably hold, what
//! probes saw of them, and how redirectors learn of it.
//!
//! Heartbeats, verdicts and bitmaps live in memory; a mirror, what changed about
//! it and its last complete report are stored. Silence changes nothing: the end
//! of a session leaves readiness and routing as they are.

mod board;
mod health;
mod holders;
mod lineage;
mod session;
mod status;
mod stored;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_catalog::{LogPosition, Readiness};
use landfall_proto::WireError;
use landfall_proto::status::{Classify, Fault, chain};
use landfall_route::{Health, MirrorState, MirrorView, Serves};
use landfall_runtime::clock::Clock;
use tokio::sync::watch;

use crate::config::{Config, ServesPolicy, usual_weight};
use crate::state::{State, StateError, mirrors as rows};
pub(crate) use board::{Board, Changes, Cursor, Report};
pub(crate) use lineage::{LineageError, OwnLog};
pub(crate) use session::{Beat, Session};
pub(crate) use status::{FleetStatus, MirrorStatus};

use health::Verdicts;

/// Incidents that are remembered of a mirror.
const INCIDENTS: usize = 8;
/// Mirrors that a coordinator takes: what its memory and a redirector's bear.
const MAX_MIRRORS: usize = 10_000;

/// Why the fleet could not take something in.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The state failed.
    #[error("the fleet's state failed")]
    State(#[from] StateError),
    /// A stored mirror or report cannot be read back.
    #[error("what is stored of the mirror {mirror} cannot be read")]
    Stored {
        /// The mirror.
        mirror: String,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A report is of another log, or it cannot be told.
    #[error("the report of the mirror {mirror} cannot count")]
    Lineage {
        /// The mirror.
        mirror: String,
        /// What the report is of.
        #[source]
        source: Box<LineageError>,
    },
    /// There are too many mirrors.
    #[error("there are {MAX_MIRRORS} mirrors already")]
    Full,
}

impl Classify for FleetError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Stored { .. } => Fault::Bug,
            Self::Lineage { source, .. } if source.is_foreign() => Fault::Conflict,
            Self::Lineage { .. } => Fault::Unavailable,
            Self::Full => Fault::Exhausted,
        }
    }
}

impl FleetError {
    fn lineage(mirror: &str, source: LineageError) -> Self {
        Self::Lineage {
            mirror: mirror.to_owned(),
            source: Box::new(source),
        }
    }
}

/// A handle of the fleet; cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    held: Mutex<Held>,
    /// Routing revision: what watchers wait for.
    revision: watch::Sender<u64>,
    state: State,
    own: OwnLog,
    clock: Arc<dyn Clock>,
    policies: BTreeMap<String, (ServesPolicy, u32)>,
}

/// Everything behind the one lock; it is only held for moments, never across an await.
struct Held {
    board: Board,
    lives: BTreeMap<String, Life>,
    verdicts: Verdicts,
    /// Mirrors whose last report is not stored yet.
    unstored: BTreeSet<String>,
    next_session: u64,
}

/// What is known of a mirror beside what routing needs.
#[derive(Default)]
struct Life {
    session: Option<session::Open>,
    beat: Option<Beat>,
    incidents: VecDeque<String>,
    version: String,
    first_seen: u64,
}

impl Fleet {
    /// Loads what is stored. `epoch` tells this start from every other;
    /// `objects` bounds what a stored report may speak of. One that is not of
    /// `own` is dropped.
    pub(crate) async fn load(
        state: State,
        own: OwnLog,
        clock: Arc<dyn Clock>,
        config: &Config,
        epoch: u64,
        objects: u32,
    ) -> Result<Self, FleetError> {
        let (mirrors, reports) = state
            .read("load the fleet", |connection| {
                Ok((rows::mirrors(connection)?, rows::reports(connection)?))
            })
            .await?;
        let policies = config
            .mirror
            .iter()
            .map(|policy| (policy.name.clone(), (policy.serves, policy.weight)))
            .collect();
        let mut held = Held {
            board: Board::new(epoch),
            lives: BTreeMap::new(),
            verdicts: Verdicts::default(),
            unstored: BTreeSet::new(),
            next_session: 0,
        };
        for row in mirrors {
            let view = stored::mirror(&row)?;
            held.lives.insert(
                row.name,
                Life {
                    version: row.version,
                    first_seen: row.first_seen,
                    ..Life::default()
                },
            );
            held.board.declare(under_policy(view, &policies));
        }
        for row in reports {
            // Of either it will report again; until then it is simply not ready.
            let report = match stored::report(&row, objects) {
                Ok(report) => report,
                Err(error) => {
                    tracing::warn!(mirror = row.mirror, error = %chain(&error), "a stored readiness report was left out");
                    continue;
                }
            };
            match own.judge(&report.readiness.log).await {
                Ok(()) => {
                    held.board.report(&row.mirror, Arc::new(report));
                }
                Err(error) if error.is_foreign() => {
                    tracing::error!(mirror = row.mirror, error = %chain(&error), "a stored readiness report is of another log; the mirror counts as not reported");
                    let mirror = row.mirror;
                    state
                        .write("forget a readiness report", move |tx| {
                            rows::delete_report(tx, &mirror)
                        })
                        .await?;
                }
                Err(error) => return Err(FleetError::lineage(&row.mirror, error)),
            }
        }
        let (revision, _) = watch::channel(held.board.revision());
        Ok(Self {
            inner: Arc::new(Inner {
                held: Mutex::new(held),
                revision,
                state,
                own,
                clock,
                policies,
            }),
        })
    }

    /// The mirrors that have reported and were not removed.
    pub(crate) fn reporting(&self) -> BTreeSet<String> {
        let held = self.held();
        let mirrors = held.lives.keys();
        mirrors
            .filter(|mirror| held.board.report_of(mirror).is_some())
            .cloned()
            .collect()
    }

    /// What changed since `cursor`, as one consistent state.
    pub(crate) fn changes(&self, cursor: Option<Cursor>) -> Changes {
        self.held().board.changes(cursor)
    }

    /// Wakes when the routing revision moves.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.inner.revision.subscribe()
    }

    /// A complete report of a mirror; gives the routing revision that shows it.
    pub(crate) fn report(&self, mirror: &str, readiness: Readiness, wanted: u64) -> u64 {
        let received = self.inner.clock.unix_seconds();
        let report = Arc::new(Report::new(readiness, wanted, received));
        let revision = {
            let mut held = self.held();
            held.unstored.insert(mirror.to_owned());
            held.board.report(mirror, report)
        };
        self.inner.revision.send_replace(revision);
        revision
    }

    /// Makes sure that a mirror reports on this log. If it does not, whatever
    /// else it said of its content no longer counts, either: redirectors are
    /// told that it has not reported.
    pub(crate) async fn check_lineage(
        &self,
        mirror: &str,
        log: &LogPosition,
    ) -> Result<(), FleetError> {
        let Err(source) = self.inner.own.judge(log).await else {
            return Ok(());
        };
        if source.is_foreign() {
            tracing::error!(mirror, error = %chain(&source), "a mirror follows another log than this one; it counts as not reported");
            self.forget_report(mirror).await?;
        }
        Err(FleetError::lineage(mirror, source))
    }

    async fn forget_report(&self, mirror: &str) -> Result<(), FleetError> {
        let shown = {
            let mut held = self.held();
            held.unstored.remove(mirror);
            held.board.forget_report(mirror)
        };
        if let Some(revision) = shown {
            self.inner.revision.send_replace(revision);
        }
        let mirror = mirror.to_owned();
        self.inner
            .state
            .write("forget a readiness report", move |tx| {
                rows::delete_report(tx, &mirror)
            })
            .await?;
        Ok(())
    }

    /// Something that people should know of a mirror.
    pub(crate) fn incident(&self, mirror: &str, text: String) {
        tracing::warn!(mirror, incident = text, "a mirror reports an incident");
        if let Some(life) = self.held().lives.get_mut(mirror) {
            if life.incidents.len() == INCIDENTS {
                life.incidents.pop_front();
            }
            life.incidents.push_back(text);
        }
    }

    /// What a redirector's probes saw. Stores what changed for people.
    pub(crate) async fn verdicts(
        &self,
        redirector: &str,
        seen: Vec<(String, Health)>,
    ) -> Result<(), FleetError> {
        let now = self.inner.clock.unix_seconds();
        let changed: Vec<_> = {
            let mut held = self.held();
            let Held {
                lives, verdicts, ..
            } = &mut *held;
            seen.into_iter()
                .filter(|(mirror, _)| lives.contains_key(mirror))
                .filter_map(|(mirror, health)| {
                    let was = verdicts.of(&mirror, now);
                    verdicts.take(redirector, &mirror, health, now);
                    let became = verdicts.of(&mirror, now);
                    (was != became).then(|| rows::Transition {
                        mirror,
                        time: now,
                        was: health_word(was).into(),
                        became: health_word(became).into(),
                        reason: format!("probes of {redirector}"),
                    })
                })
                .collect()
        };
        for transition in changed {
            tracing::info!(
                mirror = transition.mirror,
                was = transition.was,
                became = transition.became,
                "a mirror's health changed"
            );
            self.inner
                .state
                .write("store a transition", move |tx| {
                    rows::add_transition(tx, &transition)
                })
                .await?;
        }
        Ok(())
    }

    /// Stores the reports that are in memory alone.
    pub(crate) async fn store_reports(&self) -> Result<(), FleetError> {
        let pending: Vec<_> = {
            let mut held = self.held();
            let names = std::mem::take(&mut held.unstored);
            names
                .into_iter()
                .filter_map(|name| {
                    let report = held.board.report_of(&name)?;
                    Some((name, report))
                })
                .collect()
        };
        if pending.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = pending.iter().map(|(name, _)| name.clone()).collect();
        let rows: Vec<_> = pending
            .into_iter()
            .map(|(name, report)| stored::report_row(name, &report))
            .collect();
        let stored = self
            .inner
            .state
            .write("store readiness reports", move |tx| {
                rows::put_reports(tx, &rows)
            })
            .await;
        if let Err(error) = stored {
            // Still not stored: the next round tries again.
            self.held().unstored.extend(names);
            return Err(error.into());
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is complete before anything in it can panic.
        self.inner
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the operator decided wins over what a mirror says.
fn under_policy(view: MirrorView, policies: &BTreeMap<String, (ServesPolicy, u32)>) -> MirrorView {
    let (serves, weight) = policies
        .get(&view.name)
        .copied()
        .unwrap_or((ServesPolicy::default(), usual_weight()));
    MirrorView {
        serves: match serves {
            ServesPolicy::Verified => Serves::Verified,
            ServesPolicy::Everything => Serves::Everything,
        },
        weight,
        ..view
    }
}

fn state_word(state: MirrorState) -> &'static str {
    match state {
        MirrorState::Pending => "pending",
        MirrorState::Probation => "probation",
        MirrorState::Active => "active",
        MirrorState::Draining => "draining",
        MirrorState::Quarantined => "quarantined",
        MirrorState::Revoked => "revoked",
    }
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}
