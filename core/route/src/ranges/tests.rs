use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn table(prefixes: &[(&str, &'static str)]) -> PrefixTable<&'static str> {
    prefixes
        .iter()
        .map(|(prefix, owner)| (prefix.parse().unwrap(), *owner))
        .collect()
}

#[test]
fn the_longest_prefix_wins_in_any_order() {
    let mut rows = vec![
        ("10.0.0.0/8", "wide"),
        ("10.1.0.0/16", "middle"),
        ("10.1.2.0/24", "narrow"),
        ("10.1.2.3/32", "one"),
        ("0.0.0.0/0", "rest"),
        ("255.255.255.255/32", "last"),
        ("2001:db8::/32", "six"),
        ("2001:db8:1::/48", "narrow six"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "last six"),
    ];
    for _ in 0..rows.len() {
        rows.rotate_left(1);
        let table = table(&rows);
        for (at, owner) in [
            ("10.1.2.3", Some("one")),
            ("10.1.2.4", Some("narrow")),
            ("::ffff:10.1.2.4", Some("narrow")),
            ("10.1.3.0", Some("middle")),
            ("10.1.0.0", Some("middle")),
            ("10.255.255.255", Some("wide")),
            ("11.0.0.0", Some("rest")),
            ("9.255.255.255", Some("rest")),
            ("0.0.0.0", Some("rest")),
            ("255.255.255.255", Some("last")),
            ("2001:db8::1", Some("six")),
            ("2001:db8:1::", Some("narrow six")),
            ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", Some("narrow six")),
            ("2001:db8:2::", Some("six")),
            ("2001:db9::", None),
            ("::", None),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("last six")),
        ] {
            assert_eq!(table.lookup(address(at)).copied(), owner, "{at}");
        }
    }
}

#[test]
fn of_two_equal_prefixes_the_later_one_counts() {
    let table = table(&[("10.0.0.0/8", "first"), ("10.0.0.0/8", "second")]);
    assert_eq!(table.lookup(address("10.0.0.1")), Some(&"second"));
    assert_eq!(table.len(), 2);
}

#[test]
fn an_empty_table_knows_nobody() {
    for empty in [
        PrefixTable::<u32>::default(),
        PrefixTableBuilder::new().build(),
    ] {
        assert!(empty.is_empty());
        for at in ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"] {
            assert_eq!(empty.lookup(address(at)), None, "{at}");
        }
    }
}

#[test]
fn a_range_needs_two_ends_of_one_family_in_order() {
    let mut builder = PrefixTableBuilder::new();
    let refused = builder.insert_range(address("10.0.0.2"), address("10.0.0.1"), 1);
    assert_eq!(refused, Err(NotARange::Backwards));
    let refused = builder.insert_range(address("10.0.0.2"), address("2001:db8::"), 1);
    assert_eq!(refused, Err(NotARange::MixedFamilies));
    builder
        .insert_range(address("10.0.0.3"), address("10.0.0.5"), 1)
        .unwrap();
    let table = builder.build();
    assert_eq!(table.lookup(address("10.0.0.2")), None);
    assert_eq!(table.lookup(address("10.0.0.3")), Some(&1));
    assert_eq!(table.lookup(address("10.0.0.5")), Some(&1));
    assert_eq!(table.lookup(address("10.0.0.6")), None);
}

/// The reference: look at every prefix, take the longest, the later of two equal ones.
fn longest(prefixes: &[(Prefix, u8)], at: IpAddr) -> Option<u8> {
    prefixes
        .iter()
        .enumerate()
        .filter(|(_, (prefix, _))| prefix.contains(at))
        .max_by_key(|(order, (prefix, _))| (prefix.length(), *order))
        .map(|(_, (_, owner))| *owner)
}

fn some_address() -> impl Strategy<Value = IpAddr> {
    // Few distinct upper bits, so that prefixes nest and meet at block borders.
    let corner = prop_oneof![Just(0u32), Just(u32::MAX), 0u32..4, any::<u32>()];
    prop_oneof![
        (0u32..3, corner.clone()).prop_map(|(upper, lower)| IpAddr::from(Ipv4Addr::from_bits(
            (upper.wrapping_sub(1) << 16) | (lower & 0xffff)
        ))),
        corner
            .clone()
            .prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        (corner.clone(), corner).prop_map(|(upper, lower)| Ipv6Addr::from_bits(
            (u128::from(upper) << 96) | u128::from(lower)
        )
        .into()),
    ]
}

proptest! {
    #[test]
    fn every_lookup_agrees_with_looking_at_all_prefixes(
        prefixes in prop::collection::vec((some_address(), 0u8..=128, 0u8..6), 0..40),
        probes in prop::collection::vec(some_address(), 0..20),
    ) {
        let prefixes: Vec<(Prefix, u8)> = prefixes
            .into_iter()
            .map(|(address, length, owner)| (Prefix::containing(address, length % 129), owner))
            .collect();
        let table: PrefixTable<u8> = prefixes.iter().copied().collect();
        let ends = prefixes.iter().flat_map(|(prefix, _)| [prefix.first(), prefix.last()]);
        let beside = prefixes.iter().flat_map(|(prefix, _)| beside(*prefix));
        for at in probes.into_iter().chain(ends).chain(beside) {
            prop_assert_eq!(table.lookup(at).copied(), longest(&prefixes, at), "{}", at);
        }
    }
}

/// The addresses just outside of a prefix (wrapping around the space does no harm).
fn beside(prefix: Prefix) -> [IpAddr; 2] {
    match (prefix.first(), prefix.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => [
            Ipv4Addr::from_bits(first.to_bits().wrapping_sub(1)).into(),
            Ipv4Addr::from_bits(last.to_bits().wrapping_add(1)).into(),
        ],
        (first, last) => [
            Ipv6Addr::from_bits(bits(first).wrapping_sub(1)).into(),
            Ipv6Addr::from_bits(bits(last).wrapping_add(1)).into(),
        ],
    }
}
