mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_catalog::{LogPosition, Readiness, empty_root};

use roaring::RoaringBitmap;

use super::*;
use crate::fleet::{Health, MirrorState, Serves, StoreKind};

/// The object that is asked for, and the log index of the entry that set its name.
const OBJECT: u32 = 100;
const NAMED_AT: u64 = 500;

fn readiness(through: u32, names_through: u64) -> Option<Arc<Readiness>> {
    Some(Arc::new(Readiness {
        through,
        missing: [7].into_iter().collect(),
        extra: RoaringBitmap::new(),
        names_through,
        filter: Digest::of(b""),
        log: LogPosition {
            origin: "log.example".to_owned(),
            size: 1000,
            root: empty_root(),
        },
    }))
}

/// `cloud/region`, `asn:…`, `CC`, in any combination.
fn place(text: &str) -> Place {
    let mut place = Place::default();
    for part in text.split_whitespace() {
        if let Some((cloud, region)) = part.split_once('/') {
            place.cloud = Some(cloud.to_owned());
            place.region = Some(region.to_owned());
        } else if let Some(asn) = part.strip_prefix("asn:") {
            place.asn = asn.parse().ok();
        } else {
            place.country = Some(part.parse().unwrap());
        }
    }
    place.completed()
}

fn mirror(name: &str, at: &str) -> MirrorView {
    MirrorView {
        name: name.to_owned(),
        public_url: format!("https://{name}.example"),
        place: place(at),
        weight: 100,
        state: MirrorState::Active,
        serves: Serves::Everything,
        readiness: readiness(OBJECT + 1, NAMED_AT + 1),
        ..MirrorView::default()
    }
}

fn fleet(mirrors: Vec<MirrorView>) -> FleetView {
    FleetView {
        revision: 1,
        mirrors,
        origin_url: "https://origin.example".to_owned(),
        origin_health: Health::Up,
    }
}

/// Three mirrors in three places.
fn three() -> Vec<MirrorView> {
    let mut oslo = mirror("uni-oslo", "NO");
    oslo.asns = vec![224];
    vec![
        mirror("aws-east", "aws/us-east-1"),
        mirror("gcp-west", "gcp/europe-west1"),
        oslo,
    ]
}

/// A plain file download by https from a place.
#[derive(Clone, Debug)]
struct Client {
    place: Place,
    verifies: bool,
    secure: bool,
    avoid: Vec<String>,
    named: bool,
    repository: Option<Repository>,
    key: u64,
}

fn client(at: &str) -> Client {
    Client {
        place: place(at),
        verifies: false,
        secure: true,
        avoid: vec![],
        named: true,
        repository: None,
        key: 1,
    }
}

