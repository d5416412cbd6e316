//! What a redirector sees of the mirrors and the origin itself: asking them.
//!
//! Each round asks every mirror for the headers of an object that it says it holds, and the origin for those of any. No redirects are followed and no
//! body is read. A mirror that holds nothing yet is not asked, and nothing is thought of it. Between rounds those are
//! asked that came under suspicion, for which no more is needed than somebody who had no luck there: so they are asked
//! in the same way and with the same patience as ever, and not much more often.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use http::StatusCode;
use landfall_catalog::Catalog;
use landfall_route::{
    Content, FleetView, MirrorState, MirrorView, ORIGIN, StoreKind, Target, blob_url, location,
};
use landfall_runtime::Shutdown;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Suspects, pick, pick_any};
use crate::config::Probe;
use crate::view::View;

/// Mirrors that are asked at the same time.
const MAX_CONCURRENT: usize = 64;

/// From one time that suspects are asked to the next, and from a round to the next such time. Failures that make a
/// mirror count as down are at least this far apart, unless a round comes in between.
const SUSPECTS_INTERVAL: Duration = Duration::from_millis(500);

/// One question to one mirror, or to the origin by its name.
struct Question {
    whom: String,
    url: String,
    size: u64,
}

/// Probes all mirrors, round after round, until the stop is requested. Each verdict that changes takes effect at
/// once and wakes `changed`.
pub async fn run(
    view: Arc<View>,
    http: reqwest::Client,
    config: Probe,
    suspects: Arc<Suspects>,
    changed: Arc<Notify>,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(config.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut suspects_from = Instant::now();
    loop {
        let suspected = async {
            tokio::time::sleep_until(suspects_from).await;
            suspects.taken().await
        };
        let only = tokio::select! {
            () = shutdown.requested() => return,
            _ = ticks.tick() => None,
            suspected = suspected => Some(suspected),
        };
        suspects_from = Instant::now() + SUSPECTS_INTERVAL;
        let asked: Vec<_> = questions(&view)
            .into_iter()
            .filter(|question| {
                only.as_ref()
                    .is_none_or(|only| only.contains(&question.whom))
            })
            .map(|question| {
                let (view, http) = (Arc::clone(&view), http.clone());
                probe(view, http, question, config.clone(), Arc::clone(&changed))
            })
            .collect();
        let round = stream::iter(asked).buffer_unordered(MAX_CONCURRENT);
        let round = round.for_each(|()| std::future::ready(()));
        if shutdown.unless_requested(round).await.is_none() {
            return;
        }
    }
}

async fn probe(
    view: Arc<View>,
    http: reqwest::Client,
    question: Question,
    config: Probe,
    changed: Arc<Notify>,
) {
    let fault = ask(&http, &question, config.timeout()).await.err();
    let Some(health) = view.observe(&question.whom, fault.is_none(), &config) else {
        return;
    };
    tracing::info!(
        mirror = question.whom,
        ?health,
        fault = fault.unwrap_or_default(),
        "a mirror is seen differently"
    );
    changed.notify_one();
}

/// Looks at one mirror now: whether it answers; none if there is nothing to ask it.
pub(crate) async fn look(
    view: &View,
    http: &reqwest::Client,
    mirror: &str,
    patience: Duration,
) -> Option<bool> {
    let question = {
        let (fleet, state) = (view.fleet(), view.catalog());
        let mirror = fleet.mirror(mirror).filter(|mirror| is_probed(mirror))?;
        question(state.catalog(), mirror)?
    };
    Some(ask(http, &question, patience).await.is_ok())
}

fn questions(view: &View) -> Vec<Question> {
    let fleet = view.fleet();
    let state = view.catalog();
    fleet
        .mirrors
        .iter()
        .filter(|mirror| is_probed(mirror))
        .filter_map(|mirror| question(state.catalog(), mirror))
        .chain(question_of_origin(state.catalog(), &fleet))
        .collect()
}

fn question(catalog: &Catalog, mirror: &MirrorView) -> Option<Question> {
    let readiness = mirror.readiness.as_ref()?;
    let mut random = rand::rng();
    let ordinal = pick(catalog, readiness, |below| random.random_range(0..below))?;
    let object = catalog.object(ordinal)?;
    Some(Question {
        whom: mirror.name.clone(),
        url: blob_url(mirror, object.digest()),
        size: object.size(),
    })
}

fn question_of_origin(catalog: &Catalog, fleet: &FleetView) -> Option<Question> {
    if fleet.origin_url.is_empty() {
        return None;
    }
    let ordinal = pick_any(catalog, |below| rand::rng().random_range(0..below))?;
    let object = catalog.object(ordinal)?;
    let content = Content::Blob {
        repository: None,
        digest: object.digest(),
    };
    Some(Question {
        whom: ORIGIN.to_owned(),
        url: location(fleet, Target::Origin, content)?,
        size: object.size(),
    })
}

/// Those that may be, or may come to be, sent to. A registry's blobs need a repository and often a token: what
/// can be asked of it without is not known here.
fn is_probed(mirror: &MirrorView) -> bool {
    if mirror.kind != StoreKind::Files {
        return false;
    }
    match mirror.state {
        MirrorState::Probation
        | MirrorState::Active
        | MirrorState::Draining
        | MirrorState::Quarantined => true,
        MirrorState::Pending | MirrorState::Revoked => false,
    }
}

async fn ask(http: &reqwest::Client, question: &Question, timeout: Duration) -> Result<(), String> {
    let answer = http
        .head(&question.url)
        .timeout(timeout)
        .send()
        .await
        .map_err(|fault| fault.without_url().to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let length = answer
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if length != question.size => {
            Err(format!("{length} bytes in place of {}", question.size))
        }
        Some(_) | None => Ok(()),
    }
}
