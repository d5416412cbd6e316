//! `landfall audit`: what the origin holds against what was approved.

use std::time::Duration;

use futures::StreamExt as _;
use landfall_catalog::Digest;
use landfall_proto::status::is_transient;
use landfall_proto::v1::{self, audit_client::AuditClient, audit_event};
use landfall_runtime::{Clock as _, SystemClock, retry::Backoff};
use serde_json::json;

use crate::{
    args::{AuditCommand, AuditFollowArgs, AuditOriginArgs, AuditStopArgs},
    connect,
    failure::{Failure, Verdict},
    output::{self, progress::Progress},
};

/// How long a coordinator may be away while its audit is followed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(command: AuditCommand) -> Result<Verdict, Failure> {
    match command {
        AuditCommand::Origin(args) => origin(args).await,
        AuditCommand::Follow(args) => follow(args).await,
        AuditCommand::Stop(args) => stop(args).await,
    }
}

async fn origin(args: AuditOriginArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = AuditClient::new(connect::connection(coordinator)?);
    let request = v1::StartAuditRequest {
        repair: args.repair,
        bytes_per_second: args.bandwidth.unwrap_or_default(),
    };
    let started = client
        .start(request)
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    let audit = started.into_inner().audit;
    if !args.json {
        output::note(format!(
            "audit {audit}: it goes on without you; `landfall audit follow {audit}` comes back to it"
        ));
    }
    to_its_end(client, coordinator, audit, args.json).await
}

async fn follow(args: AuditFollowArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let client = AuditClient::new(connect::connection(coordinator)?);
    let audit = args.id.unwrap_or_default();
    to_its_end(client, coordinator, audit, args.json).await
}

async fn stop(args: AuditStopArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = AuditClient::new(connect::connection(coordinator)?);
    let audit = args.id.unwrap_or_default();
    let stopped = client
        .stop(v1::StopAuditRequest { audit })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    let audit = stopped.into_inner().audit;
    output::line(format!("audit {audit} is stopped"))?;
    Ok(Verdict::Done)
}

