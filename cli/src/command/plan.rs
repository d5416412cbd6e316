//! `landfall plan`: what promoting would do, offline or against a coordinator.

use landfall_catalog::Digest;
use landfall_promotion::{Asked, Finding, PlanOptions};
use landfall_proto::v1::promotion_client::PromotionClient;
use serde::Serialize;
use serde_json::Value;

use super::{
    findings::{FindingJson, Known},
    manifests, planned,
    promote::{self, Resolved},
};
use crate::{
    args::PlanArgs,
    connect,
    failure::{Failure, Verdict},
    output,
};

/// The object of `plan --json`; fields are only ever added.
#[derive(Debug, Serialize)]
struct Plan {
    plan: String,
    projects: u64,
    entries: u64,
    set: u64,
    unchanged: u64,
    refused: u64,
    /// Not known without reading staging.
    lost: Option<u64>,
    /// Could not be looked up in staging; not known without.
    failed: Option<u64>,
    /// Of these, what is refused for findings that are acknowledged.
    acknowledged: u64,
    removed: u64,
    /// Entries and tags that are left out because of a finding.
    quarantined: u64,
    /// Not known without reading staging.
    bytes_to_copy: Option<u64>,
    findings: Vec<FindingJson>,
    /// The names that would change, and those that are amiss; known with a
    /// coordinator.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Value>>,
    /// Destinations times entries, as kpromo counts its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_edges: Option<u64>,
}

pub(crate) async fn run(args: PlanArgs) -> Result<Verdict, Failure> {
    let known = Known::read(args.known.acknowledged.as_deref(), &args.dir)?;
    let coordinator = match &args.config {
        Some(_) => None,
        None => args.coordinator.clone().or_else(connect::from_environment),
    };
    let (plan, text, failing) = match &coordinator {
        Some(coordinator) => against(coordinator, &args, &known).await?,
        None => offline(&args, &known)?,
    };
    if args.json {
        output::json(&plan)?;
    } else {
        output::line(text)?;
    }
    Ok(if failing == 0 {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

fn offline(args: &PlanArgs, known: &Known) -> Result<(Plan, String, u64), Failure> {
    let tree = manifests::only(manifests::read(&args.dir)?, &args.only.projects)?;
    let rules = manifests::rules(args.config.as_deref())?;
    let parsed = landfall_promotion::parse(&tree);
    let options = PlanOptions {
        prune: args.changes.prune,
        allow_tag_moves: args.changes.allow_tag_moves,
        ..PlanOptions::default()
    };
    let mut planned = rules.plan(&parsed, options);
    landfall_promotion::with_excerpts(&mut planned.findings, &tree);
    let refused = planned
        .refused
        .iter()
        .filter(|(asked, why)| !is_acknowledged(asked, why, &planned.findings, known));
    let refused = refused.count() as u64;
    let plan = Plan {
        plan: planned.digest().to_string(),
        projects: planned.projects as u64,
        entries: planned.entries as u64,
        set: planned.set.len() as u64,
        unchanged: planned.unchanged.len() as u64,
        refused: planned.refused.len() as u64,
        lost: None,
        failed: None,
        acknowledged: planned.refused.len() as u64 - refused,
        removed: planned.removed.len() as u64,
        quarantined: parsed.stats.quarantined,
        bytes_to_copy: None,
        findings: planned
            .findings
            .iter()
            .map(|finding| known.json(finding))
            .collect(),
        changes: None,
        destination_edges: Some(planned.destination_edges),
    };
    let quarantined = planned
        .findings
        .iter()
        .filter(|finding| known.leave_failing(finding, false))
        .count() as u64;
    let mut lines: Vec<String> = planned
        .findings
        .iter()
        .filter(|finding| finding.fails(true))
        .map(|finding| {
            format!(
                "{}\n",
                known.draw(
                    &manifests::shown(&args.dir, finding),
                    known.leave_failing(finding, false)
                )
            )
        })
        .collect();
    for (asked, why) in &planned.refused {
        lines.push(format!("refused: {}: {why}", asked.name));
    }
    lines.push(format!(
        "plan {} (offline, against an empty catalog)\n{} projects, {} entries: {} to set, {} refused, {} quarantined, {} findings; {} destination edges",
        plan.plan,
        plan.projects,
        plan.entries,
        plan.set,
        plan.refused,
        plan.quarantined,
        plan.findings.len(),
        planned.destination_edges,
    ));
    let failing = quarantined + refused;
    Ok((plan, lines.join("\n"), failing))
}

/// Whether what was refused for what other manifests ask is acknowledged: the
/// refusal has the rule and the place of its finding.
fn is_acknowledged(asked: &Asked, why: &str, findings: &[Finding], known: &Known) -> bool {
    let at = &asked.at;
    findings.iter().any(|finding| {
        let same =
            (&*at.file, at.line, at.column) == (&*finding.file, finding.line, finding.column);
        let code = why.split(':').next();
        same && code == Some(finding.rule) && !known.leave_failing(finding, true)
    })
}

async fn against(
    coordinator: &str,
    args: &PlanArgs,
    known: &Known,
) -> Result<(Plan, String, u64), Failure> {
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let options = args.changes.options();
    let tree = manifests::only(manifests::read(&args.dir)?, &args.only.projects)?;
    let resolved = promote::resolve(&mut client, coordinator, tree, options).await?;
    let digest = Digest::try_from_slice(&resolved.summary.plan)
        .map_err(|error| Failure::failed("the coordinator's plan has no digest", &error))?;
    let text = promote::text(&resolved, &digest, known, args.verbose);
    let changes = resolved.entries.iter().map(planned::value).collect();
    let quarantined = promote::failing(&resolved, known, false);
    let acknowledged = promote::acknowledged(&resolved, known);
    let Resolved {
        findings, summary, ..
    } = resolved;
    let plan = Plan {
        plan: digest.to_string(),
        projects: summary.projects,
        entries: summary.entries,
        set: summary.set,
        unchanged: summary.unchanged,
        refused: summary.refused,
        lost: Some(summary.lost),
        failed: Some(summary.failed),
        acknowledged,
        removed: summary.removed,
        quarantined: summary.quarantined,
        bytes_to_copy: Some(summary.bytes_to_copy),
        findings: findings
            .iter()
            .map(|finding| known.json_remote(finding))
            .collect(),
        changes: Some(changes),
        destination_edges: None,
    };
    let refused = summary.refused.saturating_sub(plan.acknowledged);
    Ok((
        plan,
        text,
        quarantined + refused + summary.lost + summary.failed,
    ))
}
