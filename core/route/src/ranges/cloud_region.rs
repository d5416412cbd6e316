//! A cloud and one of its regions.

use std::hash::{Hash, Hasher};

use crate::place::{Coordinates, Country, Whereabouts, region_whereabouts};

/// Longest name of a cloud or a region, in bytes.
const MAX_LABEL_BYTES: usize = 64;

/// A cloud and one of its regions, both in lower case.
///
/// `global` is no region: it means addresses that the cloud uses everywhere.
#[derive(Clone, Debug)]
pub struct CloudRegion {
    cloud: String,
    region: Option<String>,
    whereabouts: Option<Whereabouts>,
}

impl CloudRegion {
    /// A cloud and a region by their names in any case; `None` if one of them cannot be a name.
    #[must_use]
    pub fn try_new(cloud: &str, region: &str) -> Option<Self> {
        let cloud = label(cloud)?;
        let region = Some(label(region)?).filter(|region| region != "global");
        let whereabouts = region
            .as_deref()
            .and_then(|region| region_whereabouts(&cloud, region));
        Some(Self {
            cloud,
            region,
            whereabouts,
        })
    }

    /// The cloud, in lower case.
    #[must_use]
    pub fn cloud(&self) -> &str {
        &self.cloud
    }

    /// The region, in lower case; `None` for addresses that the cloud uses everywhere.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The country that the region stands in, if it is a well known region.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        self.whereabouts.map(|known| known.country)
    }

    /// Where the region stands, roughly, if it is a well known region.
    #[must_use]
    pub fn coordinates(&self) -> Option<Coordinates> {
        self.whereabouts.map(|known| known.coordinates)
    }
}

impl PartialEq for CloudRegion {
    fn eq(&self, other: &Self) -> bool {
        // The whereabouts follow from the names.
        self.cloud == other.cloud && self.region == other.region
    }
}

impl Eq for CloudRegion {}

impl Hash for CloudRegion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cloud.hash(state);
        self.region.hash(state);
    }
}

/// A name of a cloud or region in lower case, if it can be one.
pub(super) fn label(text: &str) -> Option<String> {
    let valid = (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    valid.then(|| text.to_ascii_lowercase())
}
