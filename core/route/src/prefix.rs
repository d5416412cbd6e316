//! Network prefixes in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// An address and the number of its leading bits that matter.
///
/// The bits behind the length are zero, and a prefix of IPv4-mapped IPv6 addresses (`::ffff:0:0/96` and
/// longer) is kept as the IPv4 prefix that it means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text or a pair of address and length is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The part before the slash is no IP address.
    #[error("\"{0}\" is not an IP address")]
    Address(String),
    /// The part behind the slash is no number, or larger than the address is long.
    #[error("a prefix length of \"{0}\" does not fit the address")]
    Length(String),
    /// The address has bits behind the length: almost always a typing mistake.
    #[error("the address has bits set behind the prefix length: {0} was meant, perhaps")]
    HostBits(Prefix),
}

impl Prefix {
    /// The prefix of `address` with `length` bits.
    ///
    /// # Errors
    /// When the length is larger than the address is long, or bits behind it are set.
    pub fn try_new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        if length > bits_of(address) {
            return Err(PrefixError::Length(length.to_string()));
        }
        let masked = Self::containing(address, length);
        if masked.first() != address.to_canonical() {
            return Err(PrefixError::HostBits(masked));
        }
        Ok(masked)
    }

    /// The prefix of `length` bits that `address` lies in; a length beyond the address is cut to it.
    #[must_use]
    pub fn containing(address: IpAddr, length: u8) -> Self {
        let length = length.min(bits_of(address));
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if length >= 96 => {
                Self::containing(v4.into(), length - 96)
            }
            (IpAddr::V4(v4), _) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self {
                    address: Ipv4Addr::from_bits(v4.to_bits() & mask).into(),
                    length,
                }
            }
            (IpAddr::V6(v6), _) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self {
                    address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(),
                    length,
                }
            }
        }
    }

    /// The number of leading bits that matter.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The lowest address in it.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.address
    }

    /// The highest address in it.
    #[must_use]
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() | host).into()
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() | host).into()
            }
        }
    }

    /// Whether `address` lies in it. An IPv4-mapped IPv6 address counts as the IPv4 address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && self.first() <= address
            && address <= self.last()
    }
}

/// How many bits an address of this family has.
const fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// `192.0.2.0/24`, `2001:db8::/32`, or an address alone, which means itself only.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| PrefixError::Address(address.to_owned()))?;
        let length = match length {
            None => bits_of(address),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .map_err(|_| PrefixError::Length(digits.to_owned()))?,
            Some(other) => return Err(PrefixError::Length(other.to_owned())),
        };
        Self::try_new(address, length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let got = text.parse::<Prefix>();
        match expect {
            Ok(shown) => assert_eq!(got.unwrap().to_string(), shown, "{text}"),
            Err(part) => {
                let message = got.expect_err(text).to_string();
                assert!(message.contains(part), "{text}: {message}");
            }
        }
    }

    #[test]
    fn a_prefix_is_read_strictly_and_shown_in_its_one_form() {
        check("192.0.2.0/24", Ok("192.0.2.0/24"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("::/0", Ok("::/0"));
        check("192.0.2.7", Ok("192.0.2.7/32"));
        check("2001:DB8:0::/32", Ok("2001:db8::/32"));
        check("::ffff:10.0.0.0/104", Ok("10.0.0.0/8"));
        check("::ffff:10.0.0.1", Ok("10.0.0.1/32"));
        check("192.0.2.1/24", Err("192.0.2.0/24 was meant"));
        check("192.0.2.0/33", Err("length"));
        check("192.0.2.0/", Err("length"));
        check("192.0.2.0/+8", Err("length"));
        check("192.0.2/24", Err("not an IP address"));
        check("fe80::1%eth0/64", Err("not an IP address"));
        check("", Err("not an IP address"));
    }

    #[test]
    fn the_ends_of_a_prefix_are_in_it_and_their_neighbours_are_not() {
        let prefix: Prefix = "10.1.0.0/16".parse().unwrap();
        for (address, inside) in [
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("::ffff:10.1.2.3", true),
            ("10.0.255.255", false),
            ("10.2.0.0", false),
            ("::a01:0", false),
        ] {
            assert_eq!(
                prefix.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        let everything: Prefix = "::/0".parse().unwrap();
        assert!(everything.contains("ffff::1".parse().unwrap()));
        assert!(!everything.contains("10.0.0.1".parse().unwrap()));
    }
}
