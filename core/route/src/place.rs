//! Where a client or a mirror is, as far as that is known.

mod coordinates;
mod country;
mod regions;

use serde::{Deserialize, Serialize};

pub use self::coordinates::{Coordinates, CoordinatesError};
pub use self::country::{Continent, Country, UnknownContinent, UnknownCountry};
pub use self::regions::{Whereabouts, region_whereabouts};
use crate::ranges::CloudRegion;

/// A place in the network and on the globe; each part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The cloud, in lower case: `aws`, `gcp`, `azure`, …
    pub cloud: Option<String>,
    /// The region in the cloud's own words, in lower case.
    pub region: Option<String>,
    /// Number of the autonomous system that announces the address.
    pub asn: Option<u32>,
    /// The country.
    pub country: Option<Country>,
    /// The continent; that of the country if only this is known.
    pub continent: Option<Continent>,
    /// Rough coordinates; those of the region or the country if only these are known.
    pub coordinates: Option<Coordinates>,
}

impl Place {
    /// Puts together what the tables say about one address.
    ///
    /// A well known cloud region outweighs the country database, which tends to name the country where the
    /// cloud's owner is registered.
    #[must_use]
    pub fn assemble(
        cloud: Option<&CloudRegion>,
        asn: Option<u32>,
        country: Option<Country>,
    ) -> Self {
        let country = cloud.and_then(CloudRegion::country).or(country);
        Self {
            cloud: cloud.map(|owner| owner.cloud().to_owned()),
            region: cloud.and_then(|owner| owner.region().map(str::to_owned)),
            asn,
            country,
            continent: country.map(Country::continent),
            coordinates: cloud
                .and_then(CloudRegion::coordinates)
                .or_else(|| country.map(Country::coordinates)),
        }
    }

    /// The same place in its normal form: names in lower case, and what is missing derived from what is
    /// there: country and coordinates of a well known cloud region, continent and coordinates of a country.
    #[must_use]
    pub fn completed(mut self) -> Self {
        for label in [&mut self.cloud, &mut self.region].into_iter().flatten() {
            label.make_ascii_lowercase();
        }
        let known = match (&self.cloud, &self.region) {
            (Some(cloud), Some(region)) => region_whereabouts(cloud, region),
            (None, _) | (_, None) => None,
        };
        self.country = self.country.or(known.map(|known| known.country));
        self.continent = self.continent.or(self.country.map(Country::continent));
        self.coordinates = self
            .coordinates
            .or(known.map(|known| known.coordinates))
            .or(self.country.map(Country::coordinates));
        self
    }

    /// Whether the coordinates say more than the country does, so that distances within it mean something.
    #[must_use]
    pub fn is_pinpointed(&self) -> bool {
        self.coordinates.is_some() && self.coordinates != self.country.map(Country::coordinates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_region_outweighs_the_country_database() {
        let frankfurt = CloudRegion::try_new("AWS", "eu-central-1").unwrap();
        let place = Place::assemble(Some(&frankfurt), Some(16509), "US".parse().ok());
        assert_eq!(place.cloud.as_deref(), Some("aws"));
        assert_eq!(place.region.as_deref(), Some("eu-central-1"));
        assert_eq!(place.country.unwrap().as_str(), "DE");
        assert_eq!(place.continent, Some(Continent::Europe));
        assert!(place.is_pinpointed());

        let everywhere = CloudRegion::try_new("AWS", "GLOBAL").unwrap();
        let place = Place::assemble(Some(&everywhere), None, "US".parse().ok());
        assert_eq!((place.region.as_deref(), place.asn), (None, None));
        assert_eq!(place.country.unwrap().as_str(), "US");
        assert!(!place.is_pinpointed());

        assert_eq!(Place::assemble(None, None, None), Place::default());
    }

    #[test]
    fn a_place_is_completed_from_what_is_known() {
        let mirror = Place {
            cloud: Some("GCP".to_owned()),
            region: Some("europe-west1".to_owned()),
            ..Place::default()
        };
        let mirror = mirror.completed();
        assert_eq!(mirror.cloud.as_deref(), Some("gcp"));
        assert_eq!(mirror.country.unwrap().as_str(), "BE");
        assert_eq!(mirror.continent, Some(Continent::Europe));
        assert!(mirror.is_pinpointed());
        assert_eq!(mirror.clone().completed(), mirror);

        let own = Coordinates::try_new(69.6, 18.9).ok();
        let mirror = Place {
            country: "NO".parse().ok(),
            coordinates: own,
            ..Place::default()
        };
        assert_eq!(mirror.completed().coordinates, own);
        assert_eq!(Place::default().completed(), Place::default());
    }
}
