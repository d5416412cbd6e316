//! Coordinator, three mirrors and a redirector as separate processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    content::{Manifests, PROJECT},
    eventually, free_port,
    process::{Program, landfall},
    sha256sum, stdout,
};

/// The public name of every test's catalog.
pub(crate) const NAME: &str = "artifacts.example.org";

/// Client addresses that stand for places (documentation and benchmark ranges).
pub(crate) const PLACES: [(&str, &str); 4] = [
    ("aws-us-east-1", "198.51.100.7"),
    ("gcp-europe-west1", "203.0.113.7"),
    ("norway", "192.0.2.7"),
    ("sweden", "198.18.0.7"),
];

/// A mirror of the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MirrorPlan {
    pub(crate) name: &'static str,
    /// Its own loopback address.
    pub(crate) address: &'static str,
    /// `[mirror]` keys of its place.
    pub(crate) place: &'static str,
    /// Marked `serves = "everything"` by the operator.
    pub(crate) everything: bool,
}

/// The three mirrors: two clouds and a university.
pub(crate) const MIRRORS: [MirrorPlan; 3] = [
    MirrorPlan {
        name: "aws-east",
        address: "127.0.0.2",
        place: "cloud = \"aws\"\nregion = \"us-east-1\"\ncountry = \"US\"",
        everything: true,
    },
    MirrorPlan {
        name: "gcp-west",
        address: "127.0.0.3",
        place: "cloud = \"gcp\"\nregion = \"europe-west1\"\ncountry = \"BE\"",
        everything: false,
    },
    MirrorPlan {
        name: "uni-oslo",
        address: "127.0.0.4",
        place: "country = \"NO\"",
        everything: true,
    },
];

/// All of it. Programs are killed, and the folder removed, when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) coordinator: Program,
    pub(crate) agents: Vec<Program>,
    pub(crate) redirector: Program,
    pub(crate) grpc: String,
    pub(crate) coordinator_http: String,
    /// `127.0.0.1:port`.
    pub(crate) public: String,
    mirror_ports: Vec<u16>,
    pub(crate) manifests: Manifests,
    env: Vec<(&'static str, String)>,
    pub(crate) dir: TempDir,
}

