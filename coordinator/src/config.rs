//! `coordinator.toml`: the keys of the operator's file, and every fault in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_promotion::{MutableNames, ProductionRule};
use landfall_runtime::config::{self, Check, ConfigFaults, Fault, HttpUrl};
use landfall_runtime::dial::Network;
use serde::Deserialize;
use url::Url;

use crate::promote::staging::{Staging, StagingRule};
use crate::web::ORIGIN_PATH;

/// Configuration of a coordinator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origin line of the log, and the public name.
    pub name: String,
    /// Database, keys and log.
    pub data_dir: PathBuf,
    /// Where redirectors answer. Agents are told, and fetch through it.
    pub public_url: HttpUrl,
    /// Addresses to listen on.
    pub listen: Listen,
    /// The state engine; `sqlite`.
    #[serde(default = "sqlite")]
    pub state: String,
    /// The store that promotions write to.
    pub origin: Origin,
    /// Which destinations of the manifests are published, and as what.
    #[serde(default)]
    pub production: Vec<ProductionRule>,
    /// How the names in manifests are reached.
    #[serde(default)]
    pub staging: Vec<StagingRule>,
    /// Patterns of names that may move from one content to another; the tags of
    /// cosign always may.
    #[serde(default)]
    pub mutable: MutableNames,
    /// What the operator decides about mirrors.
    #[serde(default)]
    pub mirror: Vec<MirrorPolicy>,
    /// Networks that are not public, and that staging hosts may redirect to.
    #[serde(default)]
    pub allow_private: Vec<Network>,
    /// Bounds and intervals; a few of them are part of the file.
    #[serde(default)]
    pub limits: Limits,
}

/// Addresses to listen on; port 0 takes a free one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// gRPC, for agents, redirectors and commands.
    pub grpc: SocketAddr,
    /// HTTP: the log's static files, a file origin, status and metrics.
    pub http: SocketAddr,
}

/// The origin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// `file:///…`, `s3://…`, `gs://…`, `az://…`, `oci://…`.
    pub store: String,
    /// Where the store is served. Absent, for a folder: by this program, below
    /// `/origin`. That is so for every store; a bucket's own public address
    /// serves it without this program.
    #[serde(default)]
    pub public_url: Option<HttpUrl>,
}

/// What the operator decides about one mirror.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorPolicy {
    /// The mirror's name.
    pub name: String,
    /// What it is trusted with.
    #[serde(default)]
    pub serves: ServesPolicy,
    /// Its share among mirrors that are equally near; 100 is usual.
    #[serde(default = "usual_weight")]
    pub weight: u32,
}

/// What a mirror is trusted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServesPolicy {
    /// Only clients that check digests are sent there.
    #[default]
    Verified,
    /// Plain downloads, too.
    Everything,
}

