//! The small world of the demo: who donates a mirror, who asks, and which
//! (documentation) addresses are where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A mirror and its donor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Donor {
    /// Name in the fleet.
    pub(super) name: &'static str,
    /// Its own loopback address, so that it is a host of its own.
    pub(super) address: &'static str,
    /// Who runs it, for people.
    pub(super) who: &'static str,
    /// The keys of `[mirror]` that say where it is.
    pub(super) place: &'static str,
    /// Whether the operator trusts it with plain downloads, too.
    pub(super) everything: bool,
}

/// The three mirrors.
pub(super) const DONORS: [Donor; 3] = [
    Donor {
        name: "aws-east",
        address: "127.0.0.2",
        who: "AWS us-east-1",
        place: "cloud = \"aws\"\nregion = \"us-east-1\"\ncountry = \"US\"\n",
        everything: true,
    },
    Donor {
        name: "gcp-west",
        address: "127.0.0.3",
        who: "GCP europe-west1",
        place: "cloud = \"gcp\"\nregion = \"europe-west1\"\ncountry = \"BE\"\n",
        everything: false,
    },
    Donor {
        name: "uni-oslo",
        address: "127.0.0.4",
        who: "a university in Norway",
        place: "country = \"NO\"\n",
        everything: true,
    },
];

/// Where somebody asks from, and which mirrors may answer when all are complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// For people.
    pub(super) name: &'static str,
    /// Addresses that are there. All from the blocks that are set aside for
    /// documentation (RFC 5737, RFC 3849), which are nobody's.
    pub(super) network: &'static str,
    /// The client's own address, one of `network`.
    pub(super) client: IpAddr,
    /// Cloud and region, if it is in one.
    pub(super) cloud: Option<(&'static str, &'static str)>,
    /// ISO 3166-1 alpha-2 code.
    pub(super) country: &'static str,
    /// Who may be asked for a plain file. Never `gcp-west`: it is trusted with
    /// clients only that check digests.
    pub(super) file_from: &'static [&'static str],
    /// Who may be asked for the blobs of an image.
    pub(super) image_from: &'static [&'static str],
}

/// The four places that are asked from.
pub(super) const PLACES: [Place; 4] = [
    Place {
        name: "AWS us-east-1",
        network: "198.51.100.0/24",
        client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20)),
        cloud: Some(("aws", "us-east-1")),
        country: "US",
        file_from: &["aws-east"],
        image_from: &["aws-east"],
    },
    Place {
        name: "GCP europe-west1",
        network: "203.0.113.0/24",
        client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20)),
        cloud: Some(("gcp", "europe-west1")),
        country: "BE",
        file_from: &["uni-oslo"],
        image_from: &["gcp-west"],
    },
    Place {
        name: "Norway",
        network: "192.0.2.0/24",
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)),
        cloud: None,
        country: "NO",
        file_from: &["uni-oslo"],
        image_from: &["uni-oslo"],
    },
    Place {
        name: "Japan",
        network: "2001:db8:81::/48",
        client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x81, 0, 0, 0, 0, 0x20)),
        cloud: None,
        country: "JP",
        file_from: &["aws-east", "uni-oslo"],
        image_from: &["aws-east", "gcp-west", "uni-oslo"],
    },
];

/// `ranges.csv`: which networks are which region of which cloud.
pub(super) fn ranges_csv() -> String {
    let mut csv = "cloud,region,cidr\n".to_owned();
    for place in &PLACES {
        if let Some((cloud, region)) = place.cloud {
            csv.push_str(&format!("{cloud},{region},{}\n", place.network));
        }
    }
    csv
}

/// `country.csv`: which networks are in which country.
pub(super) fn country_csv() -> String {
    PLACES
        .iter()
        .map(|place| format!("{},{}\n", place.network, place.country))
        .collect()
}

#[cfg(test)]
mod tests {
    use landfall_route::{Locator, ranges};

    use super::*;

    #[test]
    fn every_client_is_found_where_the_table_says() {
        let locator = Locator {
            clouds: ranges::parse_cloud_ranges(&ranges_csv()).unwrap(),
            countries: ranges::parse_country_csv(&country_csv()).unwrap(),
            ..Locator::default()
        };
        for place in &PLACES {
            let found = locator.locate(place.client);
            assert_eq!(
                found.cloud.as_deref().zip(found.region.as_deref()),
                place.cloud,
                "{}",
                place.name
            );
            assert_eq!(
                found.country.map(|country| country.to_string()).as_deref(),
                Some(place.country)
            );
        }
    }

    #[test]
    fn plain_files_come_only_from_mirrors_that_are_trusted_with_them() {
        for place in &PLACES {
            for name in place.file_from {
                let donor = DONORS.iter().find(|donor| donor.name == *name).unwrap();
                assert!(donor.everything, "{}: {name}", place.name);
            }
        }
    }
}
