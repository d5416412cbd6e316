//! The table of cloud prefixes on the real list, and on a generated one that has its shape.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::{CloudRegion, parse_cloud_ranges};
use crate::prefix::Prefix;

/// The reference: for each prefix length a map from network to owner, the longest first.
struct ByLength {
    owners: HashMap<Prefix, CloudRegion>,
}

impl ByLength {
    fn read(csv: &str) -> Self {
        let rows = csv.lines().skip(1).map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let owner = CloudRegion::try_new(fields[0], fields[1]).unwrap();
            (fields[2].parse().unwrap(), owner)
        });
        Self {
            owners: rows.collect(),
        }
    }

    /// The longest prefix that holds the address and is at most `longest` long.
    fn lookup(&self, address: IpAddr, longest: u8) -> Option<&CloudRegion> {
        (0..=longest)
            .rev()
            .find_map(|length| self.owners.get(&Prefix::containing(address, length)))
    }

    /// Prefixes inside of a shorter one, and those of them whose nearest shorter one has another owner.
    fn nested(&self) -> (usize, usize) {
        let around = |prefix: &Prefix| {
            let above = prefix.length().checked_sub(1)?;
            self.lookup(prefix.first(), above)
        };
        let nested = self
            .owners
            .iter()
            .filter_map(|(prefix, owner)| Some((owner, around(prefix)?)));
        let others = nested.clone().filter(|(owner, around)| owner != around);
        (nested.count(), others.count())
    }
}

/// Compares the table with the reference at the ends of every prefix and just outside of it.
fn check(csv: &str) -> ByLength {
    let table = parse_cloud_ranges(csv).unwrap();
    let reference = ByLength::read(csv);
    assert_eq!(table.len(), reference.owners.len());
    for prefix in reference.owners.keys() {
        let (before, behind) = neighbours(*prefix);
        for address in [prefix.first(), prefix.last(), before, behind] {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            assert_eq!(
                table.lookup(address),
                reference.lookup(address, longest),
                "{address} beside or in {prefix}"
            );
        }
    }
    reference
}

fn neighbours(prefix: Prefix) -> (IpAddr, IpAddr) {
    match (prefix.first(), prefix.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (
            Ipv4Addr::from_bits(first.to_bits().wrapping_sub(1)).into(),
            Ipv4Addr::from_bits(last.to_bits().wrapping_add(1)).into(),
        ),
        (IpAddr::V6(first), IpAddr::V6(last)) => (
            Ipv6Addr::from_bits(first.to_bits().wrapping_sub(1)).into(),
            Ipv6Addr::from_bits(last.to_bits().wrapping_add(1)).into(),
        ),
        (first, last) => panic!("{first} and {last} are of two families"),
    }
}

/// `$LANDFALL_SHARED`, else `shared` beside the workspace.
fn shared() -> PathBuf {
    std::env::var_os("LANDFALL_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    )
}

#[test]
fn every_prefix_of_the_real_list_resolves_to_its_longest_match() {
    let path = shared().join("data/cloud-ranges.csv");
    let csv = match std::fs::read_to_string(&path) {
        Ok(csv) => csv,
        Err(error) => {
            println!(
                "the real cloud ranges are not checked here: {}: {error}; set LANDFALL_SHARED to the folder that \
                 holds data/cloud-ranges.csv",
                path.display()
            );
            return;
        }
    };
    let reference = check(&csv);
    assert_eq!(reference.owners.len(), 26_685);
    assert_eq!(reference.nested(), (2808, 247));

    let table = parse_cloud_ranges(&csv).unwrap();
    assert_eq!(table.owners().len(), 165);
    let unplaced: Vec<_> = table
        .owners()
        .iter()
        .filter(|owner| owner.region().is_some() && owner.coordinates().is_none())
        .collect();
    let addresses_matter = unplaced.len() * 8 < table.owners().len();
    assert!(
        addresses_matter,
        "too many regions without coordinates: {unplaced:?}"
    );
}

/// A list of the same shape from a fixed seed: mostly short prefixes apart, some nested twice, a few regions.
fn generated() -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut rows: HashMap<Prefix, u64> = HashMap::new();
    for _ in 0..6000 {
        let length = 12 + u8::try_from(next(20)).unwrap();
        let address = Ipv4Addr::from_bits(u32::try_from(next(1 << 32)).unwrap());
        rows.insert(Prefix::containing(address.into(), length), next(40));
        // Half of them hold a longer one, of another region perhaps.
        if next(2) == 0 {
            let inner = (length + 1 + u8::try_from(next(8)).unwrap()).min(32);
            rows.insert(Prefix::containing(address.into(), inner), next(40));
        }
        let upper = u128::from(0x2600_0000_u32 + u32::try_from(next(1 << 12)).unwrap());
        let address = Ipv6Addr::from_bits(upper << 96 | u128::from(next(u64::MAX)) << 32);
        let length = 28 + u8::try_from(next(36)).unwrap();
        rows.insert(Prefix::containing(address.into(), length), next(40));
    }
    let mut csv = String::from("cloud,region,cidr\n");
    for (prefix, region) in rows {
        writeln!(csv, "Cloud{},region-{region},{prefix}", region % 3).unwrap();
    }
    csv
}

#[test]
fn every_prefix_of_a_generated_list_resolves_to_its_longest_match() {
    let reference = check(&generated());
    let (nested, other_owner) = reference.nested();
    assert!(
        nested > 1000 && other_owner > 1000,
        "{nested} {other_owner}"
    );
}
