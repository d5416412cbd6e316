//! How near a mirror is to a client, and its turn among those equally near.

use std::cmp::Ordering;
use std::fmt;

use landfall_catalog::Digest;
use serde::{Serialize, Serializer};

use crate::fleet::{MirrorState, MirrorView};
use crate::mix::{hash_text, mix};
use crate::place::{Country, Place};

/// How a client and what serves it belong together, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The same region of the same cloud.
    SameRegion,
    /// The same cloud, another region.
    SameCloud,
    /// The same autonomous system.
    SameAsn,
    /// The same country.
    SameCountry,
    /// The same continent.
    SameContinent,
    /// None of these.
    Anywhere,
    /// The origin.
    Origin,
}

impl Tier {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::SameRegion => "same-region",
            Self::SameCloud => "same-cloud",
            Self::SameAsn => "same-asn",
            Self::SameCountry => "same-country",
            Self::SameContinent => "same-continent",
            Self::Anywhere => "anywhere",
            Self::Origin => "origin",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Where the rings of distance end, as squares of chords of the unit globe (see
/// [`Coordinates::chord_squared`](crate::Coordinates::chord_squared)): 250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000
/// and 12,000 km.
///
/// Mirrors in one ring count as equally far and share its clients. Rings widen outwards, as a few hundred kilometres
/// matter next door and not on the other side of the globe.
const RING_ENDS: [f64; 10] = [
    0.001_539_599_919,
    0.006_156_029_308,
    0.024_586_220_536,
    0.055_177_116_887,
    0.097_740_399_905,
    0.217_663_953_320,
    0.381_408_413_848,
    0.823_278_216_705,
    1.380_161_277_239,
    2.615_325_844_719,
];

/// The ring of all whose distance is unknown.
const UNKNOWN_DISTANCE: u8 = u8::MAX;

/// Tier, then distance where it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nearness {
    pub(crate) tier: Tier,
    ring: u8,
}

/// A mirror's place in the order of preference for one client and object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank<'a> {
    pub(crate) nearness: Nearness,
    /// When its turn comes in the rendezvous; the least is first.
    turn: f64,
    /// Settles what is equal otherwise, so that the order of the fleet never does.
    name: &'a str,
}

impl Nearness {
    pub(crate) fn of(mirror: &MirrorView, client: &Place) -> Self {
        let tier = tier(mirror, client);
        let ring = match tier {
            Tier::SameRegion | Tier::Origin => 0,
            // The middle of a country says nothing about which of its mirrors is nearer.
            Tier::SameCountry if !client.is_pinpointed() => 0,
            Tier::SameCloud
            | Tier::SameAsn
            | Tier::SameCountry
            | Tier::SameContinent
            | Tier::Anywhere => ring(&mirror.place, client),
        };
        Self { tier, ring }
    }
}

impl<'a> Rank<'a> {
    /// `seed` stands for the client's network and the object.
    pub(crate) fn of(nearness: Nearness, mirror: &'a MirrorView, seed: u64) -> Self {
        Self {
            nearness,
            turn: turn(mirror, seed),
            name: &mirror.name,
        }
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.nearness
            .cmp(&other.nearness)
            .then_with(|| self.turn.total_cmp(&other.turn))
            .then_with(|| self.name.cmp(other.name))
    }
}

fn tier(mirror: &MirrorView, client: &Place) -> Tier {
    let same_asn = |asn: u32| mirror.place.asn == Some(asn) || mirror.asns.contains(&asn);
    if agree(client.cloud.as_ref(), mirror.place.cloud.as_ref()) {
        if agree(client.region.as_ref(), mirror.place.region.as_ref()) {
            Tier::SameRegion
        } else {
            Tier::SameCloud
        }
    } else if client.asn.is_some_and(same_asn) {
        Tier::SameAsn
    } else if agree(client.country, mirror.place.country) {
        Tier::SameCountry
    } else if agree(continent(client), continent(&mirror.place)) {
        Tier::SameContinent
    } else {
        Tier::Anywhere
    }
}

/// Whether both are known and equal.
fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.is_some() && one == other
}

fn continent(place: &Place) -> Option<crate::Continent> {
    place.continent.or(place.country.map(Country::continent))
}

/// The square of the chord between two places, by their coordinates or else their countries'.
fn chord_squared(one: &Place, other: &Place) -> Option<f64> {
    let point = |place: &Place| {
        place
            .coordinates
            .or(place.country.map(Country::coordinates))
    };
    Some(point(one)?.chord_squared(&point(other)?))
}

fn ring(mirror: &Place, client: &Place) -> u8 {
    let Some(chord_squared) = chord_squared(mirror, client) else {
        return UNKNOWN_DISTANCE;
    };
    let ring = RING_ENDS.partition_point(|end| *end < chord_squared);
    u8::try_from(ring).unwrap_or(UNKNOWN_DISTANCE)
}

