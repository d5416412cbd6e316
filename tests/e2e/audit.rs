//! The origin against what was approved: damaged for real, reported exactly, and
//! mended from a mirror.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT, noise},
    finish,
    peers::{Bucket, Registry, curl_status},
    sha256sum, stdout,
    stores::{Kind, Stores},
};

/// What an audit said.
struct Audit {
    code: Option<i32>,
    /// Check, name and outcome of each finding, sorted.
    findings: Vec<[String; 3]>,
    done: Value,
}

impl Audit {
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let output = finish(command.args(["--json"]));
        let text = String::from_utf8_lossy(&output.stdout);
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let events: Vec<Value> = events.collect();
        let of = |kind: &'static str| events.iter().filter(move |it| it["event"] == kind);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut findings: Vec<_> = of("finding")
            .map(|it| ["check", "name", "outcome"].map(|key| text(&it[key])))
            .collect();
        findings.sort();
        let done = of("done").next_back();
        Self {
            code: output.status.code(),
            findings,
            done: done.unwrap_or_else(|| panic!("no end: {output:?}")).clone(),
        }
    }

    #[track_caller]
    fn origin(cluster: &Cluster, more: &[&str]) -> Self {
        Self::of(cluster.command(&["audit", "origin"]).args(more))
    }

    #[track_caller]
    fn expect(self, code: i32, findings: &[[&str; 3]]) -> Value {
        let mut expected: Vec<_> = findings
            .iter()
            .map(|finding| finding.map(str::to_owned))
            .collect();
        expected.sort();
        assert_eq!(self.findings, expected, "{}", self.done);
        assert_eq!(self.code, Some(code), "{}", self.done);
        self.done
    }
}

/// The same findings with another outcome, notes apart.
fn all<'a>(findings: &[[&'a str; 3]], outcome: &'a str) -> Vec<[&'a str; 3]> {
    let mut findings = findings.to_vec();
    for finding in &mut findings {
        if finding[2] != "note" {
            finding[2] = outcome;
        }
    }
    findings
}

