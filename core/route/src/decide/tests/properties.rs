//! What holds for every fleet and every client.

use proptest::prelude::*;

use super::*;

fn some_mirror() -> impl Strategy<Value = MirrorView> {
    let places = [
        "aws/us-east-1",
        "aws/us-west-2",
        "gcp/europe-west1",
        "NO",
        "NO asn:224",
        "SE",
        "AU",
        "",
    ];
    let states = [
        MirrorState::Pending,
        MirrorState::Probation,
        MirrorState::Active,
        MirrorState::Draining,
        MirrorState::Quarantined,
        MirrorState::Revoked,
    ];
    // Mostly usable, so that there is something to choose.
    let state =
        prop_oneof![4 => Just(MirrorState::Active), 1 => prop::sample::select(states.to_vec())];
    let health =
        prop_oneof![3 => Just(Health::Up), 1 => Just(Health::Unknown), 2 => Just(Health::Down)];
    let held = prop_oneof![
        1 => Just(None),
        1 => Just(readiness(OBJECT, NAMED_AT + 1)),
        1 => Just(readiness(OBJECT + 1, NAMED_AT)),
        4 => Just(readiness(OBJECT + 1, NAMED_AT + 1)),
    ];
    let kind = prop_oneof![4 => Just(StoreKind::Files), 1 => Just(StoreKind::Registry { prefix: String::new() })];
    let serves = prop::sample::select(&[Serves::Verified, Serves::Everything][..]);
    let scheme = prop_oneof![1 => Just("http"), 4 => Just("https")];
    (
        prop::sample::select(places.to_vec()),
        state,
        health,
        held,
        kind,
        serves,
        scheme,
        0u32..4,
    )
        .prop_map(
            |(at, state, healthy, readiness, kind, serves, scheme, weight)| MirrorView {
                public_url: format!("{scheme}://mirror.example"),
                kind,
                state,
                serves,
                healthy,
                readiness,
                weight,
                ..mirror("", at)
            },
        )
}

fn some_fleet() -> impl Strategy<Value = FleetView> {
    let origin = prop_oneof![
        Just("https://origin.example"),
        Just("http://origin.example"),
        Just("")
    ];
    let health = prop::sample::select(&[Health::Up, Health::Unknown, Health::Down][..]);
    (prop::collection::vec(some_mirror(), 0..12), origin, health).prop_map(
        |(mut mirrors, origin, origin_health)| {
            for (number, mirror) in mirrors.iter_mut().enumerate() {
                mirror.name = format!("m{number:02}");
            }
            FleetView {
                revision: 1,
                mirrors,
                origin_url: origin.to_owned(),
                origin_health,
            }
        },
    )
}