/// Bounds and intervals of the program. The defaults are what operators run;
/// those that depend on an operator's network are `[limits]` of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long a staging host may take to begin an answer, and to send an OCI
    /// manifest, in milliseconds.
    pub staging_answer_ms: u64,
    /// Bytes a second that a staging host has to send of a blob or file …
    pub staging_min_bytes_per_second: u64,
    /// … in every so many milliseconds.
    pub staging_window_ms: u64,
    /// How long one image or file of staging may take to be looked at, with
    /// all that belongs to it, in milliseconds …
    pub staging_root_ms: u64,
    /// … and all of one plan. What was not looked at by then fails, and may
    /// succeed the next time.
    pub plan_ms: u64,
    /// Bytes of manifests that one plan may upload.
    #[serde(skip)]
    pub plan_bytes: usize,
    /// Files that one plan may upload.
    #[serde(skip)]
    pub plan_files: usize,
    /// Plans that are read and resolved at a time.
    #[serde(skip)]
    pub concurrent_plans: usize,
    /// Resolved plans that are remembered for confirmation.
    #[serde(skip)]
    pub remembered_plans: u32,
    /// Bytes of remembered plans, the newest apart.
    #[serde(skip)]
    pub remembered_plan_bytes: u64,
    /// Images and files of one staging host that are resolved at a time, and
    /// objects that are copied from it. How many requests that makes is up to
    /// how the host takes them.
    #[serde(skip)]
    pub staging_requests: usize,
    /// Entries of an operation that are copied at a time.
    #[serde(skip)]
    pub concurrent_copies: usize,
    /// Operations that run at a time; more wait.
    #[serde(skip)]
    pub concurrent_operations: usize,
    /// Largest object that is promoted, in bytes.
    #[serde(skip)]
    pub object_bytes: u64,
    /// Referrers (and, apart, cosign tags) that one OCI manifest may bring.
    #[serde(skip)]
    pub referrers: usize,
    /// Referrers and cosign tags that one root may bring, those of its children
    /// and their own included …
    #[serde(skip)]
    pub attached: usize,
    /// … their bytes together …
    #[serde(skip)]
    pub attached_bytes: u64,
    /// … and the requests after which no more are looked for.
    #[serde(skip)]
    pub attached_requests: usize,
    /// Bytes of a referrer with all it needs.
    #[serde(skip)]
    pub referrer_bytes: u64,
    /// Artifact types of referrers that are promoted.
    #[serde(skip)]
    pub artifact_types: Vec<String>,
    /// How often the checkpoint is signed anew.
    #[serde(skip)]
    pub refresh: Duration,
    /// How often agents are asked for a sign of life.
    #[serde(skip)]
    pub heartbeat: Duration,
    /// How often a silent stream says that it lives.
    #[serde(skip)]
    pub bookmark: Duration,
    /// Silence after which a session is closed.
    #[serde(skip)]
    pub watchdog: Duration,
    /// How long received readiness reports may stay in memory alone.
    #[serde(skip)]
    pub report_delay: Duration,
    /// How long a stop may take.
    #[serde(skip)]
    pub stop_within: Duration,
    /// How long the first commit waits for the mirrors that reported before the
    /// start: they may hold a newer log.
    #[serde(skip)]
    pub muster: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            staging_answer_ms: 30_000,
            staging_min_bytes_per_second: 4 << 10,
            staging_window_ms: 20_000,
            staging_root_ms: 300_000,
            plan_ms: 1_800_000,
            plan_bytes: 100 << 20,
            plan_files: 20_000,
            concurrent_plans: 2,
            remembered_plans: 16,
            remembered_plan_bytes: 256 << 20,
            staging_requests: 32,
            concurrent_copies: 32,
            concurrent_operations: 4,
            object_bytes: 64 << 30,
            referrers: 32,
            attached: 512,
            attached_bytes: 512 << 20,
            attached_requests: 4_096,
            referrer_bytes: 64 << 20,
            artifact_types: USUAL_ARTIFACT_TYPES.map(str::to_owned).to_vec(),
            refresh: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            bookmark: Duration::from_secs(15),
            watchdog: Duration::from_secs(45),
            report_delay: Duration::from_secs(1),
            stop_within: Duration::from_secs(9),
            muster: Duration::from_secs(10),
        }
    }
}

/// Signatures, attestations and bills of materials, as cosign, notation, ORAS,
/// `BuildKit` and Helm make them.
const USUAL_ARTIFACT_TYPES: [&str; 11] = [
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.cosign.artifact.att.v1+json",
    "application/vnd.dev.cosign.artifact.sbom.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.cncf.notary.signature",
    "application/vnd.in-toto+json",
    "application/spdx+json",
    "text/spdx+json",
    "text/spdx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cncf.helm.chart.provenance.v1.prov",
];

fn sqlite() -> String {
    "sqlite".into()
}

pub(crate) const fn usual_weight() -> u32 {
    100
}

