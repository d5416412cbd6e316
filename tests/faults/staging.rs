//! A staging registry that misbehaves: every entry gets its own outcome, with
//! who is to blame, and what is sound is promoted in the same run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use landfall_catalog::Digest;
use serde_json::{Value, json};

use crate::support::{
    cluster::{Cluster, Setup},
    content::{PROJECT, noise},
    finish,
    http::get,
    ok,
    staging::{Fault, INDEX, MANIFEST, Staging, descriptor, digest},
};

/// What the coordinator's file says here, so that nobody waits for minutes.
const LIMITS: &str = "\n[limits]\nstaging_answer_ms = 700\nstaging_min_bytes_per_second = 4096\nstaging_window_ms = 300\n";
/// What cosign keeps under its tags.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Layers of an image, in bytes.
const LAYERS: [usize; 2] = [30_000, 70_000];
/// Addresses that nobody in the test listens on; dialled, they would be waited for.
const PRIVATE: [&str; 3] = [
    "http://10.255.255.1/blob",
    "http://169.254.169.254/latest/meta-data",
    "http://[fd00:ec2::254]/",
];

/// What became of one name.
#[derive(Clone, Debug)]
struct Told {
    outcome: String,
    detail: String,
}

/// One run of `landfall promote --confirm`.
struct Run {
    code: Option<i32>,
    told: BTreeMap<String, Told>,
    done: Value,
    took: Duration,
}

fn promote(cluster: &Cluster) -> Run {
    let begun = Instant::now();
    let output = finish(
        cluster
            .command(&["promote", "--confirm", "--json", "--why", "test"])
            .arg(&cluster.manifests.dir),
    );
    let took = begun.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut told = BTreeMap::new();
    let mut done = Value::Null;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("entry") => {
                let (outcome, detail) = (word("outcome"), word("detail"));
                told.insert(word("name"), Told { outcome, detail });
            }
            Some("done") => done = event,
            _ => {}
        }
    }
    assert!(
        !done.is_null(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Run {
        code: output.status.code(),
        told,
        done,
        took,
    }
}

/// Images of one staging host, each in a repository of its own.
struct Images<'a> {
    staging: &'a Staging,
    cluster: &'a mut Cluster,
    /// Path of manifests before the name; none for the usual host.
    below: &'static str,
    seed: u64,
    digests: BTreeMap<String, String>,
}

impl Images<'_> {
    fn repository(&self, name: &str) -> String {
        format!("{PROJECT}/{}{name}", self.below)
    }

    /// An image that is whole in staging; its repository there is returned.
    fn image(&mut self, name: &str) -> String {
        self.seed += 1;
        let repository = self.repository(name);
        let image = self.staging.image(&repository, self.seed, &LAYERS);
        self.ask(name, &digest(&image));
        repository
    }

    fn ask(&mut self, name: &str, digest: &str) {
        let name = format!("{}{name}", self.below);
        self.cluster.manifests.image(&name, digest, "v1");
        self.digests.insert(name, digest.to_owned());
    }

    /// An image whose blobs are treated like this.
    fn with(&mut self, name: &str, part: &str, fault: Fault) {
        let repository = self.image(name);
        self.staging
            .misbehave(part.replace("{}", &repository), fault);
    }
}

