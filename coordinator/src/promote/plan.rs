//! From uploaded manifests to a resolved plan that may be confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use landfall_catalog::{Catalog, Digest, Name};
use landfall_content::StoreError;
use landfall_log::LogReader;
use landfall_promotion::{
    Asked, EntryState, Finding, Kind, MutableNames, Neighbour, Parsed, Plan, PlanOptions, Position,
    ProductionRule, Project, Tree, parse, plan, with_excerpts,
};
use landfall_proto::status::{Classify, Fault};
use landfall_runtime::clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::bounds::{self, Bounds, Scope, model_kind};
use super::brake;
use super::hold;
use super::operation::half_differs;
use super::orders::{LeftOut, Mandate, Orders, half_of};
use super::resolve::{Gaps, Resolution, Resolver, ToResolve};
use super::rest::Resting;
use super::revert::meaning;
use crate::catalog::SharedCatalog;
use crate::state::held::{self, All};
use crate::state::projects::{self, Half, HalfKind, Standing};
use crate::state::{State, StateError, gates, log, plans, sparse};

/// Largest plan that is remembered, in bytes as stored: some millions of objects.
const MAX_BODY_BYTES: usize = 512 << 20;

/// How long somebody who asked for a plan may leave it unread.
const READER_PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The state failed.
    #[error("the plan's state failed")]
    State(#[from] StateError),
    /// The origin's store failed.
    #[error("the origin's store failed")]
    Store(#[from] StoreError),
    /// The plan cannot be stored.
    #[error("the plan cannot be remembered")]
    Encode(#[from] serde_json::Error),
    /// The plan is too large to be remembered.
    #[error("the plan takes {0} bytes; at most {MAX_BODY_BYTES} are remembered: promote in parts")]
    TooLarge(usize),
    /// A strict plan has findings.
    #[error("the manifests have {0} findings, and the plan was to be strict")]
    Strict(usize),
    /// Nobody listens any more, or the program is stopping.
    #[error("the plan was given up")]
    GivenUp,
}

impl Classify for PlanError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Store(_) | Self::GivenUp => Fault::Unavailable,
            Self::Encode(_) => Fault::Bug,
            Self::TooLarge(_) => Fault::InvalidInput,
            // Something was found, as asked for.
            Self::Strict(_) => Fault::Conflict,
        }
    }
}

/// What is to be planned.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) tree: Tree,
    pub(crate) prune: bool,
    pub(crate) allow_tag_moves: bool,
    pub(crate) strict: bool,
    pub(crate) allow_mass_change: bool,
    /// An index may lack children in staging.
    pub(crate) allow_sparse: bool,
    /// Staging is read also for images whose names mean what is asked for.
    pub(crate) recheck: bool,
    /// Only for those whose names were set within so many seconds.
    pub(crate) recheck_within: Option<u64>,
    /// Nobody will look at the plan: what a person took back is held back.
    pub(crate) unattended: bool,
    /// The projects that the asker may promote.
    pub(crate) scope: Scope,
}

/// What is told while a plan is made; the summary is last.
#[derive(Debug)]
pub(crate) enum Event {
    Finding(Finding),
    /// Roots in staging that were read.
    Progress {
        done: u64,
        total: u64,
    },
    Entry(Planned),
    Summary(Summary),
}

/// One name of the plan.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: Name,
    pub(crate) digest: Digest,
    pub(crate) project: String,
    /// `present`, `to-copy`, `lost`, `refused`, `remove`, `pending`, `held`: a person
    /// took it back, or `failed`: staging could not be read.
    pub(crate) state: &'static str,
    pub(crate) detail: String,
    pub(crate) bytes_to_copy: u64,
    /// Where a manifest asks for it, if one does.
    pub(crate) at: Option<Position>,
    /// What the name means now, if that is another object.
    pub(crate) replaces: Option<Digest>,
}

