//! How far a connection may lead whose target somebody else chose.
//!
//! A registry that redirects to `169.254.169.254` must not make this program
//! ask its own network and hand on what it finds there. Addresses are looked
//! at twice: in URLs before anything is dialled, and in what names resolve to,
//! inside the client, so that no second answer of a name server can differ
//! from the one that was checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;
use url::{Host, Url};

use super::{DialError, http_client_builder};

/// Which addresses may be dialled: public ones, and what was allowed besides.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allowed: Arc<[Network]>,
    loopback: bool,
}

/// Addresses with a common prefix: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// An address that is not to be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address")]
pub struct OutOfReach(String);

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a network like 10.0.0.0/8")]
pub struct NetworkError;

impl Reach {
    /// Public addresses and these networks.
    #[must_use]
    pub fn allowing(networks: &[Network]) -> Self {
        Self {
            allowed: networks.into(),
            loopback: false,
        }
    }

    /// Also this machine, if `allowed`.
    #[must_use]
    pub fn with_loopback(mut self, allowed: bool) -> Self {
        self.loopback = allowed;
        self
    }

    /// Whether `address` may be dialled.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address)
            || (self.loopback && address.is_loopback())
            || self.allowed.iter().any(|network| network.holds(address))
    }

    /// Refuses a URL whose host is an address out of reach. Names are looked
    /// at when [`Self::http_client`] resolves them.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub fn check(&self, url: &Url) -> Result<(), OutOfReach> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(OutOfReach("a URL without a host".to_owned())),
        };
        if self.admits(address) {
            Ok(())
        } else {
            Err(OutOfReach(address.to_string()))
        }
    }

    /// An HTTP client as [`super::http_client`], for which names resolve to
    /// addresses within reach only. URLs have to be checked before.
    ///
    /// # Errors
    /// [`DialError::HttpClient`].
    pub fn http_client(&self) -> Result<reqwest::Client, DialError> {
        http_client_builder()
            .dns_resolver(Arc::new(self.clone()))
            .build()
            .map_err(DialError::HttpClient)
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (within, without): (Vec<_>, Vec<_>) =
                found.partition(|found| reach.admits(found.ip()));
            match without.first() {
                Some(other) if within.is_empty() => {
                    let why = format!("{} ({})", name.as_str(), other.ip());
                    Err(OutOfReach(why).into())
                }
                _ => Ok(Box::new(within.into_iter()) as Addrs),
            }
        })
    }
}

impl OutOfReach {
    /// Whether a request failed because of one.
    pub fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::caused)
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let high = |bits: u128| bits.checked_shr(u32::from(128 - self.bits)).unwrap_or(0);
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let left = |address: Ipv4Addr| u128::from(address.to_bits()) << 96;
                high(left(network)) == high(left(address))
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                high(network.to_bits()) == high(address.to_bits())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => most,
        };
        if bits > most {
            return Err(NetworkError);
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Whether the address is one of the public internet (IANA's special-purpose
/// registries, RFC 6890 and its updates).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network, private, loopback, multicast and reserved.
        [0 | 10 | 127, ..] | [224..=255, ..] => true,
        // Shared by providers.
        [100, 64..=127, ..] => true,
        // Link-local: among it, the metadata services of clouds.
        [169, 254, ..] => true,
        [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        [198, 51, 100, _] | [203, 0, 113, _] => true,
        _ => false,
    };
    !special
}

/// Global unicast without what stands for other addresses or for nothing.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments (Teredo among them), documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("10.255.255.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("192.0.2.1", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2600::1", true),
            ("2001:4860::1", true),
            ("2001:0:1::", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("64:ff9b::7f00:1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(Reach::default().admits(address), public, "{text}");
        }
    }

    #[test]
    fn networks_are_allowed_by_prefix_and_loopback_apart() {
        let reach = Reach::allowing(&[
            "10.0.0.0/8".parse().unwrap(),
            "192.168.7.9".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        for (text, admitted) in [
            ("10.1.2.3", true),
            ("11.1.2.3", true),
            ("192.168.7.9", true),
            ("192.168.7.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("127.0.0.1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(reach.admits(text.parse().unwrap()), admitted, "{text}");
        }
        let reach = reach.with_loopback(true);
        assert!(reach.admits("127.0.0.9".parse().unwrap()));
        assert!(reach.admits("::1".parse().unwrap()));
        assert!(!reach.admits("169.254.169.254".parse().unwrap()));
        let everything = Reach::allowing(&["0.0.0.0/0".parse().unwrap()]);
        assert!(everything.admits("127.0.0.1".parse().unwrap()));
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10/8",
            "x",
            "::/129",
            "10.0.0.0/+8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NetworkError), "{bad}");
        }
    }

    #[test]
    fn urls_are_judged_by_their_address_however_it_is_written() {
        let reach = Reach::default();
        for (text, good) in [
            ("https://8.8.8.8/", true),
            ("https://example.org/", true),
            ("https://10.0.0.1/", false),
            ("https://0x0a000001/", false),
            ("https://167772161/", false),
            ("https://[::ffff:169.254.169.254]/", false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(reach.check(&url).is_ok(), good, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_dialled() {
        crate::install_crypto();
        let client = Reach::default().http_client().unwrap();
        let error = client.get("http://localhost:9/").send().await.unwrap_err();
        assert!(OutOfReach::caused(&error), "{error:?}");
        let client = Reach::default().with_loopback(true).http_client().unwrap();
        let error = client.get("http://localhost:9/").send().await.unwrap_err();
        assert!(!OutOfReach::caused(&error), "{error:?}");
    }
}
