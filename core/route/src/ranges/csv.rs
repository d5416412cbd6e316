//! The text forms that address databases come in, line by line.
//!
//! Fields are separated by commas and may stand in double quotes. A first line that holds no address is
//! taken for a header; empty lines and lines that begin with `#` are skipped.

use std::hash::Hash;
use std::net::IpAddr;

use thiserror::Error;

use super::cloud_region::{CloudRegion, label};
use super::{NotARange, PrefixTable, PrefixTableBuilder};
use crate::place::Country;
use crate::prefix::{Prefix, PrefixError};

/// Longest line that is read, in bytes. Real ones have up to about 150.
const MAX_LINE_BYTES: usize = 4096;
/// A line of an address database that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} of the address table cannot be used")]
pub struct RangeError {
    /// Number of the line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub fault: RangeFault,
}

/// What is wrong with a line of an address database.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeFault {
    /// A field is missing.
    #[error("the field \"{0}\" is missing")]
    Missing(&'static str),
    /// Neither a prefix nor an address.
    #[error("the address is not usable")]
    Prefix(#[source] PrefixError),
    /// Two addresses that are not the ends of a range.
    #[error("the two addresses are not the ends of a range")]
    Range(#[source] NotARange),
    /// A cloud, region, country or AS number that cannot be one.
    #[error("\"{value}\" is not usable as {field}")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its text, shortened.
        value: String,
    },
    /// The line is longer than any line of such a table.
    #[error("the line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
}

/// Reads `cloud,region,cidr` lines.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse_cloud_ranges(csv: &str) -> Result<PrefixTable<CloudRegion>, RangeError> {
    let mut builder = PrefixTableBuilder::new();
    add_cloud_ranges(&mut builder, csv)?;
    Ok(builder.build())
}

/// Reads `cloud,region,cidr` lines into a table that is made of several texts.
///
/// # Errors
/// The first line that cannot be used; the lines before it have been added.
pub fn add_cloud_ranges(
    builder: &mut PrefixTableBuilder<CloudRegion>,
    csv: &str,
) -> Result<(), RangeError> {
    each_line(csv, |mut fields, header_allowed| {
        let cloud = fields.next().ok_or(RangeFault::Missing("cloud"))?;
        let region = fields.next().ok_or(RangeFault::Missing("region"))?;
        let cidr = fields.next().ok_or(RangeFault::Missing("cidr"))?;
        if header_allowed && [cloud, region, cidr].map(holds_address) == [false; 3] {
            return Ok(());
        }
        let prefix: Prefix = cidr.parse().map_err(RangeFault::Prefix)?;
        let owner = CloudRegion::try_new(cloud, region).ok_or_else(|| {
            let (field, value) = match label(cloud) {
                None => ("cloud", cloud),
                Some(_) => ("region", region),
            };
            fault(field, value)
        })?;
        builder.insert(prefix, owner);
        Ok(())
    })
}

/// Reads `start,end,CC` or `cidr,CC` lines; what stands behind is not looked at.
///
/// Lines whose country is none (empty, `ZZ`, `EU` and other codes that ISO 3166-1 does not assign) say
/// nothing and are skipped.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse_country_csv(csv: &str) -> Result<PrefixTable<Country>, RangeError> {
    parse_owned(csv, "country", |text| {
        let plausible = text.len() <= 2 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        match (text.parse::<Country>(), plausible) {
            (Ok(country), _) => Ok(Some(country)),
            (Err(_), true) => Ok(None),
            (Err(_), false) => Err(fault("country", text)),
        }
    })
}

/// Reads `start,end,ASN[,organization]` or `cidr,ASN[,organization]` lines; the number may be written `AS64496`.
///
/// AS number 0 means that nobody announces the addresses (RFC 7607); such lines are skipped.
///
/// # Errors
/// The first line that cannot be used.
pub fn parse_asn_csv(csv: &str) -> Result<PrefixTable<u32>, RangeError> {
    parse_owned(csv, "asn", |text| {
        let digits = text
            .strip_prefix("AS")
            .or_else(|| text.strip_prefix("as"))
            .unwrap_or(text);
        let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse::<u32>() {
            Ok(number) if decimal => Ok((number != 0).then_some(number)),
            Ok(_) | Err(_) => Err(fault("asn", text)),
        }
    })
}