/// Does something to a file that nobody is to write to.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Other bytes for each name.
fn seed(name: &str) -> u64 {
    name.bytes().map(u64::from).sum()
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

#[test]
fn a_damaged_folder_is_reported_exactly_and_mended_from_a_mirror() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    let [flipped, short, gone] = ["flipped", "short", "gone"]
        .map(|name| cluster.stage_file(name, &noise(seed(name), 70_000)));
    let large = cluster.stage_file("large", &noise(9, 9 << 20));
    assert_eq!(cluster.promote()["copied"], 4);
    cluster.wait_complete(&[0], Duration::from_secs(30));
    assert_eq!(cluster.status()["origin_audit"], Value::Null);
    let done = Audit::origin(&cluster, &[]).expect(0, &[]);
    assert_eq!((&done["checked"], &done["drift"]), (&4.into(), &0.into()));
    assert_eq!(done["bytes"], 3 * 70_000 + (9 << 20));

    let origin = cluster.dir.path().join("origin");
    let blob = |digest: &str| origin.join("blobs/sha256").join(hex(digest));
    damage(&blob(&flipped), |bytes| bytes[60_000] ^= 1);
    damage(&blob(&short), |bytes| bytes.truncate(69_999));
    fs::remove_file(blob(&gone)).unwrap();
    damage(&origin.join(".landfall/pieces").join(hex(&large)), |list| {
        list[40] ^= 1
    });
    fs::create_dir_all(origin.join("binaries/test")).unwrap();
    fs::write(origin.join("binaries/test/large"), "something else").unwrap();
    let stranger = origin.join("blobs/sha256").join("0".repeat(64));
    fs::write(&stranger, "nobody knows me").unwrap();
    let findings = [
        ["wrong-bytes", "binaries/test/flipped", "found"],
        ["wrong-size", "binaries/test/short", "found"],
        ["missing", "binaries/test/gone", "found"],
        ["piece-list", "binaries/test/large", "found"],
        ["wrong-name", "binaries/test/large", "found"],
        ["unknown", "", "note"],
    ];
    let done = Audit::origin(&cluster, &[]).expect(1, &findings);
    assert_eq!((&done["drift"], &done["notes"]), (&5.into(), &1.into()));
    let shown = cluster.status()["origin_audit"].clone();
    assert_eq!((&shown["drift"], &shown["checked"]), (&5.into(), &4.into()));

    let done = Audit::origin(&cluster, &["--repair"]).expect(0, &all(&findings, "repaired"));
    assert_eq!((&done["drift"], &done["repaired"]), (&0.into(), &5.into()));
    for digest in [&flipped, &short, &gone, &large] {
        assert_eq!(sha256sum(&blob(digest)), *digest);
    }
    assert_eq!(sha256sum(&origin.join("binaries/test/large")), large);
    Audit::origin(&cluster, &[]).expect(0, &[["unknown", "", "note"]]);
    assert!(stranger.is_file(), "what nobody knows is left alone");

    // For people and for metrics.
    let text = stdout(&mut cluster.command(&["audit", "follow"]));
    assert!(text.ends_with("1 not in the catalog"), "{text}");
    let url = format!("http://{}", cluster.coordinator_http);
    let metrics = stdout(Command::new("curl").args(["-sS", &format!("{url}/metrics")]));
    assert!(metrics.contains("landfall_origin_audit_drift{outcome=\"found\"} 0"));
    let page = stdout(Command::new("curl").args(["-sS", &url]));
    assert!(page.contains("as approved"), "{page}");
    let json = stdout(Command::new("curl").args(["-sS", &format!("{url}/status.json")]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["origin_audit"]["drift"], 0);
}

#[test]
fn a_mirror_that_lies_mends_nothing_and_one_that_is_honest_does() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(2),
        ..Setup::default()
    });
    let digest = cluster.stage_file("app", &noise(3, 200_000));
    cluster.promote();
    cluster.wait_complete(&[0, 1], Duration::from_secs(30));
    let blob = |store: &Path| store.join("blobs/sha256").join(hex(&digest));
    let origin = blob(&cluster.dir.path().join("origin"));
    fs::remove_file(&origin).unwrap();
    damage(&blob(&cluster.store(0)), |bytes| bytes[7] ^= 1);
    let name = "binaries/test/app";
    let mended = Audit::origin(&cluster, &["--repair"]);
    mended.expect(0, &[["missing", name, "repaired"]]);
    assert_eq!(sha256sum(&origin), digest);

    fs::remove_file(&origin).unwrap();
    damage(&blob(&cluster.store(1)), |bytes| bytes[199_999] ^= 1);
    let refused = Audit::origin(&cluster, &["--repair"]);
    refused.expect(1, &[["missing", name, "failed"]]);
    assert!(!origin.try_exists().unwrap());
    let url = format!("http://{}/origin/{name}", cluster.coordinator_http);
    assert_ne!(curl_status(&url, &[]), Ok(200));
}

#[test]
fn what_nobody_has_is_lost_and_its_wrong_bytes_are_out_of_sight() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let digest = cluster.stage_file("only-copy", b"the only copy");
    cluster.promote();
    let origin = cluster.dir.path().join("origin");
    let blob = origin.join("blobs/sha256").join(hex(&digest));
    damage(&blob, |bytes| bytes[0] ^= 1);
    let lost = Audit::origin(&cluster, &["--repair"]);
    lost.expect(1, &[["wrong-bytes", "binaries/test/only-copy", "lost"]]);
    assert!(!blob.try_exists().unwrap());
    let url = format!(
        "http://{}/origin/binaries/test/only-copy",
        cluster.coordinator_http
    );
    assert_ne!(curl_status(&url, &[]), Ok(200));
    // Kept for whoever can make something of it.
    let aside = origin.join(".landfall/aside").join(hex(&digest));
    assert_eq!(fs::read(aside).unwrap().len(), 13);
    let again = Audit::origin(&cluster, &["--repair"]);
    again.expect(1, &[["missing", "binaries/test/only-copy", "lost"]]);
}