/// The plan in figures.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Digest of the resolved plan: what is confirmed.
    pub(crate) plan: Digest,
    pub(crate) projects: u64,
    pub(crate) entries: u64,
    /// Names that will be set.
    pub(crate) set: u64,
    pub(crate) unchanged: u64,
    pub(crate) refused: u64,
    pub(crate) removed: u64,
    pub(crate) lost: u64,
    /// Names that could not be looked up in staging.
    pub(crate) failed: u64,
    pub(crate) bytes_to_copy: u64,
    /// Entries and tags that are left out because of a finding.
    pub(crate) quarantined: u64,
}

/// What a plan says of what is not in its entries.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) projects: u64,
    pub(super) entries: u64,
    /// What waits is among it.
    pub(super) unchanged: u64,
    /// What waits at a gate, and what is held back.
    pub(super) aside: Vec<Planned>,
    /// What is to be known of names that are set or removed.
    pub(super) notes: BTreeMap<Name, String>,
    pub(super) left_out: LeftOut,
}

/// Makes plans; cheap to clone.
#[derive(Clone)]
pub(crate) struct Planner {
    pub(crate) state: State,
    pub(crate) catalog: SharedCatalog,
    pub(crate) log: LogReader,
    pub(crate) resolver: Resolver,
    pub(crate) rules: Arc<Vec<ProductionRule>>,
    /// Names that may move.
    pub(crate) mutable: MutableNames,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resting: Resting,
    /// How much is remembered.
    pub(crate) keep: plans::Keep,
}

impl Planner {
    /// Parses, plans, resolves and remembers; tells `events` of all of it.
    pub(crate) async fn plan(
        &self,
        wish: Wish,
        events: mpsc::Sender<Event>,
        slot: OwnedSemaphorePermit,
    ) -> Result<(), PlanError> {
        let registered = self
            .state
            .read("read registered projects", projects::all)
            .await?;
        let (catalog, rules) = (self.catalog.clone(), Arc::clone(&self.rules));
        let (strict, allow_mass_change) = (wish.strict, wish.allow_mass_change);
        let (allow_sparse, recheck) = (wish.allow_sparse, wish.recheck);
        let recheck_within = wish.recheck_within;
        let mandate = match wish.unattended {
            true => Mandate::Unattended,
            false => Mandate::Confirmed,
        };
        let held = self.state.read("read what is held", held::all).await?;
        let mutable = self.mutable.clone();
        let drafted =
            blocking(move || draft(&wish, &registered, &catalog, &rules, &mutable)).await?;
        let Drafted {
            mut plan,
            bounds,
            refused,
            halves,
            left_out,
        } = drafted;
        let (held_back, notes) = match mandate {
            Mandate::Unattended => (self.hold_back(&mut plan, &held), BTreeMap::new()),
            Mandate::Confirmed | Mandate::Revert => (Vec::new(), released(&plan, &held)),
        };
        for finding in &plan.findings {
            tell(&events, Event::Finding(finding.clone())).await?;
        }
        let faults = plan.findings.iter().filter(|finding| finding.fails(true));
        if strict
            && let faults = faults.count()
            && faults > 0
        {
            return Err(PlanError::Strict(faults));
        }
        // What a person confirms is never what nobody did.
        let plan_digest = match mandate {
            Mandate::Unattended => {
                Digest::of(format!("landfall unattended 1\n{}", plan.digest()).as_bytes())
            }
            Mandate::Confirmed | Mandate::Revert => plan.digest(),
        };
        let is_there = plan.unchanged.clone();
        let known_sparse = self.state.read("read sparse indexes", sparse::all).await?;
        let first_young = match recheck_within {
            None => 0,
            Some(seconds) => self.first_of_last(seconds).await?,
        };
        let (again, unchanged): (Vec<_>, Vec<_>) = self.catalog.read(|catalog| {
            let is_young = |asked: &Asked| {
                let record = catalog.name(&asked.name);
                record.is_none_or(|record| record.set_at >= first_young)
            };
            let is_again = |asked: &Asked| recheck && asked.kind == Kind::Images && is_young(asked);
            plan.unchanged.into_iter().partition(is_again)
        });
        let is_sparse =
            |asked: &Asked| asked.kind == Kind::Images && known_sparse.contains(&asked.digest);
        let (gappy, unchanged): (Vec<_>, Vec<_>) = unchanged.into_iter().partition(is_sparse);
        let (projects, entries) = (plan.projects, plan.entries + refused.len());
        let wanted = ToResolve {
            plan: plan_digest,
            set: plan.set,
            refused: plan.refused.into_iter().chain(refused).collect(),
            removed: plan.removed,
            again,
            sparse: gappy,
            allow_sparse,
            bounds: Arc::new(bounds),
        };
        let pace = events.clone();
        let progress = move |done, total| {
            // Dropped when the reader is slow: the next one says more.
            let _ = pace.try_send(Event::Progress { done, total });
        };
        let mut resolution = self.resolver.resolve(wanted, progress).await?;
        self.note_gaps(&resolution.gaps, &known_sparse).await?;
        if mandate == Mandate::Unattended {
            self.leave_resting(&mut resolution);
        }
        if !allow_mass_change {
            brake::stop_mass_loss(&mut resolution, &is_there);
        }
        let waiting = self.waiting(plan.waiting).await?;
        let told = Told {
            projects: projects as u64,
            entries: entries as u64,
            unchanged: (unchanged.len() + waiting.len()) as u64 + resolution.unchanged,
            aside: waiting.into_iter().chain(held_back).collect(),
            notes,
            left_out,
        };
        self.conclude(mandate, resolution, told, (halves, events, slot))
            .await
    }

