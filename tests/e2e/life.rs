//! A whole life, wherever staging and origin are: promoted, verified, mirrored,
//! downloaded, promoted again, withdrawn, reinstated, and gone back on.
//!
//! Origins are a folder, S3 (moto), Azure Blob (azurite), Google Cloud Storage
//! (gcp-storage-emulator) and a registry (docker-registry). Each takes files that
//! are staged in the first four, and images from a staging registry: an index
//! whose SBOM is signed, and a cosign signature. What the peers cannot do:
//!
//! - A registry keeps no files: that origin lives with images alone.
//! - The emulator of Google's store speaks JSON only and has neither conditional
//!   writes nor uploads in parts: a translator in front of it does these.
//! - docker-registry has no referrers API: what refers to what is listed under
//!   fallback tags, in staging as at the origin.
//! - What is withdrawn from the public address of a bucket is asked of S3 alone,
//!   in `bucket_origin.rs`: the other two let nobody read without credentials.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, MIRRORS, PLACES, Setup},
    content::{Layout, PROJECT, noise},
    eventually, ok,
    peers::{Bucket, Registry, curl_status},
    sha256sum, stdout,
    stores::{Kind, Stores},
};

/// Where files are staged: a folder, and by their schemes the buckets.
const STAGINGS: [&str; 4] = ["folder", "s3", "az", "gs"];
/// Files that each staging has, and their bytes: one goes in one request, one in
/// parts and has a piece list, and one comes with the second promotion.
const FILES: [(&str, usize); 3] = [("small", 3_000), ("large", 9 << 20), ("next", 70_000)];
const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Where an origin is.
#[derive(Clone, Copy)]
enum Origin {
    Folder,
    Bucket(Kind),
    Registry,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("folder"),
            Self::Bucket(kind) => f.write_str(kind.scheme()),
            Self::Registry => f.write_str("registry"),
        }
    }
}

/// What all origins share.
struct World {
    stores: Stores,
    registry: Registry,
    image: Image,
    dir: TempDir,
}

/// Digests of what was pushed to staging.
struct Image {
    index: String,
    second: String,
    sbom: String,
    /// Refers to the SBOM.
    signature: String,
    /// Under its tag.
    cosign: String,
}

impl Image {
    fn cosign_tag(&self) -> String {
        format!("{}.sig", self.index.replace(':', "-"))
    }
}

#[test]
fn a_whole_life_is_the_same_wherever_staging_and_origin_are() {
    let world = World::new();
    let buckets = Kind::ALL.map(Origin::Bucket);
    let origins = [Origin::Folder, Origin::Registry]
        .into_iter()
        .chain(buckets);
    let failed: Vec<String> = thread::scope(|scope| {
        let world = &world;
        let lives: Vec<_> = origins
            .map(|origin| {
                let life = scope.spawn(move || Life::new(origin, world).whole());
                (origin, life)
            })
            .collect();
        let ended = lives
            .into_iter()
            .map(|(origin, life)| (origin, life.join()));
        let failed = ended.filter(|(_, ended)| ended.is_err());
        failed.map(|(origin, _)| origin.to_string()).collect()
    });
    assert!(failed.is_empty(), "it failed at {failed:?}, see above");
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let stores = Stores::start(&dir.path().join("stores"));
        let registry = Registry::start(&dir.path().join("registry"));
        let image = push(&dir.path().join("layout"), &registry.host);
        let world = Self {
            stores,
            registry,
            image,
            dir,
        };
        for (seed, staging) in (0..).zip(STAGINGS) {
            fs::create_dir(world.dir.path().join(staging)).unwrap();
            for (key, size) in FILES {
                let content = noise(1000 * seed + size as u64, size);
                fs::write(world.file(staging, key), content).unwrap();
            }
        }
        for kind in Kind::ALL {
            for (key, _) in FILES {
                world
                    .stores
                    .stage(kind, key, &world.file(kind.scheme(), key));
            }
        }
        world
    }

    /// What is staged, as long as the test runs.
    fn file(&self, staging: &str, key: &str) -> PathBuf {
        self.dir.path().join(staging).join(key)
    }

    /// What maps staging to where it is: one folder of the project each.
    fn staging(&self) -> String {
        let rules = Kind::ALL.map(|kind| {
            let scheme = kind.scheme();
            let bucket = Stores::STAGING;
            format!(
                "[[staging]]\nprefix = \"gs://{PROJECT}/releases/{scheme}/\"\nendpoint = \"{scheme}://{bucket}/\"\n"
            )
        });
        rules.concat()
    }

    fn digest(&self, staging: &str, key: &str) -> String {
        sha256sum(&self.file(staging, key))
    }
}

