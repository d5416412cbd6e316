//! `landfall revert`: back to how names were after a revision, as a later one.

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};

use super::{
    findings::Known,
    operation::{self, Telling},
    promote::{collect, show, verdict},
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
    show(&resolved, &digest, &Known::default(), args.json)?;
    let Some(confirm) = &args.confirm else {
        if !args.json {
            let only = match project.as_str() {
                "" => String::new(),
                project => format!(" --project {project}"),
            };
            output::line(format!(
                "\nnothing was changed; to execute this plan: landfall revert {}{only} --confirm={digest}",
                args.revision
            ))?;
        }
        return Ok(verdict(resolved.summary.lost + resolved.summary.refused));
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
    let done =
        operation::execute(&mut client, coordinator, request, Telling::of(args.json), 0).await?;
    Ok(verdict(done.lost + done.refused + done.failed))
}
