//! Withdrawal and reinstatement: what was promoted is served by nobody, until
//! it is reinstated.
//!
//! Names stay, and are answered with the reason. The origin keeps the bytes,
//! unserved, so that a reinstatement needs nothing from staging.

mod choice;
mod decide;
mod sight;

use std::sync::Arc;

use landfall_catalog::{Catalog, Digest, Entry};
use landfall_content::{Item, Store, StoreError};
use landfall_promotion::ProductionRule;
use landfall_proto::model::encode_entry;
use landfall_proto::status::{Classify, Fault};
use landfall_runtime::clock::Clock;
use landfall_runtime::{OnError, Tasks};
use tokio::sync::oneshot;

use crate::catalog::SharedCatalog;
use crate::promote::bounds::{Bounds, Scope};
use crate::promote::compose::Composed;
use crate::promote::hold::Holding;
use crate::publish::{After, Author, Draft, Ledger, OperationRow, PublishError};
use crate::state::operations::{self as rows, Decision};
use crate::state::{State, StateError, projects};
pub(crate) use choice::Choice;
pub(crate) use decide::{Change, Others, Parents, Terms, shown};
use decide::{coming_back, gone_with, still_withdrawn};
pub(crate) use sight::{Exposed, Troubles};

/// Longest reason, in bytes: every entry of the revision repeats it.
const MAX_REASON_BYTES: usize = 1024;

/// Why nothing was withdrawn or reinstated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// What was named cannot be read.
    #[error("{what} is not a name, a digest or a prefix: {why}")]
    Choice {
        /// As it was written.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no reason, or it is too long.
    #[error("a reason has 1 to {MAX_REASON_BYTES} bytes")]
    Reason,
    /// The catalog has no such thing.
    #[error("{0} is not in the catalog")]
    Unknown(String),
    /// It is another project's, or also another project's.
    #[error("{0}")]
    NotYours(String),
    /// It is not said what becomes of what else is concerned.
    #[error("nothing was withdrawn: {}", .0.join("; "))]
    Unsaid(Vec<String>),
    /// Something below it was withdrawn for another reason.
    #[error(
        "it needs {digest}, which was withdrawn for another reason ({reason}): reinstate that first"
    )]
    OtherReason {
        /// What it needs.
        digest: Digest,
        /// Why that was withdrawn.
        reason: String,
    },
    /// The origin does not have the bytes any more.
    #[error("the origin does not hold {0} any more: it has to be promoted again from staging")]
    BytesGone(Digest),
    /// Others changed what it depends on at the same moment.
    #[error("the catalog changed meanwhile: try again")]
    Changed,
    /// It cannot be recorded.
    #[error("the withdrawal cannot be recorded")]
    Wire(#[from] landfall_proto::WireError),
    /// The origin's store failed.
    #[error("the origin's store failed")]
    Store(#[from] StoreError),
    /// The revision could not be committed.
    #[error("the revision could not be committed")]
    Publish(#[from] PublishError),
    /// The program is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
}

impl Classify for ChangeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Choice { .. } | Self::Reason => Fault::InvalidInput,
            Self::Unknown(_) => Fault::NotFound,
            Self::NotYours(_) => Fault::Forbidden,
            Self::Unsaid(_) | Self::OtherReason { .. } | Self::BytesGone(_) | Self::Changed => {
                Fault::Conflict
            }
            Self::Store(_) | Self::Stopping => Fault::Unavailable,
            Self::Wire(_) => Fault::Bug,
            Self::Publish(error) => error.fault(),
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Away, on these terms.
    Withdraw(Terms),
    /// Back.
    Reinstate,
}

/// What somebody wants withdrawn or reinstated.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) way: Way,
    /// A name, a digest, a repository or a prefix with a slash at its end.
    pub(crate) what: String,
    pub(crate) reason: String,
    pub(crate) who: String,
    /// W3C trace context of the request; may be empty.
    pub(crate) trace_parent: String,
    /// The projects that they may withdraw from.
    pub(crate) scope: Scope,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) change: Change,
    /// Empty if nothing was done.
    pub(crate) operation: String,
    /// 0 if nothing was done.
    pub(crate) revision: u64,
    /// What the origin's store could not be brought to show or to hide.
    pub(crate) troubles: Troubles,
}

/// Withdraws and reinstates; cheap to clone.
#[derive(Clone)]
pub(crate) struct Withdrawals {
    pub(crate) catalog: SharedCatalog,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) state: State,
    pub(crate) rules: Arc<Vec<ProductionRule>>,
    pub(crate) exposed: Exposed,
}

