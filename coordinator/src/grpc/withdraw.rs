//! `Promotion.Withdraw` and `Promotion.Reinstate`.

use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::{Shared, trace};
use crate::principal::Action;
use crate::withdraw::{Changed, Troubles, Way, Wish, shown};

/// Members of a list that are told.
const SHOWN: usize = 1000;

pub(super) async fn withdraw(
    shared: &Shared,
    request: Request<v1::WithdrawRequest>,
) -> Result<Response<v1::WithdrawResponse>, Status> {
    let admitted = shared.gate.admit(&request, Action::Withdraw)?;
    let trace_parent = trace::parent_of(&request);
    let request = request.into_inner();
    let wish = Wish {
        way: Way::Withdraw {
            with_parents: request.with_parents,
        },
        what: request.what,
        reason: request.reason,
        who: admitted.who.to_string(),
        scope: admitted.scope,
        trace_parent,
    };
    change(shared, wish, request.dry_run).await
}

pub(super) async fn reinstate(
    shared: &Shared,
    request: Request<v1::ReinstateRequest>,
) -> Result<Response<v1::WithdrawResponse>, Status> {
    let admitted = shared.gate.admit(&request, Action::Reinstate)?;
    let trace_parent = trace::parent_of(&request);
    let request = request.into_inner();
    let wish = Wish {
        way: Way::Reinstate,
        what: request.what,
        reason: request.reason,
        who: admitted.who.to_string(),
        scope: admitted.scope,
        trace_parent,
    };
    change(shared, wish, request.dry_run).await
}

async fn change(
    shared: &Shared,
    wish: Wish,
    dry_run: bool,
) -> Result<Response<v1::WithdrawResponse>, Status> {
    let withdrawals = &shared.withdrawals;
    let refused = |error: &crate::withdraw::ChangeError| to_status(error);
    let change = withdrawals
        .look(&wish)
        .await
        .map_err(|error| refused(&error))?;
    let changed = if dry_run {
        Changed {
            change,
            operation: String::new(),
            revision: 0,
            troubles: Troubles::new(),
        }
    } else {
        let carried_out = withdrawals.carry_out(wish, change).await;
        carried_out.map_err(|error| refused(&error))?
    };
    Ok(Response::new(to_wire(changed)))
}

fn to_wire(changed: Changed) -> v1::WithdrawResponse {
    let Changed {
        change,
        operation,
        revision,
        troubles,
    } = changed;
    let digests = |digests: &[landfall_catalog::Digest]| {
        let shown = digests.iter().take(SHOWN);
        shown.map(model::digest_to_wire).collect()
    };
    let names = |names: &[landfall_catalog::Name]| {
        names.iter().take(SHOWN).map(ToString::to_string).collect()
    };
    v1::WithdrawResponse {
        operation,
        revision,
        objects: digests(&change.objects),
        object_count: change.objects.len() as u64,
        bytes: change.bytes,
        names: names(&change.names),
        other_names: names(&change.others),
        parents: change
            .parents
            .iter()
            .take(SHOWN)
            .map(|(digest, names)| shown(digest, names))
            .collect(),
        referrers: digests(&change.referrers),
        troubles: troubles.into_iter().take(SHOWN).collect(),
    }
}
