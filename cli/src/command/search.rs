//! `landfall search`: what the catalog has under a text or a digest.

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde_json::json;

use crate::{
    args::SearchArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

/// Names of one answer.
const PAGE: u32 = 500;

pub(crate) async fn run(args: SearchArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let mut found: Vec<v1::FoundName> = Vec::new();
    let mut after = String::new();
    loop {
        let left = u64::from(args.limit).saturating_sub(found.len() as u64);
        let limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        if limit == 0 {
            break;
        }
        let request = v1::SearchRequest {
            text: args.text.clone(),
            kind: args.kind.clone().unwrap_or_default(),
            limit,
            after,
        };
        let answer = client
            .search(request)
            .await
            .map_err(|status| connect::refused(coordinator, &status))?
            .into_inner();
        found.extend(answer.found);
        after = answer.next;
        if after.is_empty() {
            break;
        }
    }
    if found.is_empty() {
        output::note(format!("the catalog has nothing for {}", args.text));
        return Ok(Verdict::Incomplete);
    }
    if args.json {
        for name in &found {
            output::json(
                &json!({"name": name.name, "digest": digest(name), "bytes": name.bytes,
                "revision": name.revision, "state": state(name), "withdrawn": name.withdrawn,
                "holds": name.holds}),
            )?;
        }
    } else {
        output::line(table(&found).render())?;
    }
    if !after.is_empty() {
        output::note("there may be more: --limit N shows more");
    }
    Ok(Verdict::Done)
}

fn table(found: &[v1::FoundName]) -> Table {
    let mut table = Table::new(&["NAME", "DIGEST", ">SIZE", ">REVISION", "STATE"]);
    for name in found {
        let holds = if name.holds { ", holds it" } else { "" };
        table.row([
            name.name.clone(),
            digest(name),
            output::bytes(name.bytes),
            name.revision.to_string(),
            format!("{}{holds}", state(name)),
        ]);
    }
    table
}

fn digest(name: &v1::FoundName) -> String {
    let digest = Digest::try_from_slice(&name.digest);
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

const fn state(name: &v1::FoundName) -> &'static str {
    if name.withdrawn.is_empty() {
        "live"
    } else {
        "withdrawn"
    }
}