impl Client {
    fn ask<T>(&self, with: impl FnOnce(&Ask<'_>) -> T) -> T {
        let name = NameRecord {
            ordinal: Ordinal::new(OBJECT),
            set_at: NAMED_AT,
        };
        with(&Ask {
            ordinal: Ordinal::new(OBJECT),
            name: self.named.then_some(name),
            digest: &Digest::of(b"x"),
            repository: self.repository.as_ref(),
            verifies: self.verifies,
            secure: self.secure,
            avoid: &self.avoid,
            place: &self.place,
            key: self.key,
        })
    }

    fn decide(&self, fleet: &FleetView) -> Decision {
        self.ask(|ask| decide(ask, fleet))
    }

    /// Target and alternates by name.
    fn names(&self, fleet: &FleetView) -> Vec<String> {
        let decision = self.decide(fleet);
        let name = |position: &usize| fleet.mirrors[*position].name.clone();
        let target = match decision.target {
            Target::Mirror(position) => name(&position),
            Target::Origin => ORIGIN.to_owned(),
            Target::Nothing => "nothing".to_owned(),
        };
        [target]
            .into_iter()
            .chain(decision.alternates.iter().map(name))
            .collect()
    }

    fn first(&self, fleet: &FleetView) -> String {
        self.names(fleet).swap_remove(0)
    }
}

/// Expects `target tier reason alternate alternate …`.
#[track_caller]
fn check(client: &Client, fleet: &FleetView, expect: &str) {
    let decision = client.decide(fleet);
    let names = client.names(fleet);
    let head = [
        names[0].clone(),
        decision.tier.to_string(),
        decision.reason.to_string(),
    ];
    let got: Vec<String> = head.into_iter().chain(names[1..].iter().cloned()).collect();
    assert_eq!(got.join(" "), expect);
}

#[test]
fn each_client_is_sent_to_the_nearest_mirror() {
    let fleet = fleet(three());
    for (at, expect) in [
        (
            "aws/us-east-1",
            "aws-east same-region nearest-ready uni-oslo gcp-west",
        ),
        (
            "aws/eu-north-1",
            "aws-east same-cloud nearest-ready uni-oslo gcp-west",
        ),
        (
            "gcp/europe-west1",
            "gcp-west same-region nearest-ready uni-oslo aws-east",
        ),
        (
            "gcp/us-west1",
            "gcp-west same-cloud nearest-ready aws-east uni-oslo",
        ),
        (
            "asn:224 SE",
            "uni-oslo same-asn nearest-ready gcp-west aws-east",
        ),
        (
            "NO",
            "uni-oslo same-country nearest-ready gcp-west aws-east",
        ),
        (
            "BE",
            "gcp-west same-country nearest-ready uni-oslo aws-east",
        ),
        (
            "azure/norwaye",
            "uni-oslo same-country nearest-ready gcp-west aws-east",
        ),
        (
            "FR",
            "gcp-west same-continent nearest-ready uni-oslo aws-east",
        ),
        (
            "SE",
            "uni-oslo same-continent nearest-ready gcp-west aws-east",
        ),
        (
            "CA",
            "aws-east same-continent nearest-ready uni-oslo gcp-west",
        ),
        ("MA", "gcp-west anywhere nearest-ready uni-oslo aws-east"),
        ("BR", "aws-east anywhere nearest-ready uni-oslo gcp-west"),
    ] {
        check(&client(at), &fleet, expect);
    }
}

/// One change to the fleet of three, and where a Norwegian then goes.
fn check_change(change: impl FnOnce(&mut MirrorView), expect: &str) {
    let mut mirrors = three();
    change(&mut mirrors[2]);
    check(&client("NO"), &fleet(mirrors), expect);
}

#[test]
fn what_speaks_against_a_mirror_sends_its_clients_to_the_next() {
    const NEXT: &str = "gcp-west same-continent nearest-ready aws-east";
    check_change(|m| m.readiness = None, NEXT);
    check_change(|m| m.readiness = readiness(OBJECT, NAMED_AT + 1), NEXT);
    check_change(|m| m.readiness = readiness(OBJECT + 1, NAMED_AT), NEXT);
    check_change(|m| m.healthy = Health::Down, NEXT);
    check_change(|m| m.state = MirrorState::Pending, NEXT);
    check_change(|m| m.state = MirrorState::Draining, NEXT);
    check_change(|m| m.state = MirrorState::Quarantined, NEXT);
    check_change(|m| m.state = MirrorState::Revoked, NEXT);
    check_change(|m| m.weight = 0, NEXT);
    check_change(|m| m.serves = Serves::Verified, NEXT);
    check_change(
        |m| m.public_url = "http://uni-oslo.example".to_owned(),
        NEXT,
    );
    check_change(
        |m| {
            m.kind = StoreKind::Registry {
                prefix: String::new(),
            }
        },
        NEXT,
    );

    const SAME: &str = "uni-oslo same-country nearest-ready gcp-west aws-east";
    check_change(|m| m.healthy = Health::Unknown, SAME);
    check_change(|m| m.state = MirrorState::Probation, SAME);
}

#[test]
fn an_avoided_mirror_is_left_out() {
    let avoiding = |names: &[&str]| Client {
        avoid: names.iter().map(|name| (*name).to_owned()).collect(),
        ..client("NO")
    };
    let fleet = fleet(three());
    check(
        &avoiding(&["uni-oslo"]),
        &fleet,
        "gcp-west same-continent nearest-ready aws-east",
    );
    check(
        &avoiding(&["nobody"]),
        &fleet,
        "uni-oslo same-country nearest-ready gcp-west aws-east",
    );
    let all = ["uni-oslo", "gcp-west", "aws-east"];
    check(&avoiding(&all), &fleet, "origin origin mirrors-excluded");
    let all = ["uni-oslo", "gcp-west", "aws-east", "origin"];
    check(&avoiding(&all), &fleet, "nothing origin nothing-usable");
}

#[test]
fn a_client_that_checks_digests_may_go_to_any_mirror() {
    let mut mirrors = three();
    for mirror in &mut mirrors {
        mirror.serves = Serves::Verified;
    }
    let fleet = fleet(mirrors);
    check(&client("NO"), &fleet, "origin origin no-trusted-mirror");
    let verifying = Client {
        verifies: true,
        ..client("NO")
    };
    check(
        &verifying,
        &fleet,
        "uni-oslo same-country nearest-ready gcp-west aws-east",
    );
}

#[test]
fn a_blob_needs_no_name_in_place() {
    let mut mirrors = three();
    mirrors[2].readiness = readiness(OBJECT + 1, 0);
    let fleet = fleet(mirrors);
    check(
        &client("NO"),
        &fleet,
        "gcp-west same-continent nearest-ready aws-east",
    );
    let blob = Client {
        named: false,
        ..client("NO")
    };
    check(
        &blob,
        &fleet,
        "uni-oslo same-country nearest-ready gcp-west aws-east",
    );
}

#[test]
fn a_registry_serves_blobs_whose_repository_is_known() {
    let mut mirrors = three();
    mirrors[2].kind = StoreKind::Registry {
        prefix: "k8s".to_owned(),
    };
    let fleet = fleet(mirrors);
    let blob = Client {
        named: false,
        verifies: true,
        ..client("NO")
    };
    check(
        &blob,
        &fleet,
        "gcp-west same-continent nearest-ready aws-east",
    );
    let layer = Client {
        repository: "pause".parse().ok(),
        ..blob
    };
    check(
        &layer,
        &fleet,
        "uni-oslo same-country nearest-ready gcp-west aws-east",
    );
}

#[test]
fn the_origin_serves_what_no_mirror_can() {
    check(
        &client("NO"),
        &fleet(vec![]),
        "origin origin no-mirror-ready",
    );
    let all = |change: fn(&mut MirrorView)| {
        let mut mirrors = three();
        mirrors.iter_mut().for_each(change);
        fleet(mirrors)
    };
    let unready = all(|m| m.readiness = readiness(OBJECT, 0));
    check(&client("NO"), &unready, "origin origin no-mirror-ready");
    let down = all(|m| m.healthy = Health::Down);
    check(&client("NO"), &down, "origin origin mirrors-down");
    let draining = all(|m| m.state = MirrorState::Draining);
    check(&client("NO"), &draining, "origin origin mirrors-excluded");

    let mut mixed = three();
    mixed[0].serves = Serves::Verified;
    mixed[1].readiness = None;
    mixed[2].state = MirrorState::Quarantined;
    check(
        &client("NO"),
        &fleet(mixed),
        "origin origin no-trusted-mirror",
    );
}

#[test]
fn health_fails_open_only_when_the_origin_is_no_way_out() {
    let mut down = fleet(three());
    down.mirrors
        .iter_mut()
        .for_each(|m| m.healthy = Health::Down);
    check(&client("NO"), &down, "origin origin mirrors-down");
    down.origin_health = Health::Down;
    check(
        &client("NO"),
        &down,
        "uni-oslo same-country health-failed-open gcp-west aws-east",
    );
    // One that is up is better than any that is near.
    down.mirrors[0].healthy = Health::Up;
    check(&client("NO"), &down, "aws-east anywhere nearest-ready");
    // Readiness never fails open.
    down.mirrors
        .iter_mut()
        .for_each(|m| m.readiness = readiness(OBJECT, 0));
    check(&client("NO"), &down, "nothing origin nothing-usable");
    down.origin_health = Health::Unknown;
    check(&client("NO"), &down, "origin origin no-mirror-ready");
    down.origin_url.clear();
    check(&client("NO"), &down, "nothing origin nothing-usable");
}

#[test]
fn a_client_of_https_is_never_sent_to_http() {
    let mut plain = fleet(three());
    plain.origin_url = "http://origin.example".to_owned();
    for mirror in &mut plain.mirrors {
        mirror.public_url = mirror.public_url.replace("https", "http");
    }
    check(&client("NO"), &plain, "nothing origin nothing-usable");
    let insecure = Client {
        secure: false,
        ..client("NO")
    };
    check(
        &insecure,
        &plain,
        "uni-oslo same-country nearest-ready gcp-west aws-east",
    );
    plain.mirrors[0].public_url = "HTTPS://aws-east.example".to_owned();
    check(&client("NO"), &plain, "aws-east anywhere nearest-ready");
}

#[test]
fn an_explanation_lists_all_candidates_with_all_their_obstacles() {
    let mut mirrors = three();
    mirrors[2].healthy = Health::Down;
    mirrors[2].serves = Serves::Verified;
    mirrors[2].readiness = readiness(OBJECT + 1, 0);
    mirrors[1].readiness = None;
    let candidates = client("NO").ask(|ask| explain(ask, &fleet(mirrors)));
    let shown: Vec<String> = candidates
        .iter()
        .map(|c| {
            let reasons: Vec<&str> = c.reasons.iter().map(|reason| reason.code()).collect();
            format!(
                "{} {} {} {}",
                c.mirror,
                c.tier,
                c.eligible,
                reasons.join(",")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "uni-oslo same-country false not-trusted-for-plain-files,down,name-not-ready",
            "gcp-west same-continent false not-reported",
            "aws-east anywhere true ",
            "origin origin true ",
        ]
    );
}

/// How many of `keys` client networks each of the mirrors is sent.
fn shares(fleet: &FleetView, keys: u64) -> BTreeMap<String, u64> {
    let mut shares = BTreeMap::new();
    for key in 0..keys {
        let client = Client {
            key,
            ..client("NO")
        };
        *shares.entry(client.first(fleet)).or_default() += 1;
    }
    shares
}

#[test]
fn clients_of_a_tier_are_shared_out_by_weight() {
    let mut mirrors = vec![
        mirror("a", "NO"),
        mirror("b", "NO"),
        mirror("c", "NO"),
        mirror("far", "SE"),
    ];
    mirrors[1].weight = 200;
    mirrors[2].state = MirrorState::Probation;
    let shares = shares(&fleet(mirrors), 31_000);
    // 100 : 200 : a tenth of 100
    for (name, expect) in [("a", 10_000), ("b", 20_000), ("c", 1_000)] {
        let got = shares[name];
        assert!(got.abs_diff(expect) < 400, "{name} got {got}, not {expect}");
    }
    assert!(!shares.contains_key("far"));
}

#[test]
fn a_mirror_that_leaves_moves_only_its_own_share() {
    let names = ["a", "b", "c", "d", "e"];
    let all = fleet(names.map(|name| mirror(name, "NO")).to_vec());
    let without_c = fleet(
        all.mirrors
            .iter()
            .filter(|m| m.name != "c")
            .cloned()
            .collect(),
    );
    let mut moved = BTreeMap::<String, u64>::new();
    for key in 0..10_000 {
        let client = Client {
            key,
            ..client("NO")
        };
        let (before, after) = (client.names(&all), client.first(&without_c));
        if before[0] == "c" {
            assert_eq!(after, before[1], "the first alternate takes over");
            *moved.entry(after).or_default() += 1;
        } else {
            assert_eq!(before[0], after);
        }
    }
    assert_eq!(moved.len(), 4);
    assert!(
        moved.values().all(|share| (400..600).contains(share)),
        "{moved:?}"
    );
}
