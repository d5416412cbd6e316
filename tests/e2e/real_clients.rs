//! Promote, publish, fill three mirrors; then the clients that end users run
//! get everything from the nearest ready one.

use std::{fs, path::Path, process::Command, time::Duration};

use landfall_catalog::Digest;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, PLACES, Setup},
    content::{BlobBytes, Layout, PROJECT},
    eventually, finish, ok,
    peers::{Containerd, Fronts, Registry},
    sha256sum, stdout,
};

/// Layers of each platform's image, in bytes: one small, one of several pieces.
const LAYERS: [usize; 2] = [40_000, 9 << 20];

/// Two real packages from Debian, as `(path in staging, digest)`.
fn debian_packages(cluster: &Cluster) -> Vec<(String, String)> {
    let staging = cluster.staging().join("1.0");
    fs::create_dir_all(&staging).unwrap();
    let download = || {
        let mut command = Command::new("apt-get");
        command
            .args([
                "download",
                "-qq",
                "-o",
                "APT::Sandbox::User=root",
                "hello",
                "jq",
            ])
            .current_dir(&staging);
        command
    };
    if !finish(&mut download()).status.success() {
        // The lists of a machine on which nothing had to be installed may be old.
        ok(Command::new("apt-get").args(["update", "-qq"]));
        ok(&mut download());
    }
    let mut files: Vec<(String, String)> = fs::read_dir(&staging)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "deb"))
        .map(|entry| {
            // An epoch's `%3a` would need escaping in URLs: plain names here.
            let plain = entry.file_name().to_string_lossy().replace('%', "_");
            let path = staging.join(&plain);
            fs::rename(entry.path(), &path).unwrap();
            (format!("1.0/{plain}"), sha256sum(&path))
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    files
}

#[test]
fn every_client_gets_everything_from_its_own_nearest_ready_mirror() {
    let scratch = TempDir::new().unwrap();
    let registry = Registry::start(&scratch.path().join("registry"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let amd64 = layout.image("amd64", 1, &LAYERS);
    let arm64 = layout.image("arm64", 2, &LAYERS);
    let index = layout.index(&[amd64.clone(), arm64]);
    // What one platform's pull fetches as blobs: its layers and its config.
    let bytes = layout.blob_bytes(&amd64);
    let digest = layout.push(&index, &format!("{}/{PROJECT}/app:v1", registry.host));

    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host),
        ..Setup::default()
    });
    let files = debian_packages(&cluster);
    cluster.manifests.image("app", &digest, "v1");
    for (path, digest) in &files {
        cluster.manifests.file(path, digest);
    }

    let done = cluster.promote();
    assert_eq!(done["revision"], 1, "{done}");
    assert_eq!(done["copied"], 3, "{done}");
    assert_eq!(
        (&done["lost"], &done["refused"], &done["failed"]),
        (&0.into(), &0.into(), &0.into()),
        "{done}"
    );
    cluster.wait_complete(&[0, 1, 2], Duration::from_secs(30));

    let fronts = Fronts::start(&scratch.path().join("nginx"), &cluster.public, &PLACES);
    // Which mirror is nearest to each place: its own, and for Sweden the one in Norway.
    let nearest = [0, 1, 2, 2];
    for ((_, client), mirror) in PLACES.iter().zip(nearest) {
        let name = crate::support::cluster::MIRRORS[mirror].name;
        cluster.wait_route(client, "test/app:v1", name, Duration::from_secs(10));
    }
    for ((place, _), mirror) in PLACES.iter().zip(nearest) {
        let image = format!("{}/test/app:v1", fronts.host(place));
        let work = scratch.path().join(place);
        fs::create_dir_all(&work).unwrap();
        for pull in [skopeo_copy, podman_pull, ctr_pull] {
            let before = blob_bytes(&cluster);
            pull(&image, &digest, &work);
            assert_served_by(&cluster, mirror, &before, bytes, place);
        }
    }
    for (place, _) in PLACES {
        for (path, digest) in &files {
            curl_follows_to_a_mirror_for_everything(
                &cluster,
                &fronts.host(place),
                place,
                path,
                digest,
                scratch.path(),
            );
        }
    }
}

/// Bytes of blobs that each mirror, and last the origin, has handed over.
fn blob_bytes(cluster: &Cluster) -> [u64; 4] {
    let of = |host: &str| cluster.served_bytes(host, "object") + cluster.served_bytes(host, "blob");
    [
        of(&cluster.mirror(0)),
        of(&cluster.mirror(1)),
        of(&cluster.mirror(2)),
        of(&cluster.coordinator_http),
    ]
}

