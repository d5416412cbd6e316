//! Mirrors and places.

use landfall_route::{Coordinates, Health, MirrorState, MirrorView, Place, Serves, StoreKind};
use url::Url;

use super::{WireError, invalid};
use crate::v1;

/// Longest name of a mirror.
pub const MAX_MIRROR_NAME: usize = 64;

/// Longest public URL of a mirror, and longest path of a registry, in bytes.
const MAX_URL: usize = 2048;
const MAX_PREFIX: usize = 255;

/// Autonomous systems that a mirror may claim to be near to.
const MAX_ASNS: usize = 64;

/// A weight so large that sums of all mirrors' weights stay exact.
const MAX_WEIGHT: u32 = 1_000_000;

/// A mirror from the wire: its name, URL and place are checked. Its health and
/// readiness are not part of the message.
///
/// # Errors
/// [`WireError`] naming the field that is not valid.
pub fn mirror_from_wire(mirror: v1::Mirror) -> Result<MirrorView, WireError> {
    let kind = store_kind(mirror.kind(), mirror.registry_prefix.clone())?;
    let state = state_from_wire(mirror.state()).ok_or(WireError::Invalid {
        field: "mirror.state",
        why: format!("{} is not known", mirror.state),
    })?;
    let serves = match mirror.serves() {
        v1::Serves::Everything => Serves::Everything,
        // What is not known is not trusted with more.
        v1::Serves::Verified | v1::Serves::Unspecified => Serves::Verified,
    };
    let (place, asns) = place_from_wire(mirror.place.unwrap_or_default())?;
    Ok(MirrorView {
        name: mirror_name(mirror.name)?,
        public_url: public_url(&mirror.public_url)?,
        kind,
        place,
        asns,
        weight: mirror.weight.min(MAX_WEIGHT),
        state,
        serves,
        readiness: None,
        healthy: Health::Unknown,
    })
}

/// What a mirror says of itself when its session starts. State, trust and
/// weight are the operator's to decide: they are the least here.
///
/// # Errors
/// As [`mirror_from_wire`].
pub fn mirror_from_start(start: v1::SessionStart) -> Result<MirrorView, WireError> {
    let kind = start.kind();
    mirror_from_wire(v1::Mirror {
        name: start.mirror,
        public_url: start.public_url,
        kind: kind.into(),
        place: start.place,
        weight: 0,
        state: v1::MirrorState::Pending.into(),
        serves: v1::Serves::Verified.into(),
        registry_prefix: start.registry_prefix,
    })
}

/// A mirror for the wire, without health and readiness.
#[must_use]
pub fn mirror_to_wire(mirror: &MirrorView) -> v1::Mirror {
    let (kind, registry_prefix) = match &mirror.kind {
        StoreKind::Files => (v1::StoreKind::Files, String::new()),
        StoreKind::Registry { prefix } => (v1::StoreKind::Registry, prefix.clone()),
    };
    v1::Mirror {
        name: mirror.name.clone(),
        public_url: mirror.public_url.clone(),
        kind: kind.into(),
        place: Some(place_to_wire(&mirror.place, &mirror.asns)),
        weight: mirror.weight,
        state: state_to_wire(mirror.state).into(),
        serves: match mirror.serves {
            Serves::Verified => v1::Serves::Verified,
            Serves::Everything => v1::Serves::Everything,
        }
        .into(),
        registry_prefix,
    }
}

/// 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, beginning with a letter or digit;
/// not `origin`, which is mirror number 0.
fn mirror_name(name: String) -> Result<String, WireError> {
    let fits = (1..=MAX_MIRROR_NAME).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && name != landfall_route::ORIGIN;
    if fits {
        Ok(name)
    } else {
        Err(WireError::Invalid {
            field: "mirror.name",
            why: format!(
                "expected 1 to {MAX_MIRROR_NAME} of a-z, 0-9, -, _ and ., and not `origin`"
            ),
        })
    }
}