/// Weighted rendezvous hashing: each mirror draws its turn from an exponential distribution whose rate is its
/// weight, by a hash of seed and name. Shares follow the weights, and a mirror that leaves moves only its own clients.
fn turn(mirror: &MirrorView, seed: u64) -> f64 {
    let drawn = mix(seed ^ hash_text(&mirror.name)) >> 11;
    // 53 bits, in the middle of their interval: never 0 and never 1.
    let uniform = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
    let share = match mirror.state {
        MirrorState::Probation => 0.1,
        MirrorState::Pending
        | MirrorState::Active
        | MirrorState::Draining
        | MirrorState::Quarantined
        | MirrorState::Revoked => 1.0,
    };
    -uniform.ln() / (f64::from(mirror.weight) * share)
}

/// What the rendezvous of one client network about one object starts from.
pub(crate) fn seed(client_key: u64, digest: &Digest) -> u64 {
    let (first, _) = digest.as_bytes().split_at(8);
    let object = first
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    mix(client_key ^ object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Coordinates;

    fn place(text: &str) -> Place {
        let mut place = Place::default();
        for part in text.split_whitespace() {
            match part.split_once(':') {
                Some(("cloud", cloud)) => place.cloud = Some(cloud.to_owned()),
                Some(("region", region)) => place.region = Some(region.to_owned()),
                Some(("asn", asn)) => place.asn = asn.parse().ok(),
                Some(("country", country)) => place.country = country.parse().ok(),
                Some(("continent", continent)) => place.continent = continent.parse().ok(),
                _ => panic!("{part}"),
            }
        }
        place
    }

    fn check(client: &str, mirror: &str, expect: Tier) {
        let mirror = MirrorView {
            place: place(mirror),
            asns: vec![224, 225],
            ..MirrorView::default()
        };
        assert_eq!(
            tier(&mirror, &place(client)),
            expect,
            "{client} at {mirror:?}"
        );
    }

    #[test]
    fn the_nearest_thing_in_common_makes_the_tier() {
        let virginia = "cloud:aws region:us-east-1 country:US";
        check(virginia, virginia, Tier::SameRegion);
        check(
            "cloud:aws region:us-west-2 country:US",
            virginia,
            Tier::SameCloud,
        );
        check("cloud:aws country:NO", virginia, Tier::SameCloud);
        check(
            "cloud:gcp region:us-east-1 country:US",
            virginia,
            Tier::SameCountry,
        );
        check("asn:225 country:US", virginia, Tier::SameAsn);
        check("asn:9 country:NO", "asn:9 country:SE", Tier::SameAsn);
        check("asn:1 country:US", virginia, Tier::SameCountry);
        check("country:CA", virginia, Tier::SameContinent);
        check("continent:NA", virginia, Tier::SameContinent);
        check("country:NO", virginia, Tier::Anywhere);
        check("", virginia, Tier::Anywhere);
        check("", "", Tier::Anywhere);
        check("region:us-east-1", "region:us-east-1", Tier::Anywhere);
    }

    #[test]
    fn rings_end_at_the_distances_they_are_named_for() {
        let at = |longitude: f64| Place {
            coordinates: Coordinates::try_new(0.0, longitude).ok(),
            ..Place::default()
        };
        let ends_km = [250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12_000];
        for (number, km) in ends_km.into_iter().enumerate() {
            let degrees = f64::from(km) / 6371.0088 * 180.0 / std::f64::consts::PI;
            let ring_at = |factor: f64| usize::from(ring(&at(0.0), &at(degrees * factor)));
            assert_eq!(ring_at(0.999), number, "just inside {km} km");
            assert_eq!(ring_at(1.001), number + 1, "just outside {km} km");
        }
        assert_eq!(ring(&at(0.0), &Place::default()), UNKNOWN_DISTANCE);
        assert_eq!(ring(&place("country:NO"), &place("country:NO")), 0);
    }

    #[test]
    fn the_middle_of_a_country_does_not_choose_among_its_mirrors() {
        let mirror = |region: &str| MirrorView {
            place: place(&format!("cloud:aws region:{region}")).completed(),
            ..MirrorView::default()
        };
        let (east, west) = (mirror("us-east-1"), mirror("us-west-2"));
        let somewhere = place("country:US").completed();
        assert_eq!(
            Nearness::of(&east, &somewhere),
            Nearness::of(&west, &somewhere)
        );
        let oregon = place("cloud:gcp region:us-west1").completed();
        assert!(Nearness::of(&west, &oregon) < Nearness::of(&east, &oregon));
    }
}
