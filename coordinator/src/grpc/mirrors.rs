//! `landfall.v1.Mirrors`: the state of the whole, for operators.

use landfall_proto::model::{health_to_wire, mirror_to_wire};
use landfall_proto::v1::{self, mirrors_server};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::fleet::MirrorStatus;
use crate::principal::{Action, admit};
use crate::status::Withdrawal;

pub(super) struct Service {
    pub(super) shared: Shared,
}

#[tonic::async_trait]
impl mirrors_server::Mirrors for Service {
    async fn list(
        &self,
        request: Request<v1::ListMirrorsRequest>,
    ) -> Result<Response<v1::ListMirrorsResponse>, Status> {
        admit(&request, Action::ReadFleet)?;
        let shared = &self.shared;
        let status = shared.statuses.now();
        Ok(Response::new(v1::ListMirrorsResponse {
            name: status.name.clone(),
            revision: status.revision,
            log_size: status.log_size,
            objects: status.objects,
            names: status.names,
            checkpoint_time: status.checkpoint_time,
            stale: status.stale,
            mirrors: status
                .fleet
                .mirrors
                .iter()
                .map(|mirror| mirror_status(mirror, status.names_revision(mirror)))
                .collect(),
            public_url: shared.urls.public.clone(),
            log_url: shared.urls.log.clone(),
            verifier_keys: shared.statuses.verifier_keys().to_vec(),
            withdrawals: status.withdrawals.into_iter().map(withdrawal).collect(),
        }))
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