#[track_caller]
fn assert_served_by(
    cluster: &Cluster,
    mirror: usize,
    before: &[u64; 4],
    bytes: BlobBytes,
    place: &str,
) {
    let after = blob_bytes(cluster);
    let served: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    let what = "bytes of blobs that each mirror (and last the origin) served";
    for (which, &served_bytes) in served.iter().enumerate() {
        // skopeo reads the config once to look at it and once to copy it.
        let expected = if which == mirror {
            bytes.layers + bytes.config..=bytes.layers + 2 * bytes.config
        } else {
            0..=0
        };
        assert!(
            expected.contains(&served_bytes),
            "{what} to {place}: {served:?}, of which {bytes:?} from number {mirror}"
        );
    }
}

fn skopeo_copy(image: &str, digest: &str, work: &Path) {
    let to = work.join("skopeo");
    ok(Command::new("skopeo")
        .args(["copy", "--src-tls-verify=false"])
        .args(["--override-os", "linux", "--override-arch", "amd64"])
        .arg(format!("docker://{image}"))
        .arg(format!("dir:{}", to.display())));
    let raw = ok(Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw"])
        .arg(format!("docker://{image}")));
    assert_eq!(Digest::of(&raw.stdout).to_string(), digest);
}

fn podman_pull(image: &str, digest: &str, work: &Path) {
    let podman = || {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(work.join("podman"))
            .arg("--runroot")
            .arg(work.join("podman-run"))
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command
    };
    let pull = |reference: &str| {
        ok(podman()
            .args([
                "pull",
                "--quiet",
                "--tls-verify=false",
                "--os",
                "linux",
                "--arch",
                "amd64",
            ])
            .arg(reference))
    };
    pull(image);
    let digests = stdout(podman().args(["images", "--digests", "--format", "{{.Digest}}"]));
    assert!(digests.contains(digest), "{digests}");
    let (repository, _) = image.rsplit_once(':').unwrap();
    pull(&format!("{repository}@{digest}"));
}

/// With a containerd of its own: it keeps content by digest over all images, so
/// that a second pull of the same would have no blobs to fetch.
fn ctr_pull(image: &str, digest: &str, work: &Path) {
    let containerd = Containerd::start(&work.join("containerd"));
    ok(containerd.ctr().args([
        "images",
        "pull",
        "--plain-http",
        "--platform",
        "linux/amd64",
        "--snapshotter",
        "native",
        image,
    ]));
    let listed = stdout(containerd.ctr().args(["images", "ls"]));
    let line = listed
        .lines()
        .find(|line| line.starts_with(image))
        .unwrap_or_else(|| panic!("{image} is not listed:\n{listed}"));
    assert!(line.contains(digest), "{line}");
}

/// `curl` checks nothing: it may only be sent where the operator said so.
fn curl_follows_to_a_mirror_for_everything(
    cluster: &Cluster,
    front: &str,
    place: &str,
    path: &str,
    digest: &str,
    scratch: &Path,
) {
    let to = scratch.join("downloaded");
    let said = stdout(
        Command::new("curl")
            .args(["-sSfL", "-w", "%{url_effective} %{http_code}", "-o"])
            .arg(&to)
            .arg(format!("http://{front}/binaries/test/{path}")),
    );
    assert_eq!(sha256sum(&to), digest, "{said}");
    let trusted = [cluster.mirror(0), cluster.mirror(2)];
    assert!(
        trusted
            .iter()
            .any(|mirror| said.starts_with(&format!("http://{mirror}/"))),
        "a plain download from {place} ended at {said}"
    );
}

#[test]
fn a_file_promoted_a_second_ago_comes_from_the_origin_until_a_mirror_is_ready() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    // Without its agent the mirror cannot become ready.
    cluster.agents[0].kill_9();
    cluster.stage_file("tool", b"a tool");
    let done = cluster.promote();
    assert_eq!(done["copied"], 1, "{done}");

    let name = "binaries/test/tool";
    let (_, client) = PLACES[0];
    cluster.wait_route(client, name, "origin", Duration::from_secs(5));
    let url = format!("http://{}/{name}", cluster.public);
    let forwarded = format!("X-Forwarded-For: {client}");
    let body = stdout(Command::new("curl").args(["-sSfL", "-H", &forwarded, &url]));
    assert_eq!(body, "a tool");

    cluster.agents[0] = cluster.again("agent", "aws-east");
    cluster.wait_route(client, name, "aws-east", Duration::from_secs(15));
    let location = stdout(Command::new("curl").args([
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        "-H",
        &forwarded,
        &url,
    ]));
    assert_eq!(location, format!("302 http://{}/{name}", cluster.mirror(0)));
}