#[test]
fn a_damaged_bucket_is_mended_and_what_is_withdrawn_hidden_again_in_every_cloud() {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::start(&dir.path().join("stores"));
    let failed: Vec<Kind> = thread::scope(|scope| {
        let (stores, dir) = (&stores, dir.path());
        let each = Kind::ALL.map(|kind| (kind, scope.spawn(move || damaged(stores, kind, dir))));
        let ended = each.into_iter().map(|(kind, audit)| (kind, audit.join()));
        let failed = ended.filter(|(_, ended)| ended.is_err());
        failed.map(|(kind, _)| kind).collect()
    });
    assert!(failed.is_empty(), "it failed at {failed:?}, see above");
}

/// One bucket, with drift of each code.
fn damaged(stores: &Stores, kind: Kind, dir: &Path) {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        origin_store: Some(format!("{}://{}/audited", kind.scheme(), Bucket::NAME)),
        env: stores.env(),
        ..Setup::default()
    });
    let names = ["replaced", "short", "gone", "unnamed", "renamed", "bad"];
    let [replaced, short, gone, unnamed, renamed, bad] =
        names.map(|name| cluster.stage_file(name, &noise(seed(name), 50_000)));
    let large = cluster.stage_file("large", &noise(9, 9 << 20));
    assert_eq!(cluster.promote()["copied"], 7, "{kind:?}");
    cluster.wait_complete(&[0], Duration::from_secs(60));
    stdout(&mut cluster.command(&["withdraw", "binaries/test/bad", "--reason", "CVE-1"]));
    Audit::origin(&cluster, &[]).expect(0, &[]);

    let blob = |digest: &str| format!("audited/blobs/sha256/{}", hex(digest));
    let file = |name: &str| format!("audited/binaries/test/{name}");
    let scratch = dir.join(format!("{}-content", kind.scheme()));
    let put = |key: &str, content: &[u8]| {
        fs::write(&scratch, content).unwrap();
        stores.put(kind, Bucket::NAME, key, &scratch);
    };
    let delete = |key: &str| stores.delete(kind, Bucket::NAME, key);
    let wrong = noise(77, 50_000);
    put(&blob(&replaced), &wrong);
    put(&blob(&short), &wrong[..49_999]);
    delete(&blob(&gone));
    delete(&file("unnamed"));
    put(&file("renamed"), &wrong);
    delete(&format!("audited/.landfall/pieces/{}", hex(&large)));
    let stranger = blob(&"0".repeat(64));
    put(&stranger, b"nobody knows me");
    let note = ["unknown", "", "note"];
    let findings = [
        ["wrong-bytes", "binaries/test/replaced", "found"],
        ["wrong-size", "binaries/test/short", "found"],
        ["missing", "binaries/test/gone", "found"],
        ["wrong-name", "binaries/test/unnamed", "found"],
        ["wrong-name", "binaries/test/renamed", "found"],
        ["piece-list", "binaries/test/large", "found"],
        note,
    ];
    Audit::origin(&cluster, &[]).expect(1, &findings);
    Audit::origin(&cluster, &["--repair"]).expect(0, &all(&findings, "repaired"));
    Audit::origin(&cluster, &[]).expect(0, &[note]);
    // Once it is known, it is hidden without a repair, too: the first look tells.
    put(&file("bad"), b"still here");
    let visible = ["withdrawn-visible", "binaries/test/bad", "repaired"];
    Audit::origin(&cluster, &["--repair"]).expect(0, &[visible, note]);

    let found = |key: &str| stores.digest(kind, Bucket::NAME, key);
    for (key, digest) in [
        (blob(&replaced), &replaced),
        (blob(&short), &short),
        (blob(&gone), &gone),
        (file("unnamed"), &unnamed),
        (file("renamed"), &renamed),
    ] {
        assert_eq!(found(&key).as_ref(), Some(digest), "{kind:?}: {key}");
    }
    for key in [file("bad"), blob(&bad)] {
        assert_eq!(found(&key), None, "{kind:?}: {key}");
    }
    assert!(
        found(&stranger).is_some(),
        "what nobody knows is left alone"
    );

    // What cannot be read is neither right nor wrong, and nothing is done about it.
    if kind == Kind::S3 {
        fs::write(&scratch, noise(seed("gone"), 50_000)).unwrap();
        stores.archive(Bucket::NAME, &blob(&gone), &scratch);
        let unreadable = |outcome| ["unreadable", "binaries/test/gone", outcome];
        Audit::origin(&cluster, &[]).expect(1, &[note, unreadable("found")]);
        Audit::origin(&cluster, &["--repair"]).expect(1, &[note, unreadable("failed")]);
        put(&blob(&gone), &noise(seed("gone"), 50_000));
        Audit::origin(&cluster, &[]).expect(0, &[note]);
    }
}

