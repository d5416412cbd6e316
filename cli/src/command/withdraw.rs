//! `landfall withdraw` and `landfall reinstate`.

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde::Serialize;

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
    parents: Vec<String>,
    referrers: Vec<String>,
    /// What the origin's own store shows otherwise.
    troubles: Vec<String>,
}

pub(crate) async fn withdraw(args: WithdrawArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let changed = PromotionClient::new(connect::connection(coordinator)?)
        .withdraw(v1::WithdrawRequest {
            what: args.what,
            reason: args.reason,
            dry_run: args.dry_run,
            with_parents: args.with_parents,
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    show(changed.into_inner().into(), args.json, "withdrawn")
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
        if self.object_count == 0 {
            return format!("nothing to do: all of it is {done} already, or never was withdrawn");
        }
        let mut lines = Vec::new();
        let lists = [
            ("means it", &self.names),
            ("means it, too", &self.other_names),
            ("holds it and stays", &self.parents),
            ("refers to it and stays", &self.referrers),
        ];
        for (what, list) in lists {
            lines.extend(list.iter().map(|name| format!("{what}: {name}")));
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
        for trouble in &self.troubles {
            lines.push(format!("the origin's own store does not follow: {trouble}"));
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
            parents: response.parents,
            referrers: digests(response.referrers),
            troubles: response.troubles,
        }
    }
}
