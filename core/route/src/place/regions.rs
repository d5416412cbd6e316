//! Where well known cloud regions stand.
//!
//! From what the clouds publish about their regions, to about a degree. A region that is not here simply has
//! no coordinates: a mirror in it counts by its own or by its country, a client by its country.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::coordinates::Coordinates;
use super::country::Country;

/// Where a cloud region stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whereabouts {
    /// The country.
    pub country: Country,
    /// The coordinates, roughly.
    pub coordinates: Coordinates,
}

/// Where a region stands, by the names of cloud and region in lower case.
#[must_use]
pub fn region_whereabouts(cloud: &str, region: &str) -> Option<Whereabouts> {
    static KNOWN: LazyLock<HashMap<(&str, &str), Whereabouts>> = LazyLock::new(|| {
        let all = [("aws", AWS), ("gcp", GCP), ("azure", AZURE)];
        let rows = all
            .iter()
            .flat_map(|(cloud, regions)| regions.iter().map(move |row| (*cloud, row)));
        rows.filter_map(|(cloud, &(region, country, latitude, longitude))| {
            let whereabouts = Whereabouts {
                country: country.parse().ok()?,
                coordinates: Coordinates::try_new(latitude, longitude).ok()?,
            };
            Some(((cloud, region), whereabouts))
        })
        .collect()
    });
    KNOWN.get(&(cloud, region)).copied()
}

type Row = (&'static str, &'static str, f64, f64);

#[rustfmt::skip]
const AWS: &[Row] = &[
    ("af-south-1", "ZA", -33.9, 18.4), ("ap-east-1", "HK", 22.3, 114.2), ("ap-east-2", "TW", 25.0, 121.5),
    ("ap-northeast-1", "JP", 35.7, 139.7), ("ap-northeast-2", "KR", 37.6, 127.0),
    ("ap-northeast-3", "JP", 34.7, 135.5), ("ap-south-1", "IN", 19.1, 72.9), ("ap-south-2", "IN", 17.4, 78.5),
    ("ap-southeast-1", "SG", 1.3, 103.8), ("ap-southeast-2", "AU", -33.9, 151.2),
    ("ap-southeast-3", "ID", -6.2, 106.8), ("ap-southeast-4", "AU", -37.8, 145.0),
    ("ap-southeast-5", "MY", 3.1, 101.7), ("ap-southeast-6", "NZ", -36.8, 174.8),
    ("ap-southeast-7", "TH", 13.8, 100.5), ("ca-central-1", "CA", 45.5, -73.6), ("ca-west-1", "CA", 51.0, -114.1),
    ("cn-north-1", "CN", 39.9, 116.4), ("cn-northwest-1", "CN", 37.5, 105.2), ("eu-central-1", "DE", 50.1, 8.7),
    ("eu-central-2", "CH", 47.4, 8.5), ("eu-north-1", "SE", 59.3, 18.1), ("eu-south-1", "IT", 45.5, 9.2),
    ("eu-south-2", "ES", 41.6, -0.9), ("eu-west-1", "IE", 53.3, -6.3), ("eu-west-2", "GB", 51.5, -0.1),
    ("eu-west-3", "FR", 48.9, 2.4), ("eusc-de-east-1", "DE", 52.4, 13.1), ("il-central-1", "IL", 32.1, 34.8),
    ("me-central-1", "AE", 25.2, 55.3), ("me-south-1", "BH", 26.2, 50.6), ("mx-central-1", "MX", 20.6, -100.4),
    ("sa-east-1", "BR", -23.5, -46.6), ("us-east-1", "US", 38.9, -77.4), ("us-east-2", "US", 40.0, -83.0),
    ("us-gov-east-1", "US", 40.0, -83.0), ("us-gov-west-1", "US", 45.8, -119.7),
    ("us-west-1", "US", 37.4, -121.9), ("us-west-2", "US", 45.8, -119.7),
];

#[rustfmt::skip]
const GCP: &[Row] = &[
    ("africa-south1", "ZA", -26.2, 28.0), ("asia-east1", "TW", 24.1, 120.5), ("asia-east2", "HK", 22.3, 114.2),
    ("asia-northeast1", "JP", 35.7, 139.7), ("asia-northeast2", "JP", 34.7, 135.5),
    ("asia-northeast3", "KR", 37.6, 127.0), ("asia-south1", "IN", 19.1, 72.9), ("asia-south2", "IN", 28.6, 77.2),
    ("asia-southeast1", "SG", 1.3, 103.7), ("asia-southeast2", "ID", -6.2, 106.8),
    ("asia-southeast3", "TH", 13.8, 100.5), ("australia-southeast1", "AU", -33.9, 151.2),
    ("australia-southeast2", "AU", -37.8, 145.0), ("europe-central2", "PL", 52.2, 21.0),
    ("europe-north1", "FI", 60.6, 27.2), ("europe-north2", "SE", 59.3, 18.1),
    ("europe-southwest1", "ES", 40.4, -3.7), ("europe-west1", "BE", 50.5, 3.8), ("europe-west2", "GB", 51.5, -0.1),
    ("europe-west3", "DE", 50.1, 8.7), ("europe-west4", "NL", 53.4, 6.8), ("europe-west6", "CH", 47.4, 8.5),
    ("europe-west8", "IT", 45.5, 9.2), ("europe-west9", "FR", 48.9, 2.4), ("europe-west10", "DE", 52.5, 13.4),
    ("europe-west12", "IT", 45.1, 7.7), ("me-central1", "QA", 25.3, 51.5), ("me-central2", "SA", 26.4, 50.1),
    ("me-west1", "IL", 32.1, 34.8), ("northamerica-northeast1", "CA", 45.5, -73.6),
    ("northamerica-northeast2", "CA", 43.7, -79.4), ("northamerica-south1", "MX", 20.6, -100.4),
    ("southamerica-east1", "BR", -23.5, -46.6), ("southamerica-west1", "CL", -33.4, -70.7),
    ("us-central1", "US", 41.3, -95.9), ("us-central2", "US", 36.3, -95.3), ("us-east1", "US", 33.2, -80.0),
    ("us-east4", "US", 39.0, -77.5), ("us-east5", "US", 40.0, -83.0), ("us-south1", "US", 32.8, -96.8),
    ("us-west1", "US", 45.6, -121.2), ("us-west2", "US", 34.1, -118.2), ("us-west3", "US", 40.8, -111.9),
    ("us-west4", "US", 36.2, -115.1), ("us-west8", "US", 33.4, -112.1),
];

