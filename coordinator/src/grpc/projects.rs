//! `Promotion.ApplyProjects`.

use landfall_proto::status::to_status;
use landfall_proto::v1;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, upload};
use crate::principal::Action;
use crate::promote::registration::{self, Applied};

pub(super) async fn apply(
    shared: &Shared,
    request: Request<Streaming<v1::PlanRequest>>,
) -> Result<Response<v1::ApplyProjectsResponse>, Status> {
    let admitted = shared.gate.admit(&request, Action::ApplyProjects)?;
    let upload = upload::receive(request.into_inner(), &shared.limits);
    let (options, tree) = shared.unless_stopping(upload).await?;
    let applied = registration::apply(
        &shared.planner.state,
        tree,
        admitted.who.to_string(),
        shared.clock.unix_seconds(),
        options.dry_run,
    )
    .await
    .map_err(|error| to_status(&error))?;
    Ok(Response::new(v1::ApplyProjectsResponse {
        projects: applied.into_iter().map(applied_to_wire).collect(),
    }))
}

fn applied_to_wire(applied: Applied) -> v1::AppliedProject {
    let change = applied.change();
    let before = applied.before.filter(|_| change == "changed");
    let (source_before, destinations_before) = before
        .map(|half| (half.source, half.destinations))
        .unwrap_or_default();
    v1::AppliedProject {
        project: applied.half.project,
        kind: applied.half.kind.as_str().to_owned(),
        change: change.to_owned(),
        source: applied.half.source,
        destinations: applied.half.destinations,
        source_before,
        destinations_before,
    }
}
