//! How near a mirror is to a client, and its turn among those equally near.

use std::cmp::Ordering;
use std::fmt;

use landfall_catalog::Digest;
use serde::{Serialize, Serializer};

use crate::fleet::{MirrorState, MirrorView};
use crate::mix::{hash_text, mix};
use crate::place::{Continent, Coordinates, Country, Place};

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

/// Where a client stands, with what ranking needs of it worked out once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standpoint<'a> {
    cloud: Option<&'a str>,
    region: Option<&'a str>,
    asn: Option<u32>,
    country: Option<Country>,
    continent: Option<Continent>,
    point: Option<Coordinates>,
    is_pinpointed: bool,
}

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

impl<'a> Standpoint<'a> {
    pub(crate) fn of(client: &'a Place) -> Self {
        Self {
            cloud: client.cloud.as_deref(),
            region: client.region.as_deref(),
            asn: client.asn,
            country: client.country,
            continent: continent(client),
            point: point(client),
            is_pinpointed: client.is_pinpointed(),
        }
    }

    pub(crate) fn nearness(&self, mirror: &MirrorView) -> Nearness {
        let tier = self.tier(mirror);
        let ring = match tier {
            Tier::SameRegion | Tier::Origin => 0,
            // The middle of a country says nothing about which of its mirrors is nearer.
            Tier::SameCountry if !self.is_pinpointed => 0,
            Tier::SameCloud
            | Tier::SameAsn
            | Tier::SameCountry
            | Tier::SameContinent
            | Tier::Anywhere => self.ring(&mirror.place),
        };
        Nearness { tier, ring }
    }

    fn tier(&self, mirror: &MirrorView) -> Tier {
        let place = &mirror.place;
        let same_asn = |asn: u32| place.asn == Some(asn) || mirror.asns.contains(&asn);
        if agree(self.cloud, place.cloud.as_deref()) {
            if agree(self.region, place.region.as_deref()) {
                Tier::SameRegion
            } else {
                Tier::SameCloud
            }
        } else if self.asn.is_some_and(same_asn) {
            Tier::SameAsn
        } else if agree(self.country, place.country) {
            Tier::SameCountry
        } else if agree(self.continent, continent(place)) {
            Tier::SameContinent
        } else {
            Tier::Anywhere
        }
    }

    fn ring(&self, mirror: &Place) -> u8 {
        let Some(client) = self.point else {
            return UNKNOWN_DISTANCE;
        };
        let Some(mirror) = point(mirror) else {
            return UNKNOWN_DISTANCE;
        };
        let chord_squared = client.chord_squared(&mirror);
        // Counting all takes no branch that could be guessed wrong.
        let ring = RING_ENDS.iter().filter(|end| **end < chord_squared).count();
        u8::try_from(ring).unwrap_or(UNKNOWN_DISTANCE)
    }
}

impl<'a> Rank<'a> {
    /// `seed` stands for the client's network and the object.
    pub(crate) fn of(nearness: Nearness, mirror: &'a MirrorView, seed: u64) -> Self {
        Self {
            nearness,
            turn: -draw(mirror, seed).ln() / rate(mirror),
            name: &mirror.name,
        }
    }

    /// The rank of a mirror, unless it is behind `bar`.
    pub(crate) fn of_one_before(
        bar: Option<&Self>,
        nearness: Nearness,
        mirror: &'a MirrorView,
        seed: u64,
    ) -> Option<Self> {
        let Some(bar) = bar else {
            return Some(Self::of(nearness, mirror, seed));
        };
        // -ln(x) is never below 1 - x, and costs far more. The slack is for rounding.
        let is_late =
            || 1.0 - draw(mirror, seed) > bar.turn * rate(mirror) * (1.0 + f64::EPSILON * 16.0);
        match nearness.cmp(&bar.nearness) {
            Ordering::Greater => None,
            Ordering::Equal if is_late() => None,
            Ordering::Less | Ordering::Equal => {
                Some(Self::of(nearness, mirror, seed)).filter(|rank| rank.compare(bar).is_lt())
            }
        }
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.nearness
            .cmp(&other.nearness)
            .then_with(|| self.turn.total_cmp(&other.turn))
            .then_with(|| self.name.cmp(other.name))
    }
}

/// Whether both are known and equal.
fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.is_some() && one == other
}

fn continent(place: &Place) -> Option<Continent> {
    place
        .continent
        .or_else(|| place.country.map(Country::continent))
}

fn point(place: &Place) -> Option<Coordinates> {
    place
        .coordinates
        .or_else(|| place.country.map(Country::coordinates))
}

// Weighted rendezvous hashing: each mirror draws its turn from an exponential distribution whose rate is its weight,
// by a hash of seed and name. Shares follow the weights, and a mirror that leaves moves only its own clients.

/// A number above 0 and below 1, evenly distributed: 53 bits, in the middle of their interval.
fn draw(mirror: &MirrorView, seed: u64) -> f64 {
    let drawn = mix(seed ^ hash_text(&mirror.name)) >> 11;
    (drawn as f64 + 0.5) / (1u64 << 53) as f64
}

/// A mirror's weight, by what the operator lets it do.
fn rate(mirror: &MirrorView) -> f64 {
    let share = match mirror.state {
        MirrorState::Probation => 0.1,
        MirrorState::Pending
        | MirrorState::Active
        | MirrorState::Draining
        | MirrorState::Quarantined
        | MirrorState::Revoked => 1.0,
    };
    f64::from(mirror.weight) * share
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
            Standpoint::of(&place(client)).tier(&mirror),
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
        let ring = |client: &Place, mirror: &Place| Standpoint::of(client).ring(mirror);
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
        let american = Standpoint::of(&somewhere);
        assert_eq!(american.nearness(&east), american.nearness(&west));
        let oregon = place("cloud:gcp region:us-west1").completed();
        let oregonian = Standpoint::of(&oregon);
        assert!(oregonian.nearness(&west) < oregonian.nearness(&east));
    }
}