fn parse_owned<T: Clone + Eq + Hash>(
    csv: &str,
    field: &'static str,
    owner: impl Fn(&str) -> Result<Option<T>, RangeFault>,
) -> Result<PrefixTable<T>, RangeError> {
    let mut builder = PrefixTableBuilder::new();
    each_line(csv, |mut fields, header_allowed| {
        let first = fields.next().ok_or(RangeFault::Missing("start"))?;
        if header_allowed && !holds_address(first) {
            return Ok(());
        }
        let second = fields.next().ok_or(RangeFault::Missing(field))?;
        if first.contains('/') || !holds_address(second) {
            let prefix: Prefix = first.parse().map_err(RangeFault::Prefix)?;
            if let Some(owner) = owner(second)? {
                builder.insert(prefix, owner);
            }
            return Ok(());
        }
        let third = fields.next().ok_or(RangeFault::Missing(field))?;
        let (first, last) = (ip(first)?, ip(second)?);
        if let Some(owner) = owner(third)? {
            builder
                .insert_range(first, last, owner)
                .map_err(RangeFault::Range)?;
        }
        Ok(())
    })?;
    Ok(builder.build())
}

/// Calls `read` with the fields of each line, and whether the line may be a header.
fn each_line<'a>(
    csv: &'a str,
    mut read: impl FnMut(Fields<'a>, bool) -> Result<(), RangeFault>,
) -> Result<(), RangeError> {
    let csv = csv.strip_prefix('\u{feff}').unwrap_or(csv);
    for (number, line) in csv.lines().enumerate() {
        let result = match line.trim() {
            "" => continue,
            comment if comment.starts_with('#') => continue,
            long if long.len() > MAX_LINE_BYTES => Err(RangeFault::TooLong),
            line => read(Fields { rest: Some(line) }, number == 0),
        };
        result.map_err(|fault| RangeError {
            line: number + 1,
            fault,
        })?;
    }
    Ok(())
}

/// The fields of a line, without the quotes around them. Quotes inside of a quoted field stay doubled:
/// no field that is read here has any.
struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?.trim_start();
        if let Some((quoted, behind)) = rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
            self.rest = behind.split_once(',').map(|(_, next)| next);
            return Some(quoted.trim());
        }
        let (field, next) = match rest.split_once(',') {
            Some((field, next)) => (field, Some(next)),
            None => (rest, None),
        };
        self.rest = next;
        Some(field.trim())
    }
}

fn ip(text: &str) -> Result<IpAddr, RangeFault> {
    text.parse()
        .map_err(|_| RangeFault::Prefix(PrefixError::Address(shortened(text))))
}

fn holds_address(field: &str) -> bool {
    let address = field.split_once('/').map_or(field, |(address, _)| address);
    address.parse::<IpAddr>().is_ok()
}

