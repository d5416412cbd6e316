//! Answers from a view.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use landfall_catalog::Digest;
use landfall_route::{Health, MirrorState, MirrorView, Serves};
use proptest::prelude::*;

use super::world::*;
use crate::config::Probe;
use crate::http::{Answer, ClientRequest, answer};
use crate::probe::pick;
use crate::view::View;

const TOOL_PATH: &str = "/binaries/tool/v1/tool";

fn with(change: impl Fn(&mut MirrorView)) -> View {
    let mut mirrors = mirrors();
    mirrors.iter_mut().for_each(change);
    view(&mirrors)
}

#[track_caller]
fn leads_to(view: &View, path: &str, mirror: &str) {
    let reply = get(view, path);
    assert_eq!(header(&reply, "landfall-mirror"), mirror, "{path}");
}

#[test]
fn a_file_is_led_to_the_trusted_mirror_of_its_clients_country() {
    let reply = get(&view(&mirrors()), TOOL_PATH);
    assert_eq!(reply.status, StatusCode::FOUND);
    let expect = [
        (
            "location",
            "http://oslo.example.net/pub/binaries/tool/v1/tool".to_owned(),
        ),
        ("cache-control", "private, max-age=60".to_owned()),
        (
            "digest",
            format!("SHA-256={}", Digest::of(TOOL).to_base64()),
        ),
        ("etag", format!("\"sha256:{}\"", hex(TOOL))),
        ("landfall-mirror", "oslo".to_owned()),
        ("landfall-decision", "1.0.no".to_owned()),
        ("landfall-catalog", "revision=2 size=17".to_owned()),
        ("content-length", "0".to_owned()),
        (
            "link",
            "<http://berlin.example.net/pub/binaries/tool/v1/tool>; rel=duplicate; pri=2; geo=de"
                .to_owned(),
        ),
    ];
    for (name, value) in expect {
        assert_eq!(header(&reply, name), value, "{name}");
    }
    let from_berlin = from("198.51.100.1", request(TOOL_PATH));
    let reply = reply_to(&view(&mirrors()), &from_berlin);
    assert_eq!(header(&reply, "landfall-mirror"), "berlin");
}

#[test]
fn a_path_is_escaped_in_the_location() {
    let reply = get(&view(&mirrors()), "/binaries/big%20file+x");
    assert_eq!(
        header(&reply, "location"),
        "http://oslo.example.net/pub/binaries/big%20file%2Bx"
    );
}

#[test]
fn plain_files_go_to_marked_mirrors_only_and_blobs_to_any() {
    let view = with(|mirror| mirror.serves = Serves::Verified);
    let reply = get(&view, TOOL_PATH);
    assert_eq!(header(&reply, "landfall-mirror"), "origin");
    assert_eq!(
        header(&reply, "location"),
        format!("{ORIGIN_URL}{TOOL_PATH}")
    );
    let reply = get(&view, &format!("/blobs/sha256/{}", hex(TOOL)));
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(["oslo", "bergen"].contains(&header(&reply, "landfall-mirror")));
    assert_eq!(
        header(&reply, "docker-content-digest"),
        format!("sha256:{}", hex(TOOL))
    );
}

#[test]
fn who_is_not_ready_is_never_led_to() {
    let ready = |missing: &[u32], names_through: u64| {
        let mut readiness = readiness(missing);
        readiness.names_through = names_through;
        Some(Arc::new(readiness))
    };
    let blob = format!("/blobs/sha256/{}", hex(TOOL));
    let never_reported = with(|mirror| mirror.readiness = None);
    leads_to(&never_reported, TOOL_PATH, "origin");
    leads_to(&never_reported, &blob, "origin");
    let without_object = with(|mirror| mirror.readiness = ready(&[0], LOG_SIZE));
    leads_to(&without_object, TOOL_PATH, "origin");
    leads_to(&without_object, &blob, "origin");
    // The tool's name is entry 7: a mirror that has placed the names of entries 0 to 6 only lacks it.
    let without_name = with(|mirror| mirror.readiness = ready(&[], 7));
    leads_to(&without_name, TOOL_PATH, "origin");
    let with_name = with(|mirror| mirror.readiness = ready(&[], 8));
    leads_to(&with_name, TOOL_PATH, "oslo");
    // Not even when everything that is ready is down.
    let one = with(|mirror| {
        if mirror.name != "bergen" {
            mirror.readiness = ready(&[0], LOG_SIZE);
        }
    });
    for _ in 0..2 {
        one.observe("bergen", false, &Probe::default());
    }
    leads_to(&one, &blob, "origin");
}

#[test]
fn readiness_for_another_log_does_not_count() {
    let view = with(|mirror| {
        let mut other = readiness(&[]);
        other.log.origin = "elsewhere.example.org".to_owned();
        mirror.readiness = Some(Arc::new(other));
    });
    leads_to(&view, TOOL_PATH, "origin");
}