    /// Remembers which indexes to look at again without being asked.
    async fn note_gaps(&self, gaps: &Gaps, known: &BTreeSet<Digest>) -> Result<(), StateError> {
        let news: BTreeSet<Digest> = gaps.sparse.difference(known).copied().collect();
        let whole = gaps.whole.difference(&gaps.sparse).copied();
        let whole: BTreeSet<Digest> = whole.filter(|digest| known.contains(digest)).collect();
        if news.is_empty() && whole.is_empty() {
            return Ok(());
        }
        self.state
            .write("note sparse indexes", move |tx| {
                sparse::put(tx, &news)?;
                sparse::remove(tx, &whole)
            })
            .await
    }

    /// Says at whose gate each of these names waits.
    async fn waiting(&self, waiting: Vec<Asked>) -> Result<Vec<Planned>, PlanError> {
        let published = self.catalog.published();
        let mut at: BTreeMap<u64, Vec<Asked>> = BTreeMap::new();
        self.catalog.read(|catalog| {
            for asked in waiting {
                let since = catalog
                    .pending_name(&asked.name)
                    .map(|pending| pending.since);
                // It may be set by now; then it is as asked for, too.
                let revision = since.map_or(0, |since| published.revision_at(since) + 1);
                at.entry(revision).or_default().push(asked);
            }
        });
        let mut planned = Vec::new();
        for (revision, asked) in at {
            let operation = self
                .state
                .read("find a gate", move |connection| {
                    gates::operation_of(connection, revision)
                })
                .await?;
            let detail = match operation {
                Some(id) => format!("waiting at the gate of operation {id}"),
                None => "waiting at a gate".into(),
            };
            planned.extend(asked.into_iter().map(|asked| Planned {
                at: Some(asked.at.clone()),
                name: asked.name,
                digest: asked.digest,
                project: asked.project,
                state: "pending",
                detail: detail.clone(),
                bytes_to_copy: 0,
                replaces: None,
            }));
        }
        Ok(planned)
    }

    /// Refuses what staging had wrong not long ago, without reading it again.
    fn leave_resting(&self, resolution: &mut Resolution) {
        let now = self.clock.unix_seconds();
        for entry in &mut resolution.plan.entries {
            let asked = &entry.asked;
            if entry.state == EntryState::ToCopy
                && let Some(why) = self.resting.why(&asked.name, asked.digest, now)
            {
                entry.state = EntryState::Refused(why);
                entry.bytes_to_copy = 0;
            }
        }
    }