fn fault(field: &'static str, value: &str) -> RangeFault {
    RangeFault::Value {
        field,
        value: shortened(value),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup<T: Clone>(table: &PrefixTable<T>, at: &str) -> Option<T> {
        table.lookup(at.parse().unwrap()).cloned()
    }

    #[test]
    fn cloud_ranges_are_read_with_names_in_lower_case() {
        let csv = "cloud,region,cidr\nAWS,us-east-1,3.80.0.0/12\r\n\n# by hand\nAWS,GLOBAL,3.81.0.0/16\n\"Azure\", \"WestEurope\" ,2001:db8::/32";
        let table = parse_cloud_ranges(csv).unwrap();
        let at = |address| {
            lookup(&table, address)
                .map(|owner| (owner.cloud().to_owned(), owner.region().map(str::to_owned)))
        };
        let named = |cloud: &str, region: &str| Some((cloud.to_owned(), Some(region.to_owned())));
        assert_eq!(at("3.80.0.1"), named("aws", "us-east-1"));
        assert_eq!(at("3.81.0.1"), Some(("aws".to_owned(), None)));
        assert_eq!(at("2001:db8::9"), named("azure", "westeurope"));
        assert_eq!(at("1.1.1.1"), None);
        assert_eq!(table.len(), 3);
        let virginia = lookup(&table, "3.80.0.1").unwrap();
        assert_eq!(virginia.country().unwrap().as_str(), "US");
    }

    #[test]
    fn country_and_asn_lists_are_read_as_ranges_and_as_prefixes() {
        let csv = "1.0.0.0,1.0.0.255,AU\n1.0.1.0,1.0.3.255,cn,Asia\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,NO\n9.0.0.0/8,US\n10.0.0.0,10.0.0.255,ZZ\n11.0.0.0/8,\n";
        let table = parse_country_csv(csv).unwrap();
        let at = |address| lookup(&table, address).map(|country| country.to_string());
        assert_eq!(at("1.0.0.255").as_deref(), Some("AU"));
        assert_eq!(at("1.0.2.0").as_deref(), Some("CN"));
        assert_eq!(at("2001:db8:1::").as_deref(), Some("NO"));
        assert_eq!(at("9.9.9.9").as_deref(), Some("US"));
        assert_eq!(at("10.0.0.1"), None);
        assert_eq!(at("11.0.0.1"), None);

        let csv = "network,autonomous_system_number,autonomous_system_organization\n1.0.0.0/24,13335,\"Cloudflare, Inc.\"\n\"1.0.4.0\",\"1.0.7.255\",\"AS56203\",x\n2.0.0.0/8,0,nobody\n";
        let table = parse_asn_csv(csv).unwrap();
        assert_eq!(lookup(&table, "1.0.0.1"), Some(13335));
        assert_eq!(lookup(&table, "1.0.7.1"), Some(56203));
        assert_eq!(lookup(&table, "2.0.0.1"), None);
    }

    fn check<T>(got: Result<PrefixTable<T>, RangeError>, line: usize, part: &str) {
        let Err(error) = got else {
            panic!("line {line} was accepted: {part}");
        };
        let fault = error.fault.to_string();
        assert_eq!(error.line, line, "{fault}");
        assert!(fault.contains(part), "{fault} does not say {part}");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let head = "cloud,region,cidr\n";
        let cloud = |line: &str| parse_cloud_ranges(&format!("{head}{line}"));
        check(cloud("aws,us-east-1"), 2, "\"cidr\" is missing");
        check(cloud("\naws"), 3, "\"region\" is missing");
        check(
            cloud("aws,us-east-1,3.80.0.0/33"),
            2,
            "address is not usable",
        );
        check(
            cloud("aws,us-east-1,3.80.0.1/8"),
            2,
            "address is not usable",
        );
        check(cloud("cloud,region,cidr"), 2, "address is not usable");
        check(cloud(",us-east-1,3.80.0.0/16"), 2, "usable as cloud");
        check(cloud("aws,us east,3.80.0.0/16"), 2, "usable as region");
        check(cloud(&"x".repeat(5000)), 2, "longer than");
        check(parse_country_csv("1.0.0.0/8,NO\n1.0.0.0"), 2, "missing");
        check(
            parse_country_csv("1.0.0.0,1.0.0.1"),
            1,
            "\"country\" is missing",
        );
        check(
            parse_country_csv("1.0.0.9,1.0.0.1,NO"),
            1,
            "ends of a range",
        );
        check(parse_country_csv("1.0.0.9,::1,NO"), 1, "ends of a range");
        check(
            parse_country_csv("1.0.0.0/8,Norway"),
            1,
            "usable as country",
        );
        check(parse_country_csv("x\ny,NO"), 2, "address is not usable");
        check(parse_asn_csv("1.0.0.0/8,AS"), 1, "usable as asn");
        check(parse_asn_csv("1.0.0.0/8,4294967296"), 1, "usable as asn");
        check(parse_asn_csv("1.0.0.0/8,+5"), 1, "usable as asn");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_one_of_its_lines(
            text in "([0-9a-fA-F.:/,\"A-Z \n-]|1.0.0.0/8,|NO\n|\\PC){0,80}",
        ) {
            let results = [
                parse_cloud_ranges(&text).map(|table| table.len()),
                parse_country_csv(&text).map(|table| table.len()),
                parse_asn_csv(&text).map(|table| table.len()),
            ];
            for result in results {
                let at = result.unwrap_or_else(|error| error.line);
                prop_assert!(at <= text.lines().count());
            }
        }
    }
}