#[test]
fn each_fault_of_a_staging_host_has_its_outcome_and_holds_up_nothing_else() {
    let (staging, busy, stuck, other) = (
        Staging::start(),
        Staging::start(),
        Staging::start(),
        Staging::start(),
    );
    let rule = |below: &str, host: &Staging| {
        format!(
            "[[staging]]\nprefix = \"gcr.io/{PROJECT}/{below}\"\nendpoint = \"http://{}/{PROJECT}/{below}\"\n",
            host.host()
        )
    };
    let web = format!(
        "[[staging]]\nprefix = \"gs://{PROJECT}/releases/web/\"\nendpoint = \"http://{}/web/\"\n",
        staging.host()
    );
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        mirrors: Some(0),
        coordinator: rule("busy", &busy) + &rule("stuck", &stuck) + &web + LIMITS,
        ..Setup::default()
    });
    let mut expected: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    let mut expect = |name: &str, outcome: &'static str, why: &'static str| {
        expected.insert(name.to_owned(), (outcome, why));
    };

    let mut images = Images {
        staging: &staging,
        cluster: &mut cluster,
        below: "",
        seed: 0,
        digests: BTreeMap::new(),
    };
    for name in ["good-1", "good-2", "good-3"] {
        images.image(name);
        expect(name, "copied", "");
    }
    images.with("cut-blob", "GET /v2/{}/blobs/", Fault::Cut { times: 3 });
    expect("cut-blob", "copied", "");
    images.with(
        "cut-manifest",
        "GET /v2/{}/manifests/",
        Fault::Cut { times: 1 },
    );
    expect("cut-manifest", "copied", "");
    images.with("empty-blob", "GET /v2/{}/blobs/", Fault::Empty);
    expect("empty-blob", "failed", "transfer broke off");
    images.with("wrong-blob", "GET /v2/{}/blobs/", Fault::FlipBit);
    expect("wrong-blob", "refused", "hash to");
    images.with("wrong-manifest", "GET /v2/{}/manifests/", Fault::FlipBit);
    expect("wrong-manifest", "refused", "another document");
    for (name, to) in ["private-1", "private-2", "private-3"].iter().zip(PRIVATE) {
        images.with(name, "GET /v2/{}/blobs/", Fault::Redirect(to.into()));
        expect(name, "refused", "not a public address");
    }
    let to = Fault::Redirect(PRIVATE[0].into());
    images.with("private-manifest", "GET /v2/{}/manifests/", to);
    expect("private-manifest", "refused", "not a public address");
    // Another host of this machine may be sent to, as this one is of it, too.
    let repository = images.image("elsewhere");
    other.image(&repository, images.seed, &LAYERS);
    for blob in staging.paths(&format!("/v2/{repository}/blobs/")) {
        let to = format!("http://{}{blob}", other.host());
        staging.misbehave(format!("GET {blob}"), Fault::Redirect(to));
    }
    expect("elsewhere", "copied", "");
    let repository = images.image("lost");
    staging.lose(&format!("/v2/{repository}/manifests/"));
    expect("lost", "lost", "is not there");
    let repository = images.image("lost-blob");
    staging.lose(&format!("/v2/{repository}/blobs/"));
    expect("lost-blob", "lost", "is not there");
    odd_documents(&mut images);
    expect("itself", "refused", "another document");
    expect("deep", "refused", "too deep");
    expect("wide", "refused", "is not usable");
    expect("huge", "refused", "too long a document");

    images.staging = &busy;
    images.below = "busy/";
    images.with(
        "told-to-wait",
        "GET /v2/{}/blobs/",
        Fault::Busy {
            times: 1,
            retry_after: 2,
        },
    );
    expect("busy/told-to-wait", "copied", "");
    images.with("down-for-a-while", "{}/", Fault::Down { times: 3 });
    expect("busy/down-for-a-while", "copied", "");
    images.image("good");
    expect("busy/good", "copied", "");

    images.staging = &stuck;
    images.below = "stuck/";
    images.with("hung-manifest", "GET /v2/{}/manifests/", Fault::Hang);
    expect("stuck/hung-manifest", "failed", "did not answer in time");
    images.with("hung-blob", "GET /v2/{}/blobs/", Fault::Hang);
    expect("stuck/hung-blob", "failed", "did not answer in time");
    images.with("frozen-blob", "GET /v2/{}/blobs/", Fault::Freeze);
    expect("stuck/frozen-blob", "failed", "became too slow");
    images.with("frozen-manifest", "GET /v2/{}/manifests/", Fault::Freeze);
    expect("stuck/frozen-manifest", "failed", "did not answer in time");
    images.image("good");
    expect("stuck/good", "copied", "");
    let digests = images.digests.clone();

    let files = [
        ("good", None, "copied", ""),
        ("cut", Some(Fault::Cut { times: 2 }), "copied", ""),
        ("wrong", Some(Fault::FlipBit), "refused", "hash to"),
        (
            "hung",
            Some(Fault::Hang),
            "failed",
            "did not answer in time",
        ),
        ("lost", None, "lost", "is not there"),
        (
            "private",
            Some(Fault::Redirect(PRIVATE[1].into())),
            "refused",
            "not a public address",
        ),
    ];
    for (seed, (name, fault, outcome, why)) in (900..).zip(files) {
        let path = format!("web/{name}");
        let digest = staging.file(&path, noise(seed, 50_000));
        if let Some(fault) = fault {
            staging.misbehave(format!("GET /{path}"), fault);
        }
        if outcome == "lost" {
            staging.lose(&path);
        }
        cluster.manifests.file(&path, &digest.to_string());
        expected.insert(format!("binaries/test/{path}"), (outcome, why));
    }

    let run = promote(&cluster);
    println!("{} names took {:?}", run.told.len(), run.took);
    let public = |name: &str| {
        if name.starts_with("binaries/") {
            name.to_owned()
        } else {
            format!("test/{name}:v1")
        }
    };
    let host = |name: &str| match name.split('/').next() {
        Some("busy") => busy.host(),
        Some("stuck") => stuck.host(),
        _ => staging.host(),
    };
    let mut wrong = Vec::new();
    for (name, (outcome, why)) in &expected {
        let told = run.told.get(&public(name)).unwrap_or_else(|| {
            panic!("nothing was told of {name}: {:?}", run.told);
        });
        // Whoever is redirected to is named instead of who redirects.
        let named =
            told.detail.contains(&host(name)) || PRIVATE.iter().any(|to| told.detail.contains(to));
        let is_right = told.outcome == *outcome
            && told.detail.contains(why)
            && (named || *outcome == "copied");
        if !is_right {
            wrong.push(format!("{name}: wanted {outcome} ({why}), got {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(run.told.len(), expected.len(), "{:?}", run.told);
    assert_eq!(run.code, Some(1), "{}", run.done);
    let count = |wanted: &str| {
        let outcomes = expected.values();
        outcomes.filter(|(outcome, _)| *outcome == wanted).count() as u64
    };
    for outcome in ["copied", "lost", "refused", "failed"] {
        assert_eq!(run.done[outcome], count(outcome), "{}", run.done);
    }
    assert_eq!(run.done["revision"], 1);

    // Only what arrived whole can be seen, and all of that.
    for (name, (outcome, _)) in &expected {
        let arrived = *outcome == "copied";
        match digests.get(name) {
            Some(digest) => {
                let path = format!("/origin/v2/test/{name}/manifests/v1");
                let (status, body) = get(&cluster.coordinator_http, &path).unwrap();
                assert_eq!(status == 200, arrived, "{name}: {status}");
                assert!(!arrived || Digest::of(&body).to_string() == *digest);
            }
            None => {
                let path = format!("/origin/{name}");
                let (status, _) = get(&cluster.coordinator_http, &path).unwrap();
                assert_eq!(status == 200, arrived, "{name}: {status}");
            }
        }
    }
    for (name, digest) in &digests {
        let path = format!("/origin/blobs/{}", digest.replace(':', "/"));
        let (status, _) = get(&cluster.coordinator_http, &path).unwrap();
        assert_eq!(status == 200, expected[name].0 == "copied", "{name}");
    }

    // The host was left alone for as long as it had asked for.
    let seen = busy.seen();
    let told = seen
        .iter()
        .find(|seen| {
            seen.sent == 0
                && seen.line.contains("told-to-wait/blobs/")
                && seen.line.starts_with("GET")
        })
        .unwrap();
    let pause = Duration::from_millis(1_900);
    let early: Vec<_> = seen
        .iter()
        .filter(|seen| seen.at > told.at && seen.at < told.at + pause)
        // What was under way had been sent before.
        .filter(|seen| seen.line == told.line || seen.at > told.at + pause / 4)
        .collect();
    assert!(early.is_empty(), "{early:?}");
    // The large document was not taken in.
    let huge: u64 = staging
        .seen_of("/huge/manifests/")
        .iter()
        .map(|seen| seen.sent)
        .sum();
    assert!(huge < 35 << 20, "{huge}");

    // What was only unfortunate arrives the next time; what is there stays.
    for host in [&staging, &busy, &stuck] {
        host.mend();
    }
    let again = promote(&cluster);
    let unlucky = count("failed") + count("refused") - ODD;
    assert_eq!(again.done["copied"], unlucky, "{}", again.done);
    assert_eq!(again.done["failed"], 0, "{}", again.done);
    assert_eq!(again.done["refused"], ODD, "{}", again.done);
    assert_eq!(again.code, Some(1));
    ok(&mut cluster.command(&["log", "verify"]));
}

/// Images that no mending makes sound.
const ODD: u64 = 4;

/// OCI documents that are not what they should be.
fn odd_documents(images: &mut Images<'_>) {
    let staging = images.staging;
    let index = |manifests: &[Value]| json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});

    // What is asked for lists itself: nothing can hash to its own digest.
    let repository = images.repository("itself");
    let asked = Digest::of(b"itself");
    let itself = json!({"mediaType": INDEX, "digest": asked, "size": 300});
    let bytes = serde_json::to_vec(&index(&[itself])).unwrap();
    staging.document_bytes(&repository, bytes, Some(asked));
    images.ask("itself", &asked.to_string());

    let repository = images.repository("deep");
    let mut root = staging.image(&repository, 500, &[100]);
    for _ in 0..6 {
        root = staging.document(&repository, &index(&[root]));
    }
    images.ask("deep", &digest(&root));

    let repository = images.repository("wide");
    let layers: Vec<Value> = (0..12_000_u32)
        .map(|number| descriptor("a/b", &number.to_le_bytes()))
        .collect();
    let wide = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("a/b", b"{}"), "layers": layers});
    let wide = staging.document(&repository, &wide);
    images.ask("wide", &digest(&wide));

    let repository = images.repository("huge");
    let mut bytes = serde_json::to_vec(&index(&[])).unwrap();
    bytes.resize(40 << 20, b' ');
    let huge = staging.document_bytes(&repository, bytes, None);
    images.ask("huge", &digest(&huge));
}