    /// The index in the log of the first entry of the last so many seconds.
    async fn first_of_last(&self, seconds: u64) -> Result<u64, PlanError> {
        let since = self.clock.unix_seconds().saturating_sub(seconds);
        let revision = self.state.read("find a revision", move |connection| {
            log::newest_before(connection, since)
        });
        let revision = revision.await?;
        Ok(self.catalog.published().size_at(revision).unwrap_or(0))
    }

    /// Takes out of a plan what a person took back.
    fn hold_back(&self, plan: &mut Plan, held: &All) -> Vec<Planned> {
        let mut back = Vec::new();
        let mut hold = |asked: &Asked| {
            let Some(by) = held.get(&(asked.name.to_string(), Some(asked.digest))) else {
                return false;
            };
            back.push(Planned {
                at: Some(asked.at.clone()),
                name: asked.name.clone(),
                digest: asked.digest,
                project: asked.project.clone(),
                state: "held",
                detail: hold::held_back(by),
                bytes_to_copy: 0,
                replaces: None,
            });
            true
        };
        plan.set.retain(|asked| !hold(asked));
        // That it would move is what the revert was about.
        plan.refused
            .retain(|(asked, why)| !(why.starts_with("immutable-name:") && hold(asked)));
        self.catalog.read(|catalog| {
            plan.removed.retain(|name| {
                let Some(by) = held.get(&(name.to_string(), None)) else {
                    return true;
                };
                let Some(digest) = meaning(catalog, name) else {
                    return true;
                };
                back.push(Planned {
                    at: None,
                    name: name.clone(),
                    digest,
                    project: String::new(),
                    state: "held",
                    detail: hold::held_in_place(by),
                    bytes_to_copy: 0,
                    replaces: None,
                });
                false
            });
        });
        back
    }

    /// Remembers a resolved plan, and tells of it.
    pub(super) async fn conclude(
        &self,
        mandate: Mandate,
        resolution: Resolution,
        told: Told,
        (halves, events, slot): (Vec<Half>, mpsc::Sender<Event>, OwnedSemaphorePermit),
    ) -> Result<(), PlanError> {
        let unchanged = told.unchanged;
        let left_out = told.left_out.clone();
        let plan = self
            .remember(mandate, &resolution, unchanged, (halves, left_out))
            .await?;
        // What is left is to be read by the one who asked.
        drop(slot);
        for finding in &resolution.findings {
            tell(&events, Event::Finding(finding.clone())).await?;
        }
        let mut summary = Summary {
            plan,
            projects: told.projects,
            entries: told.entries,
            set: 0,
            unchanged,
            refused: 0,
            removed: 0,
            lost: 0,
            failed: 0,
            bytes_to_copy: 0,
            quarantined: told.left_out.entries,
        };
        let mut notes = told.notes;
        let registered = self.state.read("read projects", projects::all).await?;
        let bounds = Bounds::new(&registered, &self.rules);
        for mut planned in planned(&resolution).chain(told.aside) {
            // No manifest asks for it: the name says whose it is.
            if planned.project.is_empty()
                && let Some(owners) = bounds.owners(&planned.name)
            {
                planned.project = bounds::list(owners);
            }
            if planned.detail.is_empty()
                && let Some(note) = notes.remove(&planned.name)
            {
                planned.detail = note;
            }
            summary.count(&planned);
            tell(&events, Event::Entry(planned)).await?;
        }
        tracing::info!(plan = %summary.plan, set = summary.set, lost = summary.lost, refused = summary.refused, "plan resolved");
        tell(&events, Event::Summary(summary)).await
    }

