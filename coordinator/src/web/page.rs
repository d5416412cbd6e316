//! `/`: the same as one plain page for people.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFRESH};
use axum::response::{Html, IntoResponse, Response};
use landfall_proto::status::{Classify, chain};
use landfall_route::Health;

use super::Views;
use crate::fleet::MirrorStatus;
use crate::state::operations::Operation;
use crate::status::{Status, Withdrawal};

/// Operations that are shown.
const OPERATIONS: u32 = 10;
/// Styles only, and only our own.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "index.html")]
struct Page {
    name: String,
    revision: u64,
    log_size: u64,
    objects: u64,
    names: u64,
    pending_names: u64,
    size: String,
    checkpoint: String,
    stale: bool,
    behind: Option<String>,
    audit: String,
    has_drift: bool,
    mirrors: Vec<MirrorRow>,
    withdrawals: Vec<WithdrawalRow>,
    operations: Vec<OperationRow>,
}

struct MirrorRow {
    name: String,
    url: String,
    place: String,
    state: &'static str,
    health: &'static str,
    ready: u64,
    wanted: u64,
    names_revision: u64,
    last_report: String,
    connected: bool,
    incident: String,
}

struct WithdrawalRow {
    revision: u64,
    reason: String,
    objects: u64,
    names: String,
    confirmed: String,
    pending: String,
    exposed: String,
}

struct OperationRow {
    id: String,
    started: String,
    who: String,
    why: String,
    result: String,
    is_clean: bool,
}

pub(super) async fn show(State(views): State<Views>) -> Response {
    let operations = match views.operations.newest(None, None, OPERATIONS).await {
        Ok(operations) => operations,
        Err(error) => {
            tracing::error!(error = %chain(&error), "the page cannot be made");
            return error.fault().http().into_response();
        }
    };
    let status = views.statuses.whole();
    let now = views.statuses.unix_seconds();
    match page(&status, operations, now).render() {
        Ok(html) => {
            let headers = [
                (CACHE_CONTROL, "no-store"),
                (CONTENT_SECURITY_POLICY, POLICY),
                (REFRESH, "10"),
            ];
            (headers, Html(html)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the page cannot be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn page(status: &Status, operations: Vec<Operation>, now: u64) -> Page {
    Page {
        name: status.name.clone(),
        revision: status.revision,
        log_size: status.log_size,
        objects: status.objects,
        names: status.names,
        pending_names: status.pending_names,
        size: size_text(status.bytes),
        checkpoint: ago(now, status.checkpoint_time),
        stale: status.stale,
        behind: status.behind.clone(),
        audit: status.origin_audit.as_ref().map_or_else(
            || "never".to_owned(),
            |audit| {
                let time = ago(now, audit.finished);
                match audit.tally.drift() {
                    0 => format!("{time}, as approved"),
                    drift => format!("{time}, {drift} differ"),
                }
            },
        ),
        has_drift: status
            .origin_audit
            .as_ref()
            .is_some_and(|audit| audit.tally.drift() > 0),
        mirrors: status
            .fleet
            .mirrors
            .iter()
            .map(|mirror| mirror_row(mirror, status.names_revision(mirror), now))
            .collect(),
        withdrawals: status.withdrawals.iter().map(withdrawal_row).collect(),
        operations: operations.into_iter().map(operation_row).collect(),
    }
}

fn withdrawal_row(withdrawal: &Withdrawal) -> WithdrawalRow {
    WithdrawalRow {
        revision: withdrawal.revision,
        reason: withdrawal.reason.clone(),
        objects: withdrawal.objects.len(),
        names: withdrawal.names.join(", "),
        confirmed: withdrawal.confirmed.join(", "),
        pending: withdrawal.pending.join(", "),
        exposed: withdrawal.exposed.join("; "),
    }
}

fn mirror_row(mirror: &MirrorStatus, names_revision: u64, now: u64) -> MirrorRow {
    MirrorRow {
        name: mirror.view.name.clone(),
        url: mirror.view.public_url.clone(),
        place: place_text(mirror),
        state: mirror.state,
        health: match mirror.healthy {
            Health::Unknown => "not probed",
            Health::Up => "up",
            Health::Down => "down",
        },
        ready: mirror.ready_objects,
        wanted: mirror.wanted_objects,
        names_revision,
        last_report: if mirror.last_report == 0 {
            "never".into()
        } else {
            ago(now, mirror.last_report)
        },
        connected: mirror.connected,
        incident: mirror.incidents.last().cloned().unwrap_or_default(),
    }
}

fn place_text(mirror: &MirrorStatus) -> String {
    let place = &mirror.view.place;
    let parts = [
        place.cloud.clone(),
        place.region.clone(),
        place.country.as_ref().map(ToString::to_string),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn operation_row(operation: Operation) -> OperationRow {
    let result = &operation.result;
    let is_clean = result.error.is_empty() && result.lost + result.refused + result.failed == 0;
    OperationRow {
        id: operation.start.id,
        started: time_text(operation.start.started),
        who: operation.start.who,
        why: operation.start.why,
        result: match (operation.finished, result.error.is_empty()) {
            (None, _) => "running".into(),
            (Some(_), false) => result.error.clone(),
            (Some(_), true) => format!(
                "{}: {} present, {} copied, {} lost, {} refused, {} failed, {} removed",
                match result.revision {
                    0 => "nothing changed".to_owned(),
                    revision => format!("revision {revision}"),
                },
                result.present,
                result.copied,
                result.lost,
                result.refused,
                result.failed,
                result.removed
            ),
        },
        is_clean,
    }
}

/// UTC, to the second.
fn time_text(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(
            || "?".into(),
            |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        )
}

fn ago(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Decimal units, one digit after the point.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1000;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_500_000, "1.5 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
        for (seconds, text) in [
            (0, "0 s ago"),
            (120, "2 min ago"),
            (7300, "2 h ago"),
            (200_000, "2 days ago"),
        ] {
            assert_eq!(ago(1_000_000, 1_000_000 - seconds), text);
        }
        assert_eq!(ago(5, 9), "0 s ago", "clocks differ");
        assert_eq!(time_text(0), "1970-01-01 00:00:00Z");
    }

    #[test]
    fn whatever_people_wrote_is_shown_as_text() {
        let page = Page {
            name: "artifacts.example.org".into(),
            revision: 1,
            log_size: 2,
            objects: 3,
            names: 4,
            pending_names: 5,
            size: "5 B".into(),
            checkpoint: "1 s ago".into(),
            stale: true,
            behind: None,
            audit: "never".into(),
            has_drift: false,
            mirrors: Vec::new(),
            withdrawals: Vec::new(),
            operations: vec![OperationRow {
                id: "op".into(),
                started: "now".into(),
                who: "loopback".into(),
                why: "<script>alert(1)</script>".into(),
                result: "running".into(),
                is_clean: false,
            }],
        };
        let html = page.render().unwrap();
        assert!(html.contains("artifacts.example.org"));
        assert!(!html.contains("<script>"), "{html}");
    }
}
