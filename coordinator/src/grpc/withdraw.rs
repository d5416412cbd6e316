//! `Promotion.Withdraw` and `Promotion.Reinstate`.

use landfall_proto::model;
use landfall_proto::status::to_status;
use landfall_proto::v1;
use tonic::{Request, Response, Status};

use super::{Shared, trace};
use crate::principal::Action;
use crate::withdraw::{Changed, Others, Parents, Terms, Troubles, Way, Wish, shown};

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
        way: Way::Withdraw(terms(&request)?),
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

/// What is said of what else is concerned; only one thing each.
fn terms(request: &v1::WithdrawRequest) -> Result<Terms, Status> {
    let both = |one: &str, other: &str| {
        let why = format!("{one} and {other} contradict each other");
        Err(Status::invalid_argument(why))
    };
    Ok(Terms {
        parents: match (request.with_parents, request.leave_parents) {
            (false, false) => Parents::Unsaid,
            (true, false) => Parents::Take,
            (false, true) => Parents::Leave,
            (true, true) => return both("with_parents", "leave_parents"),
        },
        others: match (
            request.with_other_names,
            request.keep_shared,
            request.drop_names,
        ) {
            (false, false, false) => Others::Unsaid,
            (true, false, false) => Others::Take,
            (false, true, false) => Others::Keep,
            (false, false, true) => Others::Drop,
            (true, true, _) => return both("with_other_names", "keep_shared"),
            (true, false, true) => return both("with_other_names", "drop_names"),
            (false, true, true) => return both("keep_shared", "drop_names"),
        },
    })
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
    let shown_all = |objects: &[(landfall_catalog::Digest, Vec<landfall_catalog::Name>)]| {
        let told = objects.iter().take(SHOWN);
        told.map(|(digest, names)| shown(digest, names)).collect()
    };
    v1::WithdrawResponse {
        operation,
        revision,
        objects: digests(&change.objects),
        object_count: change.objects.len() as u64,
        bytes: change.bytes,
        names: names(&change.names),
        other_names: names(&change.others),
        parents: shown_all(&change.parents),
        referrers: digests(&change.referrers),
        troubles: troubles.into_iter().take(SHOWN).collect(),
        kept: names(&change.kept),
        dropped: (change.dropped.iter().take(SHOWN))
            .map(|(name, _)| name.to_string())
            .collect(),
        dropped_count: change.dropped.len() as u64,
        still_withdrawn_count: change.still.len() as u64,
        still_withdrawn: shown_all(&change.still),
        unsaid: change.unsaid,
    }
}