#[test]
fn a_damaged_registry_is_mended_as_far_as_it_lets_itself() {
    let scratch = TempDir::new().unwrap();
    let staging = Registry::start(&scratch.path().join("staging"));
    let origin = Registry::start(&scratch.path().join("origin"));
    let layout = Layout::new(&scratch.path().join("layout"));
    let images = [1, 2].map(|seed| layout.image("amd64", seed, &[40_000]));
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host.clone()),
        mirrors: Some(1),
        origin_store: Some(format!("oci+http://{}/published", origin.host)),
        ..Setup::default()
    });
    for (image, name) in images.iter().zip(["app", "other"]) {
        let digest = layout.push(image, &format!("{}/{PROJECT}/{name}:v1", staging.host));
        cluster.manifests.image(name, &digest, "v1");
    }
    assert_eq!(cluster.promote()["copied"], 2);
    cluster.wait_complete(&[0], Duration::from_secs(30));
    let done = Audit::origin(&cluster, &[]).expect(0, &[]);
    assert_eq!(done["checked"], 6);

    // A tag that means another image, a tag that nobody promoted, a lost layer.
    let published = format!("{}/published/test/app", origin.host);
    let other = layout.image("amd64", 3, &[10_000]);
    layout.push(&other, &format!("{published}:v1"));
    layout.push(&other, &format!("{published}:sneaked-in"));
    let data = |digest: &str| {
        let hex = hex(digest);
        let below = format!(
            "origin/data/docker/registry/v2/blobs/sha256/{}/{hex}",
            &hex[..2]
        );
        scratch.path().join(below).join("data")
    };
    let layers = images
        .each_ref()
        .map(|image| layout.layers(image).remove(0));
    fs::remove_file(data(&layers[1])).unwrap();
    let findings = [
        ["wrong-name", "test/app:v1", "found"],
        ["missing", "part of test/other:v1", "found"],
        ["unknown", "test/app:sneaked-in", "note"],
    ];
    Audit::origin(&cluster, &[]).expect(1, &findings);
    Audit::origin(&cluster, &["--repair"]).expect(0, &all(&findings, "repaired"));
    Audit::origin(&cluster, &[]).expect(0, &[["unknown", "test/app:sneaked-in", "note"]]);

    // Wrong bytes on its own disk are what it takes for right: it has to be said.
    damage(&data(&layers[0]), |bytes| bytes[30_000] ^= 1);
    let note = ["unknown", "test/app:sneaked-in", "note"];
    let wrong = ["wrong-bytes", "part of test/app:v1", "failed"];
    Audit::origin(&cluster, &["--repair"]).expect(1, &[wrong, note]);
    fs::remove_file(data(&layers[0])).unwrap();
    let mended = ["missing", "part of test/app:v1", "repaired"];
    Audit::origin(&cluster, &["--repair"]).expect(0, &[mended, note]);
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--src-tls-verify=false"]);
    copy.arg(format!("docker://{published}:v1"));
    stdout(copy.arg(format!("dir:{}", scratch.path().join("pulled").display())));

    // What is withdrawn and pushed again by somebody is hidden again; its blobs
    // are not withdrawn, only of no use.
    stdout(&mut cluster.command(&["withdraw", "test/other:v1", "--reason", "CVE-1"]));
    Audit::origin(&cluster, &[]).expect(0, &[note]);
    let seen = format!("{}/published/test/other:v1", origin.host);
    layout.push(&images[1], &seen);
    let visible = Audit::origin(&cluster, &["--repair"]);
    let is_hidden = |it: &&[String; 3]| it[0] == "withdrawn-visible" && it[2] == "repaired";
    assert_eq!(visible.findings.iter().filter(is_hidden).count(), 1);
    assert_eq!(visible.code, Some(0), "{}", visible.done);
    let mut inspect = Command::new("skopeo");
    inspect.args(["inspect", "--raw", "--tls-verify=false"]);
    inspect.arg(format!("docker://{seen}"));
    assert!(!finish(&mut inspect).status.success());
}