/// An http or https URL with a host and nothing that could smuggle something
/// into a redirect; without its trailing slash.
fn public_url(text: &str) -> Result<String, WireError> {
    const FIELD: &str = "mirror.public_url";
    if text.len() > MAX_URL {
        return Err(invalid(FIELD)(format!("longer than {MAX_URL} bytes")));
    }
    let url = Url::parse(text).map_err(invalid(FIELD))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(WireError::Invalid {
            field: FIELD,
            why: "expected http:// or https:// with a host, and no user, query or fragment".into(),
        })
    }
}

fn store_kind(kind: v1::StoreKind, prefix: String) -> Result<StoreKind, WireError> {
    match kind {
        v1::StoreKind::Files => Ok(StoreKind::Files),
        v1::StoreKind::Registry if prefix.len() > MAX_PREFIX => {
            Err(invalid("mirror.registry_prefix")(format!(
                "longer than {MAX_PREFIX} bytes"
            )))
        }
        v1::StoreKind::Registry => Ok(StoreKind::Registry { prefix }),
        v1::StoreKind::Unspecified => Err(WireError::Invalid {
            field: "mirror.kind",
            why: "it is not known".into(),
        }),
    }
}

/// A state; `None` if it is not one that this version knows.
#[must_use]
pub fn state_from_wire(state: v1::MirrorState) -> Option<MirrorState> {
    match state {
        v1::MirrorState::Unspecified => None,
        v1::MirrorState::Pending => Some(MirrorState::Pending),
        v1::MirrorState::Probation => Some(MirrorState::Probation),
        v1::MirrorState::Active => Some(MirrorState::Active),
        v1::MirrorState::Draining => Some(MirrorState::Draining),
        v1::MirrorState::Quarantined => Some(MirrorState::Quarantined),
        v1::MirrorState::Revoked => Some(MirrorState::Revoked),
    }
}

/// A state for the wire.
#[must_use]
pub fn state_to_wire(state: MirrorState) -> v1::MirrorState {
    match state {
        MirrorState::Pending => v1::MirrorState::Pending,
        MirrorState::Probation => v1::MirrorState::Probation,
        MirrorState::Active => v1::MirrorState::Active,
        MirrorState::Draining => v1::MirrorState::Draining,
        MirrorState::Quarantined => v1::MirrorState::Quarantined,
        MirrorState::Revoked => v1::MirrorState::Revoked,
    }
}

/// Health; what is not known is unknown.
#[must_use]
pub fn health_from_wire(health: v1::Health) -> Health {
    match health {
        v1::Health::Unspecified => Health::Unknown,
        v1::Health::Up => Health::Up,
        v1::Health::Down => Health::Down,
    }
}

/// Health for the wire.
#[must_use]
pub fn health_to_wire(health: Health) -> v1::Health {
    match health {
        Health::Unknown => v1::Health::Unspecified,
        Health::Up => v1::Health::Up,
        Health::Down => v1::Health::Down,
    }
}

/// A place, completed with what follows from its parts, and the autonomous
/// systems beside its own.
///
/// # Errors
/// [`WireError`] naming the field that is not valid.
pub fn place_from_wire(place: v1::Place) -> Result<(Place, Vec<u32>), WireError> {
    if place.asns.len() > MAX_ASNS {
        return Err(WireError::Invalid {
            field: "place.asns",
            why: format!("more than {MAX_ASNS}"),
        });
    }
    let label = |field: &'static str, text: String| match text.len() {
        0 => Ok(None),
        1..=MAX_MIRROR_NAME => Ok(Some(text)),
        _ => Err(WireError::Invalid {
            field,
            why: format!("longer than {MAX_MIRROR_NAME}"),
        }),
    };
    let known = Place {
        cloud: label("place.cloud", place.cloud)?,
        region: label("place.region", place.region)?,
        asn: place.asns.first().copied(),
        country: optional(&place.country, "place.country")?,
        continent: optional(&place.continent, "place.continent")?,
        coordinates: place
            .coordinates
            .map(|it| {
                Coordinates::try_new(
                    f64::from(it.latitude_e4) / 10_000.0,
                    f64::from(it.longitude_e4) / 10_000.0,
                )
            })
            .transpose()
            .map_err(invalid("place.coordinates"))?,
    };
    Ok((known.completed(), place.asns))
}

fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
    field: &'static str,
) -> Result<Option<T>, WireError> {
    if text.is_empty() {
        Ok(None)
    } else {
        text.parse().map(Some).map_err(invalid(field))
    }
}

/// A place for the wire. `asns` outweighs the place's own one unless it is empty.
#[must_use]
pub fn place_to_wire(place: &Place, asns: &[u32]) -> v1::Place {
    v1::Place {
        cloud: place.cloud.clone().unwrap_or_default(),
        region: place.region.clone().unwrap_or_default(),
        asns: if asns.is_empty() {
            place.asn.into_iter().collect()
        } else {
            asns.to_vec()
        },
        country: place
            .country
            .map(|country| country.as_str().to_owned())
            .unwrap_or_default(),
        continent: place
            .continent
            .map(|continent| continent.as_str().to_owned())
            .unwrap_or_default(),
        coordinates: place.coordinates.map(|at| v1::Coordinates {
            latitude_e4: e4(at.latitude()),
            longitude_e4: e4(at.longitude()),
        }),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "degrees are at most 180 and have been checked"
)]
fn e4(degrees: f64) -> i32 {
    (degrees * 10_000.0).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Mirror {
        v1::Mirror {
            name: "uni-oslo".into(),
            public_url: "https://mirror.example.no/landfall/".into(),
            kind: v1::StoreKind::Files.into(),
            place: Some(v1::Place {
                country: "NO".into(),
                asns: vec![224, 2119],
                coordinates: Some(v1::Coordinates {
                    latitude_e4: 599_400,
                    longitude_e4: 107_200,
                }),
                ..v1::Place::default()
            }),
            weight: 100,
            state: v1::MirrorState::Active.into(),
            serves: v1::Serves::Everything.into(),
            registry_prefix: String::new(),
        }
    }

    #[test]
    fn a_mirror_survives_the_wire_and_loses_its_trailing_slash() {
        let mirror = mirror_from_wire(wire()).unwrap();
        assert_eq!(mirror.public_url, "https://mirror.example.no/landfall");
        assert_eq!(mirror.asns, [224, 2119]);
        let again = mirror_from_wire(mirror_to_wire(&mirror)).unwrap();
        assert_eq!(again.place, mirror.place);
        assert_eq!(again.name, mirror.name);
        assert_eq!(again.state, MirrorState::Active);
    }

    #[test]
    fn names_and_urls_that_could_smuggle_something_are_refused() {
        for name in [
            "",
            "origin",
            "A",
            "-x",
            "a/b",
            "a b",
            "a\nb",
            &"a".repeat(65),
        ] {
            let mirror = v1::Mirror {
                name: name.into(),
                ..wire()
            };
            assert!(mirror_from_wire(mirror).is_err(), "{name:?}");
        }
        for url in [
            "",
            "mirror.example.no",
            "ftp://mirror.example.no/",
            "https://user@mirror.example.no/",
            "https://mirror.example.no/?x=1",
            "https://mirror.example.no/#x",
            "javascript:alert(1)",
            &format!("https://mirror.example.no/{}", "x".repeat(MAX_URL)),
        ] {
            let mirror = v1::Mirror {
                public_url: url.into(),
                ..wire()
            };
            assert!(mirror_from_wire(mirror).is_err(), "{url:?}");
        }
    }

    #[test]
    fn unknown_trust_is_the_lesser_one_and_an_unknown_state_no_mirror() {
        let mirror = v1::Mirror {
            serves: 99,
            ..wire()
        };
        assert_eq!(mirror_from_wire(mirror).unwrap().serves, Serves::Verified);
        let mirror = v1::Mirror {
            state: 99,
            ..wire()
        };
        assert!(mirror_from_wire(mirror).is_err());
    }
}
