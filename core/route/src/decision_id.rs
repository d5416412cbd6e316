//! The id of a decision: all that is needed to explain it later, and nothing that tells who asked.

use std::fmt;
use std::str::FromStr;

use landfall_catalog::Ordinal;
use thiserror::Error;

use crate::place::{Continent, Country, Place};

/// Longest id that is read, in bytes.
const MAX_ID_BYTES: usize = 192;
/// Longest cloud or region name that is put into an id, in bytes.
const MAX_LABEL_BYTES: usize = 32;

/// What an id holds. It is shown as `<fleet revision>.<ordinal>.<country>.<asn>.<cloud>.<region>`, numbers in base 36,
/// unknown parts empty and left out at the end. The country is in lower case; a continent alone is in upper case.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionId {
    /// Revision of the fleet view that it was decided on.
    pub fleet_revision: u64,
    /// The object.
    pub ordinal: Ordinal,
    /// Where the client was, coarsely: coordinates are those that follow from the rest.
    pub place: Place,
}

/// The text is no decision id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a decision id: {0} is not readable")]
pub struct DecisionIdError(&'static str);

/// The id of a decision about an object for a client at `place`.
#[must_use]
pub fn decision_id(fleet_revision: u64, place: &Place, ordinal: Ordinal) -> String {
    let mut id = String::with_capacity(32);
    push_base36(&mut id, fleet_revision);
    id.push('.');
    push_base36(&mut id, u64::from(ordinal.get()));
    id.push('.');
    match (place.country, place.continent) {
        (Some(country), _) => id.extend(country.as_str().chars().map(|c| c.to_ascii_lowercase())),
        (None, Some(continent)) => id.push_str(continent.as_str()),
        (None, None) => {}
    }
    id.push('.');
    if let Some(asn) = place.asn {
        push_base36(&mut id, u64::from(asn));
    }
    for label in [&place.cloud, &place.region] {
        id.push('.');
        id.push_str(label.as_deref().filter(|text| is_label(text)).unwrap_or(""));
    }
    id.truncate(id.trim_end_matches('.').len());
    id
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decision_id(self.fleet_revision, &self.place, self.ordinal))
    }
}

impl FromStr for DecisionId {
    type Err = DecisionIdError;

    fn from_str(text: &str) -> Result<Self, DecisionIdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(DecisionIdError("a text of this length"));
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().unwrap_or("");
        let fleet_revision = base36(next()).ok_or(DecisionIdError("the fleet revision"))?;
        let ordinal = base36(next())
            .and_then(|number| u32::try_from(number).ok())
            .ok_or(DecisionIdError("the ordinal"))?;
        let (country, continent) = region_of_the_world(next())?;
        let asn = match next() {
            "" => None,
            text => Some(
                base36(text)
                    .and_then(|number| u32::try_from(number).ok())
                    .ok_or(DecisionIdError("the AS number"))?,
            ),
        };
        let mut label = |what| match next() {
            "" => Ok(None),
            text if is_label(text) => Ok(Some(text.to_owned())),
            _ => Err(DecisionIdError(what)),
        };
        let (cloud, region) = (label("the cloud")?, label("the region")?);
        if parts.next().is_some() {
            return Err(DecisionIdError("what stands behind it"));
        }
        let place = Place {
            cloud,
            region,
            asn,
            country,
            continent,
            coordinates: None,
        };
        Ok(Self {
            fleet_revision,
            ordinal: Ordinal::new(ordinal),
            place: place.completed(),
        })
    }
}

fn region_of_the_world(
    text: &str,
) -> Result<(Option<Country>, Option<Continent>), DecisionIdError> {
    let unreadable = DecisionIdError("the country");
    if text.is_empty() {
        Ok((None, None))
    } else if text.bytes().all(|b| b.is_ascii_lowercase()) {
        text.parse()
            .map(|country| (Some(country), None))
            .map_err(|_| unreadable)
    } else if text.bytes().all(|b| b.is_ascii_uppercase()) {
        text.parse()
            .map(|continent| (None, Some(continent)))
            .map_err(|_| unreadable)
    } else {
        Err(unreadable)
    }
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn push_base36(text: &mut String, mut number: u64) {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // 36^13 > 2^64
    let mut digits = [0u8; 13];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = DIGITS[usize::try_from(number % 36).unwrap_or(0)];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().map(|&digit| char::from(digit)));
}

/// A number without sign and leading zeros, in lower case: each has one form.
fn base36(text: &str) -> Option<u64> {
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    u64::from_str_radix(text, 36).ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(place: Place, expect: &str) {
        let id = DecisionId {
            fleet_revision: 1234,
            ordinal: Ordinal::new(77),
            place: place.completed(),
        };
        assert_eq!(id.to_string(), expect);
        assert_eq!(expect.parse(), Ok(id));
    }

    #[test]
    fn an_id_holds_revision_object_and_coarse_place() {
        check(Place::default(), "ya.25");
        let country = "NO".parse().ok();
        check(
            Place {
                country,
                ..Place::default()
            },
            "ya.25.no",
        );
        check(
            Place {
                country,
                asn: Some(224),
                ..Place::default()
            },
            "ya.25.no.68",
        );
        let continent = Some(Continent::Europe);
        check(
            Place {
                continent,
                ..Place::default()
            },
            "ya.25.EU",
        );
        let cloud = Some("aws".to_owned());
        let region = Some("us-east-1".to_owned());
        check(
            Place {
                cloud,
                region,
                ..Place::default()
            },
            "ya.25.us..aws.us-east-1",
        );
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "01.1",
            "+1.1",
            "1.-1",
            "1.1z141z4",
            "1.1.zz",
            "1.1.No",
            "1.1.ZZ",
            "1.1..-",
            "1.1...a b",
            "1.1...a.b.c",
            "zzzzzzzzzzzzzz.1",
            &format!("1.1...a.{}", "b".repeat(200)),
        ] {
            assert!(text.parse::<DecisionId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_an_id_gives_back_what_it_was_made_of(
            fleet_revision in any::<u64>(), ordinal in any::<u32>(), asn in any::<Option<u32>>(),
            country in prop::option::of(0usize..250), cloud in "([a-z]{1,9})?", region in "([a-z0-9-]{1,32})?",
        ) {
            let place = Place {
                asn,
                country: country.and_then(|index| Country::all().nth(index)),
                cloud: Some(cloud).filter(|text| !text.is_empty()),
                region: Some(region).filter(|text| !text.is_empty()),
                ..Place::default()
            };
            let id = DecisionId { fleet_revision, ordinal: Ordinal::new(ordinal), place: place.completed() };
            prop_assert_eq!(id.to_string().parse::<DecisionId>(), Ok(id.clone()));
            prop_assert!(id.to_string().len() <= MAX_ID_BYTES);
        }

        #[test]
        fn what_is_read_is_shown_in_a_form_that_reads_the_same(text in "[0-9a-zA-Z.-]{0,24}") {
            if let Ok(id) = text.parse::<DecisionId>() {
                let shown = id.to_string();
                prop_assert_eq!(shown.parse::<DecisionId>(), Ok(id));
            }
        }
    }
}