    async fn remember(
        &self,
        mandate: Mandate,
        resolution: &Resolution,
        unchanged: u64,
        relied_on: (Vec<Half>, LeftOut),
    ) -> Result<Digest, PlanError> {
        let plan = &resolution.plan;
        let digest = plan.digest();
        let (halves, left_out) = relied_on;
        let orders = Orders::new(
            mandate,
            plan,
            &resolution.unread,
            unchanged,
            halves,
            left_out,
        );
        let body = blocking(move || orders.encode()).await??;
        if body.len() > MAX_BODY_BYTES {
            return Err(PlanError::TooLarge(body.len()));
        }
        let (now, keep) = (self.clock.unix_seconds(), self.keep);
        self.state
            .write("remember a plan", move |tx| {
                plans::remember(tx, &digest, &body, now, keep)
            })
            .await?;
        Ok(digest)
    }
}

/// What was taken back and comes again because a person promotes it.
fn released(plan: &Plan, held: &All) -> BTreeMap<Name, String> {
    let set = plan.set.iter();
    let set = set.map(|asked| (&asked.name, Some(asked.digest)));
    let removed = plan.removed.iter().map(|name| (name, None));
    let noted = set.chain(removed).filter_map(|(name, meaning)| {
        let held = held.get(&(name.to_string(), meaning))?;
        Some((name.clone(), hold::releases(held)))
    });
    noted.collect()
}

/// A plan before staging was read.
struct Drafted {
    plan: Plan,
    bounds: Bounds,
    /// What is asked for by projects whose sensitive half is not the registered one.
    refused: Vec<(Asked, String)>,
    halves: Vec<Half>,
    /// Entries and tags of any project that are left out because of a finding.
    left_out: LeftOut,
}

/// Plans the projects whose sensitive half is the registered one or not
/// registered yet. Of the others, and of those that are not the asker's,
/// everything is refused, and nothing of theirs is removed.
fn draft(
    wish: &Wish,
    registered: &[Half],
    catalog: &SharedCatalog,
    rules: &[ProductionRule],
    mutable: &MutableNames,
) -> Drafted {
    let parsed = parse(&wish.tree);
    let standings = standings(registered);
    let mut own = Vec::new();
    let mut foreign = Vec::new();
    for project in parsed.projects {
        match refusal(&half_of(&project), &standings, &wish.scope) {
            None => own.push(project),
            Some(why) => foreign.push((project, why)),
        }
    }
    let halves: Vec<_> = own.iter().map(half_of).collect();
    let present: BTreeSet<_> = halves
        .iter()
        .map(|half| (half.project.clone(), half.kind))
        .collect();
    let absent = registered
        .iter()
        .filter(|half| !present.contains(&(half.project.clone(), half.kind)));
    let options = PlanOptions {
        mutable: mutable.clone(),
        allow_tag_moves: wish.allow_tag_moves,
        prune: wish.prune,
        neighbours: absent.flat_map(|half| neighbours(half, rules)).collect(),
    };
    let own = Parsed {
        projects: own,
        ..parsed
    };
    let bounds = Bounds::new(registered.iter().chain(&halves), rules);
    let mut plan = catalog.read(|catalog| {
        let mut plan = plan(&own, rules, catalog, &options);
        keep_inside(&mut plan, &bounds, &wish.scope);
        if !wish.allow_mass_change {
            brake::stop_mass_removal(&mut plan, catalog, &bounds);
        }
        plan
    });
    with_excerpts(&mut plan.findings, &wish.tree);
    let refused = foreign.into_iter().flat_map(|(project, why)| {
        let asked = asked_by(vec![project], rules);
        asked.into_iter().map(move |asked| (asked, why.clone()))
    });
    Drafted {
        plan,
        bounds,
        refused: refused.collect(),
        halves,
        left_out: LeftOut::new(own.stats.quarantined, own.findings.iter()),
    }
}

