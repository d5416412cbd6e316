//! `landfall status`: the catalog and the mirrors.

use landfall_proto::v1;
use serde::Serialize;

use crate::{
    args::StatusArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

/// The object of `status --json`; fields are only ever added.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    name: String,
    revision: u64,
    log_size: u64,
    objects: u64,
    names: u64,
    /// Names that wait at gates.
    pending_names: u64,
    checkpoint_time: u64,
    stale: bool,
    mirrors: Vec<MirrorStatus>,
    withdrawals: Vec<Withdrawal>,
    /// Null: the origin was never audited.
    origin_audit: Option<OriginAudit>,
    /// Why nothing is committed; null while nothing is in the way.
    behind: Option<String>,
}

/// The last audit of the origin that came to its end.
#[derive(Debug, Serialize)]
struct OriginAudit {
    time: u64,
    /// Objects that were compared.
    checked: u64,
    /// What differed and was not repaired.
    drift: u64,
}

/// What one revision withdrew and is withdrawn still.
#[derive(Debug, Serialize)]
struct Withdrawal {
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
struct MirrorStatus {
    name: String,
    state: &'static str,
    healthy: Option<bool>,
    connected: bool,
    ready_objects: u64,
    wanted_objects: u64,
    names_revision: u64,
    last_report: u64,
    incidents: Vec<String>,
}

pub(crate) async fn run(args: StatusArgs) -> Result<Verdict, Failure> {
    let status = Status::from(fetch(&args.coordinator.coordinator).await?);
    if args.json {
        output::json(&status)?;
    } else {
        output::line(status.text())?;
    }
    Ok(if status.stale || status.behind.is_some() {
        Verdict::Incomplete
    } else {
        Verdict::Done
    })
}

/// The newest revision, by one small request.
pub(crate) async fn revision(coordinator: &str) -> Result<u64, Failure> {
    let mut client = v1::mirrors_client::MirrorsClient::new(connect::connection(coordinator)?);
    let request = v1::ListMirrorsRequest {
        after: String::new(),
        limit: 1,
    };
    let answer = client.list(request).await;
    answer
        .map(|status| status.into_inner().revision)
        .map_err(|status| connect::refused(coordinator, &status))
}

/// Asks the coordinator, for one page of mirrors after the other.
pub(crate) async fn fetch(coordinator: &str) -> Result<v1::ListMirrorsResponse, Failure> {
    let channel = connect::connection(coordinator)?;
    let mut client = v1::mirrors_client::MirrorsClient::new(channel);
    let mut whole: Option<v1::ListMirrorsResponse> = None;
    loop {
        let after = whole.as_ref().map(|so_far| so_far.next.clone());
        let request = v1::ListMirrorsRequest {
            after: after.unwrap_or_default(),
            limit: 0,
        };
        let page = client
            .list(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| connect::refused(coordinator, &status))?;
        let so_far = match whole {
            None => page,
            Some(so_far) => joined(so_far, page),
        };
        if so_far.next.is_empty() {
            return Ok(so_far);
        }
        whole = Some(so_far);
    }
}

/// What is known so far, with a further page of mirrors.
fn joined(
    mut so_far: v1::ListMirrorsResponse,
    page: v1::ListMirrorsResponse,
) -> v1::ListMirrorsResponse {
    so_far.mirrors.extend(page.mirrors);
    for more in page.withdrawals {
        let known = so_far
            .withdrawals
            .iter_mut()
            .find(|it| it.revision == more.revision && it.reason == more.reason);
        // One that is newer than the first page is for the next time.
        if let Some(known) = known {
            known.confirmed.extend(more.confirmed);
            known.pending.extend(more.pending);
        }
    }
    // Names only ever go up, so that this ends.
    so_far.next = if page.next > so_far.next {
        page.next
    } else {
        String::new()
    };
    so_far
}

impl From<v1::ListMirrorsResponse> for Status {
    fn from(response: v1::ListMirrorsResponse) -> Self {
        Self {
            name: response.name,
            revision: response.revision,
            log_size: response.log_size,
            objects: response.objects,
            names: response.names,
            pending_names: response.pending_names,
            checkpoint_time: response.checkpoint_time,
            stale: response.stale,
            mirrors: response.mirrors.into_iter().map(From::from).collect(),
            withdrawals: response.withdrawals.into_iter().map(From::from).collect(),
            behind: Some(response.behind).filter(|why| !why.is_empty()),
            origin_audit: response.origin_audit.map(|audit| OriginAudit {
                time: audit.time,
                checked: audit.checked,
                drift: audit.drift,
            }),
        }
    }
}

impl From<v1::Withdrawal> for Withdrawal {
    fn from(withdrawal: v1::Withdrawal) -> Self {
        Self {
            revision: withdrawal.revision,
            reason: withdrawal.reason,
            objects: withdrawal.objects,
            names: withdrawal.names,
            confirmed: withdrawal.confirmed,
            pending: withdrawal.pending,
            exposed: withdrawal.exposed,
        }
    }
}

impl From<v1::MirrorStatus> for MirrorStatus {
    fn from(status: v1::MirrorStatus) -> Self {
        let healthy = match status.health() {
            v1::Health::Up => Some(true),
            v1::Health::Down => Some(false),
            v1::Health::Unspecified => None,
        };
        let (name, state) = status
            .mirror
            .map(|mirror| (state_name(mirror.state()), mirror.name))
            .map(|(state, name)| (name, state))
            .unwrap_or_default();
        Self {
            name,
            state,
            healthy,
            connected: status.connected,
            ready_objects: status.ready_objects,
            wanted_objects: status.wanted_objects,
            names_revision: status.names_revision,
            last_report: status.last_report,
            incidents: status.incidents,
        }
    }
}

fn state_name(state: v1::MirrorState) -> &'static str {
    match state {
        v1::MirrorState::Unspecified => "unknown",
        v1::MirrorState::Pending => "pending",
        v1::MirrorState::Probation => "probation",
        v1::MirrorState::Active => "active",
        v1::MirrorState::Draining => "draining",
        v1::MirrorState::Quarantined => "quarantined",
        v1::MirrorState::Revoked => "revoked",
    }
}