impl Config {
    /// Reads `file`, then `LANDFALL__…` variables of `environment`, then
    /// `overrides` (dotted keys), each outweighing the one before.
    ///
    /// # Errors
    /// All faults at once, each with where it is.
    pub fn load(
        file: &Path,
        environment: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, ConfigFaults> {
        config::load(file, "LANDFALL", environment, overrides)
    }

    /// The URL of the origin's store.
    ///
    /// # Errors
    /// What is wrong with `origin.store`.
    pub(crate) fn origin_store(&self) -> Result<Url, String> {
        let url = Url::parse(&self.origin.store)
            .map_err(|error| format!("\"{}\" is not a URL: {error}", self.origin.store))?;
        match url.scheme() {
            "file" if url.to_file_path().is_err() => {
                Err("a file URL names an absolute path: file:///…".into())
            }
            "file" => Ok(url),
            "s3" | "gs" | "az" | "oci" | "oci+http" if url.has_host() => Ok(url),
            "s3" | "gs" | "az" | "oci" | "oci+http" => {
                Err(format!("{}:// names no bucket or host", url.scheme()))
            }
            scheme => Err(format!(
                "{scheme}:// is not supported as the origin; use file://, s3://, gs://, az:// or oci://"
            )),
        }
    }
}

impl Config {
    /// Every prefix that is published, less slashes at its end, with the number
    /// of its rule.
    fn production_prefixes(&self) -> impl Iterator<Item = (&str, usize)> {
        let rules = self.production.iter().enumerate();
        rules.flat_map(|(number, rule)| {
            let prefixes = rule.registries.iter().chain(&rule.filestores);
            prefixes.map(move |prefix| (prefix.trim_end_matches('/'), number))
        })
    }
}

impl Check for Config {
    fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        if let Err(why) = check_log_name(&self.name) {
            faults.add("name", why);
        }
        if !self.data_dir.is_absolute() {
            faults.add("data_dir", "must be an absolute path");
        }
        for (key, address) in [
            ("listen.grpc", self.listen.grpc),
            ("listen.http", self.listen.http),
        ] {
            if !address.ip().is_loopback() {
                faults.add(
                    key,
                    format!("{address} is not a loopback address, and identity is not configured"),
                );
            }
        }
        if self.state != "sqlite" {
            faults.add("state", "only \"sqlite\" is supported");
        }
        match self.origin_store() {
            Err(why) => faults.add("origin.store", why),
            Ok(url) if url.scheme() != "file" && self.origin.public_url.is_none() => faults.add(
                "origin.public_url",
                format!(
                    "says where a {}:// store is served: at the bucket's own public address, or below {ORIGIN_PATH} of this program",
                    url.scheme()
                ),
            ),
            Ok(_) => {}
        }
        for (number, rule) in self.production.iter().enumerate() {
            for why in rule.check() {
                faults.add(format!("production[{number}]"), why);
            }
        }
        for (number, rule) in self.staging.iter().enumerate() {
            if let Err(error) = Staging::check(rule) {
                faults.add(format!("staging[{number}]"), error.to_string());
            }
        }
        let mut prefixes = BTreeSet::new();
        for (number, rule) in self.staging.iter().enumerate() {
            if !prefixes.insert(rule.prefix.trim_end_matches('/')) {
                faults.add(
                    format!("staging[{number}].prefix"),
                    format!("\"{}\" is mapped twice", rule.prefix),
                );
            }
        }
        for (prefix, production) in self.production_prefixes() {
            if prefixes.contains(prefix) {
                faults.add(
                    format!("production[{production}]"),
                    format!(
                        "\"{prefix}\" is a [[staging]] prefix, too: what is below it cannot be both"
                    ),
                );
            }
        }
        for (key, value) in [
            ("limits.staging_answer_ms", self.limits.staging_answer_ms),
            ("limits.staging_window_ms", self.limits.staging_window_ms),
        ] {
            if value == 0 {
                faults.add(key, "must be at least 1");
            }
        }
        let mut names = BTreeSet::new();
        for (number, policy) in self.mirror.iter().enumerate() {
            if let Err(why) = check_mirror_name(&policy.name) {
                faults.add(format!("mirror[{number}].name"), why);
            }
            if !names.insert(&policy.name) {
                faults.add(
                    format!("mirror[{number}].name"),
                    format!("\"{}\" is listed twice", policy.name),
                );
            }
        }
        faults.0
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            key: key.into(),
            message: message.into(),
        });
    }
}

/// A log's origin is also the name of its keys (C2SP signed-note): no spaces, no `+`.
fn check_log_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("must not be empty");
    }
    if name.len() > 255 {
        return Err("is longer than 255 bytes");
    }
    if name
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '+')
    {
        return Err("must have no spaces, no control characters and no +");
    }
    Ok(())
}