#[test]
fn the_answer_to_a_plain_download_says_what_where_and_why() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    cluster.stage_file("tool", b"a tool");
    cluster.promote();
    cluster.wait_complete(&[0], Duration::from_secs(15));
    let name = "binaries/test/tool";
    cluster.wait_route(PLACES[0].1, name, "aws-east", Duration::from_secs(15));

    let script = "import base64,hashlib,sys; print(base64.b64encode(hashlib.sha256(open(sys.argv[1],'rb').read()).digest()).decode())";
    let base64 = stdout(
        Command::new("python3")
            .args(["-c", script])
            .arg(cluster.staging().join("tool")),
    );
    for method in ["-I", "-i"] {
        let head = stdout(Command::new("curl").args([
            "-sS",
            method,
            &format!("http://{}/{name}", cluster.public),
        ]))
        .to_lowercase();
        for expected in [
            "http/1.1 302".to_owned(),
            format!("digest: sha-256={}", base64.to_lowercase()),
            "landfall-mirror: aws-east".to_owned(),
            "landfall-decision: ".to_owned(),
            "cache-control: private, max-age=60".to_owned(),
        ] {
            assert!(
                head.contains(&expected),
                "{method}: no `{expected}` in\n{head}"
            );
        }
    }
    for (what, path, status) in [
        ("an unknown file", "binaries/test/none", "404"),
        ("an unknown repository", "v2/none/manifests/v1", "404"),
        ("a way out", "binaries/../../etc/passwd", "404"),
    ] {
        let got = stdout(Command::new("curl").args([
            "-sS",
            "--path-as-is",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("http://{}/{path}", cluster.public),
        ]));
        assert!(
            got == status || got == "400",
            "{what} was answered with {got}"
        );
    }
    eventually(
        "status shows a healthy mirror",
        Duration::from_secs(15),
        || {
            let status = cluster.status();
            if status["mirrors"][0]["healthy"] == true {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    );
    let page = stdout(
        Command::new("curl").args(["-sSf", &format!("http://{}/", cluster.coordinator_http)]),
    );
    assert!(
        page.contains("aws-east") && page.contains("<html"),
        "{page}"
    );
    // A second promotion of the same has nothing to do.
    let again = cluster.promote();
    assert_eq!(
        (&again["revision"], &again["copied"]),
        (&0.into(), &0.into()),
        "{again}"
    );
    let output = finish(&mut cluster.command(&["history"]));
    assert!(output.status.success());
}

#[test]
fn an_image_arrives_with_its_bill_of_materials_and_its_signature_under_the_same_digests() {
    const SBOM: &str = "application/spdx+json";
    let scratch = TempDir::new().unwrap();
    let registry = Registry::start(&scratch.path().join("registry"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 7, &[5_000]);
    let staging = format!("{}/{PROJECT}/signed", registry.host);
    let digest = layout.push(&image, &format!("{staging}:v1"));
    // Debian's registry has no referrers API: the fallback tag of the OCI
    // distribution specification lists what refers to the image.
    let hex = digest.trim_start_matches("sha256:").to_owned();
    let sbom = layout.artifact(&image, SBOM, b"{\"spdxVersion\": \"SPDX-2.3\"}");
    let listing = layout.index(std::slice::from_ref(&sbom));
    layout.push(&sbom, &format!("{staging}:sbom"));
    layout.put(&listing, &format!("{staging}:sha256-{hex}"));
    // And cosign's own convention, a tag made of the digest.
    let signature = layout.cosign_signature(&image);
    let signature = layout.push(&signature, &format!("{staging}:sha256-{hex}.sig"));

    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host),
        mirrors: Some(1),
        ..Setup::default()
    });
    cluster.manifests.image("signed", &digest, "v1");
    let done = cluster.promote();
    assert_eq!(done["revision"], 1, "{done}");
    cluster.wait_complete(&[0], Duration::from_secs(20));
    let public = format!("http://{}/v2/test/signed", cluster.public);
    let (referrers, _) = eventually("the referrers are listed", Duration::from_secs(10), || {
        let output =
            finish(Command::new("curl").args(["-sSf", &format!("{public}/referrers/{digest}")]));
        let listed: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        match listed["manifests"].as_array() {
            Some(all) if !all.is_empty() => Ok(all.clone()),
            _ => Err(listed.to_string()),
        }
    });
    assert_eq!(referrers.len(), 1, "{referrers:?}");
    assert_eq!(referrers[0]["digest"], sbom["digest"]);
    assert_eq!(referrers[0]["artifactType"], SBOM);
    for (reference, expected) in [
        (
            sbom["digest"].as_str().unwrap().to_owned(),
            sbom["digest"].as_str().unwrap(),
        ),
        (format!("sha256-{hex}.sig"), signature.as_str()),
    ] {
        let manifest = ok(Command::new("curl").args([
            "-sSf",
            "-H",
            "Accept: application/vnd.oci.image.manifest.v1+json",
            &format!("{public}/manifests/{reference}"),
        ]));
        assert_eq!(
            Digest::of(&manifest.stdout).to_string(),
            expected,
            "{reference}"
        );
    }
}