/// Begins an audit that takes some seconds; gives its id.
fn begun(cluster: &Cluster) -> (Child, String) {
    let mut audit = cluster
        .command(&["audit", "origin", "--bandwidth", "1MB/s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(audit.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    let id = said
        .strip_prefix("audit ")
        .and_then(|it| it.split(':').next());
    (audit, id.unwrap_or_else(|| panic!("{said}")).to_owned())
}

#[test]
fn an_audit_goes_on_without_who_started_it_and_is_one_at_a_time() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("large", &noise(1, 6 << 20));
    cluster.promote();
    let (mut leaves, id) = begun(&cluster);
    let output = finish(&mut cluster.command(&["audit", "origin"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = format!("the audit {id} is under way");
    assert!(said.contains(&expected), "{said}");
    leaves.kill().unwrap();
    leaves.wait().unwrap();

    // Who may only look may follow, and start nothing.
    let token = stdout(&mut cluster.command(&["token", "create", "--role", "view", "--json"]));
    let token: Value = serde_json::from_str(&token).unwrap();
    let token = token["token"].as_str().unwrap().to_owned();
    let refused = finish(
        cluster
            .command(&["audit", "origin"])
            .env("LANDFALL_TOKEN", &token),
    );
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("may not audit the origin"), "{said}");
    let mut follow = cluster.command(&["audit", "follow", &id]);
    let whole = Audit::of(follow.env("LANDFALL_TOKEN", &token)).expect(0, &[]);
    assert_eq!(
        (&whole["audit"], &whole["bytes"]),
        (&id.into(), &(6 << 20).into())
    );
    let took = whole["finished"].as_u64().unwrap() - whole["started"].as_u64().unwrap();
    assert!(took >= 4, "6 MiB at 1 MB/s took {took} s");

    // One that somebody stops says so, and is not what status shows.
    let (mut slow, id) = begun(&cluster);
    let refused = finish(
        cluster
            .command(&["audit", "stop"])
            .env("LANDFALL_TOKEN", &token),
    );
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = stdout(&mut cluster.command(&["audit", "stop", &id]));
    assert_eq!(said, format!("audit {id} is stopped"));
    assert_eq!(slow.wait().unwrap().code(), Some(1));
    let output = finish(&mut cluster.command(&["audit", "follow"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped by loopback"), "{said}");
    assert_eq!(cluster.status()["origin_audit"]["checked"], 1);
    let none = finish(&mut cluster.command(&["audit", "stop"]));
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(said.contains("no audit runs"), "{said}");
    Audit::origin(&cluster, &[]).expect(0, &[]);
}
