//! From an address to a place.

use std::net::IpAddr;

use crate::place::{Country, Place};
use crate::prefix::Prefix;
use crate::ranges::{CloudRegion, PrefixTable};

/// What is known about addresses. An empty table knows nothing, and nothing else breaks.
#[derive(Clone, Debug, Default)]
pub struct Locator {
    /// Cloud and region by address.
    pub clouds: PrefixTable<CloudRegion>,
    /// Country by address.
    pub countries: PrefixTable<Country>,
    /// AS number by address.
    pub asns: PrefixTable<u32>,
}

impl Locator {
    /// The place of an address. An address that no table knows has a place in which everything is unknown;
    /// that is never an error.
    #[must_use]
    pub fn locate(&self, address: IpAddr) -> Place {
        Place::assemble(
            self.clouds.lookup(address),
            self.asns.lookup(address).copied(),
            self.countries.lookup(address).copied(),
        )
    }
}

/// The network of an address, as coarse as it may stand in a log: /24 for IPv4, /48 for IPv6.
#[must_use]
pub fn client_network(address: IpAddr) -> Prefix {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => Prefix::containing(v4, 24),
        v6 @ IpAddr::V6(_) => Prefix::containing(v6, 48),
    }
}

/// A number that all addresses of one client network share and that spreads networks evenly: the key of
/// the rendezvous among mirrors.
#[must_use]
pub fn client_key(address: IpAddr) -> u64 {
    match client_network(address).first() {
        IpAddr::V4(v4) => crate::mix::mix(u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let (upper, _) = crate::mix::halves(v6.to_bits());
            // Apart from the IPv4 networks, whose numbers are below 2^32.
            crate::mix::mix(upper | 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::{parse_asn_csv, parse_cloud_ranges, parse_country_csv};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_located_by_all_tables_together() {
        let locator = Locator {
            clouds: parse_cloud_ranges("aws,eu-central-1,3.64.0.0/12").unwrap(),
            countries: parse_country_csv("3.0.0.0/8,US\n129.240.0.0/15,NO").unwrap(),
            asns: parse_asn_csv("3.64.0.0/12,16509\n129.240.0.0/15,224").unwrap(),
        };
        let cloud = locator.locate(address("3.64.0.1"));
        assert_eq!(cloud.region.as_deref(), Some("eu-central-1"));
        assert_eq!((cloud.country, cloud.asn), ("DE".parse().ok(), Some(16509)));

        let campus = locator.locate(address("::ffff:129.240.8.9"));
        assert_eq!((campus.cloud.as_deref(), campus.asn), (None, Some(224)));
        assert_eq!(campus.country, "NO".parse().ok());
        assert!(campus.coordinates.is_some());

        assert_eq!(locator.locate(address("2001:db8::1")), Place::default());
        assert_eq!(
            Locator::default().locate(address("3.64.0.1")),
            Place::default()
        );
    }

    #[test]
    fn a_client_network_hides_the_client() {
        for (address_text, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ] {
            assert_eq!(client_network(address(address_text)).to_string(), network);
        }
    }

    #[test]
    fn addresses_of_one_network_share_a_key_and_others_do_not() {
        let key = |text| client_key(address(text));
        assert_eq!(key("192.0.2.1"), key("192.0.2.254"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.2"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
        assert_eq!(key("2001:db8:1::1"), key("2001:db8:1:ffff::1"));
        assert_ne!(key("2001:db8:1::1"), key("2001:db8:2::1"));
    }
}