#[test]
fn a_probes_verdict_takes_effect_at_once() {
    let view = view(&mirrors());
    leads_to(&view, TOOL_PATH, "oslo");
    let seen = |success| view.observe("oslo", success, &Probe::default());
    assert_eq!(seen(true), Some(Health::Up));
    assert_eq!(seen(false), None);
    leads_to(&view, TOOL_PATH, "oslo");
    assert_eq!(seen(false), Some(Health::Down));
    leads_to(&view, TOOL_PATH, "berlin");
    assert_eq!(
        [seen(true), seen(true), seen(true)],
        [None, None, Some(Health::Up)]
    );
    leads_to(&view, TOOL_PATH, "oslo");
    assert_eq!(view.observe("nobody", false, &Probe::default()), None);
}

#[test]
fn an_avoided_or_excluded_mirror_is_left_out() {
    let view = view(&mirrors());
    leads_to(&view, &format!("{TOOL_PATH}?avoid=oslo"), "berlin");
    leads_to(
        &view,
        &format!("{TOOL_PATH}?avoid=oslo&avoid=berlin"),
        "origin",
    );
    for state in [
        MirrorState::Pending,
        MirrorState::Draining,
        MirrorState::Quarantined,
        MirrorState::Revoked,
    ] {
        let view = with(|mirror| mirror.state = state);
        leads_to(&view, TOOL_PATH, "origin");
    }
}

#[test]
fn a_client_of_https_is_not_led_to_http() {
    let mut mirrors = mirrors();
    mirrors[0].public_url = "https://berlin.example.net".to_owned();
    let view = view(&mirrors);
    let mut asked = request(TOOL_PATH);
    asked.client.secure = true;
    let reply = reply_to(&view, &asked);
    assert_eq!(header(&reply, "landfall-mirror"), "berlin");
    assert!(!reply.headers.contains_key("link"));
}

#[test]
fn an_agents_place_is_its_mirrors() {
    let view = view(&mirrors());
    let blob = format!("/blobs/sha256/{}", hex(LAYER));
    let asked = ClientRequest {
        agent: Some("berlin"),
        ..request(&blob)
    };
    let reply = reply_to(&view, &asked);
    assert_eq!(header(&reply, "landfall-mirror"), "berlin");
    let asked = ClientRequest {
        agent: Some("no such mirror"),
        ..asked
    };
    let reply = reply_to(&view, &asked);
    assert_ne!(header(&reply, "landfall-mirror"), "berlin");
}

#[test]
fn unknown_withdrawn_and_unavailable_are_told_apart() {
    let view = view(&mirrors());
    let reply = get(&view, "/binaries/nothing");
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(header(&reply, "content-type").starts_with("text/plain"));
    for path in [
        "/binaries/gone".to_owned(),
        format!("/blobs/sha256/{}", hex(GONE)),
    ] {
        let reply = get(&view, &path);
        assert_eq!(reply.status, StatusCode::GONE, "{path}");
        assert!(String::from_utf8_lossy(&reply.body).contains("leaked a key"));
    }
    view.set_fleet(fleet(&[], ""));
    let reply = get(&view, TOOL_PATH);
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let wait: u64 = header(&reply, "retry-after").parse().unwrap();
    assert!((5..=30).contains(&wait));
    assert!(!reply.headers.contains_key("location"));
}