/// The names that agents may join with (see `landfall_proto::model`).
fn check_mirror_name(name: &str) -> Result<(), &'static str> {
    let is_good = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    if name == landfall_route::ORIGIN {
        return Err("\"origin\" is the name of the origin");
    }
    if name.is_empty()
        || name.len() > landfall_proto::model::MAX_MIRROR_NAME
        || !name.bytes().all(is_good)
        || name.starts_with(['-', '_', '.'])
    {
        return Err("must be 1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter or digit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
name = "artifacts.example.org"
data_dir = "/var/lib/landfall/coordinator"
public_url = "http://127.0.0.1:7680"
listen = { grpc = "127.0.0.1:7443", http = "127.0.0.1:7480" }
state = "sqlite"
[origin]
store = "file:///var/lib/landfall/origin"
public_url = "http://127.0.0.1:7480/origin"
[[production]]
registries = ["us-central1-docker.pkg.dev/k8s-artifacts-prod/images"]
repository_prefix = ""
[[production]]
filestores = ["gs://k8s-artifacts-prod/binaries/"]
path_prefix = "binaries/"
[[staging]]
prefix = "gcr.io/k8s-staging-kops"
endpoint = "http://127.0.0.1:5000/k8s-staging-kops"
[[staging]]
prefix = "gs://k8s-staging-kops/kops/releases/"
endpoint = "file:///srv/staging/kops/"
[[mirror]]
name = "aws-east"
serves = "everything"
weight = 100
"#;

    fn keys(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.check().into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_sample_has_no_fault() {
        assert_eq!(keys(SAMPLE), Vec::<String>::new());
        let config: Config = toml::from_str(SAMPLE).unwrap();
        assert_eq!(
            config.origin_store().unwrap().as_str(),
            "file:///var/lib/landfall/origin"
        );
        assert_eq!(config.mirror[0].serves, ServesPolicy::Everything);
        assert_eq!(config.mirror[0].weight, 100);
    }

    #[test]
    fn every_fault_is_named_by_its_key() {
        for (from, to, key) in [
            ("name = \"artifacts.example.org\"", "name = \"a b\"", "name"),
            ("\"/var/lib/landfall/coordinator\"", "\"data\"", "data_dir"),
            ("\"127.0.0.1:7443\"", "\"0.0.0.0:7443\"", "listen.grpc"),
            ("\"127.0.0.1:7480\"", "\"[2001:db8::1]:1\"", "listen.http"),
            ("\"sqlite\"", "\"postgres://x\"", "state"),
            (
                "file:///var/lib/landfall/origin",
                "ftp://host/x",
                "origin.store",
            ),
            (
                "file:///var/lib/landfall/origin",
                "s3:///no-bucket",
                "origin.store",
            ),
            (
                "file:///var/lib/landfall/origin\"\npublic_url = \"http://127.0.0.1:7480/origin",
                "gs://bucket/folder",
                "origin.public_url",
            ),
            (
                "registries = [\"us-central1",
                "registries = [\"gs://us-central1",
                "production[0]",
            ),
            ("http://127.0.0.1:5000/", "redis://x/", "staging[0]"),
            (
                "gs://k8s-staging-kops/kops/releases/",
                "gcr.io/k8s-staging-kops/",
                "staging[1].prefix",
            ),
            (
                "prefix = \"gcr.io/k8s-staging-kops\"",
                "prefix = \"us-central1-docker.pkg.dev/k8s-artifacts-prod/images/\"",
                "production[0]",
            ),
            ("\"aws-east\"", "\"AWS\"", "mirror[0].name"),
            (
                "[origin]",
                "[limits]\nstaging_window_ms = 0\n[origin]",
                "limits.staging_window_ms",
            ),
        ] {
            assert!(SAMPLE.contains(from), "{from}");
            let found = keys(&SAMPLE.replace(from, to));
            assert!(found.iter().any(|found| found == key), "{key}: {found:?}");
        }
    }

    #[test]
    fn what_is_demanded_of_staging_can_be_set_and_has_defaults() {
        let text = SAMPLE.replace(
            "[origin]",
            "allow_private = [\"10.0.0.0/8\"]\n[limits]\nstaging_answer_ms = 500\n[origin]",
        );
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.allow_private, ["10.0.0.0/8".parse().unwrap()]);
        let (limits, usual) = (config.limits, Limits::default());
        assert_eq!(limits.staging_answer_ms, 500);
        assert_eq!(limits.staging_window_ms, usual.staging_window_ms);
        assert_eq!(limits.object_bytes, usual.object_bytes);
        assert_eq!(limits.artifact_types, usual.artifact_types);
        assert!(toml::from_str::<Config>(&text.replace("10.0.0.0/8", "10.0.0.0/99")).is_err());
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Config>(&format!("surprise = 1\n{SAMPLE}")).is_err());
        assert!(
            toml::from_str::<Config>(&format!("{SAMPLE}\n[limits]\nplan_bytes = 1\n")).is_err()
        );
    }

    #[test]
    fn mutable_names_are_the_operators_and_else_the_usual_ones() {
        let name = |text: &str| text.parse().unwrap();
        let usual = toml::from_str::<Config>(SAMPLE).unwrap().mutable;
        let own = format!("mutable = [\"nightly*\"]\n{SAMPLE}");
        let own = toml::from_str::<Config>(&own).unwrap().mutable;
        for (text, by_default, by_config) in [
            ("app:latest", true, false),
            ("release/stable.txt", true, false),
            ("app:nightly-1", false, true),
            ("app:v1", false, false),
        ] {
            let allowed = (usual.allow(&name(text)), own.allow(&name(text)));
            assert_eq!(allowed, (by_default, by_config), "{text}");
        }
        let cosign = format!("app:sha256-{}.sig", "0".repeat(64));
        assert!(own.allow(&name(&cosign)));
    }

    #[test]
    fn mirror_names_are_those_that_agents_join_with() {
        for good in ["a", "uni-oslo", "aws.east_1", &"a".repeat(64)] {
            assert_eq!(check_mirror_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a b", "a/b", "origin", &"a".repeat(65)] {
            assert!(check_mirror_name(bad).is_err(), "{bad:?}");
        }
    }
}