/// Pushes an image whose SBOM is signed, a cosign signature, and a second image.
fn push(dir: &Path, host: &str) -> Image {
    let layout = Layout::new(dir);
    let staging = format!("{host}/{PROJECT}/life");
    let platforms = [1, 2].map(|seed| layout.image(["amd64", "arm64"][seed - 1], 40, &[60_000]));
    let index = layout.index(&platforms);
    let second = layout.image("amd64", 41, &[9 << 20]);
    let sbom = layout.artifact(
        &index,
        "application/spdx+json",
        b"{\"spdxVersion\": \"SPDX-2.3\"}",
    );
    let signature = layout.artifact(&sbom, "application/vnd.cncf.notary.signature", b"signed");
    let cosign = layout.cosign_signature(&index);
    let pushed = Image {
        index: layout.push(&index, &format!("{staging}:v1")),
        second: layout.push(&second, &format!("{staging}:v2")),
        sbom: layout.push(&sbom, &format!("{staging}:sbom")),
        signature: layout.push(&signature, &format!("{staging}:signature")),
        cosign: String::new(),
    };
    for (subject, referrer) in [(&pushed.index, &sbom), (&pushed.sbom, &signature)] {
        let listing = layout.index(std::slice::from_ref(referrer));
        let tag = subject.replace(':', "-");
        layout.put(&listing, &format!("{staging}:{tag}"));
    }
    let cosign = layout.push(&cosign, &format!("{staging}:{}", pushed.cosign_tag()));
    Image { cosign, ..pushed }
}

/// One origin, and all that happens there.
struct Life<'a> {
    origin: Origin,
    world: &'a World,
    cluster: Cluster,
    /// What is promoted first, with its digest: paths below `binaries/test/`.
    files: Vec<(String, String)>,
    began: Instant,
}

impl<'a> Life<'a> {
    fn new(origin: Origin, world: &'a World) -> Self {
        let store = match origin {
            Origin::Folder => None,
            Origin::Bucket(kind) => Some(format!("{}://{}/life", kind.scheme(), Bucket::NAME)),
            Origin::Registry => Some(format!("oci+http://{}/published", world.registry.host)),
        };
        let cluster = Cluster::start(Setup {
            registry: Some(world.registry.host.clone()),
            mirrors: Some(1),
            origin_store: store,
            coordinator: world.staging(),
            env: world.stores.env(),
            ..Setup::default()
        });
        let mut life = Self {
            origin,
            world,
            cluster,
            files: Vec::new(),
            began: Instant::now(),
        };
        life.stage();
        life
    }

