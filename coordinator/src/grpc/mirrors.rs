//! `landfall.v1.Mirrors`: the state of the whole, for operators.
//!
//! An answer has a page of the mirrors and whatever concerns them, so that it
//! stays below what a client takes, however many mirrors there are.

use std::collections::BTreeSet;

use landfall_proto::model::{health_to_wire, mirror_to_wire};
use landfall_proto::v1::{self, mirrors_server};
use tonic::{Request, Response, Status};

use super::{Shared, cut};
use crate::fleet::MirrorStatus;
use crate::principal::Action;
use crate::status::Withdrawal;

/// Mirrors in one answer. Each may come with a long URL and its incidents, and be
/// named by each of the withdrawals.
const PAGE: usize = 200;
/// Longest reason of a withdrawal that is told, in bytes.
const MAX_REASON_BYTES: usize = 512;

pub(super) struct Service {
    pub(super) shared: Shared,
}

#[tonic::async_trait]
impl mirrors_server::Mirrors for Service {
    async fn list(
        &self,
        request: Request<v1::ListMirrorsRequest>,
    ) -> Result<Response<v1::ListMirrorsResponse>, Status> {
        self.shared.gate.admit(&request, Action::ReadFleet)?;
        let shared = &self.shared;
        let status = shared.statuses.now();
        let request = request.into_inner();
        let (page, next) = page(&status.fleet.mirrors, &request);
        let names: BTreeSet<_> = page.iter().map(|it| it.view.name.as_str()).collect();
        let withdrawals = status.withdrawals.iter().cloned();
        Ok(Response::new(v1::ListMirrorsResponse {
            name: status.name.clone(),
            revision: status.revision,
            log_size: status.log_size,
            objects: status.objects,
            names: status.names,
            checkpoint_time: status.checkpoint_time,
            stale: status.stale,
            mirrors: page
                .iter()
                .map(|mirror| mirror_status(mirror, status.names_revision(mirror)))
                .collect(),
            public_url: shared.urls.public.clone(),
            log_url: shared.urls.log.clone(),
            verifier_keys: shared.statuses.verifier_keys().to_vec(),
            withdrawals: withdrawals
                .map(|it| of_page(withdrawal(it), &names))
                .collect(),
            next,
        }))
    }
}

/// The mirrors that are asked for, and what asks for those after them.
fn page<'a>(
    mirrors: &'a [MirrorStatus],
    request: &v1::ListMirrorsRequest,
) -> (&'a [MirrorStatus], String) {
    let limit = match usize::try_from(request.limit) {
        Ok(limit @ 1..=PAGE) => limit,
        Ok(_) | Err(_) => PAGE,
    };
    // They are sorted by name.
    let first = mirrors.partition_point(|mirror| mirror.view.name <= request.after);
    let rest = mirrors.get(first..).unwrap_or_default();
    let (page, after) = rest.split_at(limit.min(rest.len()));
    let next = match page.last() {
        Some(last) if !after.is_empty() => last.view.name.clone(),
        Some(_) | None => String::new(),
    };
    (page, next)
}

/// What of a withdrawal concerns the mirrors of a page.
fn of_page(withdrawal: v1::Withdrawal, page: &BTreeSet<&str>) -> v1::Withdrawal {
    let those_here = |mirrors: Vec<String>| {
        let here = |mirror: &String| page.contains(mirror.as_str());
        mirrors.into_iter().filter(here).collect()
    };
    v1::Withdrawal {
        reason: cut(withdrawal.reason, MAX_REASON_BYTES),
        confirmed: those_here(withdrawal.confirmed),
        pending: those_here(withdrawal.pending),
        ..withdrawal
    }
}

fn withdrawal(withdrawal: Withdrawal) -> v1::Withdrawal {
    v1::Withdrawal {
        revision: withdrawal.revision,
        reason: withdrawal.reason,
        objects: withdrawal.objects.len(),
        names: withdrawal.names,
        confirmed: withdrawal.confirmed,
        pending: withdrawal.pending,
    }
}

fn mirror_status(mirror: &MirrorStatus, names_revision: u64) -> v1::MirrorStatus {
    v1::MirrorStatus {
        mirror: Some(mirror_to_wire(&mirror.view)),
        health: health_to_wire(mirror.healthy).into(),
        ready_objects: mirror.ready_objects,
        wanted_objects: mirror.wanted_objects,
        names_revision,
        last_report: mirror.last_report,
        connected: mirror.connected,
        incidents: mirror.incidents.clone(),
    }
}
