//! What operators give: configurations, acknowledgements, databases of addresses,
//! and the small words in them.

use std::error::Error;
use std::fs;
use std::path::Path;

use landfall_catalog::Digest;
use landfall_promotion::{Acknowledgement, Acknowledgements};
use landfall_redirector::config::Locate;
use landfall_redirector::locate;
use landfall_route::{Continent, Country, DecisionId, Prefix};
use landfall_runtime::config::{Check, ConfigFaults, Fault, HttpUrl, load_text};
use landfall_runtime::dial::Network;
use serde::Deserialize;

use crate::{Target, kind_of, text};

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    acknowledged: Vec<Acknowledgement>,
}

impl Check for Known {
    fn check(&self) -> Vec<Fault> {
        Vec::new()
    }
}

pub(crate) fn targets() -> Result<Vec<Target>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut configurations = Vec::new();
    for program in ["coordinator", "agent", "redirector"] {
        configurations.push(fs::read(root.join(program).with_extension("toml"))?);
    }
    let hash = Digest::of(b"x");
    let acknowledged = format!(
        "[[acknowledged]]\nhash = \"{hash}\"\nrule = \"malformed-digest\"\nwhy = \"old\"\nwho = \"me\"\n"
    );
    let words = [
        "NO",
        "EU",
        "10.0.0.0/8",
        "2001:db8::/32",
        "https://mirror.example.no/landfall",
        "http://127.0.0.1:7480",
        "d-0123456789abcdef",
    ];
    Ok(vec![
        Target::new("configurations", configurations, configured),
        Target::new("acknowledgements", [acknowledged], |input| {
            let file = Path::new("known.toml");
            match load_text::<Known>(file, &text(input), "LANDFALL", [], &[]) {
                Ok(known) => match Acknowledgements::try_new(known.acknowledged) {
                    Ok(_) => "ok".to_owned(),
                    Err(faults) => faults.iter().map(|(_, fault)| kind_of(fault)).collect(),
                },
                Err(faults) => found(&faults),
            }
        }),
        Target::new("words", words, |input| word(&text(input))),
        databases()?,
    ])
}

/// Every fault has a place, and the report does not hold the file.
fn found(faults: &ConfigFaults) -> String {
    let shown = faults.to_string();
    assert!(!shown.is_empty() && !shown.contains('\u{1b}'));
    kind_of(&shown.rsplit(": ").next().unwrap_or_default())
}

fn configured(input: &[u8]) -> String {
    let (input, file) = (text(input), Path::new("landfall.toml"));
    let read = |result: Result<(), ConfigFaults>| match result {
        Ok(()) => "ok".to_owned(),
        Err(faults) => found(&faults),
    };
    let coordinator = load_text::<landfall_coordinator::Config>(file, &input, "LANDFALL", [], &[]);
    let agent = load_text::<landfall_agent::Config>(file, &input, "LANDFALL", [], &[]);
    let redirector = load_text::<landfall_redirector::Config>(file, &input, "LANDFALL", [], &[]);
    format!(
        "{} {} {}",
        read(coordinator.map(drop)),
        read(agent.map(drop)),
        read(redirector.map(drop))
    )
}

/// Whatever is taken is read the same from how it is shown.
fn word(input: &str) -> String {
    fn read<T: std::str::FromStr + ToString + PartialEq>(input: &str) -> bool {
        let read = input.parse::<T>().ok();
        if let Some(read) = &read {
            assert!(
                read.to_string().parse().ok().as_ref() == Some(read),
                "{input}"
            );
        }
        read.is_some()
    }
    format!(
        "{} {} {} {} {} {}",
        read::<Country>(input),
        read::<Continent>(input),
        read::<Prefix>(input),
        read::<Network>(input),
        read::<HttpUrl>(input),
        read::<DecisionId>(input)
    )
}

/// The redirector reads both kinds from one file.
fn databases() -> Result<Target, Box<dyn Error>> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    Ok(Target::new("databases", [database()], move |input| {
        let file = folder.path().join("country.mmdb");
        if let Err(error) = fs::write(&file, input) {
            return error.to_string();
        }
        let read = |config: Locate| match locate::load(&config) {
            Ok(locator) => format!(
                "{}",
                locator.countries.len().min(9) + locator.asns.len().min(9)
            ),
            Err(error) => {
                let cause = error.source().map(|cause| kind_of(&cause));
                cause.unwrap_or_else(|| "nothing".to_owned())
            }
        };
        let countries = read(Locate {
            country: Some(file.clone()),
            ..Locate::default()
        });
        let asns = read(Locate {
            asn: Some(file),
            ..Locate::default()
        });
        format!("{countries} {asns}")
    }))
}

/// The smallest `MaxMind` database (format 2.0): one node, one record.
fn database() -> Vec<u8> {
    let text = |text: &str| {
        let length = 0x40 | u8::try_from(text.len()).unwrap_or(28);
        [&[length], text.as_bytes()].concat()
    };
    let short = |number: u16| [&[0xa2], number.to_be_bytes().as_slice()].concat();
    let map = |pairs: &[(&str, Vec<u8>)]| {
        let mut map = vec![0xe0 | u8::try_from(pairs.len()).unwrap_or(28)];
        for (key, value) in pairs {
            map.extend(text(key));
            map.extend(value);
        }
        map
    };
    // Below 0.0.0.0/1 nothing, above it the record at offset 0 of the data.
    let mut file = vec![0, 0, 1, 0, 0, 17];
    file.extend([0; 16]);
    file.extend(map(&[
        ("country_code", text("NO")),
        ("autonomous_system_number", vec![0xc1, 224]),
    ]));
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(map(&[
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("database_type", text("test")),
        ("description", map(&[])),
        ("ip_version", short(4)),
        ("languages", vec![0x00, 0x04]),
        ("node_count", short(1)),
        ("record_size", short(24)),
    ]));
    file
}
