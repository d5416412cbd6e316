//! `landfall wait`: until enough mirrors have the names of a revision.

use std::time::{Duration, Instant};

use landfall_proto::v1;
use landfall_runtime::{Clock, SystemClock};
use serde_json::json;

use super::status;
use crate::{
    args::WaitArgs,
    failure::{Failure, Verdict},
    output::{self, progress::Progress},
};

/// How often the coordinator is asked.
const EVERY: Duration = Duration::from_millis(500);

/// How long a coordinator may be out of reach that has answered before …
const PATIENCE: Duration = Duration::from_secs(60);
/// … and one that never has.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// How many of the active mirrors have the names of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ready {
    ready: u64,
    active: u64,
}

/// What a look at the coordinator has shown.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The newest revision that is published.
    newest: u64,
    ready: Ready,
}

impl Ready {
    fn count(status: &v1::ListMirrorsResponse, revision: u64) -> Self {
        let is_active = |mirror: &&v1::MirrorStatus| {
            let state = mirror.mirror.as_ref().map(v1::Mirror::state);
            state == Some(v1::MirrorState::Active)
        };
        let active = status.mirrors.iter().filter(is_active);
        active.fold(Self::default(), |counted, mirror| Self {
            ready: counted.ready + u64::from(mirror.names_revision >= revision),
            active: counted.active + 1,
        })
    }

    /// No mirror at all is never enough.
    const fn is_enough(self, percent: u8) -> bool {
        self.active > 0 && self.ready * 100 >= self.active * percent as u64
    }
}

pub(crate) async fn run(args: WaitArgs) -> Result<Verdict, Failure> {
    let begun = SystemClock.now();
    let mut progress = Progress::new("mirrors ready", false);
    let mut told = None;
    let mut last_sign = None;
    loop {
        // Out of reach for a moment is no reason to give up.
        let (seen, trouble) = match status::fetch(&args.coordinator.coordinator).await {
            Ok(status) => {
                let ready = Ready::count(&status, args.revision);
                let newest = status.revision;
                (Some(Seen { newest, ready }), None)
            }
            Err(Failure::Failed(why)) => (None, Some(why)),
            Err(failure @ (Failure::Usage(_) | Failure::Interrupted(_) | Failure::Unread)) => {
                return Err(failure);
            }
        };
        if seen.is_some() {
            last_sign = Some(SystemClock.now());
        }
        if let Some(why) = &trouble
            && is_gone(begun, last_sign, SystemClock.now())
        {
            progress.finish();
            return Err(Failure::Failed(why.clone()));
        }
        let newest = seen.map(|seen| seen.newest);
        if let Some(newest) = newest.filter(|newest| *newest < args.revision)
            && told.replace(newest) != Some(newest)
        {
            tell_unpublished(&args, newest, &progress)?;
        }
        let ready = seen.unwrap_or_default().ready;
        let now = SystemClock.now();
        progress.set(ready.ready, ready.active, now);
        let is_enough = ready.is_enough(args.ready);
        let waited = now.saturating_duration_since(begun);
        if !is_enough && waited < args.timeout {
            tokio::time::sleep(EVERY.min(args.timeout - waited)).await;
            continue;
        }
        progress.finish();
        let Ready { ready, active } = ready;
        if args.json {
            output::json(&json!({"event": "done", "revision": args.revision,
                "newest": newest, "done": is_enough, "ready": ready, "mirrors": active,
                "seconds": waited.as_secs()}))?;
        } else {
            output::line(format!(
                "{ready} of {active} active mirrors have revision {}",
                args.revision
            ))?;
        }
        return match (is_enough, trouble) {
            (true, _) => Ok(Verdict::Done),
            (false, Some(why)) => Err(Failure::Failed(why)),
            (false, None) => Ok(Verdict::Incomplete),
        };
    }
}

/// Whether a coordinator that does not answer has had its time to come back.
fn is_gone(begun: Instant, last_sign: Option<Instant>, now: Instant) -> bool {
    let (since, patience) = match last_sign {
        Some(last_sign) => (last_sign, PATIENCE),
        None => (begun, FIRST_PATIENCE),
    };
    now.saturating_duration_since(since) >= patience
}

/// Nobody can have what does not exist, so the wait may be for a mistyped number.
fn tell_unpublished(args: &WaitArgs, newest: u64, progress: &Progress) -> Result<(), Failure> {
    let revision = args.revision;
    if args.json {
        let event = json!({"event": "unpublished", "revision": revision, "newest": newest});
        output::json(&event)?;
        return Ok(());
    }
    progress.note(&format!(
        "revision {revision} is not published yet (newest is {newest}): waiting"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(state: v1::MirrorState, names_revision: u64) -> v1::MirrorStatus {
        v1::MirrorStatus {
            mirror: Some(v1::Mirror {
                state: state.into(),
                ..v1::Mirror::default()
            }),
            names_revision,
            ..v1::MirrorStatus::default()
        }
    }

    #[test]
    fn a_coordinator_that_does_not_answer_is_not_waited_for_for_ever() {
        let begun = SystemClock.now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(!is_gone(begun, None, at(4)) && is_gone(begun, None, at(5)));
        let seen = Some(at(1_000));
        assert!(!is_gone(begun, seen, at(1_059)) && is_gone(begun, seen, at(1_060)));
    }

    #[test]
    fn only_active_mirrors_count_and_none_is_not_enough() {
        let status = v1::ListMirrorsResponse {
            mirrors: vec![
                mirror(v1::MirrorState::Active, 5),
                mirror(v1::MirrorState::Active, 4),
                mirror(v1::MirrorState::Active, 6),
                mirror(v1::MirrorState::Quarantined, 9),
            ],
            ..v1::ListMirrorsResponse::default()
        };
        let ready = Ready::count(&status, 5);
        assert_eq!(
            ready,
            Ready {
                ready: 2,
                active: 3
            }
        );
        assert!(ready.is_enough(66) && !ready.is_enough(67));
        assert!(!Ready::default().is_enough(1));
    }
}
