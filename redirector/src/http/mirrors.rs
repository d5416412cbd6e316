//! `/.landfall/mirrors.json`: the fleet as decisions see it.

use http::StatusCode;
use landfall_route::{Health, MirrorState, MirrorView, Serves, StoreKind};
use serde::Serialize;

use super::Context;
use super::explain::ShownPlace;
use super::reply::Reply;
use crate::metrics::{Asked, Outcome};

#[derive(Serialize)]
struct Fleet<'a> {
    revision: u64,
    origin_url: &'a str,
    /// As probes from here see it; null while none has been.
    origin_healthy: Option<bool>,
    mirrors: Vec<Mirror<'a>>,
}

#[derive(Serialize)]
struct Mirror<'a> {
    name: &'a str,
    public_url: &'a str,
    kind: &'static str,
    place: ShownPlace,
    state: MirrorState,
    serves: Serves,
    weight: u32,
    /// As probes from here see it; null while none has been.
    healthy: Option<bool>,
    ready_objects: Option<u64>,
    names_through: Option<u64>,
}

pub(super) fn mirrors(context: &Context<'_>) -> Reply {
    let fleet = Fleet {
        revision: context.fleet.revision,
        origin_url: &context.fleet.origin_url,
        origin_healthy: seen(context.fleet.origin_health),
        mirrors: context.fleet.mirrors.iter().map(shown).collect(),
    };
    Reply::json(StatusCode::OK, "application/json", &fleet)
        .counted(Asked::Internal, Outcome::Served)
}

const fn seen(health: Health) -> Option<bool> {
    match health {
        Health::Unknown => None,
        Health::Up => Some(true),
        Health::Down => Some(false),
    }
}

fn shown(mirror: &MirrorView) -> Mirror<'_> {
    Mirror {
        name: &mirror.name,
        public_url: &mirror.public_url,
        kind: match mirror.kind {
            StoreKind::Files => "files",
            StoreKind::Registry { .. } => "registry",
        },
        place: ShownPlace::from(&mirror.place),
        state: mirror.state,
        serves: mirror.serves,
        weight: mirror.weight,
        healthy: seen(mirror.healthy),
        ready_objects: mirror.readiness.as_ref().map(|it| it.ready_count()),
        names_through: mirror.readiness.as_ref().map(|it| it.names_through),
    }
}