/// Follows an audit to its end. A broken stream is taken up again.
async fn to_its_end(
    mut client: AuditClient<connect::Connection>,
    coordinator: &str,
    audit: String,
    as_json: bool,
) -> Result<Verdict, Failure> {
    let mut teller = Teller {
        as_json,
        told: 0,
        interruptions: 0,
        progress: Progress::new("hashed", true),
    };
    let mut backoff = Backoff::for_reconnects();
    let mut last_sign = SystemClock.now();
    loop {
        let request = v1::WatchAuditRequest {
            audit: audit.clone(),
        };
        // A stream that is taken up again begins anew.
        let mut seen = 0;
        let broken = match client.watch(request).await {
            Err(status) => status,
            Ok(events) => {
                let mut events = events.into_inner();
                loop {
                    match events.next().await {
                        Some(Ok(event)) => {
                            last_sign = SystemClock.now();
                            if let Some(done) = teller.tell(event, &mut seen)? {
                                teller.progress.finish();
                                return ended(&done, as_json);
                            }
                        }
                        Some(Err(status)) => break status,
                        None => break tonic::Status::unavailable("the stream ended early"),
                    }
                }
            }
        };
        let silent = SystemClock.now().saturating_duration_since(last_sign);
        if !is_transient(&broken) || silent > PATIENCE {
            return Err(connect::refused(coordinator, &broken));
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

struct Teller {
    as_json: bool,
    /// Findings that were told.
    told: u64,
    /// Interruptions that were told.
    interruptions: u64,
    progress: Progress,
}

impl Teller {
    /// Shows one event; returns the last one.
    fn tell(
        &mut self,
        event: v1::AuditEvent,
        seen: &mut u64,
    ) -> Result<Option<v1::AuditDone>, Failure> {
        match event.kind {
            Some(audit_event::Kind::Finding(finding)) => {
                *seen += 1;
                if *seen > self.told {
                    self.told = *seen;
                    self.found(&finding)?;
                }
            }
            Some(audit_event::Kind::Progress(now)) => {
                self.progress
                    .set(now.bytes_done, now.bytes_total, SystemClock.now());
                if self.as_json {
                    let pace = Pace::of(&now);
                    output::json(&json!({"event": "progress",
                        "objects_done": now.objects_done, "objects_total": now.objects_total,
                        "bytes_done": now.bytes_done, "bytes_total": now.bytes_total,
                        "bytes_per_second": pace.bytes_per_second,
                        "seconds_left": pace.seconds_left}))?;
                }
            }
            Some(audit_event::Kind::Interruptions(now)) if now.count > self.interruptions => {
                self.interruptions = now.count;
                self.carried_on(&now)?;
            }
            Some(audit_event::Kind::Interruptions(_)) | None => {}
            Some(audit_event::Kind::Done(done)) => return Ok(Some(done)),
        }
        Ok(None)
    }

    fn carried_on(&self, now: &v1::AuditInterruptions) -> Result<(), Failure> {
        if self.as_json {
            output::json(&json!({"event": "carried-on", "interruptions": now.count,
                "interrupted_after": now.after, "time": now.carried_on}))?;
            return Ok(());
        }
        self.progress.note(&format!(
            "the coordinator stopped after {}, and carried the audit on at {}: what was hashed before is not hashed again",
            output::time(now.after),
            output::time(now.carried_on)
        ));
        Ok(())
    }

    fn found(&self, finding: &v1::AuditFinding) -> Result<(), Failure> {
        let digest = Digest::try_from_slice(&finding.digest).ok();
        if self.as_json {
            output::json(&json!({"event": "finding", "check": finding.check,
                "digest": digest.map(|digest| digest.to_string()), "name": finding.name,
                "detail": finding.detail, "outcome": finding.outcome}))?;
            return Ok(());
        }
        let digest = digest.map(|digest| digest.to_string());
        let what: Vec<_> = [
            digest.as_deref().unwrap_or_default(),
            &finding.name,
            &finding.detail,
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
        let line = format!(
            "{}: {}: {}",
            finding.outcome,
            finding.check,
            what.join(": ")
        );
        self.progress.note(&line);
        Ok(())
    }
}

/// How fast it goes, and how long it will take at that pace.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    bytes_per_second: u64,
    /// None while nobody can say.
    seconds_left: Option<u64>,
}

impl Pace {
    fn of(progress: &v1::AuditProgress) -> Self {
        let rate = u128::from(progress.bytes_done) * 1000 / u128::from(progress.elapsed_ms.max(1));
        let left = progress.bytes_total.saturating_sub(progress.bytes_done);
        let seconds_left = match (left, rate) {
            (0, _) => Some(0),
            (_, 0) => None,
            (left, rate) => u64::try_from(u128::from(left).div_ceil(rate)).ok(),
        };
        Self {
            bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
            seconds_left,
        }
    }
}

fn ended(done: &v1::AuditDone, as_json: bool) -> Result<Verdict, Failure> {
    let drift = done.found + done.lost + done.failed;
    if as_json {
        output::json(
            &json!({"event": "done", "audit": done.audit, "who": done.who,
            "repair": done.repair, "started": done.started, "finished": done.finished,
            "checked": done.objects, "bytes": done.bytes, "drift": drift,
            "found": done.found, "repaired": done.repaired, "lost": done.lost,
            "failed": done.failed, "notes": done.notes, "error": done.error,
            "interruptions": done.interruptions.map_or(0, |it| it.count),
            "carried_on": done.interruptions.map(|it| it.carried_on)}),
        )?;
    } else {
        output::line(text(done))?;
    }
    if !done.error.is_empty() {
        return Err(Failure::Failed(format!(
            "audit {} did not come to its end: {}; start it again",
            done.audit, done.error
        )));
    }
    Ok(if drift == 0 {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

fn text(done: &v1::AuditDone) -> String {
    let counts: Vec<_> = [
        (done.found, "differ"),
        (done.repaired, "repaired"),
        (done.lost, "lost"),
        (done.failed, "failed"),
        (done.notes, "not in the catalog"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let counts = match counts.as_slice() {
        [] => "all as approved".to_owned(),
        counts => counts.join(", "),
    };
    let interrupted = done.interruptions.map_or_else(String::new, |it| {
        let times = match it.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        format!(" (interrupted {times}, and carried on)")
    });
    format!(
        "audit {}: {} objects, {} hashed in {} s{interrupted}: {counts}",
        done.audit,
        done.objects,
        output::bytes(done.bytes),
        done.finished.saturating_sub(done.started),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_as_soon_as_it_can_be() {
        let progress = |bytes_done, elapsed_ms| v1::AuditProgress {
            bytes_done,
            bytes_total: 1_000,
            elapsed_ms,
            ..v1::AuditProgress::default()
        };
        for (done, elapsed, rate, left) in [
            (0, 0, 0, None),
            (100, 1_000, 100, Some(9)),
            (1_000, 500, 2_000, Some(0)),
        ] {
            let expected = Pace {
                bytes_per_second: rate,
                seconds_left: left,
            };
            assert_eq!(Pace::of(&progress(done, elapsed)), expected);
        }
    }

    #[test]
    fn the_end_is_one_line_of_what_was_found() {
        let done = v1::AuditDone {
            audit: "a1".into(),
            objects: 7,
            bytes: 1_500_000,
            repaired: 2,
            lost: 1,
            started: 10,
            finished: 13,
            ..v1::AuditDone::default()
        };
        let expected = "audit a1: 7 objects, 1.5 MB hashed in 3 s: 2 repaired, 1 lost";
        assert_eq!(text(&done), expected);
        let clean = v1::AuditDone {
            repaired: 0,
            lost: 0,
            ..done
        };
        assert!(text(&clean).ends_with("all as approved"));
        let interrupted = v1::AuditDone {
            interruptions: Some(v1::AuditInterruptions {
                count: 2,
                ..v1::AuditInterruptions::default()
            }),
            ..clean
        };
        let expected = "in 3 s (interrupted 2 times, and carried on): all as approved";
        assert!(text(&interrupted).ends_with(expected));
    }
}
