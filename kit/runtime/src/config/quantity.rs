//! Sizes and rates as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a number and a unit of bytes.
    #[error("must be a number and a unit, as in \"500 GB\" or \"1.5 TiB\"")]
    ByteSize,
    /// Not a number and a unit of bits or bytes per second.
    #[error("must be a number and a unit above zero, as in \"200 Mbit/s\" or \"25 MB/s\"")]
    Bandwidth,
    /// More than 64 bits hold.
    #[error("is too large")]
    TooLarge,
}

/// A number of bytes: `"20 TB"` (powers of 1000), `"512 MiB"` (powers of
/// 1024), or a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) = split_unit(text);
        let factor = match unit {
            "" => 1,
            unit => byte_factor(unit).ok_or(QuantityError::ByteSize)?,
        };
        scale(number, factor, QuantityError::ByteSize).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, "B")
    }
}

/// A rate: `"200 Mbit/s"` or `"25 MB/s"`. Never zero; a number without a unit
/// is refused, because it could mean bits or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bandwidth {
    bits_per_second: u64,
}

impl Bandwidth {
    /// So many bits a second; `None` for zero.
    pub const fn from_bits_per_second(bits_per_second: u64) -> Option<Self> {
        if bits_per_second == 0 {
            None
        } else {
            Some(Self { bits_per_second })
        }
    }

    /// In bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// In bytes a second, at least 1.
    pub const fn bytes_per_second(self) -> u64 {
        let bytes = self.bits_per_second / 8;
        if bytes == 0 { 1 } else { bytes }
    }
}

impl FromStr for Bandwidth {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) = split_unit(text);
        let unit = unit.strip_suffix("/s").ok_or(QuantityError::Bandwidth)?;
        let factor = match unit.strip_suffix("bit") {
            Some(prefix) => prefix_factor(prefix),
            None => byte_factor(unit).map(|bytes| bytes * 8),
        };
        let bits = scale(
            number,
            factor.ok_or(QuantityError::Bandwidth)?,
            QuantityError::Bandwidth,
        )?;
        Self::from_bits_per_second(bits).ok_or(QuantityError::Bandwidth)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.bits_per_second, "bit/s")
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let number_ends = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    (number, unit.trim_start())
}

/// The `B` is upper case: `Mb` is what some write for megabits.
fn byte_factor(unit: &str) -> Option<u128> {
    prefix_factor(unit.strip_suffix('B')?)
}

fn prefix_factor(prefix: &str) -> Option<u128> {
    Some(match prefix {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `factor`, rounded down.
fn scale(number: &str, factor: u128, malformed: QuantityError) -> Result<u64, QuantityError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return Err(malformed);
    }
    if whole.len() > 20 {
        return Err(QuantityError::TooLarge);
    }
    let whole: u128 = whole.parse().map_err(|_| malformed)?;
    let parts: u128 = fraction.parse().map_err(|_| malformed)?;
    let divisor = fraction.bytes().fold(1_u128, |product, _| product * 10);
    u64::try_from(whole * factor + parts * factor / divisor).map_err(|_| QuantityError::TooLarge)
}

/// Exact: with the largest decimal unit that leaves a whole number.
fn show(f: &mut fmt::Formatter<'_>, amount: u64, unit: &str) -> fmt::Result {
    let prefixes = [
        ("P", 1_000_000_000_000_000),
        ("T", 1_000_000_000_000),
        ("G", 1_000_000_000),
        ("M", 1_000_000),
        ("k", 1_000),
    ];
    for (prefix, factor) in prefixes {
        if amount > 0 && amount.is_multiple_of(factor) {
            return write!(f, "{} {prefix}{unit}", amount / factor);
        }
    }
    write!(f, "{amount} {unit}")
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"500 GB\"")
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes)
            .map(ByteSize)
            .map_err(|_| E::custom(QuantityError::ByteSize))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        use QuantityError::{ByteSize as Malformed, TooLarge};
        for (text, expected) in [
            ("0", Ok(0)),
            ("17", Ok(17)),
            ("20 TB", Ok(20_000_000_000_000)),
            ("20TB", Ok(20_000_000_000_000)),
            (" 1.5 kB ", Ok(1_500)),
            ("1 KB", Ok(1_000)),
            ("4 MiB", Ok(4 << 20)),
            ("0.5 GiB", Ok(1 << 29)),
            ("18446744073709551615 B", Ok(u64::MAX)),
            ("18446744073709551616", Err(TooLarge)),
            ("999999999 PB", Err(TooLarge)),
            ("99999999999999999999999999999999999999999", Err(TooLarge)),
            ("", Err(Malformed)),
            ("TB", Err(Malformed)),
            ("-1 GB", Err(Malformed)),
            ("1 Mb", Err(Malformed)),
            ("1 XB", Err(Malformed)),
            ("1. GB", Err(Malformed)),
            (".5 GB", Err(Malformed)),
            ("1.2.3 GB", Err(Malformed)),
            ("1,5 GB", Err(Malformed)),
            ("1 GB/s", Err(Malformed)),
        ] {
            assert_eq!(text.parse().map(ByteSize::bytes), expected, "{text:?}");
        }
    }

    #[test]
    fn rates_are_read_in_bits_and_in_bytes_and_never_guessed() {
        use QuantityError::Bandwidth as Malformed;
        for (text, expected) in [
            ("200 Mbit/s", Ok(200_000_000)),
            ("1.5Gbit/s", Ok(1_500_000_000)),
            ("25 MB/s", Ok(200_000_000)),
            ("1 KiB/s", Ok(8_192)),
            ("1 bit/s", Ok(1)),
            ("200", Err(Malformed)),
            ("200 Mbit", Err(Malformed)),
            ("200 Mbps", Err(Malformed)),
            ("0 Mbit/s", Err(Malformed)),
        ] {
            let parsed = text.parse().map(Bandwidth::bits_per_second);
            assert_eq!(parsed, expected, "{text:?}");
        }
        let slow: Bandwidth = "1 bit/s".parse().unwrap();
        assert_eq!(slow.bytes_per_second(), 1);
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        for bytes in [
            0,
            1,
            999,
            1_000,
            1_500,
            4 << 20,
            20_000_000_000_000,
            u64::MAX,
        ] {
            let size = ByteSize::from_bytes(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        let rate: Bandwidth = "25 MB/s".parse().unwrap();
        assert_eq!(rate.to_string(), "200 Mbit/s");
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
}
