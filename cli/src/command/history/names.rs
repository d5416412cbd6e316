//! `landfall history --name`: what ever happened to a name, a repository, all below
//! a prefix, or an object.

use landfall_catalog::Digest;
use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde::Serialize;

use super::{earlier_than, tell_more};
use crate::{
    args::HistoryArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

/// One line of `history --name --json`.
#[derive(Debug, Serialize)]
struct Event {
    /// Empty: it happened to the object.
    name: String,
    change: String,
    digest: String,
    /// What a name that moved meant before; else empty.
    before: String,
    reason: String,
    revision: u64,
    time: u64,
    who: String,
    why: String,
    operation: String,
}

pub(super) async fn run(what: &str, args: &HistoryArgs) -> Result<Verdict, Failure> {
    let (events, next) = events(what, args).await?;
    if events.is_empty() {
        output::note(match &args.before {
            None => format!("nothing ever happened to {what}"),
            Some(revision) => format!("nothing happened to {what} before revision {revision}"),
        });
        return Ok(Verdict::Incomplete);
    }
    let oldest = events.last().map_or(0, |event| event.revision);
    if args.json {
        for event in &events {
            output::json(event)?;
        }
    } else {
        output::line(table(events).render())?;
    }
    match next {
        None => {}
        Some(revision) if revision == oldest => output::note(format!(
            "there is more, of revision {oldest} too: a larger --limit shows it"
        )),
        Some(_) => tell_more(&oldest.to_string()),
    }
    Ok(Verdict::Done)
}

/// As many as were asked for, and the revision of the first that was left out.
async fn events(what: &str, args: &HistoryArgs) -> Result<(Vec<Event>, Option<u64>), Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let before = args.before.as_deref().map(|before| {
        before.parse().map_err(|_| {
            Failure::Usage(format!(
                "--before: with --name it is a revision, not {before}"
            ))
        })
    });
    let mut request = v1::HistoryRequest {
        what: what.to_owned(),
        before_revision: before.transpose()?.map_or(Ok(0), earlier_than)?,
        ..v1::HistoryRequest::default()
    };
    let mut events: Vec<Event> = Vec::new();
    loop {
        let left = (args.limit as usize).saturating_sub(events.len());
        request.limit = u32::try_from(left + 1).unwrap_or(u32::MAX);
        let answer = client
            .history(request.clone())
            .await
            .map_err(|status| connect::refused(coordinator, &status))?
            .into_inner();
        for event in answer.events.into_iter().map(Event::from) {
            if events.len() >= args.limit as usize {
                return Ok((events, Some(event.revision)));
            }
            events.push(event);
        }
        if answer.next.is_empty() {
            return Ok((events, None));
        }
        request.after = answer.next;
    }
}

fn table(events: Vec<Event>) -> Table {
    let mut table = Table::new(&[
        ">REVISION",
        "TIME",
        "CHANGE",
        "NAME",
        "DIGEST",
        "WHO",
        "OPERATION",
        "WHY",
    ]);
    for event in events {
        let was = match event.before.as_str() {
            "" => String::new(),
            before => format!(", was {before}"),
        };
        table.row([
            event.revision.to_string(),
            output::time(event.time),
            event.change,
            event.name,
            format!("{}{was}", event.digest),
            event.who,
            event.operation,
            match event.reason.as_str() {
                "" => event.why,
                reason => reason.to_owned(),
            },
        ]);
    }
    table
}

impl From<v1::HistoryEvent> for Event {
    fn from(event: v1::HistoryEvent) -> Self {
        let digest = |bytes: &[u8]| {
            let digest = Digest::try_from_slice(bytes);
            digest.map(|digest| digest.to_string()).unwrap_or_default()
        };
        Self {
            digest: digest(&event.digest),
            before: digest(&event.before),
            name: event.name,
            change: event.change,
            reason: event.reason,
            revision: event.revision,
            time: event.time,
            who: event.who,
            why: event.why,
            operation: event.operation,
        }
    }
}
