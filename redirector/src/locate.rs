//! From files to a [`Locator`]: cloud ranges, countries and autonomous systems.
//!
//! A `MaxMind` database is walked once and becomes the same prefix table as a CSV file, so that a lookup is one
//! search whatever the file was. Files are read whole and bounded; one that cannot be read keeps a redirector
//! from starting, and a running one keeps the tables that it has.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;
use std::time::SystemTime;

use bytes::Bytes;
use landfall_route::ranges::{RangeError, add_cloud_ranges, parse_asn_csv, parse_country_csv};
use landfall_route::{CloudRegion, Country, Locator, Prefix, PrefixTable, PrefixTableBuilder};
use landfall_runtime::bounded::{ReadError, read_file};
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::config::Locate;

/// Largest database that is read, in bytes. The real ones have a tenth of it.
const MAX_FILE_BYTES: usize = 256 << 20;

/// A file of `[locate]` is of no use. The input's fault.
#[derive(Debug, Error)]
pub enum LocateError {
    /// It cannot be read, or is too large.
    #[error("{} is not usable", .0.display())]
    Read(PathBuf, #[source] ReadError),
    /// It is not UTF-8.
    #[error("{} is not a text file", .0.display())]
    Text(PathBuf, #[source] Utf8Error),
    /// A line of it is wrong.
    #[error("{} is not usable", .0.display())]
    Ranges(PathBuf, #[source] RangeError),
    /// It is not a `MaxMind` database.
    #[error("{} is not a usable MaxMind database", .0.display())]
    Database(PathBuf, #[source] MaxMindDbError),
    /// It has nothing of the expected kind at all: of another kind, or being written at the moment.
    #[error("{} has no {what} in any record", file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Reads all files. Blocks.
///
/// # Errors
/// [`LocateError`] for the first file that is of no use.
pub fn load(config: &Locate) -> Result<Locator, LocateError> {
    let clouds = clouds(&config.ranges)?;
    let countries = match &config.country {
        None => PrefixTable::default(),
        Some(file) if is_mmdb(file) => walk(file, "country", CountryRecord::country)?,
        Some(file) => parse(file, "country", parse_country_csv)?,
    };
    let asns = match &config.asn {
        None => PrefixTable::default(),
        Some(file) if is_mmdb(file) => walk(file, "autonomous system", AsnRecord::number)?,
        Some(file) => parse(file, "autonomous system", parse_asn_csv)?,
    };
    Ok(Locator {
        clouds,
        countries,
        asns,
    })
}

fn clouds(files: &[PathBuf]) -> Result<PrefixTable<CloudRegion>, LocateError> {
    let mut clouds = PrefixTableBuilder::new();
    for file in files {
        let text = read_text(file)?;
        add_cloud_ranges(&mut clouds, &text)
            .map_err(|fault| LocateError::Ranges(file.clone(), fault))?;
    }
    let clouds = clouds.build();
    match files {
        [file, ..] if clouds.is_empty() => Err(nothing(file, "cloud range")),
        [..] => Ok(clouds),
    }
}

fn parse<T>(
    file: &Path,
    what: &'static str,
    parser: impl Fn(&str) -> Result<PrefixTable<T>, RangeError>,
) -> Result<PrefixTable<T>, LocateError> {
    let table =
        parser(&read_text(file)?).map_err(|fault| LocateError::Ranges(file.to_owned(), fault))?;
    if table.is_empty() {
        return Err(nothing(file, what));
    }
    Ok(table)
}

fn nothing(file: &Path, what: &'static str) -> LocateError {
    LocateError::Nothing {
        file: file.to_owned(),
        what,
    }
}

/// Time and length of every file: differs when one was replaced. A file that is missing for a moment counts
/// as unchanged by nobody, and is looked at again.
#[must_use]
pub fn fingerprint(config: &Locate) -> Vec<Option<(SystemTime, u64)>> {
    config
        .ranges
        .iter()
        .chain(&config.country)
        .chain(&config.asn)
        .map(|file| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}

fn is_mmdb(file: &Path) -> bool {
    file.extension().is_some_and(|it| it == "mmdb")
}

fn read_bytes(file: &Path) -> Result<Bytes, LocateError> {
    read_file(file, MAX_FILE_BYTES).map_err(|fault| LocateError::Read(file.to_owned(), fault))
}

fn read_text(file: &Path) -> Result<String, LocateError> {
    String::from_utf8(read_bytes(file)?.into())
        .map_err(|fault| LocateError::Text(file.to_owned(), fault.utf8_error()))
}

/// `{"country_code": "NO"}`, or as `GeoIP2` has it, `{"country": {"iso_code": "NO"}}`.
#[derive(Deserialize)]
struct CountryRecord {
    country_code: Option<String>,
    country: Option<GeoIp2Country>,
    registered_country: Option<GeoIp2Country>,
}

#[derive(Deserialize)]
struct GeoIp2Country {
    iso_code: Option<String>,
}

impl CountryRecord {
    fn country(self) -> Option<Country> {
        let nested = |it: Option<GeoIp2Country>| it.and_then(|country| country.iso_code);
        self.country_code
            .or_else(|| nested(self.country))
            .or_else(|| nested(self.registered_country))
            .and_then(|code| code.parse().ok())
    }
}

/// `{"autonomous_system_number": 224}`, in both shapes.
#[derive(Deserialize)]
struct AsnRecord {
    autonomous_system_number: Option<u32>,
}

impl AsnRecord {
    const fn number(self) -> Option<u32> {
        self.autonomous_system_number
    }
}

/// Turns a database into a table: `owner` says what is of use in a record. Networks share records, so each
/// record is decoded once.
fn walk<R: DeserializeOwned, T: Clone + Eq + Hash>(
    file: &Path,
    what: &'static str,
    owner: impl Fn(R) -> Option<T>,
) -> Result<PrefixTable<T>, LocateError> {
    let bytes = read_bytes(file)?;
    let fault = |fault| LocateError::Database(file.to_owned(), fault);
    let reader = Reader::from_source(bytes).map_err(fault)?;
    let mut records: HashMap<usize, Option<T>> = HashMap::new();
    let mut builder = PrefixTableBuilder::new();
    for network in reader.networks(WithinOptions::default()).map_err(fault)? {
        let network = network.map_err(fault)?;
        let Some(offset) = network.offset() else {
            continue;
        };
        let known = match records.get(&offset) {
            Some(known) => known.clone(),
            None => {
                let decoded = network.decode::<R>().map_err(fault)?.and_then(&owner);
                records.insert(offset, decoded.clone());
                decoded
            }
        };
        let (Some(known), Ok(address)) = (known, network.network()) else {
            continue;
        };
        builder.insert(Prefix::containing(address.ip(), address.prefix()), known);
    }
    if records.values().all(Option::is_none) {
        return Err(nothing(file, what));
    }
    Ok(builder.build())
}

#[cfg(test)]
mod mmdb;

#[cfg(test)]
mod tests {
    use super::mmdb::{Value, database};
    use super::*;

    fn country(databases: &Value) -> Result<Locator, LocateError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("country.mmdb");
        let networks = [
            ("192.0.2.0/24", databases.clone()),
            ("2001:db8::/32", databases.clone()),
        ];
        std::fs::write(&file, database(&networks)).unwrap();
        load(&Locate {
            country: Some(file),
            ..Locate::default()
        })
    }

    #[test]
    fn a_database_is_read_in_its_flat_and_in_its_nested_shape() {
        let norway = || Value::Text("NO");
        let flat = Value::Map(vec![("country_code", norway())]);
        let names = || ("names", Value::Map(vec![("en", Value::Text("Norway"))]));
        let nested = Value::Map(vec![
            ("continent", Value::Map(vec![("code", Value::Text("EU"))])),
            (
                "country",
                Value::Map(vec![
                    ("geoname_id", Value::Number(3_144_096)),
                    ("iso_code", norway()),
                    names(),
                ]),
            ),
        ]);
        let registered = Value::Map(vec![(
            "registered_country",
            Value::Map(vec![("iso_code", norway()), names()]),
        )]);
        for shape in [flat, nested, registered] {
            let locator = country(&shape).unwrap();
            for (address, expect) in [
                ("192.0.2.9", Some("NO")),
                ("::ffff:192.0.2.9", Some("NO")),
                ("2001:db8::9", Some("NO")),
                ("192.0.3.9", None),
                ("2001:db9::9", None),
            ] {
                let place = locator.locate(address.parse().unwrap());
                assert_eq!(
                    place.country.map(|it| it.as_str().to_owned()).as_deref(),
                    expect
                );
            }
        }
    }

    #[test]
    fn a_database_of_autonomous_systems_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("asn.mmdb");
        let record = Value::Map(vec![
            ("autonomous_system_number", Value::Number(224)),
            ("autonomous_system_organization", Value::Text("UNINETT")),
        ]);
        std::fs::write(&file, database(&[("129.240.0.0/15", record)])).unwrap();
        let config = Locate {
            asn: Some(file),
            ..Locate::default()
        };
        let place = load(&config)
            .unwrap()
            .locate("129.241.1.1".parse().unwrap());
        assert_eq!(place.asn, Some(224));
    }

    #[test]
    fn a_database_of_something_else_is_refused() {
        let cities = Value::Map(vec![(
            "city",
            Value::Map(vec![("name", Value::Text("Oslo"))]),
        )]);
        let fault = country(&cities).unwrap_err();
        assert!(matches!(fault, LocateError::Nothing { .. }), "{fault}");
    }

    #[test]
    fn csv_files_make_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let config = Locate {
            ranges: vec![
                file(
                    "a.csv",
                    "cloud,region,cidr\nAWS,us-east-1,198.51.100.0/24\n",
                ),
                file("b.csv", "GCP,europe-west1,203.0.113.0/24\n"),
            ],
            country: Some(file("country.csv", "192.0.2.0,192.0.2.255,NO\n")),
            asn: Some(file("asn.csv", "192.0.2.0/24,224,UNINETT\n")),
            trusted_proxies: Vec::new(),
        };
        let locator = load(&config).unwrap();
        let place = |address: &str| locator.locate(address.parse().unwrap());
        assert_eq!(place("198.51.100.9").region.as_deref(), Some("us-east-1"));
        assert_eq!(place("203.0.113.9").cloud.as_deref(), Some("gcp"));
        assert_eq!(place("192.0.2.9").country, "NO".parse().ok());
        assert_eq!(place("192.0.2.9").asn, Some(224));
        let before = fingerprint(&config);
        file("b.csv", "GCP,europe-west1,203.0.113.0/25\n\n");
        assert_ne!(fingerprint(&config), before);
    }

    #[test]
    fn a_file_that_is_no_table_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.mmdb");
        std::fs::write(&path, b"not a database").unwrap();
        for config in [
            Locate {
                country: Some(path.clone()),
                ..Locate::default()
            },
            Locate {
                asn: Some(path.clone()),
                ..Locate::default()
            },
            Locate {
                ranges: vec![path],
                ..Locate::default()
            },
            Locate {
                ranges: vec![folder.path().join("broken.mmdb.absent")],
                ..Locate::default()
            },
        ] {
            let fault = load(&config).unwrap_err();
            assert!(fault.to_string().contains("broken.mmdb"), "{fault}");
        }
    }
}