fn some_client() -> impl Strategy<Value = Client> {
    let places = [
        "aws/us-east-1",
        "gcp/us-east1",
        "NO",
        "SE asn:224",
        "NZ",
        "",
    ];
    let avoid = prop::collection::vec(
        prop::sample::select(&["m00", "m01", "m02", "origin"][..]),
        0..3,
    );
    let repository = prop::sample::select(&[None, Some("pause")][..]);
    (
        prop::sample::select(places.to_vec()),
        any::<[bool; 3]>(),
        avoid,
        repository,
        any::<u64>(),
    )
        .prop_map(
            |(at, [verifies, secure, named], avoid, repository, key)| Client {
                place: place(at),
                verifies,
                secure,
                avoid: avoid.into_iter().map(str::to_owned).collect(),
                named,
                repository: repository.and_then(|name| name.parse().ok()),
                key,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_decision_names_a_mirror_that_must_not_serve(fleet in some_fleet(), client in some_client()) {
        let decision = client.decide(&fleet);
        let target = match decision.target {
            Target::Mirror(position) => Some(position),
            Target::Origin | Target::Nothing => None,
        };
        if target.is_none() {
            prop_assert!(decision.alternates.is_empty());
        }
        for &position in target.iter().chain(decision.alternates.iter()) {
            let mirror = &fleet.mirrors[position];
            let held = mirror.readiness.as_ref().unwrap();
            prop_assert!(held.through > OBJECT);
            prop_assert!(!client.named || held.names_through > NAMED_AT);
            prop_assert!(matches!(mirror.state, MirrorState::Active | MirrorState::Probation));
            prop_assert!(client.verifies || mirror.serves == Serves::Everything);
            prop_assert!(!client.secure || mirror.public_url.starts_with("https://"));
            prop_assert!(!client.avoid.contains(&mirror.name));
            prop_assert!(mirror.weight > 0);
            prop_assert!(
                mirror.kind == StoreKind::Files || (!client.named && client.repository.is_some())
            );
            prop_assert!(mirror.healthy != Health::Down || decision.reason == Reason::HealthFailedOpen);
        }
    }

    #[test]
    fn the_origin_is_named_only_if_it_may_serve(fleet in some_fleet(), client in some_client()) {
        let decision = client.decide(&fleet);
        if decision.target == Target::Origin {
            prop_assert!(!fleet.origin_url.is_empty());
            prop_assert!(!client.secure || fleet.origin_url.starts_with("https://"));
            prop_assert!(!client.avoid.iter().any(|name| name == ORIGIN));
            prop_assert!(fleet.origin_health != Health::Down);
        }
    }

    /// The four steps: a mirror that nothing speaks against, the origin, a mirror that looks down, nowhere.
    #[test]
    fn each_way_out_is_taken_only_when_the_one_before_is_closed(fleet in some_fleet(), client in some_client()) {
        let candidates = client.ask(|ask| explain(ask, &fleet));
        let (origin, mirrors) = candidates.split_last().unwrap();
        let any = |wanted: &[Ineligible]| mirrors.iter().any(|mirror| mirror.reasons == wanted);
        let healthy = any(&[]);
        let at_origin = origin.reasons.is_empty();
        let looks_down = any(&[Ineligible::Down]);
        let decision = client.decide(&fleet);
        match decision.target {
            Target::Mirror(_) if decision.reason == Reason::HealthFailedOpen => {
                prop_assert!(looks_down && !healthy && !at_origin);
            }
            Target::Mirror(_) => prop_assert!(healthy),
            Target::Origin => prop_assert!(at_origin && !healthy),
            Target::Nothing => prop_assert!(!healthy && !at_origin && !looks_down),
        }
    }

    #[test]
    fn the_order_of_the_fleet_does_not_matter(
        (fleet, shuffled) in some_fleet().prop_flat_map(|fleet| {
            let shuffled = Just(fleet.mirrors.clone()).prop_shuffle();
            (Just(fleet), shuffled)
        }),
        client in some_client(),
    ) {
        let other = FleetView { mirrors: shuffled, ..fleet.clone() };
        prop_assert_eq!(client.names(&fleet), client.names(&other));
        let [one, other] = [&fleet, &other].map(|fleet| client.ask(|ask| explain(ask, fleet)));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_mirror_that_was_not_chosen_is_not_missed(fleet in some_fleet(), client in some_client()) {
        let before = client.names(&fleet);
        for leaving in 0..fleet.mirrors.len() {
            let mut smaller = fleet.clone();
            let left = smaller.mirrors.remove(leaving);
            if !before.contains(&left.name) {
                prop_assert_eq!(client.names(&smaller), before.clone());
            } else if left.name != before[0] {
                prop_assert_eq!(client.first(&smaller), before[0].clone());
            }
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(fleet in some_fleet(), client in some_client()) {
        let candidates = client.ask(|ask| explain(ask, &fleet));
        prop_assert_eq!(candidates.len(), fleet.mirrors.len() + 1);
        let eligible: Vec<String> =
            candidates.into_iter().filter(|c| c.eligible).map(|c| c.mirror).collect();
        let names = client.names(&fleet);
        match client.decide(&fleet).target {
            Target::Nothing => prop_assert!(eligible.is_empty()),
            Target::Origin => prop_assert_eq!(eligible, names),
            Target::Mirror(_) => {
                let mirrors: Vec<String> = eligible.into_iter().filter(|name| name != ORIGIN).take(4).collect();
                prop_assert_eq!(mirrors, names);
            }
        }
    }
}
