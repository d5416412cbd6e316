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
        let status = shared.statuses.whole();
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
            pending_names: status.pending_names,
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
            behind: status.behind.clone().unwrap_or_default(),
            origin_audit: status.origin_audit.as_ref().map(|audit| v1::OriginAudit {
                time: audit.finished,
                checked: audit.tally.objects,
                drift: audit.tally.drift(),
            }),
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
        exposed: withdrawal.exposed,
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

#[cfg(test)]
mod tests {
    use landfall_proto::v1::StoreKind;
    use landfall_route::{Health, MirrorView};
    use prost::Message as _;

    use super::super::MAX_ANSWER_BYTES;
    use super::super::fleet::MAX_INCIDENT_BYTES;
    use super::*;

    fn mirrors(names: impl Iterator<Item = String>) -> Vec<MirrorStatus> {
        names
            .map(|name| MirrorStatus {
                view: MirrorView {
                    name,
                    ..MirrorView::default()
                },
                state: "active",
                healthy: Health::Up,
                ready_objects: 0,
                wanted_objects: 0,
                names_through: 0,
                last_report: 0,
                connected: false,
                beat: None,
                incidents: Vec::new(),
                report: None,
            })
            .collect()
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_overlap() {
        let mirrors = mirrors((0..1000).map(|number| format!("m{number:04}")));
        for limit in [0, 1, 7, 200, 201, 1000, u32::MAX] {
            let mut request = v1::ListMirrorsRequest {
                after: String::new(),
                limit,
            };
            let mut seen = Vec::new();
            loop {
                let (page, next) = page(&mirrors, &request);
                assert!(page.len() <= PAGE);
                seen.extend(page.iter().map(|mirror| mirror.view.name.clone()));
                if next.is_empty() {
                    break;
                }
                request.after = next;
            }
            let all: Vec<_> = mirrors.iter().map(|it| it.view.name.clone()).collect();
            assert_eq!(seen, all, "{limit}");
        }
        let beyond = v1::ListMirrorsRequest {
            after: "z".into(),
            limit: 0,
        };
        assert!(page(&mirrors, &beyond).0.is_empty());
    }

    #[test]
    fn the_largest_page_is_an_answer_that_a_client_takes() {
        let name = |number: usize| format!("{number:064}");
        let all: Vec<_> = (0..10_000).map(name).collect();
        let page: BTreeSet<_> = all.iter().take(PAGE).map(String::as_str).collect();
        let text = |bytes: usize| "x".repeat(bytes);
        let mirror = |name: &&str| v1::MirrorStatus {
            mirror: Some(v1::Mirror {
                name: (*name).to_owned(),
                public_url: text(2048),
                kind: StoreKind::Registry.into(),
                place: Some(v1::Place {
                    cloud: text(64),
                    region: text(64),
                    asns: vec![u32::MAX; 64],
                    country: text(2),
                    continent: text(2),
                    coordinates: Some(v1::Coordinates {
                        latitude_e4: -900_000,
                        longitude_e4: -1_800_000,
                    }),
                }),
                weight: u32::MAX,
                state: v1::MirrorState::Revoked.into(),
                serves: v1::Serves::Everything.into(),
                registry_prefix: text(255),
            }),
            health: v1::Health::Down.into(),
            ready_objects: u64::MAX,
            wanted_objects: u64::MAX,
            names_revision: u64::MAX,
            last_report: u64::MAX,
            connected: true,
            incidents: vec![text(MAX_INCIDENT_BYTES); 8],
        };
        let withdrawal = |revision| v1::Withdrawal {
            revision,
            reason: text(4096),
            objects: u64::MAX,
            names: vec![text(340); 20],
            confirmed: all.clone(),
            pending: Vec::new(),
            exposed: vec![text(300 * 4); 5],
        };
        let answer = v1::ListMirrorsResponse {
            mirrors: page.iter().map(mirror).collect(),
            withdrawals: (0..100)
                .map(|revision| of_page(withdrawal(revision), &page))
                .collect(),
            ..v1::ListMirrorsResponse::default()
        };
        assert_eq!(answer.withdrawals[0].confirmed.len(), PAGE);
        let bytes = answer.encoded_len();
        assert!(bytes < MAX_ANSWER_BYTES * 9 / 10, "{bytes}");
    }
}
