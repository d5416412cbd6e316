//! `landfall withdraw` and `landfall reinstate`.

use std::time::Duration;

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};
use landfall_runtime::{Clock, SystemClock};
use serde::Serialize;

use super::status;
use crate::{
    args::{ReinstateArgs, WithdrawArgs},
    connect,
    failure::{Failure, Verdict},
    output,
};

/// The object of `--json`.
#[derive(Debug, Serialize)]
struct Changed {
    /// Empty: nothing was done.
    operation: String,
    revision: u64,
    objects: Vec<String>,
    object_count: u64,
    bytes: u64,
    names: Vec<String>,
    other_names: Vec<String>,
    /// Names that were meant and stay: other names mean the same.
    kept: Vec<String>,
    /// Names that were meant and go: their content stays under others.
    dropped: Vec<String>,
    dropped_count: u64,
    parents: Vec<String>,
    referrers: Vec<String>,
    /// Of a dry run: what has to be said first.
    unsaid: Vec<String>,
    /// What a reinstatement leaves withdrawn; all of it is counted.
    still_withdrawn: Vec<String>,
    still_withdrawn_count: u64,
    /// What the origin's own store shows otherwise.
    troubles: Vec<String>,
    /// Null: nothing was withdrawn, or it could not be asked.
    mirrors: Option<Mirrors>,
}

/// Which mirrors hold none of it any more, by their own reports.
#[derive(Debug, Serialize)]
struct Mirrors {
    confirmed: Vec<String>,
    pending: Vec<String>,
}

/// How often mirrors are asked after.
const EVERY: Duration = Duration::from_millis(250);