#[rustfmt::skip]
const AZURE: &[Row] = &[
    ("australiacentral", "AU", -35.3, 149.1), ("australiacentral2", "AU", -35.3, 149.1),
    ("australiaeast", "AU", -33.9, 151.2), ("australiasoutheast", "AU", -37.8, 145.0),
    ("austriaeast", "AT", 48.2, 16.4), ("belgiumcentral", "BE", 50.9, 4.4), ("brazilse", "BR", -22.9, -43.2),
    ("brazilsouth", "BR", -23.5, -46.6), ("canadacentral", "CA", 43.7, -79.4), ("canadaeast", "CA", 46.8, -71.2),
    ("centralfrance", "FR", 48.9, 2.4), ("centralindia", "IN", 18.5, 73.9), ("centralus", "US", 41.6, -93.6),
    ("centraluseuap", "US", 41.6, -93.6), ("chilec", "CL", -33.4, -70.7), ("denmarkeast", "DK", 55.7, 12.6),
    ("eastasia", "HK", 22.3, 114.2), ("eastus", "US", 37.4, -79.8), ("eastus2", "US", 36.7, -78.4),
    ("eastus2euap", "US", 36.7, -78.4), ("eastus3", "US", 33.7, -84.4), ("germanyn", "DE", 52.5, 13.4),
    ("germanywc", "DE", 50.1, 8.7), ("indiasouthcentral", "IN", 17.4, 78.5), ("indonesiacentral", "ID", -6.2, 106.8),
    ("israelcentral", "IL", 32.1, 34.8), ("israelnorthwest", "IL", 32.8, 35.0), ("italynorth", "IT", 45.5, 9.2),
    ("japaneast", "JP", 35.7, 139.7), ("japanwest", "JP", 34.7, 135.5), ("jioindiacentral", "IN", 21.1, 79.1),
    ("jioindiawest", "IN", 22.5, 70.1), ("koreacentral", "KR", 37.6, 127.0), ("koreasouth", "KR", 35.2, 129.1),
    ("malaysiasouth", "MY", 1.5, 103.7), ("malaysiawest", "MY", 3.1, 101.7), ("mexicocentral", "MX", 20.6, -100.4),
    ("newzealandnorth", "NZ", -36.8, 174.8), ("northcentralus", "US", 41.9, -87.6),
    ("northeurope", "IE", 53.3, -6.3), ("northeurope2", "IE", 53.3, -6.3), ("norwaye", "NO", 59.9, 10.8),
    ("norwayw", "NO", 59.0, 5.7), ("polandcentral", "PL", 52.2, 21.0), ("qatarcentral", "QA", 25.3, 51.5),
    ("southafricanorth", "ZA", -26.2, 28.0), ("southafricawest", "ZA", -33.9, 18.4),
    ("southcentralus", "US", 29.4, -98.5), ("southcentralus2", "US", 29.4, -98.5),
    ("southeastasia", "SG", 1.3, 103.8), ("southfrance", "FR", 43.3, 5.4), ("southindia", "IN", 13.1, 80.3),
    ("spaincentral", "ES", 40.4, -3.7), ("swedencentral", "SE", 60.7, 17.1), ("swedensouth", "SE", 55.6, 13.0),
    ("switzerlandn", "CH", 47.4, 8.5), ("switzerlandw", "CH", 46.2, 6.1), ("taiwannorth", "TW", 25.0, 121.5),
    ("taiwannorthwest", "TW", 24.8, 121.0), ("uaecentral", "AE", 24.5, 54.4), ("uaenorth", "AE", 25.3, 55.3),
    ("uksouth", "GB", 51.5, -0.1), ("ukwest", "GB", 51.5, -3.2), ("westcentralus", "US", 41.1, -104.8),
    ("westeurope", "NL", 52.4, 4.9), ("westindia", "IN", 19.1, 72.9), ("westus", "US", 37.4, -121.9),
    ("westus2", "US", 47.2, -119.9), ("westus3", "US", 33.4, -112.1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_usable_and_lies_near_its_country() {
        for (cloud, regions) in [("aws", AWS), ("gcp", GCP), ("azure", AZURE)] {
            for &(region, ..) in regions {
                let known = region_whereabouts(cloud, region).expect(region);
                let from_country = known.coordinates.distance_km(&known.country.coordinates());
                // The widest countries here are the United States and Canada.
                assert!(from_country < 3500.0, "{cloud} {region}: {from_country} km");
            }
        }
        assert_eq!(region_whereabouts("aws", "global"), None);
        assert_eq!(region_whereabouts("gcp", "us-east-1"), None);
    }

    #[test]
    fn no_region_stands_in_the_table_twice() {
        for regions in [AWS, GCP, AZURE] {
            let mut names: Vec<_> = regions.iter().map(|row| row.0).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