    /// Kinds of staging that this origin takes files from.
    fn stagings(&self) -> &'static [&'static str] {
        match self.origin {
            Origin::Registry => &[],
            Origin::Folder | Origin::Bucket(_) => &STAGINGS,
        }
    }

    fn stage(&mut self) {
        let folder = self.cluster.staging().join("folder");
        fs::create_dir(&folder).unwrap();
        for (key, _) in FILES {
            fs::copy(self.world.file("folder", key), folder.join(key)).unwrap();
        }
        for staging in self.stagings() {
            for key in ["small", "large"] {
                let (path, digest) = (format!("{staging}/{key}"), self.world.digest(staging, key));
                self.cluster.manifests.file(&path, &digest);
                self.files.push((path, digest));
            }
        }
        let index = &self.world.image.index;
        self.cluster.manifests.image("life", index, "v1");
    }

    fn whole(mut self) {
        self.promoted_and_verified();
        self.told("promoted");
        self.downloaded();
        self.nothing_is_left_to_do();
        self.told("downloaded");
        self.withdrawn_and_reinstated();
        self.told("withdrawn and reinstated");
        self.reverted();
        self.told("reverted");
    }

    fn told(&self, what: &str) {
        println!("{}: {what} after {:?}", self.origin, self.began.elapsed());
    }

    fn promoted_and_verified(&self) {
        let done = self.cluster.promote();
        // The image, its SBOM, that one's signature, and cosign's.
        let expected = self.files.len() + 4;
        for (outcome, count) in [
            ("copied", expected),
            ("refused", 0),
            ("lost", 0),
            ("failed", 0),
        ] {
            assert_eq!(done[outcome], count, "{}: {done}", self.origin);
        }
        let verified = stdout(&mut self.cluster.command(&["log", "verify", "--json"]));
        let verified: Value = serde_json::from_str(&verified).unwrap();
        assert_eq!(verified["revision"], 1, "{}: {verified}", self.origin);
        self.cluster.wait_complete(&[0], LIMIT);
    }

    fn nothing_is_left_to_do(&self) {
        let done = self.cluster.promote();
        assert_eq!((&done["copied"], &done["revision"]), (&0.into(), &0.into()));
        assert_eq!((&done["refused"], &done["failed"]), (&0.into(), &0.into()));
    }

    /// Everything, as a client gets it through the redirector, and what a
    /// registry origin shows by itself.
    fn downloaded(&self) {
        let place = format!("X-Forwarded-For: {}", PLACES[0].1);
        let file = self.scratch("downloaded");
        for (path, digest) in &self.files {
            let name = format!("binaries/test/{path}");
            self.routed(&name);
            let url = format!("http://{}/{name}", self.cluster.public);
            ok(Command::new("curl")
                .args(["-sSfL", "-m", "60", "-H", &place, "-o"])
                .arg(&file)
                .arg(&url));
            assert_eq!(sha256sum(&file), *digest, "{}: {url}", self.origin);
        }
        self.routed("test/life:v1");
        let image = &self.world.image;
        let pulled = self.scratch("pulled");
        let _ = fs::remove_dir_all(&pulled);
        let from = format!("docker://{}/test/life:v1", self.cluster.public);
        ok(Command::new("skopeo")
            .args(["copy", "--quiet", "--all", "--preserve-digests"])
            .args(["--src-tls-verify=false", &from])
            .arg(format!("oci:{}:v1", pulled.display())));
        let listed = fs::read_to_string(pulled.join("index.json")).unwrap();
        assert!(listed.contains(&image.index), "{listed}");

        let mut registries = vec![(self.cluster.public.clone(), "test/life")];
        if matches!(self.origin, Origin::Registry) {
            registries.push((self.world.registry.host.clone(), "published/test/life"));
        }
        for (host, repository) in registries {
            let at = format!("http://{host}/v2/{repository}/manifests");
            for (reference, digest) in [
                ("v1", &image.index),
                (&image.cosign_tag(), &image.cosign),
                (&image.sbom, &image.sbom),
                (&image.signature, &image.signature),
            ] {
                let url = format!("{at}/{reference}");
                let accept = format!("Accept: {IMAGE}, {INDEX}");
                ok(Command::new("curl")
                    .args(["-sSfL", "-m", "60", "-H", &accept, "-o"])
                    .arg(&file)
                    .arg(&url));
                assert_eq!(sha256sum(&file), *digest, "{}: {url}", self.origin);
            }
        }
        for (subject, referrer) in [(&image.index, &image.sbom), (&image.sbom, &image.signature)] {
            let url = format!(
                "http://{}/v2/test/life/referrers/{subject}",
                self.cluster.public
            );
            let listed = stdout(Command::new("curl").args(["-sSf", "-m", "60", &url]));
            let listed: Value = serde_json::from_str(&listed).unwrap();
            assert_eq!(listed["manifests"].as_array().unwrap().len(), 1, "{listed}");
            assert_eq!(listed["manifests"][0]["digest"], **referrer, "{listed}");
        }
    }

    fn withdrawn_and_reinstated(&self) {
        let image = &self.world.image;
        let mut bad = vec![("test/life:v1", &image.index)];
        let large = self.files.iter().find(|(path, _)| path.ends_with("large"));
        bad.extend(large.map(|(_, digest)| (digest.as_str(), digest)));
        let gone: Vec<String> = bad
            .iter()
            .map(|(_, digest)| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")))
            .chain(["v2/test/life/manifests/v1".to_owned()])
            .chain(large.map(|(path, _)| format!("binaries/test/{path}")))
            .collect();
        for (what, _) in &bad {
            let withdraw = ["withdraw", what, "--reason", "CVE-1", "--json"];
            let said = stdout(&mut self.cluster.command(&withdraw));
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["troubles"], Value::Array(Vec::new()), "{said}");
        }
        for path in &gone {
            self.answered(path, 410);
            let origin = format!("http://{}/origin/{path}", self.cluster.coordinator_http);
            assert_ne!(curl_status(&origin, &[]), Ok(200), "{origin}");
        }
        self.shown_by_the_registry(404);
        eventually("the mirror has purged", LIMIT, || {
            let status = self.cluster.status();
            let all = status["withdrawals"].as_array().unwrap();
            let confirmed = serde_json::json!([MIRRORS[0].name]);
            let done =
                all.len() == bad.len() && all.iter().all(|one| one["confirmed"] == confirmed);
            done.then_some(())
                .ok_or_else(|| status["withdrawals"].to_string())
        });
        for (_, digest) in &bad {
            let hex = digest.trim_start_matches("sha256:");
            let blob = self.cluster.store(0).join("blobs/sha256").join(hex);
            assert!(fs::metadata(&blob).is_err(), "{blob:?} is still there");
        }
        // The same manifests do not bring it back.
        let done = self.cluster.promote();
        assert_eq!((&done["copied"], &done["revision"]), (&0.into(), &0.into()));
        assert_ne!(done["refused"], 0, "{done}");
        self.shown_by_the_registry(404);

        for (what, _) in &bad {
            let reinstate = ["reinstate", what, "--reason", "a false alarm", "--json"];
            let said = stdout(&mut self.cluster.command(&reinstate));
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["troubles"], Value::Array(Vec::new()), "{said}");
        }
        self.cluster.wait_complete(&[0], LIMIT);
        self.shown_by_the_registry(200);
        self.downloaded();
    }

    /// A second promotion is taken back: its names go, and the first stays whole.
    fn reverted(&mut self) {
        let first = self.cluster.status();
        for staging in self.stagings() {
            let path = format!("{staging}/next");
            let digest = self.world.digest(staging, "next");
            self.cluster.manifests.file(&path, &digest);
        }
        let second = &self.world.image.second;
        self.cluster.manifests.image("life2", second, "v2");
        self.restage_second();
        let done = self.cluster.promote();
        assert_eq!(done["copied"], self.stagings().len() + 1, "{done}");
        self.cluster.wait_complete(&[0], LIMIT);
        let mut names: Vec<_> = self
            .stagings()
            .iter()
            .map(|staging| format!("binaries/test/{staging}/next"))
            .collect();
        names.push("v2/test/life2/manifests/v2".to_owned());
        for name in &names[..names.len() - 1] {
            self.routed(name);
        }
        self.routed("test/life2:v2");

        let revision = first["revision"].to_string();
        let dry = stdout(&mut self.cluster.command(&["revert", &revision]));
        let digest = dry.rsplit("--confirm=").next().unwrap().trim().to_owned();
        let confirm = format!("--confirm={digest}");
        let revert = ["revert", &revision, &confirm, "--json"];
        let done = stdout(&mut self.cluster.command(&revert));
        let done: Value = serde_json::from_str(done.lines().last().unwrap()).unwrap();
        assert_eq!(done["removed"], names.len(), "{done}");
        assert_eq!(self.cluster.status()["names"], first["names"]);
        for name in &names {
            self.answered(name, 404);
        }
        if matches!(self.origin, Origin::Registry) {
            self.registry_answers("published/test/life2/manifests/v2", 404);
        }
        self.cluster.wait_complete(&[0], LIMIT);
        self.downloaded();
    }

    /// The second image is `life2` in the manifests.
    fn restage_second(&self) {
        let host = &self.world.registry.host;
        let from = format!("docker://{host}/{PROJECT}/life:v2");
        let to = format!("docker://{host}/{PROJECT}/life2:v2");
        ok(Command::new("skopeo")
            .args(["copy", "--quiet", "--preserve-digests"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
            .args([&from, &to]));
    }

    fn routed(&self, name: &str) {
        let mirror = MIRRORS[0].name;
        self.cluster.wait_route(PLACES[0].1, name, mirror, LIMIT);
    }

    /// Waits until the redirector answers with `status`.
    fn answered(&self, path: &str, status: u16) {
        let url = format!("http://{}/{path}", self.cluster.public);
        eventually("the redirector follows", LIMIT, || {
            match curl_status(&url, &[])? {
                found if found == status => Ok(()),
                found => Err(format!("{url}: {found} instead of {status}")),
            }
        });
    }

    /// A registry origin is asked by itself, by tag and by digest.
    fn shown_by_the_registry(&self, status: u16) {
        if matches!(self.origin, Origin::Registry) {
            for reference in ["v1", &self.world.image.index] {
                let path = format!("published/test/life/manifests/{reference}");
                self.registry_answers(&path, status);
            }
        }
    }

    fn registry_answers(&self, path: &str, status: u16) {
        let url = format!("http://{}/v2/{path}", self.world.registry.host);
        let accept = format!("Accept: {IMAGE}, {INDEX}");
        assert_eq!(curl_status(&url, &[&accept]), Ok(status), "{url}");
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.world
            .dir
            .path()
            .join(format!("{}-{name}", self.origin))
    }
}