pub(crate) async fn withdraw(args: WithdrawArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let changed = PromotionClient::new(connect::connection(coordinator)?)
        .withdraw(v1::WithdrawRequest {
            what: args.what,
            reason: args.reason,
            dry_run: args.dry_run,
            with_parents: args.with_parents,
            leave_parents: args.leave_parents,
            with_other_names: args.with_other_names,
            keep_shared: args.keep_shared,
            drop_names: args.drop_names,
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    let mut changed = Changed::from(changed.into_inner());
    if changed.revision > 0 {
        let patience = args.wait.unwrap_or_default();
        changed.mirrors = mirrors(coordinator, changed.revision, patience).await;
    }
    let all_have = (changed.mirrors.as_ref()).is_some_and(|mirrors| mirrors.pending.is_empty());
    let is_waited_for = args.wait.is_some() && changed.revision > 0;
    let verdict = show(changed, args.json, "withdrawn")?;
    Ok(match is_waited_for && !all_have {
        true => Verdict::Incomplete,
        false => verdict,
    })
}

/// Who has confirmed a withdrawal, when all have or patience is at its end.
async fn mirrors(coordinator: &str, revision: u64, patience: Duration) -> Option<Mirrors> {
    let begun = SystemClock.now();
    loop {
        let asked = status::fetch(coordinator).await.ok().map(|status| {
            let mut mirrors = Mirrors {
                confirmed: Vec::new(),
                pending: Vec::new(),
            };
            let here = |withdrawal: &v1::Withdrawal| withdrawal.revision == revision;
            for withdrawal in status.withdrawals.into_iter().filter(here) {
                mirrors.confirmed.extend(withdrawal.confirmed);
                mirrors.pending.extend(withdrawal.pending);
            }
            mirrors
        });
        let all_have = (asked.as_ref()).is_some_and(|mirrors| mirrors.pending.is_empty());
        let waited = SystemClock.now().saturating_duration_since(begun);
        if all_have || waited >= patience {
            return asked;
        }
        tokio::time::sleep(EVERY.min(patience - waited)).await;
    }
}

pub(crate) async fn reinstate(args: ReinstateArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let changed = PromotionClient::new(connect::connection(coordinator)?)
        .reinstate(v1::ReinstateRequest {
            what: args.what,
            reason: args.reason,
            dry_run: args.dry_run,
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    show(changed.into_inner().into(), args.json, "reinstated")
}

fn show(changed: Changed, json: bool, done: &str) -> Result<Verdict, Failure> {
    if json {
        output::json(&changed)?;
    } else {
        output::line(changed.text(done))?;
    }
    Ok(if changed.troubles.is_empty() {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

impl Changed {
    fn text(&self, done: &str) -> String {
        let mut lines = Vec::new();
        let lists = [
            ("means it", &self.names),
            ("means it, too", &self.other_names),
            ("stays, since other names mean the same", &self.kept),
            (
                "goes, and its content stays under other names",
                &self.dropped,
            ),
            (
                "stays without it, and answers 410 for this part",
                &self.parents,
            ),
            ("refers to it and stays", &self.referrers),
            ("stays withdrawn", &self.still_withdrawn),
        ];
        for (what, list) in lists {
            lines.extend(list.iter().map(|name| format!("{what}: {name}")));
        }
        let more = self.still_withdrawn_count - self.still_withdrawn.len() as u64;
        if more > 0 {
            lines.push(format!("stays withdrawn: {more} more"));
        }
        if self.dropped_count > 0 {
            lines.push(match self.revision {
                0 => format!("{} names would go", self.dropped_count),
                revision => format!(
                    "{} names went in revision {revision}; who promotes them by hand sets them again",
                    self.dropped_count
                ),
            });
        }
        if self.object_count == 0 && self.dropped_count > 0 {
            return lines.join("\n");
        }
        if self.object_count == 0 {
            lines.push(format!(
                "nothing to do: {} is {done} already, or never was withdrawn",
                if self.kept.is_empty() {
                    "all of it"
                } else {
                    "the rest"
                }
            ));
            return lines.join("\n");
        }
        let figures = format!(
            "{} objects, {}",
            self.object_count,
            output::bytes(self.bytes)
        );
        lines.push(if self.revision == 0 {
            format!("{figures} would be {done}; nothing was changed")
        } else {
            format!("{figures} {done} in revision {}", self.revision)
        });
        if self.still_withdrawn_count > 0 {
            lines.push(format!(
                "{} objects that went with it, or need it, stay withdrawn until they are reinstated by themselves",
                self.still_withdrawn_count
            ));
        }
        let unsaid = self.unsaid.iter();
        lines.extend(unsaid.map(|why| format!("to be said first: {why}")));
        if let Some(Mirrors { confirmed, pending }) = &self.mirrors {
            for (what, mirrors) in [("gone from", confirmed), ("not yet gone from", pending)] {
                if !mirrors.is_empty() {
                    lines.push(format!("{what}: {}", mirrors.join(", ")));
                }
            }
            if !pending.is_empty() {
                lines.push(
                    "users are sent to none of them for it; `landfall status` says when it is gone"
                        .into(),
                );
            }
        }
        for trouble in &self.troubles {
            lines.push(format!("the origin's own store does not follow: {trouble}"));
        }
        if !self.troubles.is_empty() {
            lines.push("that is tried again; `landfall status` says as long as it is so".into());
        }
        lines.join("\n")
    }
}

impl From<v1::WithdrawResponse> for Changed {
    fn from(response: v1::WithdrawResponse) -> Self {
        let digests = |digests: Vec<bytes::Bytes>| {
            let parsed = digests
                .iter()
                .filter_map(|bytes| Digest::try_from_slice(bytes).ok());
            parsed.map(|digest| digest.to_string()).collect()
        };
        Self {
            operation: response.operation,
            revision: response.revision,
            objects: digests(response.objects),
            object_count: response.object_count,
            bytes: response.bytes,
            names: response.names,
            other_names: response.other_names,
            kept: response.kept,
            dropped_count: response.dropped_count,
            dropped: response.dropped,
            parents: response.parents,
            unsaid: response.unsaid,
            still_withdrawn_count: response
                .still_withdrawn_count
                .max(response.still_withdrawn.len() as u64),
            still_withdrawn: response.still_withdrawn,
            referrers: digests(response.referrers),
            troubles: response.troubles,
            mirrors: None,
        }
    }
}