impl Withdrawals {
    /// What it would come to; changes nothing.
    pub(crate) async fn look(&self, wish: &Wish) -> Result<Change, ChangeError> {
        if wish.reason.is_empty() || wish.reason.len() > MAX_REASON_BYTES {
            return Err(ChangeError::Reason);
        }
        let choice = Choice::parse(&wish.what)?;
        let (catalog, way) = (self.catalog.clone(), wish.way);
        let published = catalog.published();
        // It looks at every edge of the catalog: off the async threads.
        let change = tokio::task::spawn_blocking(move || {
            catalog.read(|catalog| {
                let mut change = decide(catalog, way, &choice)?;
                if way == Way::Reinstate {
                    let revision_of = |at| published.revision_at(at);
                    change.still = still_withdrawn(catalog, &change.objects, revision_of);
                }
                Ok::<_, ChangeError>(change)
            })
        })
        .await
        .map_err(|_| ChangeError::Stopping)??;
        self.check_scope(&change, wish).await?;
        Ok(change)
    }

    /// Everything that would be served no more, or not whole, has to be the asker's.
    async fn check_scope(&self, change: &Change, wish: &Wish) -> Result<(), ChangeError> {
        let scope = &wish.scope;
        if *scope == Scope::All {
            return Ok(());
        }
        let halves = self.state.read("read projects", projects::all).await?;
        let bounds = Bounds::new(&halves, &self.rules);
        if change.reach.is_empty() && !change.objects.is_empty() {
            let why = "outside-project: it belongs to no project";
            return Err(ChangeError::NotYours(why.into()));
        }
        let foreign = change.reach.iter();
        let foreign = foreign.map(|name| bounds.touching(name, scope));
        foreign
            .collect::<Result<(), String>>()
            .map_err(|why| match wish.way {
                Way::Withdraw(terms)
                    if !matches!(terms.others, Others::Keep | Others::Drop)
                        && !change.others.is_empty() =>
                {
                    ChangeError::NotYours(format!(
                        "{why} (--keep-shared leaves what other names mean, too; --drop-names takes just your own names away)"
                    ))
                }
                Way::Withdraw(_) | Way::Reinstate => ChangeError::NotYours(why),
            })
    }

    /// Makes `change`, which [`Withdrawals::look`] gave for the same wish, one revision.
    pub(crate) async fn carry_out(
        &self,
        wish: Wish,
        change: Change,
    ) -> Result<Changed, ChangeError> {
        if !change.unsaid.is_empty() {
            return Err(ChangeError::Unsaid(change.unsaid));
        }
        if change.objects.is_empty() && change.dropped.is_empty() {
            return Ok(Changed {
                change,
                operation: String::new(),
                revision: 0,
                troubles: Troubles::new(),
            });
        }
        self.ledger.check()?;
        // In a task of its own: a caller that goes away does not leave it half done.
        let (reply, done) = oneshot::channel();
        let this = self.clone();
        self.tasks.spawn("withdrawal", OnError::Log, async move {
            let (way, objects) = (wish.way, change.objects.clone());
            let mut done = this.commit(wish, change).await;
            // What is gone now, also if this was not to be.
            let mut troubles = this.hide(&objects).await;
            if let Ok(changed) = &mut done {
                if way == Way::Reinstate {
                    troubles.extend(this.show(&objects).await);
                }
                changed.troubles = troubles;
            }
            // The caller may be gone.
            let _ = reply.send(done);
        });
        done.await.map_err(|_| ChangeError::Stopping)?
    }

    async fn commit(&self, wish: Wish, change: Change) -> Result<Changed, ChangeError> {
        if wish.way == Way::Reinstate {
            let coming = self
                .catalog
                .read(|catalog| coming_back(catalog, &change.objects));
            self.bring_back(&coming).await?;
            self.check_bytes(&coming).await?;
        }
        let now = self.clock.unix_seconds();
        let id = format!("{now:x}-{:08x}", rand::random::<u32>());
        let (verb, outcome) = match wish.way {
            Way::Withdraw(_) => ("withdraw", "withdrawn"),
            Way::Reinstate => ("reinstate", "reinstated"),
        };
        let why = format!("{verb} {}: {}", wish.what, wish.reason);
        let plan = digest_of(verb, &wish.reason, &change);
        let start = rows::Start {
            id: id.clone(),
            plan,
            who: wish.who.clone(),
            why: why.clone(),
            source: String::new(),
            trace_parent: wish.trace_parent.clone(),
            started: now,
        };
        let entries = change
            .objects
            .iter()
            .map(|digest| (digest.to_string(), *digest))
            .chain(
                change
                    .dropped
                    .iter()
                    .map(|(name, digest)| (name.to_string(), *digest)),
            )
            .collect();
        let after_objects = (0_u32..).skip(change.objects.len());
        let dropped = after_objects.zip(&change.dropped);
        let dropped = dropped.map(|(position, (name, digest))| (position, name, *digest));
        let holding = Holding::taken_away(dropped, wish.who.clone(), why.clone());
        let halves = self.state.read("read projects", projects::all).await?;
        let projects = Bounds::new(&halves, &self.rules).owners_of(&change.reach);
        let choice = Choice::parse(&wish.what)?;
        let (expected, reason, way) = (change.clone(), wish.reason, wish.way);
        let encoded = encode(way, &expected, &reason)?;
        let revision = self
            .ledger
            .commit(Draft {
                compose: Box::new(move |catalog| {
                    let again = decide(catalog, way, &choice);
                    compose(again.ok().as_ref(), &expected, encoded, outcome)
                }),
                operation: OperationRow::New {
                    start,
                    entries,
                    projects,
                },
                unchanged: 0,
                holding,
                after: After::Ends,
                author: Author {
                    who: wish.who,
                    why,
                    source: String::new(),
                    plan,
                    operation: id.clone(),
                    trace_parent: wish.trace_parent,
                },
            })
            .await?;
        if revision == 0 {
            return Err(ChangeError::Changed);
        }
        tracing::info!(
            revision,
            objects = change.objects.len(),
            reason,
            "{outcome}"
        );
        Ok(Changed {
            change,
            operation: id,
            revision,
            troubles: Troubles::new(),
        })
    }

