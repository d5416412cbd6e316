//! From a decision to a redirect.
//!
//! A `Location` is built from the fleet view and parsed names. Nothing else of the request reaches it, the
//! query least of all.

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LINK, LOCATION};
use landfall_route::{Ask, Decision, ORIGIN, Target, decide, decision_id};

use super::Context;
use super::reply::{LANDFALL_DECISION, LANDFALL_MIRROR, Reply};
use crate::metrics::{Asked, Outcome};

/// Decides, and leads there; `url_at` says where a target has what is asked for.
pub(super) fn redirect(
    context: &Context<'_>,
    status: StatusCode,
    asked: Asked,
    ask: &Ask<'_>,
    url_at: impl Fn(Target) -> Option<String>,
) -> Reply {
    let decision = decide(ask, context.fleet);
    let (name, outcome) = match decision.target {
        Target::Mirror(at) => (
            context.fleet.mirrors.get(at).map(|it| it.name.as_str()),
            Outcome::Mirror,
        ),
        Target::Origin => (Some(ORIGIN), Outcome::Origin),
        Target::Nothing => (None, Outcome::Unavailable),
    };
    let location = url_at(decision.target).and_then(|url| HeaderValue::try_from(url).ok());
    let (Some(location), Some(name)) = (location, name) else {
        return Reply::unavailable(context.key).counted(asked, Outcome::Unavailable);
    };
    let mut reply = Reply::empty(status)
        .with(LOCATION, location)
        .with(
            CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=60"),
        )
        .with_text(LANDFALL_MIRROR, name)
        .with_text(
            LANDFALL_DECISION,
            &decision_id(context.fleet.revision, &context.place, ask.ordinal),
        )
        .counted(asked, outcome);
    reply.tier = Some(decision.tier);
    append_duplicates(&mut reply, context, &decision, url_at);
    reply
}

/// `Link: <url>; rel=duplicate; pri=2; geo=no` for what would have been next (RFC 6249 section 2).
fn append_duplicates(
    reply: &mut Reply,
    context: &Context<'_>,
    decision: &Decision,
    url_at: impl Fn(Target) -> Option<String>,
) {
    for (priority, at) in (2..).zip(decision.alternates.iter()) {
        let (Some(mirror), Some(url)) =
            (context.fleet.mirrors.get(*at), url_at(Target::Mirror(*at)))
        else {
            continue;
        };
        let geo = mirror.place.country.map_or_else(String::new, |country| {
            format!("; geo={}", country.as_str().to_ascii_lowercase())
        });
        let link = format!("<{url}>; rel=duplicate; pri={priority}{geo}");
        if let Ok(link) = HeaderValue::try_from(link) {
            reply.headers.append(LINK, link);
        }
    }
}
