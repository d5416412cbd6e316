//! `agent.toml`: typed, and every fault at once.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use landfall_catalog::PinnedKeys;
use landfall_proto::{model::mirror_from_start, v1};
use landfall_runtime::config::{self, Check, ConfigFaults, Fault, HttpUrl};
use serde::{Deserialize, de::IgnoredAny};
use url::Url;

use crate::want::Filter;

/// Configuration of an agent.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The coordinator's gRPC address.
    pub coordinator: HttpUrl,
    /// The log's two verifier keys. Without them the keys that are met first on
    /// loopback are pinned, on disk.
    #[serde(default)]
    pub log_keys: Vec<String>,
    /// Identity and log.
    pub data_dir: PathBuf,
    /// Address of the built-in serving; absent if something else serves the store.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The mirror as it describes itself.
    pub mirror: MirrorConfig,
    /// Where content is kept.
    pub store: StoreConfig,
    /// What a partial mirror wants.
    #[serde(default)]
    pub filter: Filter,
    /// Not there yet; refused rather than ignored.
    #[serde(default)]
    pub limits: Option<IgnoredAny>,
}

/// `[mirror]`: name, URL and place.
#[derive(Clone, Debug, Deserialize)]
pub struct MirrorConfig {
    /// Name in the fleet.
    pub name: String,
    /// Where clients reach it.
    pub public_url: HttpUrl,
    /// ISO 3166-1 alpha-2 code of its country.
    #[serde(default)]
    pub country: String,
    /// AF, AN, AS, EU, NA, OC or SA.
    #[serde(default)]
    pub continent: String,
    /// Its cloud: `aws`, `gcp`, `azure`, …
    #[serde(default)]
    pub cloud: String,
    /// The cloud's region.
    #[serde(default)]
    pub region: String,
    /// Autonomous systems whose clients are near.
    #[serde(default)]
    pub asns: Vec<u32>,
    /// Degrees, north positive.
    #[serde(default)]
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    #[serde(default)]
    pub longitude: Option<f64>,
}

/// `[store]`.
#[derive(Clone, Debug, Deserialize)]
pub struct StoreConfig {
    /// `file:///…`.
    pub url: Url,
}

impl Config {
    /// Reads a configuration file, `LANDFALL__…` variables and overrides.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(
        file: &Path,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigFaults> {
        config::load(file, "LANDFALL", env, overrides)
    }

    /// What the mirror says of itself when a session starts.
    pub(crate) fn session_start(&self) -> v1::SessionStart {
        let mirror = &self.mirror;
        v1::SessionStart {
            checkpoint: bytes::Bytes::new(),
            mirror: mirror.name.clone(),
            public_url: mirror.public_url.as_str().to_owned(),
            kind: v1::StoreKind::Files.into(),
            place: Some(v1::Place {
                cloud: mirror.cloud.clone(),
                region: mirror.region.clone(),
                asns: mirror.asns.clone(),
                country: mirror.country.clone(),
                continent: mirror.continent.clone(),
                coordinates: mirror
                    .latitude
                    .zip(mirror.longitude)
                    .map(|(latitude, longitude)| v1::Coordinates {
                        latitude_e4: e4(latitude),
                        longitude_e4: e4(longitude),
                    }),
            }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_prefix: String::new(),
        }
    }

    /// Folder of the store.
    pub(crate) fn store_dir(&self) -> Option<PathBuf> {
        (self.store.url.scheme() == "file")
            .then(|| self.store.url.to_file_path().ok())
            .flatten()
    }

    /// The keys that are configured, if any; checked by [`Check::check`].
    pub(crate) fn pinned_keys(&self) -> Option<PinnedKeys> {
        PinnedKeys::parse(&self.log_keys).ok()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "saturates; what is out of range is refused as coordinates"
)]
fn e4(degrees: f64) -> i32 {
    (degrees * 10_000.0).round() as i32
}

impl Check for Config {
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !self.coordinator.is_loopback() {
            faults.push(Fault::new(
                "coordinator",
                "is not on loopback: identity is not configured, so this version dials http:// on loopback only",
            ));
        }
        if self.listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            faults.push(Fault::new(
                "listen",
                "is not a loopback address: without identity this version listens on 127.0.0.0/8 or ::1 only",
            ));
        }
        if !self.log_keys.is_empty()
            && let Err(error) = PinnedKeys::parse(&self.log_keys)
        {
            faults.push(Fault::new(
                "log_keys",
                format!("are not the two verifier keys of a log: {error}"),
            ));
        }
        if self.mirror.latitude.is_some() != self.mirror.longitude.is_some() {
            faults.push(Fault::new(
                "mirror.latitude",
                "needs mirror.longitude beside it, and the other way round",
            ));
        }
        if let Err(error) = mirror_from_start(self.session_start()) {
            faults.push(Fault::new("mirror", error.to_string()));
        }
        if self.store_dir().is_none() {
            faults.push(Fault::new(
                "store.url",
                "has to be file:///… with an absolute path: this version fills directories only",
            ));
        }
        if self.limits.is_some() {
            faults.push(Fault::new(
                "limits",
                "are not there yet in this version; remove the section",
            ));
        }
        faults
    }
}
