//! `/status.json`: the shape of `landfall status --json`. Fields are only ever added.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use landfall_route::Health;
use serde::Serialize;

use super::Views;
use crate::fleet::MirrorStatus;
use crate::status::{Status, Withdrawal};

#[derive(Debug, Serialize)]
struct StatusJson {
    name: String,
    revision: u64,
    log_size: u64,
    objects: u64,
    names: u64,
    /// Names that wait at gates.
    pending_names: u64,
    /// POSIX seconds.
    checkpoint_time: u64,
    stale: bool,
    mirrors: Vec<MirrorJson>,
    /// Newest first.
    withdrawals: Vec<WithdrawalJson>,
    /// Null: the origin was never audited.
    origin_audit: Option<AuditJson>,
    /// Why nothing is committed; null while nothing is in the way.
    behind: Option<String>,
}

/// The last audit of the origin.
#[derive(Debug, Serialize)]
struct AuditJson {
    /// When it ended, in POSIX seconds.
    time: u64,
    /// Objects that were compared.
    checked: u64,
    /// What differed and was not repaired.
    drift: u64,
}

#[derive(Debug, Serialize)]
struct WithdrawalJson {
    revision: u64,
    reason: String,
    objects: u64,
    names: Vec<String>,
    /// Mirrors that hold none of it any more, by their own report.
    confirmed: Vec<String>,
    pending: Vec<String>,
    /// Where the origin's own store still shows some of it, and why.
    exposed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MirrorJson {
    name: String,
    state: &'static str,
    /// Absent (null) while no probe has said anything.
    healthy: Option<bool>,
    ready_objects: u64,
    wanted_objects: u64,
    names_revision: u64,
    /// POSIX seconds; null: it never reported.
    last_report: Option<u64>,
    connected: bool,
    /// Log size that the agent has applied; null: unheard of since the last start.
    applied_size: Option<u64>,
    /// Bytes that it still has to fetch.
    bytes_missing: Option<u64>,
    /// POSIX seconds of its last sign of life.
    last_heartbeat: Option<u64>,
    public_url: String,
    incidents: Vec<String>,
}

pub(super) async fn show(State(views): State<Views>) -> Response {
    let status = views.statuses.whole();
    (
        [(CACHE_CONTROL, "no-store")],
        Json(StatusJson::from(&status)),
    )
        .into_response()
}

impl From<&Status> for StatusJson {
    fn from(status: &Status) -> Self {
        let mirrors = status.fleet.mirrors.iter();
        Self {
            name: status.name.clone(),
            revision: status.revision,
            log_size: status.log_size,
            objects: status.objects,
            names: status.names,
            pending_names: status.pending_names,
            checkpoint_time: status.checkpoint_time,
            stale: status.stale,
            mirrors: mirrors
                .map(|mirror| mirror_json(mirror, status.names_revision(mirror)))
                .collect(),
            withdrawals: status.withdrawals.iter().map(withdrawal_json).collect(),
            behind: status.behind.clone(),
            origin_audit: status.origin_audit.as_ref().map(|audit| AuditJson {
                time: audit.finished,
                checked: audit.tally.objects,
                drift: audit.tally.drift(),
            }),
        }
    }
}

fn withdrawal_json(withdrawal: &Withdrawal) -> WithdrawalJson {
    WithdrawalJson {
        revision: withdrawal.revision,
        reason: withdrawal.reason.clone(),
        objects: withdrawal.objects.len(),
        names: withdrawal.names.clone(),
        confirmed: withdrawal.confirmed.clone(),
        pending: withdrawal.pending.clone(),
        exposed: withdrawal.exposed.clone(),
    }
}

fn mirror_json(mirror: &MirrorStatus, names_revision: u64) -> MirrorJson {
    MirrorJson {
        name: mirror.view.name.clone(),
        state: mirror.state,
        healthy: match mirror.healthy {
            Health::Unknown => None,
            Health::Up => Some(true),
            Health::Down => Some(false),
        },
        ready_objects: mirror.ready_objects,
        wanted_objects: mirror.wanted_objects,
        names_revision,
        last_report: Some(mirror.last_report).filter(|time| *time > 0),
        connected: mirror.connected,
        applied_size: mirror.beat.map(|beat| beat.applied_size),
        bytes_missing: mirror.beat.map(|beat| beat.bytes_missing),
        last_heartbeat: mirror.beat.map(|beat| beat.at),
        public_url: mirror.view.public_url.clone(),
        incidents: mirror.incidents.clone(),
    }
}
