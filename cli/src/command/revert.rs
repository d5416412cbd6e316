//! `landfall revert`: back to how names were after a revision, as a later one.

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};

use super::{
    findings::Known,
    operation::{self, Telling},
    promote::{Shown, collect, show, verdict},
};
use crate::{
    args::RevertArgs,
    connect,
    failure::{Failure, Verdict},
    output,
};

pub(crate) async fn run(args: RevertArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let project = args.project.clone().unwrap_or_default();
    let request = v1::PlanRevertRequest {
        revision: args.revision,
        project: project.clone(),
    };
    let events = client
        .plan_revert(request)
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner();
    let resolved = collect(events, coordinator).await?;
    let digest = Digest::try_from_slice(&resolved.summary.plan)
        .map_err(|error| Failure::failed("the coordinator's plan has no digest", &error))?;
    let shown = Shown {
        json: args.json,
        all: args.verbose,
    };
    show(&resolved, &digest, &Known::default(), shown)?;
    let changes = resolved.summary.set + resolved.summary.removed > 0;
    if changes && !args.json {
        output::note(operation::STAYS_BACK);
    }
    let Some(confirm) = &args.confirm else {
        if !args.json {
            output::line(operation::how_to_confirm(&digest))?;
        }
        let summary = &resolved.summary;
        return Ok(verdict(summary.lost + summary.refused + summary.failed));
    };
    operation::check_confirmed(confirm, &digest)?;
    let back = format!("revert to revision {}", args.revision);
    let why = [back, project, args.why]
        .into_iter()
        .filter(|part| !part.is_empty());
    let request = v1::PromoteRequest {
        plan: resolved.summary.plan.clone(),
        why: why.collect::<Vec<_>>().join(": "),
        source: String::new(),
        gate: None,
    };
    let telling = Telling::of(args.json, &resolved.entries);
    let done = operation::execute(&mut client, coordinator, request, telling, 0).await?;
    Ok(verdict(done.lost + done.refused + done.failed))
}