#[test]
fn of_a_repository_with_many_images_the_tags_are_listed_once_and_signatures_found() {
    const IMAGES: u64 = 12;
    let staging = Staging::start();
    let cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        mirrors: Some(0),
        ..Setup::default()
    });
    let repository = format!("{PROJECT}/many");
    let mut tags = Vec::new();
    let mut rows = String::from("- name: many\n  dmap:\n");
    for seed in 0..IMAGES {
        let image = digest(&staging.image(&repository, 700 + seed, &[500]));
        rows += &format!("    \"{image}\": [\"v{seed}\"]\n");
        if seed % 3 == 0 {
            let payload = format!("of {image}").into_bytes();
            let payload = staging.blob(&repository, SIMPLE_SIGNING, payload);
            let config = staging.blob(&repository, CONFIG, b"{}".to_vec());
            let signature = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [payload]});
            let tag = format!("{}.sig", image.replace(':', "-"));
            staging.document(&repository, &signature);
            staging.tag(&repository, &tag, &signature);
            tags.push(tag);
        }
    }
    let list = json!({"name": repository, "tags": tags});
    staging.file(
        &format!("v2/{repository}/tags/list"),
        serde_json::to_vec(&list).unwrap(),
    );
    let images = format!("registry.k8s.io/images/{PROJECT}/images.yaml");
    std::fs::write(cluster.manifests.dir.join(images), rows).unwrap();

    let run = promote(&cluster);
    assert_eq!(run.code, Some(0), "{}", run.done);
    for tag in &tags {
        assert_eq!(run.told[&format!("test/many:{tag}")].outcome, "copied");
    }
    assert_eq!(run.told.len() as u64, IMAGES + tags.len() as u64);
    assert_eq!(staging.seen_of("/tags/list").len(), 1);
    // What is not in the list is not asked for.
    let asked = staging.seen_of("/manifests/sha256-");
    assert_eq!(asked.len(), tags.len(), "{asked:?}");
}
