//! `redirector.toml`: its keys, their defaults, and every fault that can be told without starting.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use landfall_route::Prefix;
use landfall_runtime::config::{Check, Fault};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

/// Configuration of a redirector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this redirector, for the coordinator's status and logs.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where the coordinator's gRPC is.
    pub coordinator: Url,
    /// The log's two verifier keys, `name+hash+base64` each. None: those met first are pinned, on loopback.
    #[serde(default)]
    pub log_keys: Vec<String>,
    /// Folder of the last good log and fleet view and of the OCI manifests.
    pub data_dir: PathBuf,
    /// What to listen on.
    pub listen: Listen,
    /// How clients' places are found.
    #[serde(default)]
    pub locate: Locate,
    /// How mirrors are probed.
    #[serde(default)]
    pub probe: Probe,
    /// Answers over DNS. Not there yet: refused, never ignored.
    #[serde(default)]
    pub dns: Option<IgnoredAny>,
}

/// What to listen on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address of the public HTTP surface; port 0 takes any free one.
    pub http: SocketAddr,
    /// Answers over DNS. Not there yet: refused, never ignored.
    #[serde(default)]
    pub dns: Option<IgnoredAny>,
}

/// How clients' places are found. Files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Locate {
    /// CSV files `cloud,region,cidr`; of equal prefixes the last one counts.
    pub ranges: Vec<PathBuf>,
    /// Countries: `.mmdb` (flat or as `GeoIP2` has it) or `.csv` (`start,end,CC` or `cidr,CC`).
    pub country: Option<PathBuf>,
    /// Autonomous systems: `.mmdb` or `.csv`.
    pub asn: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<String>,
}

/// How mirrors are probed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// From one probe of a mirror to the next, in milliseconds.
    pub interval_ms: u64,
    /// How long a mirror may take to answer, in milliseconds.
    pub timeout_ms: u64,
    /// Failures in a row after which a mirror is down.
    pub down_after: u32,
    /// Successes in a row after which a mirror that was down is up.
    pub up_after: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval_ms: 1000,
            timeout_ms: 1000,
            down_after: 2,
            up_after: 3,
        }
    }
}

impl Probe {
    /// From one probe of a mirror to the next.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// How long a mirror may take to answer.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl Locate {
    /// The trusted proxies; what is no prefix is left out, and told by [`Check::check`].
    #[must_use]
    pub fn trusted(&self) -> Vec<Prefix> {
        self.trusted_proxies
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }
}

fn default_name() -> String {
    "redirector".to_owned()
}

impl Check for Config {
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: String| faults.push(Fault::new(key, message));
        if self.name.is_empty() || self.name.len() > 255 || self.name.chars().any(char::is_control)
        {
            fault("name", "is 1 to 255 printable characters".to_owned());
        }
        if self.coordinator.scheme() != "http"
            || !landfall_runtime::dial::is_loopback(&self.coordinator)
        {
            fault(
                "coordinator",
                "is an http:// URL of a loopback address: identity is not there yet".to_owned(),
            );
        }
        if !self.log_keys.is_empty()
            && let Err(why) = landfall_catalog::PinnedKeys::parse(&self.log_keys)
        {
            fault("log_keys", why.to_string());
        }
        if !self.listen.http.ip().is_loopback() {
            fault(
                "listen.http",
                "is not a loopback address, and identity is not there yet".to_owned(),
            );
        }
        if self.listen.dns.is_some() {
            fault(
                "listen.dns",
                "DNS is not there yet: leave it out".to_owned(),
            );
        }
        if self.dns.is_some() {
            fault("dns", "DNS is not there yet: leave it out".to_owned());
        }
        for (at, text) in self.locate.trusted_proxies.iter().enumerate() {
            if let Err(why) = text.parse::<Prefix>() {
                fault(&format!("locate.trusted_proxies[{at}]"), why.to_string());
            }
        }
        for (key, file) in [
            ("locate.country", &self.locate.country),
            ("locate.asn", &self.locate.asn),
        ] {
            if let Some(file) = file
                && !matches!(
                    file.extension().and_then(|it| it.to_str()),
                    Some("mmdb" | "csv")
                )
            {
                fault(key, "names neither an .mmdb nor a .csv file".to_owned());
            }
        }
        for (key, value) in [
            ("probe.interval_ms", self.probe.interval_ms),
            ("probe.timeout_ms", self.probe.timeout_ms),
            ("probe.down_after", u64::from(self.probe.down_after)),
            ("probe.up_after", u64::from(self.probe.up_after)),
        ] {
            if value == 0 {
                fault(key, "is at least 1".to_owned());
            }
        }
        faults
    }
}