impl Status {
    fn withdrawn(&self) -> Table {
        let heading = [
            "WITHDRAWN",
            ">REVISION",
            ">OBJECTS",
            "GONE FROM",
            "NOT YET FROM",
            "REASON",
        ];
        let mut table = Table::new(&heading);
        for withdrawal in &self.withdrawals {
            let list = |names: &[String]| match names {
                [] => "-".to_owned(),
                names => names.join(", "),
            };
            table.row([
                list(&withdrawal.names),
                withdrawal.revision.to_string(),
                withdrawal.objects.to_string(),
                list(&withdrawal.confirmed),
                list(&withdrawal.pending),
                withdrawal.reason.clone(),
            ]);
        }
        table
    }

    fn text(&self) -> String {
        let behind = self.behind.as_ref().map_or_else(String::new, |why| {
            format!("NOTHING IS COMMITTED: {}\n", output::plain(why))
        });
        let mut text = format!(
            "{behind}{}  revision {}  {} objects  {} names{}  log of {} entries\ncheckpoint of {}{}\n{}\n\n",
            self.name,
            self.revision,
            self.objects,
            self.names,
            match self.pending_names {
                0 => String::new(),
                waiting => format!(" and {waiting} at gates"),
            },
            self.log_size,
            output::time(self.checkpoint_time),
            if self.stale { "  STALE" } else { "" },
            self.origin_audit.as_ref().map_or_else(
                || "the origin was never audited".to_owned(),
                |audit| format!(
                    "origin audited at {}: {} objects, {} differ",
                    output::time(audit.time),
                    audit.checked,
                    audit.drift
                ),
            ),
        );
        let mut table = Table::new(&[
            "MIRROR",
            "STATE",
            "HEALTH",
            "SESSION",
            ">READY",
            ">WANTED",
            ">NAMES AT",
            "LAST REPORT",
        ]);
        for mirror in &self.mirrors {
            table.row([
                mirror.name.clone(),
                mirror.state.to_owned(),
                match mirror.healthy {
                    Some(true) => "up".to_owned(),
                    Some(false) => "DOWN".to_owned(),
                    None => "not probed".to_owned(),
                },
                if mirror.connected { "open" } else { "gone" }.to_owned(),
                mirror.ready_objects.to_string(),
                mirror.wanted_objects.to_string(),
                mirror.names_revision.to_string(),
                output::time(mirror.last_report),
            ]);
        }
        text.push_str(&table.render());
        if !self.withdrawals.is_empty() {
            text.push_str("\n\n");
            text.push_str(&self.withdrawn().render());
        }
        for withdrawal in &self.withdrawals {
            for place in &withdrawal.exposed {
                text.push_str(&format!(
                    "\nwithdrawn in revision {}, and still seen at the origin: {place}",
                    withdrawal.revision
                ));
            }
        }
        for mirror in &self.mirrors {
            for incident in &mirror.incidents {
                text.push_str(&format!("\n{}: {incident}", mirror.name));
            }
        }
        text
    }
}