/// What differs between clusters.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Host of the staging registry, if the test has one.
    pub(crate) registry: Option<String>,
    /// Fewer than the three mirrors.
    pub(crate) mirrors: Option<usize>,
    /// Where the mirrors say they can be reached, by index, if not at themselves.
    pub(crate) public_urls: Vec<(usize, String)>,
    /// Port of the coordinator's HTTP listener, if the test has to know it before.
    pub(crate) coordinator_http: Option<u16>,
    /// Where the origin is said to be, if not at the coordinator itself.
    pub(crate) origin_url: Option<String>,
    /// The origin's store, if it is no folder of its own.
    pub(crate) origin_store: Option<String>,
    /// More of `coordinator.toml`, at its end.
    pub(crate) coordinator: String,
    /// Environment of all programs.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts all of it and waits until each program is ready.
    #[track_caller]
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = TempDir::new().expect("no temporary folder");
        let root = dir.path();
        fs::create_dir_all(root.join("staging")).unwrap();
        let [grpc, http, public] = [(); 3].map(|()| free_port("127.0.0.1"));
        let http = setup.coordinator_http.unwrap_or(http);
        let origin = setup
            .origin_url
            .unwrap_or_else(|| format!("http://127.0.0.1:{http}/origin"));
        let store = setup
            .origin_store
            .unwrap_or_else(|| format!("file://{}/origin", root.display()));
        let mirrors = &MIRRORS[..setup.mirrors.unwrap_or(MIRRORS.len())];
        let mirror_ports: Vec<u16> = mirrors
            .iter()
            .map(|mirror| free_port(mirror.address))
            .collect();
        let grpc = format!("http://127.0.0.1:{grpc}");
        let public = format!("127.0.0.1:{public}");
        let registry = setup.registry.unwrap_or_else(|| "127.0.0.1:1".into());

        let coordinator = root.join("coordinator.toml");
        fs::write(
            &coordinator,
            coordinator_toml(
                root,
                &grpc,
                http,
                &[store, origin],
                &public,
                &registry,
                mirrors,
            ) + &setup.coordinator,
        )
        .unwrap();
        let coordinator = Program::start("coordinator", "coordinator", &coordinator, &setup.env);

        fs::write(
            root.join("ranges.csv"),
            "cloud,region,cidr\nAWS,us-east-1,198.51.100.0/24\nGCP,europe-west1,203.0.113.0/24\n",
        )
        .unwrap();
        fs::write(
            root.join("country.csv"),
            "192.0.2.0/24,NO\n198.18.0.0/15,SE\n198.51.100.0/24,US\n203.0.113.0/24,BE\n",
        )
        .unwrap();
        let redirector = root.join("redirector.toml");
        fs::write(&redirector, redirector_toml(root, &grpc, &public)).unwrap();
        let redirector = Program::start("redirector", "redirector", &redirector, &setup.env);

        let mut agents = Vec::new();
        for (index, (mirror, port)) in mirrors.iter().zip(&mirror_ports).enumerate() {
            let config = root.join(format!("{}.toml", mirror.name));
            let at = format!("{}:{port}", mirror.address);
            let public_url = setup
                .public_urls
                .iter()
                .find(|(which, _)| *which == index)
                .map_or_else(|| format!("http://{at}"), |(_, url)| url.clone());
            fs::write(&config, agent_toml(root, &grpc, mirror, &at, &public_url)).unwrap();
            agents.push(Program::start("agent", mirror.name, &config, &setup.env));
        }
        Self {
            coordinator,
            agents,
            redirector,
            grpc,
            coordinator_http: format!("127.0.0.1:{http}"),
            public,
            mirror_ports,
            manifests: Manifests::new(&root.join("manifests")),
            env: setup.env,
            dir,
        }
    }

    /// Folder that stands for the staging bucket.
    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    /// Puts a file into staging and into the manifests; returns its digest. It is
    /// promoted as `binaries/test/{path}`.
    #[track_caller]
    pub(crate) fn stage_file(&mut self, path: &str, content: &[u8]) -> String {
        let file = self.staging().join(path);
        fs::write(&file, content).expect("cannot write into staging");
        let digest = sha256sum(&file);
        self.manifests.file(path, &digest);
        digest
    }

    /// Folder of a mirror's store.
    pub(crate) fn store(&self, mirror: usize) -> PathBuf {
        self.dir.path().join(MIRRORS[mirror].name).join("store")
    }

    /// `127.0.0.x:port` of a mirror.
    pub(crate) fn mirror(&self, mirror: usize) -> String {
        format!("{}:{}", MIRRORS[mirror].address, self.mirror_ports[mirror])
    }

    /// Starts a program again with the configuration that it had.
    #[track_caller]
    pub(crate) fn again(&self, kind: &str, name: &str) -> Program {
        let config = self.dir.path().join(format!("{name}.toml"));
        Program::start(kind, name, &config, &self.env)
    }

    /// `landfall COMMAND --coordinator …`.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut landfall = landfall();
        landfall.args(command).args(["--coordinator", &self.grpc]);
        landfall
    }

    /// Promotes what the manifests say; returns the last event of `--json`.
    #[track_caller]
    pub(crate) fn promote(&self) -> Value {
        let output = super::finish(
            self.command(&["promote", "--confirm", "--json", "--why", "test"])
                .arg(&self.manifests.dir),
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| {
            panic!(
                "promote printed no closing event ({error}):\n{text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// `landfall status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let text = stdout(&mut self.command(&["status", "--json"]));
        serde_json::from_str(&text).expect("status is not JSON")
    }

    /// Waits until every mirror named is complete at the catalog's revision.
    #[track_caller]
    pub(crate) fn wait_complete(&self, mirrors: &[usize], limit: Duration) {
        eventually("the mirrors are complete", limit, || {
            let status = self.status();
            for &mirror in mirrors {
                let name = MIRRORS[mirror].name;
                let Some(entry) = status["mirrors"]
                    .as_array()
                    .and_then(|all| all.iter().find(|entry| entry["name"] == name))
                else {
                    return Err(format!("{name} is not known"));
                };
                let complete = entry["ready_objects"] == entry["wanted_objects"]
                    && entry["names_revision"] == status["revision"]
                    && entry["ready_objects"].as_u64() > Some(0);
                if !complete {
                    return Err(entry.to_string());
                }
            }
            Ok(())
        });
    }

    /// Waits until the redirector would send a client at `from` to `mirror`.
    #[track_caller]
    pub(crate) fn wait_route(
        &self,
        from: &str,
        name: &str,
        mirror: &str,
        limit: Duration,
    ) -> Duration {
        let (_, took) = eventually(
            &format!("a client at {from} is sent to {mirror} for {name}"),
            limit,
            || {
                let explained = self.explain(from, name)?;
                if explained["mirror"] == mirror {
                    Ok(())
                } else {
                    Err(explained.to_string())
                }
            },
        );
        took
    }

    /// `landfall explain --json`.
    pub(crate) fn explain(&self, from: &str, name: &str) -> Result<Value, String> {
        let output = super::finish(landfall().args([
            "explain",
            "--json",
            "--from",
            from,
            "--redirector",
            &format!("http://{}", self.public),
            name,
        ]));
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Bytes that a mirror (or the origin, by its host) has handed over so far
    /// for a kind of request, from its own metrics.
    #[track_caller]
    pub(crate) fn served_bytes(&self, host: &str, kind: &str) -> u64 {
        let metrics = stdout(Command::new("curl").args([
            "-sS",
            "-m",
            "5",
            &format!("http://{host}/metrics"),
        ]));
        let series = format!("landfall_served_bytes_total{{kind=\"{kind}\"}} ");
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
            .map_or(0, |bytes| bytes as u64)
    }
}

fn coordinator_toml(
    root: &Path,
    grpc: &str,
    http: u16,
    [store, origin]: &[String; 2],
    public: &str,
    registry: &str,
    mirrors: &[MirrorPlan],
) -> String {
    let grpc = grpc.trim_start_matches("http://");
    let root = root.display();
    let mut toml = format!(
        r#"name = "{NAME}"
data_dir = "{root}/coordinator"
public_url = "http://{public}"
listen = {{ grpc = "{grpc}", http = "127.0.0.1:{http}" }}
state = "sqlite"
[origin]
store = "{store}"
public_url = "{origin}"
[[production]]
registries = ["us-central1-docker.pkg.dev/k8s-artifacts-prod/images", "europe-west1-docker.pkg.dev/k8s-artifacts-prod/images"]
repository_prefix = ""
[[production]]
filestores = ["gs://k8s-artifacts-prod/binaries/"]
path_prefix = "binaries/"
[[staging]]
prefix = "gcr.io/{PROJECT}"
endpoint = "http://{registry}/{PROJECT}"
[[staging]]
prefix = "gs://{PROJECT}/releases/"
endpoint = "file://{root}/staging/"
"#
    );
    for mirror in mirrors {
        let serves = if mirror.everything {
            "everything"
        } else {
            "verified"
        };
        toml.push_str(&format!(
            "[[mirror]]\nname = \"{}\"\nserves = \"{serves}\"\nweight = 100\n",
            mirror.name
        ));
    }
    toml
}

fn agent_toml(root: &Path, grpc: &str, mirror: &MirrorPlan, at: &str, public_url: &str) -> String {
    let name = mirror.name;
    let root = root.display();
    format!(
        r#"coordinator = "{grpc}"
data_dir = "{root}/{name}/data"
listen = "{at}"
[mirror]
name = "{name}"
public_url = "{public_url}"
{}
[store]
url = "file://{root}/{name}/store"
"#,
        mirror.place
    )
}

fn redirector_toml(root: &Path, grpc: &str, public: &str) -> String {
    let root = root.display();
    format!(
        r#"coordinator = "{grpc}"
data_dir = "{root}/redirector"
listen = {{ http = "{public}" }}
[locate]
ranges = ["{root}/ranges.csv"]
country = "{root}/country.csv"
trusted_proxies = ["127.0.0.0/8"]
"#
    )
}
