//! Back to how the names were after an earlier revision, as a later one.
//!
//! The log is folded up to that revision and compared with what is in force.
//! Content is taken from the origin, which keeps what it once had; what is
//! withdrawn stays withdrawn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_catalog::{Catalog, Digest, Entry, Name, Object, Ordinal};
use landfall_log::{LogError, LogReader};
use landfall_promotion::{
    Asked, EntryState, Evidence, Kind, Position, Removal, ResolvedEntry, ResolvedPlan, SourceRef,
};
use landfall_proto::WireError;
use landfall_proto::model::decode_entry;
use landfall_proto::status::{Classify, Fault};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::bounds::{Bounds, Scope};
use super::orders::Mandate;
use super::plan::{Event, PlanError, Planner, Told};
use super::resolve::{Gaps, Resolution};
use crate::state::{StateError, projects};

/// Log entries that are read at once.
const READ_ENTRIES: usize = 4096;
/// Bytes of log entries that are read at once.
const READ_BYTES: usize = 8 << 20;

/// Why there is no plan to go back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevertError {
    /// The revision is not of the past.
    #[error("there is no revision {wanted} to go back to; {current} is in force")]
    Revision {
        /// What was asked for.
        wanted: u64,
        /// What is in force.
        current: u64,
    },
    /// Nothing is registered under that name.
    #[error("no project {0} is registered")]
    Project(String),
    /// It is not the asker's.
    #[error("the token is not for {0}; name a project that it is for")]
    NotYours(String),
    /// The log cannot be read back.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// An entry of the log cannot be read back.
    #[error("the log has an entry that cannot be read")]
    Entry(#[from] WireError),
    /// The log contradicts itself.
    #[error("the log cannot be folded")]
    Fold(#[from] landfall_catalog::FoldError),
    /// The plan cannot be made.
    #[error("the plan cannot be made")]
    Plan(#[from] PlanError),
}

impl From<StateError> for RevertError {
    fn from(error: StateError) -> Self {
        Self::Plan(error.into())
    }
}

impl Classify for RevertError {
    fn fault(&self) -> Fault {
        match self {
            Self::Revision { .. } => Fault::InvalidInput,
            Self::Project(_) => Fault::NotFound,
            Self::NotYours(_) => Fault::Forbidden,
            Self::Log(_) | Self::Entry(_) | Self::Fold(_) => Fault::Bug,
            Self::Plan(error) => error.fault(),
        }
    }
}

/// What is to be as it was.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) revision: u64,
    /// Only the names of this project; empty: all names.
    pub(crate) project: String,
    pub(crate) scope: Scope,
}

impl Planner {
    /// Plans the way back and remembers it; tells `events` of all of it.
    pub(crate) async fn revert(
        &self,
        wish: Wish,
        events: mpsc::Sender<Event>,
        slot: OwnedSemaphorePermit,
    ) -> Result<(), RevertError> {
        let halves = self.state.read("read projects", projects::all).await?;
        let published = self.catalog.published();
        let current = published.revision;
        let Some(size) = published.size_at(wish.revision) else {
            let wanted = wish.revision;
            return Err(RevertError::Revision { wanted, current });
        };
        if !wish.project.is_empty() && !halves.iter().any(|half| half.project == wish.project) {
            return Err(RevertError::Project(wish.project));
        }
        if !wish.scope.holds(&wish.project) {
            let what = match wish.project.as_str() {
                "" => "all projects".to_owned(),
                project => project.to_owned(),
            };
            return Err(RevertError::NotYours(what));
        }
        let bounds = Bounds::new(&halves, &self.rules);
        let (reader, catalog) = (self.log.clone(), self.catalog.clone());
        let drafted = tokio::task::spawn_blocking(move || {
            let before = catalog_at(&reader, size)?;
            let is_meant = |name: &Name| {
                let owners = bounds.owners(name);
                let is_of_project = wish.project.is_empty()
                    || owners.is_some_and(|owners| owners.contains(&wish.project));
                is_of_project && bounds.touching(name, &wish.scope).is_ok()
            };
            Ok::<_, RevertError>(catalog.read(|catalog| draft(&before, catalog, &wish, is_meant)))
        });
        let mut plan = drafted.await.map_err(|_| PlanError::GivenUp)??;
        self.mark_gone(&mut plan).await?;
        let entries = plan.entries.len() as u64 + plan.removed.len() as u64;
        let resolution = Resolution {
            plan,
            unread: BTreeSet::new(),
            unchanged: 0,
            findings: Vec::new(),
            gaps: Gaps::default(),
        };
        let told = Told {
            entries,
            ..Told::default()
        };
        Ok(self
            .conclude(
                Mandate::Revert,
                resolution,
                told,
                (Vec::new(), events, slot),
            )
            .await?)
    }

    /// Finds what the origin does not hold any more.
    async fn mark_gone(&self, plan: &mut ResolvedPlan) -> Result<(), PlanError> {
        let wanted: BTreeMap<Digest, u64> = plan
            .entries
            .iter()
            .flat_map(|entry| &entry.closure)
            .map(|object| (object.digest, object.size))
            .collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let gone = self.resolver.gone(&wanted).await?;
        for entry in &mut plan.entries {
            let missing = entry
                .closure
                .iter()
                .find(|object| gone.contains(&object.digest));
            if let Some(missing) = missing
                && entry.state.is_executable()
            {
                let why = format!("the origin does not hold {} any more", missing.digest);
                entry.state = EntryState::Lost(why);
            }
        }
        Ok(())
    }
}

/// The catalog as it was when the log had `size` entries: the end of a revision.
fn catalog_at(reader: &LogReader, size: u64) -> Result<Catalog, RevertError> {
    let mut catalog = Catalog::with_seed(rand::random());
    let mut revision = Vec::new();
    let mut at = 0;
    while at < size {
        let left = usize::try_from(size - at).unwrap_or(READ_ENTRIES);
        let read = reader.read_entries(at, left.min(READ_ENTRIES), READ_BYTES)?;
        at += read.len() as u64;
        if read.is_empty() {
            break;
        }
        for bytes in read {
            let entry = decode_entry(&bytes)?;
            let is_end = matches!(entry, Entry::Commit(_));
            revision.push(entry);
            if is_end {
                catalog.apply(&revision)?;
                revision.clear();
            }
        }
    }
    Ok(catalog)
}

/// What has to change so that the names that are meant are as `before` has them.
fn draft(
    before: &Catalog,
    now: &Catalog,
    wish: &Wish,
    is_meant: impl Fn(&Name) -> bool,
) -> ResolvedPlan {
    let then = names(before);
    let mut entries = Vec::new();
    for (name, digest) in &then {
        let current = meaning(now, name);
        if current == Some(*digest) || !is_meant(name) {
            continue;
        }
        let closure = closure(now, digest);
        let withdrawn = closure
            .iter()
            .find_map(|object| Some((object.digest, now.withdrawn(&object.digest)?)));
        let state = match withdrawn {
            Some((digest, reason)) => {
                EntryState::Refused(format!("withdrawn: {digest} stays withdrawn: {reason}"))
            }
            None if now.pending_name(name).is_some() => EntryState::Refused(
                "pending-name: it waits at the gate of a promotion; open that gate or give it up first"
                    .into(),
            ),
            None => EntryState::Present,
        };
        entries.push(ResolvedEntry {
            asked: asked(name, *digest),
            state,
            evidence: Evidence::Production,
            closure,
            bytes_to_copy: 0,
            replaces: current,
        });
    }
    let removed = names(now)
        .into_iter()
        .filter(|(name, _)| !then.contains_key(name) && is_meant(name))
        .map(|(name, replaces)| Removal { name, replaces });
    let what = format!("landfall revert 1\n{}\n{}", wish.revision, wish.project);
    ResolvedPlan {
        plan: Digest::of(what.as_bytes()),
        entries,
        removed: removed.collect(),
    }
}

/// An entry that belongs to no manifest: its empty project says so.
fn asked(name: &Name, digest: Digest) -> Asked {
    let kind = match name {
        Name::Tag(..) | Name::Root(..) => Kind::Images,
        Name::File(_) => Kind::Files,
    };
    let nowhere: Arc<str> = "".into();
    Asked {
        name: name.clone(),
        digest,
        project: String::new(),
        kind,
        source: SourceRef::File {
            base: Arc::clone(&nowhere),
            path: Arc::clone(&nowhere),
        },
        mutable: false,
        at: Position {
            file: nowhere,
            line: 1,
            column: 1,
        },
    }
}

fn names(catalog: &Catalog) -> BTreeMap<Name, Digest> {
    let digest = |ordinal: Ordinal| catalog.object(ordinal).map(|object| *object.digest());
    let files = catalog
        .files()
        .map(|(path, record)| (Name::File(path.clone()), record.ordinal));
    let images = catalog.repositories().flat_map(|repository| {
        let tags = catalog.tags(repository.as_str());
        let tags = tags.map(|(tag, record)| {
            let name = Name::Tag(repository.clone(), tag.clone());
            (name, record.ordinal)
        });
        let roots = catalog.roots(repository.as_str());
        tags.chain(roots.map(|(digest, record)| {
            let name = Name::Root(repository.clone(), *digest);
            (name, record.ordinal)
        }))
    });
    files
        .chain(images)
        .filter_map(|(name, ordinal)| Some((name, digest(ordinal)?)))
        .collect()
}

pub(super) fn meaning(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let record = catalog.name(name)?;
    Some(*catalog.object(record.ordinal)?.digest())
}

/// The object and all below it, children first.
fn closure(catalog: &Catalog, root: &Digest) -> Vec<Object> {
    let closure = catalog.closure(catalog.ordinal(root));
    let facts = |ordinal| catalog.facts(ordinal);
    closure.into_iter().filter_map(facts).collect()
}