/// Why nothing of a project is promoted.
fn refusal(
    half: &Half,
    standings: &BTreeMap<(String, HalfKind), &Half>,
    scope: &Scope,
) -> Option<String> {
    if !scope.holds(&half.project) {
        return Some(bounds::not_in_scope(&half.project));
    }
    match standings.get(&(half.project.clone(), half.kind)) {
        Some(registered) => (projects::compare(registered, half) == Standing::Differs)
            .then(|| half_differs(&half.project, half.kind)),
        None => match scope {
            Scope::All => None,
            Scope::Projects(_) => Some(bounds::not_registered(&half.project, half.kind)),
        },
    }
}

/// Refuses what the asker may not set, and removes nothing that it may not remove.
/// What is outside the projects themselves the plan has refused before.
fn keep_inside(plan: &mut Plan, bounds: &Bounds, scope: &Scope) {
    for asked in std::mem::take(&mut plan.set) {
        match bounds.setting(&asked.name, &asked.project, scope) {
            Ok(()) => plan.set.push(asked),
            Err(why) => plan.refused.push((asked, why)),
        }
    }
    plan.removed
        .retain(|name| bounds.touching(name, scope).is_ok());
}

fn standings(registered: &[Half]) -> BTreeMap<(String, HalfKind), &Half> {
    registered
        .iter()
        .map(|half| ((half.project.clone(), half.kind), half))
        .collect()
}

/// Everything that these projects ask for.
fn asked_by(projects: Vec<Project>, rules: &[ProductionRule]) -> Vec<Asked> {
    let parsed = Parsed {
        projects,
        ..Parsed::default()
    };
    let plan = plan(&parsed, rules, &Catalog::default(), &PlanOptions::default());
    let refused = plan.refused.into_iter().map(|(asked, _)| asked);
    plan.set
        .into_iter()
        .chain(plan.unchanged)
        .chain(plan.waiting)
        .chain(refused)
        .collect()
}

/// The public prefixes of a project that is not in the tree.
fn neighbours(half: &Half, rules: &[ProductionRule]) -> Vec<Neighbour> {
    let kind = model_kind(half.kind);
    bounds::prefixes(half, rules)
        .into_iter()
        .map(|prefix| Neighbour {
            project: half.project.clone(),
            kind,
            prefix,
        })
        .collect()
}

fn planned(resolution: &Resolution) -> impl Iterator<Item = Planned> {
    let entries = resolution.plan.entries.iter().enumerate();
    let set = entries.map(|(number, entry)| Planned {
        name: entry.asked.name.clone(),
        digest: entry.asked.digest,
        project: entry.asked.project.clone(),
        state: if resolution.unread.contains(&number) {
            "failed"
        } else {
            entry.state.code()
        },
        detail: match &entry.state {
            EntryState::Present | EntryState::ToCopy => String::new(),
            EntryState::Lost(why) | EntryState::Refused(why) => why.clone(),
        },
        bytes_to_copy: entry.bytes_to_copy,
        at: Some(entry.asked.at.clone()),
        replaces: entry.replaces,
    });
    let removed = resolution.plan.removed.iter().map(|removal| Planned {
        name: removal.name.clone(),
        digest: removal.replaces,
        project: String::new(),
        state: "remove",
        detail: String::new(),
        bytes_to_copy: 0,
        at: None,
        replaces: None,
    });
    set.chain(removed)
}

impl Summary {
    fn count(&mut self, planned: &Planned) {
        match planned.state {
            "lost" => self.lost += 1,
            "refused" => self.refused += 1,
            "failed" => self.failed += 1,
            "remove" => self.removed += 1,
            "pending" | "held" => {}
            _ => self.set += 1,
        }
        self.bytes_to_copy = self.bytes_to_copy.saturating_add(planned.bytes_to_copy);
    }
}

async fn tell(events: &mpsc::Sender<Event>, event: Event) -> Result<(), PlanError> {
    let sent = events.send_timeout(event, READER_PATIENCE).await;
    sent.map_err(|_| PlanError::GivenUp)
}

/// Parsing and planning take the processor for a while: off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PlanError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PlanError::GivenUp)
}