    /// A name whose bytes are nowhere must not come back.
    async fn check_bytes(&self, objects: &[Digest]) -> Result<(), ChangeError> {
        let items: Vec<_> = self.catalog.read(|catalog| {
            let objects = objects.iter();
            objects.filter_map(|digest| item(catalog, digest)).collect()
        });
        let held = self.store.held(items.clone()).await?;
        let gone = items.into_iter().zip(held).find(|(_, held)| !held);
        let gone = gone.map(|(item, _)| item.digest);
        gone.map_or(Ok(()), |digest| Err(ChangeError::BytesGone(digest)))
    }
}

/// What the origin's store has to know of an object: it is in some repository, or
/// in none.
fn item(catalog: &Catalog, digest: &Digest) -> Option<Item> {
    let ordinal = catalog.ordinal(digest)?;
    let object = catalog.object(ordinal)?;
    let mut repositories = catalog.repositories();
    let announced = || {
        let mut all = catalog.announced().into_iter();
        let found = all.find(|(_, reached)| reached.contains(ordinal.get()));
        found.map(|(repository, _)| repository)
    };
    Some(Item {
        digest: *digest,
        size: object.size(),
        media_type: object.media_type().clone(),
        repository: repositories
            .find(|repository| catalog.contains(repository.as_str(), ordinal))
            .or_else(announced)
            .cloned(),
    })
}

fn decide(catalog: &Catalog, way: Way, choice: &Choice) -> Result<Change, ChangeError> {
    match way {
        Way::Withdraw(terms) => decide::withdrawal(catalog, choice, terms),
        Way::Reinstate => decide::reinstatement(catalog, choice),
    }
}

fn encode(
    way: Way,
    change: &Change,
    reason: &str,
) -> Result<Vec<(Entry, bytes::Bytes)>, ChangeError> {
    let objects = change.objects.iter().map(|digest| {
        let (digest, reason) = (*digest, reason.to_owned());
        match way {
            Way::Withdraw(_) => Entry::Withdrawn { digest, reason },
            Way::Reinstate => Entry::Reinstated { digest, reason },
        }
    });
    let dropped = change.dropped.iter().map(|(name, _)| Entry::NameRemoved {
        name: name.clone(),
        reason: reason.to_owned(),
    });
    objects
        .chain(dropped)
        .map(|entry| {
            let encoded = encode_entry(&entry)?;
            Ok((entry, encoded))
        })
        .collect()
}

/// The revision, if what was decided still holds when its turn comes; else none
/// of it.
fn compose(
    now: Option<&Change>,
    expected: &Change,
    encoded: Vec<(Entry, bytes::Bytes)>,
    outcome: &'static str,
) -> Composed {
    let still_holds = now.is_some_and(|now| {
        now.objects == expected.objects
            && now.reach == expected.reach
            && now.dropped == expected.dropped
    });
    let detail = match still_holds {
        true => "",
        false => "the catalog changed meanwhile",
    };
    let objects = expected.objects.iter().map(|_| outcome);
    let dropped = expected.dropped.iter().map(|_| "removed");
    let mut composed = Composed {
        decisions: (0_u32..)
            .zip(objects.chain(dropped))
            .map(|(position, outcome)| Decision {
                position,
                outcome: if still_holds { outcome } else { "refused" },
                detail: detail.to_owned(),
            })
            .collect(),
        ..Composed::default()
    };
    if still_holds {
        (composed.entries, composed.encoded) = encoded.into_iter().unzip();
    }
    composed
}

fn digest_of(verb: &str, reason: &str, change: &Change) -> Digest {
    let mut text = format!("landfall {verb} 1\n{}\n{reason}\n", reason.len());
    for digest in &change.objects {
        text.push_str(&format!("{digest}\n"));
    }
    for (name, digest) in &change.dropped {
        text.push_str(&format!("{name} {digest}\n"));
    }
    Digest::of(text.as_bytes())
}

impl From<StateError> for ChangeError {
    fn from(error: StateError) -> Self {
        Self::Publish(PublishError::State(error))
    }
}
