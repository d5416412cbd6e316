//! Transfers into the origin that were begun and that nobody goes on with: of
//! promotions that were given up, or whose entries failed and were dropped.
//!
//! Whatever may still be tried again is left alone: nothing is thrown away while
//! an operation copies or is about to, nothing that was touched in the last week,
//! and nothing that is being written. Whole objects are never touched.

use std::sync::Arc;
use std::time::Duration;

use landfall_content::Store;
use landfall_proto::status::chain;
use landfall_runtime::Shutdown;
use landfall_runtime::clock::Clock;

use crate::state::{State, StateError, gates, operations};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3600);
/// Seconds after which nobody comes back for what was begun.
const KEPT: u64 = 7 * 24 * 3600;

/// Looks now and then, until the program stops.
pub(crate) async fn run(state: State, store: Store, clock: Arc<dyn Clock>, shutdown: Shutdown) {
    let work = async {
        loop {
            match is_quiet(&state).await {
                Ok(true) => tidy(&store, clock.unix_seconds()).await,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %chain(&error), "it cannot be told what operations go on")
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    shutdown.unless_requested(work).await;
}

/// Whether every operation that goes on has copied all that it copies.
async fn is_quiet(state: &State) -> Result<bool, StateError> {
    state
        .read("list unfinished operations", |connection| {
            let waiting = gates::waiting(connection)?;
            let has_copied = |operation: &operations::Operation| {
                let mut waiting = waiting.iter();
                waiting.any(|gate| gate.operation == operation.sequence)
            };
            Ok(operations::unfinished(connection)?.iter().all(has_copied))
        })
        .await
}

async fn tidy(store: &Store, now: u64) {
    match store.tidy(now.saturating_sub(KEPT)).await {
        Ok(0) => {}
        Ok(transfers) => {
            tracing::info!(transfers, "threw away transfers that nobody goes on with");
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "transfers that nobody goes on with are left at the origin");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promote::gate::{OnTimeout, Terms};
    use landfall_catalog::Digest;

    #[tokio::test]
    async fn nothing_is_thrown_away_while_an_operation_may_still_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (state, thread) = State::open(&folder.path().join("state.sqlite")).unwrap();
        let write = async |text, write: fn(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>| {
            state.write(text, write).await.unwrap();
            is_quiet(&state).await.unwrap()
        };
        assert!(is_quiet(&state).await.unwrap());
        let begun = write("it begins, with a gate", |tx| {
            let start = operations::Start {
                id: "one".into(),
                plan: Digest::of(b"plan"),
                who: String::new(),
                why: String::new(),
                source: String::new(),
                trace_parent: String::new(),
                started: 1,
            };
            let terms = Terms {
                percent: 80,
                minimum: 0,
                timeout: 60,
                on_timeout: OnTimeout::Hold,
            };
            let sequence = operations::start(tx, &start, &[])?;
            gates::put(tx, sequence, terms)
        });
        assert!(!begun.await);
        let waits = write("its names wait", |tx| gates::announced(tx, 1, 1, 60));
        assert!(waits.await, "what it needs is there");
        drop(state);
        thread.join();
    }
}