#[test]
fn pieces_are_led_to_like_a_blob() {
    let view = view(&mirrors());
    let reply = get(&view, &format!("/.landfall/pieces/{}", hex(BIG)));
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    let mirror = header(&reply, "landfall-mirror");
    assert_eq!(
        header(&reply, "location"),
        format!(
            "http://{mirror}.example.net/pub/.landfall/pieces/{}",
            hex(BIG)
        )
    );
    let small = get(&view, &format!("/.landfall/pieces/{}", hex(TOOL)));
    assert_eq!(small.status, StatusCode::NOT_FOUND);
    let bad = get(&view, "/.landfall/pieces/xyz");
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

#[test]
fn an_explanation_agrees_with_what_the_client_gets() {
    let view = view(&mirrors());
    for address in ["192.0.2.9", "198.51.100.9", "203.0.113.9", "::1"] {
        let explained = json(&get(
            &view,
            &format!("/.landfall/explain?from={address}&name=binaries/tool/v1/tool"),
        ));
        let got = reply_to(&view, &from(address, request(TOOL_PATH)));
        assert_eq!(explained["mirror"], header(&got, "landfall-mirror"));
        assert_eq!(explained["url"], header(&got, "location"));
        assert_eq!(explained["decision"], header(&got, "landfall-decision"));
        let keys: BTreeSet<&str> = explained
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expect = [
            "candidates",
            "decision",
            "digest",
            "mirror",
            "name",
            "place",
            "reason",
            "size",
            "url",
        ];
        assert_eq!(keys, expect.into());
    }
    let explained = json(&get(&view, "/.landfall/explain?from=192.0.2.9&name=app:v1"));
    assert_eq!(explained["place"]["country"], "NO");
    assert_eq!(explained["reason"], "nearest-ready");
    let oslo = explained["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|candidate| candidate["mirror"] == "oslo")
        .unwrap();
    assert_eq!(oslo["tier"], "same-country");
    assert_eq!(oslo["eligible"], true);
    for (query, status) in [
        ("from=1.2.3.4", 400),
        ("name=app:v1", 400),
        ("from=x&name=app:v1", 400),
        ("from=1.2.3.4&name=app:v9", 404),
        ("from=1.2.3.4&name=binaries/gone", 410),
    ] {
        let reply = get(&view, &format!("/.landfall/explain?{query}"));
        assert_eq!(reply.status.as_u16(), status, "{query}");
    }
}

#[test]
fn the_fleet_is_told_as_decisions_see_it() {
    let view = view(&mirrors());
    view.observe("oslo", true, &Probe::default());
    let shown = json(&get(&view, "/.landfall/mirrors.json"));
    assert_eq!(shown["origin_url"], ORIGIN_URL);
    let oslo = &shown["mirrors"][2];
    assert_eq!(oslo["name"], "oslo");
    assert_eq!(oslo["healthy"], true);
    assert_eq!(oslo["serves"], "everything");
    assert_eq!(oslo["ready_objects"], OBJECTS);
    assert_eq!(shown["mirrors"][0]["healthy"], serde_json::Value::Null);
}

#[test]
fn a_revision_is_seen_whole_and_a_silent_log_says_stale() {
    let view = view(&mirrors());
    assert_eq!(
        get(&view, "/binaries/tool/v2/tool").status,
        StatusCode::NOT_FOUND
    );
    let mut wrong = later_entries();
    wrong.pop();
    assert!(view.apply(&wrong, NOW).is_err());
    assert_eq!(
        get(&view, "/binaries/tool/v2/tool").status,
        StatusCode::NOT_FOUND
    );
    view.apply(&later_entries(), NOW).unwrap();
    let reply = get(&view, "/binaries/tool/v2/tool");
    assert_eq!(
        header(&reply, "landfall-mirror"),
        "origin",
        "nobody holds it"
    );
    assert_eq!(header(&reply, "landfall-catalog"), "revision=3 size=20");
    view.tick(NOW + 25 * 3600);
    let reply = get(&view, TOOL_PATH);
    assert_eq!(reply.status, StatusCode::FOUND, "goes on being served");
    assert_eq!(
        header(&reply, "landfall-catalog"),
        "revision=3 size=20; stale"
    );
}

proptest! {
    #[test]
    fn a_probe_asks_for_what_is_live_and_held_if_there_is_any(
        missing in proptest::collection::vec(0..OBJECTS, 0..12),
        numbers in proptest::collection::vec(any::<u32>(), 1..9),
    ) {
        let view = view(&[]);
        let state = view.catalog();
        let readiness = readiness(&missing);
        let mut numbers = numbers.into_iter().cycle();
        let picked = pick(state.catalog(), &readiness, |below| numbers.next().unwrap() % below);
        // Ordinal 2 was withdrawn.
        let any = (0..OBJECTS).any(|ordinal| ordinal != 2 && !missing.contains(&ordinal));
        prop_assert_eq!(picked.is_some(), any);
        if let Some(ordinal) = picked {
            prop_assert!(ordinal.get() != 2 && readiness.holds(ordinal));
        }
    }

    /// Whatever is asked, and whoever asks: a redirect leads to a mirror of the fleet or to the origin, below its
    /// base URL, and to nothing that has not said it is ready.
    #[test]
    fn location_only_known_hosts(
        path in prop_oneof![
            "\\PC{0,40}",
            "(/|//|\\\\|@|%2f|%5c|%0d%0a|\\.\\.|evil\\.example|http:|binaries|tool|v1|app:v1){0,8}",
            Just(TOOL_PATH.to_owned()),
            Just(format!("/blobs/sha256/{}", hex(LAYER))),
            Just(format!("/v2/app/blobs/sha256:{}", hex(LAYER))),
        ],
        query in prop_oneof!["\\PC{0,30}", Just("avoid=oslo".to_owned()), Just("url=http://evil.example/".to_owned())],
        address in any::<u32>(),
        missing in proptest::collection::vec(0..OBJECTS, 0..3),
    ) {
        let mut mirrors = mirrors();
        mirrors[0].readiness = Some(Arc::new(readiness(&missing)));
        let view = view(&mirrors);
        let asked = ClientRequest {
            query: Some(&query),
            ..request("")
        };
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let asked = ClientRequest { path: &path, ..asked };
        let address = std::net::Ipv4Addr::from(address).to_string();
        if let Answer::Reply(reply) = answer(&view, &from(&address, asked)) {
            let location = header(&reply, "location");
            let known = mirrors
                .iter()
                .map(|mirror| mirror.public_url.as_str())
                .chain([ORIGIN_URL])
                .any(|base| location.strip_prefix(base).is_some_and(|rest| rest.starts_with('/')));
            prop_assert_eq!(reply.status.is_redirection(), !location.is_empty());
            prop_assert!(location.is_empty() || known, "{}", location);
            prop_assert!(!location.contains("evil"));
        }
    }
}
