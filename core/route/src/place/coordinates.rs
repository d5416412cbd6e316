//! Points on the globe and the distance between them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Mean radius of the Earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the globe.
///
/// It carries its unit vector, so that comparing distances costs a few multiplications and no trigonometry.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Degrees", into = "Degrees")]
pub struct Coordinates {
    degrees: Degrees,
    unit: [f64; 3],
}

/// Latitude or longitude is out of range or no number.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("latitude {latitude} and longitude {longitude} are not a point on the globe")]
pub struct CoordinatesError {
    /// The latitude, in degrees.
    pub latitude: f64,
    /// The longitude, in degrees.
    pub longitude: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Degrees {
    latitude: f64,
    longitude: f64,
}

impl Coordinates {
    /// The point at a latitude (-90 to 90, north is positive) and a longitude (-180 to 180, east is positive),
    /// in degrees.
    ///
    /// # Errors
    /// When one of them is out of range or no number.
    pub fn try_new(latitude: f64, longitude: f64) -> Result<Self, CoordinatesError> {
        if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
            Ok(Self::at(latitude, longitude))
        } else {
            Err(CoordinatesError {
                latitude,
                longitude,
            })
        }
    }

    /// The point at degrees that are known to be in range.
    pub(super) fn at(latitude: f64, longitude: f64) -> Self {
        let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
        let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
        Self {
            degrees: Degrees {
                latitude,
                longitude,
            },
            unit: [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        }
    }

    /// Degrees north of the equator.
    #[must_use]
    pub const fn latitude(&self) -> f64 {
        self.degrees.latitude
    }

    /// Degrees east of Greenwich.
    #[must_use]
    pub const fn longitude(&self) -> f64 {
        self.degrees.longitude
    }

    /// The square of the straight line to `other` through a globe of radius 1: 0 to 4, and greater for a
    /// greater distance.
    #[must_use]
    pub fn chord_squared(&self, other: &Self) -> f64 {
        let [x, y, z] = [0, 1, 2].map(|axis| self.unit[axis] - other.unit[axis]);
        x * x + y * y + z * z
    }

    /// The distance along the great circle, in kilometres.
    #[must_use]
    pub fn distance_km(&self, other: &Self) -> f64 {
        let half_chord = (self.chord_squared(other).sqrt() / 2.0).min(1.0);
        2.0 * half_chord.asin() * EARTH_RADIUS_KM
    }
}

impl TryFrom<Degrees> for Coordinates {
    type Error = CoordinatesError;

    fn try_from(degrees: Degrees) -> Result<Self, CoordinatesError> {
        Self::try_new(degrees.latitude, degrees.longitude)
    }
}

impl From<Coordinates> for Degrees {
    fn from(point: Coordinates) -> Self {
        point.degrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(from: (f64, f64), to: (f64, f64)) -> f64 {
        let [from, to] = [from, to].map(|(lat, lon)| Coordinates::try_new(lat, lon).unwrap());
        from.distance_km(&to)
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let oslo = (59.91, 10.75);
        for (to, km) in [
            (oslo, 0.0),
            ((51.51, -0.13), 1154.0),
            ((40.71, -74.01), 5913.0),
            ((-33.87, 151.21), 15_955.0),
            ((-59.91, -169.25), 20_015.0),
        ] {
            let got = distance(oslo, to);
            assert!((got - km).abs() < 20.0, "{to:?}: {got} instead of {km}");
        }
        assert!(distance((0.0, 179.9), (0.0, -179.9)) < 30.0);
    }

    #[test]
    fn a_point_off_the_globe_is_refused() {
        for (latitude, longitude) in [
            (90.1, 0.0),
            (-91.0, 0.0),
            (0.0, 180.5),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            assert!(Coordinates::try_new(latitude, longitude).is_err());
        }
        assert!(Coordinates::try_new(-90.0, 180.0).is_ok());
    }
}
