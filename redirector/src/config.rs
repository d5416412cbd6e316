//! `redirector.toml`: its keys, their defaults, and every fault that can be told without starting.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_route::Prefix;
use landfall_runtime::config::{Check, ConfigFaults, Fault};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

/// Configuration of a redirector.
#[derive(Clone, Debug, Deserialize)]
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
pub struct Listen {
    /// Address of the public HTTP surface; port 0 takes any free one.
    pub http: SocketAddr,
    /// Answers over DNS. Not there yet: refused, never ignored.
    #[serde(default)]
    pub dns: Option<IgnoredAny>,
}

/// How clients' places are found. Files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
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
#[serde(default)]
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

impl Config {
    /// Reads the file, then the environment, then flags.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(
        file: &Path,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigFaults> {
        landfall_runtime::config::load(file, "LANDFALL", env, overrides)
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
        if self.name.is_empty() || self.name.len() > 128 || self.name.chars().any(char::is_control)
        {
            fault("name", "has to be 1 to 128 printable bytes".to_owned());
        }
        if self.coordinator.scheme() != "http"
            || !landfall_runtime::dial::is_loopback(&self.coordinator)
        {
            fault(
                "coordinator",
                "has to be an http:// URL of a loopback address: identity is not there yet"
                    .to_owned(),
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
                fault(key, "has to be at least 1".to_owned());
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use landfall_runtime::config::load_text;

    use super::*;

    const SAMPLE: &str = r#"
coordinator = "http://127.0.0.1:7443"
data_dir = "/var/lib/landfall/redirector"
listen = { http = "127.0.0.1:7680" }
[locate]
ranges = ["/etc/landfall/cloud-ranges.csv"]
country = "/etc/landfall/country.mmdb"
asn = "/etc/landfall/asn.csv"
trusted_proxies = ["127.0.0.0/8"]
"#;

    fn load(text: &str) -> Result<Config, String> {
        let file = Path::new("redirector.toml");
        load_text(file, text, "LANDFALL", std::iter::empty(), &[])
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_sample_is_read_and_what_is_absent_has_its_default() {
        let config = load(SAMPLE).unwrap();
        assert_eq!(config.name, "redirector");
        assert_eq!(config.probe.interval_ms, 1000);
        assert_eq!((config.probe.down_after, config.probe.up_after), (2, 3));
        assert_eq!(config.locate.trusted().len(), 1);
    }

    #[track_caller]
    fn refused(text: &str, key: &str) {
        let faults = load(text).unwrap_err();
        assert!(faults.contains(key), "{key}: {faults}");
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_its_key() {
        let dns = "listen = { http = \"127.0.0.1:7680\", dns = \"0.0.0.0:7653\" }";
        let listen = "listen = { http = \"127.0.0.1:7680\" }";
        refused(&SAMPLE.replace(listen, dns), "dns");
        refused(&format!("{SAMPLE}[dns]\nzone = \"a.example\"\n"), "dns");
        refused(
            &SAMPLE.replace("127.0.0.1:7680", "0.0.0.0:7680"),
            "not a loopback address",
        );
        refused(
            &SAMPLE.replace("http://127.0.0.1:7443", "https://c.example:7443"),
            "coordinator",
        );
        refused(
            &SAMPLE.replace("http://127.0.0.1", "http://192.0.2.1"),
            "coordinator",
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = SAMPLE
            .replace("127.0.0.0/8", "127.0.0.1/8")
            .replace("country.mmdb", "country.xls")
            .replace("0.0.1:7680", "0.0.1:port");
        let text = format!("{text}nonsense = 1\n[probe]\ninterval_ms = 0\n");
        let faults = load(&text).unwrap_err();
        for part in [
            "trusted_proxies",
            "country",
            "listen.http",
            "nonsense",
            "interval_ms",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
    }
}
