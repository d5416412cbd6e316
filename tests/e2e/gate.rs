//! A gate: content first, names when every region has it.

use std::{
    fs::File,
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::PROJECT,
    eventually, finish,
    http::get,
    peers::{Registry, curl_status},
    staging::{Staging, digest as staging_digest},
    stdout,
};

const LIMIT: Duration = Duration::from_secs(30);
const FILE: &str = "binaries/test/app";

/// Promotes with a gate, in the background; events go to `promote.out`.
fn promote(cluster: &Cluster, gate: &[&str]) -> Child {
    let events = File::create(cluster.dir.path().join("promote.out")).unwrap();
    cluster
        .command(&["promote", "--confirm", "--json", "--why", "gated"])
        .args(gate)
        .arg(&cluster.manifests.dir)
        .stdout(events)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The exit code and the last event of a promotion that ended.
fn ended(cluster: &Cluster, client: &mut Child) -> (Option<i32>, Value) {
    let (status, _) = eventually("the promotion ends", LIMIT, || {
        client.try_wait().unwrap().ok_or_else(|| events(cluster))
    });
    let events = events(cluster);
    let last = events.lines().last().unwrap_or_default();
    (status.code(), serde_json::from_str(last).unwrap())
}

fn events(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.dir.path().join("promote.out")).unwrap()
}

fn gates(cluster: &Cluster) -> Vec<Value> {
    let listed = stdout(&mut cluster.command(&["gate", "list", "--json"]));
    let lines = listed.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// Waits until the one gate is as it should be, and gives it.
#[track_caller]
fn wait_gate(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let (gate, _) = eventually(what, LIMIT, || {
        let gates = gates(cluster);
        let found = gates.iter().find(|gate| is_so(gate)).cloned();
        found.ok_or_else(|| format!("{gates:?}"))
    });
    gate
}

fn region<'a>(gate: &'a Value, name: &str) -> &'a Value {
    let regions = gate["gate"]["regions"].as_array();
    let found = regions.and_then(|all| all.iter().find(|region| region["region"] == name));
    found.unwrap_or(&Value::Null)
}

fn is_ready(gate: &Value, name: &str) -> bool {
    region(gate, name)["ready"] == 1
}

fn status_of(host: &str, path: &str) -> u16 {
    get(host, path).unwrap().0
}

/// Bytes that a mirror has fetched since it was started.
fn fetched(cluster: &Cluster, mirror: usize) -> u64 {
    let (_, metrics) = get(&cluster.mirror(mirror), "/metrics").unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("landfall_agent_fetched_bytes_total "));
    line.unwrap().parse::<f64>().unwrap() as u64
}

#[test]
fn names_come_when_every_region_has_the_content_and_that_moves_no_bytes() {
    let staging = Staging::start();
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        ..Setup::default()
    });
    cluster.stage_file("before", b"before");
    cluster.promote();
    cluster.wait_complete(&[0, 1, 2], LIMIT);
    cluster.agents[2].kill_9();

    let file = cluster.stage_file("app", &vec![7; 300_000]);
    let image = staging.image(&format!("{PROJECT}/tool"), 1, &[100_000, 5_000]);
    let image = staging_digest(&image);
    cluster.manifests.image("tool", &image, "v1");
    let blobs = staging.paths("/blobs/");
    let (_, layer) = blobs[0].rsplit_once('/').unwrap();
    let mut client = promote(&cluster, &["--gate", "100%"]);
    let gate = wait_gate(&cluster, "two regions are ready", |gate| {
        is_ready(gate, "aws/us-east-1") && is_ready(gate, "gcp/europe-west1")
    });
    let oslo = region(&gate, "NO");
    assert_eq!((&oslo["ready"], &oslo["needed"]), (&0.into(), &1.into()));
    assert_eq!(oslo["lacking"][0], "uni-oslo");
    assert_eq!(
        (&gate["state"], &gate["why"]),
        (&"waiting".into(), &"gated".into())
    );

    // The content is where it is wanted, and nobody can ask for it by name.
    let hex = file.trim_start_matches("sha256:");
    let blob = format!("/blobs/sha256/{hex}");
    let names = [
        format!("/{FILE}"),
        "/v2/test/tool/tags/list".into(),
        "/v2/test/tool/manifests/v1".into(),
        format!("/v2/test/tool/manifests/{image}"),
        format!("/v2/test/tool/blobs/{layer}"),
    ];
    let unseen = |cluster: &Cluster| {
        for mirror in [0, 1] {
            let host = cluster.mirror(mirror);
            assert_eq!(status_of(&host, &blob), 200, "{host}");
            for name in &names {
                assert_eq!(status_of(&host, name), 404, "{host}{name}");
            }
            let linked = cluster.store(mirror).join(FILE);
            assert!(std::fs::metadata(&linked).is_err(), "{linked:?} is there");
        }
        let origin = &cluster.coordinator_http;
        assert_eq!(status_of(origin, &format!("/origin{blob}")), 200);
        for name in &names {
            assert_eq!(status_of(&cluster.public, name), 404, "{name}");
            assert_eq!(status_of(origin, &format!("/origin{name}")), 404, "{name}");
        }
        let status = cluster.status();
        assert_eq!(status["pending_names"], 2);
        assert_eq!(
            (&status["names"], &status["revision"]),
            (&1.into(), &2.into())
        );
    };
    unseen(&cluster);

    // Asked for again, it waits where it waits.
    let operation = gate["operation"].as_str().unwrap();
    let mut again = cluster.command(&["promote", "--confirm"]);
    let said = stdout(again.arg(&cluster.manifests.dir));
    let waits = format!("pending: {FILE}: waiting at the gate of operation {operation}");
    assert!(said.contains(&waits), "{said}");
    assert!(said.contains("nothing new to publish"), "{said}");

    // The coordinator dies, and goes on waiting with the deadline that it had.
    cluster.coordinator.kill_9();
    cluster.coordinator = cluster.again("coordinator", "coordinator");
    let after = wait_gate(&cluster, "it waits again", |gate| {
        is_ready(gate, "aws/us-east-1") && is_ready(gate, "gcp/europe-west1")
    });
    assert_eq!(after["operation"], gate["operation"]);
    assert_eq!(after["gate"]["deadline"], gate["gate"]["deadline"]);
    unseen(&cluster);

    let before = [0, 1].map(|mirror| fetched(&cluster, mirror));
    cluster.agents[2] = cluster.again("agent", "uni-oslo");
    let (code, done) = ended(&cluster, &mut client);
    assert_eq!((code, &done["gate"]), (Some(0), &"opened".into()), "{done}");
    assert_eq!(
        (&done["content_revision"], &done["revision"]),
        (&2.into(), &3.into())
    );
    assert_eq!(
        (&done["copied"], &done["operation"]),
        (&2.into(), &operation.into())
    );
    cluster.wait_complete(&[0, 1, 2], LIMIT);
    assert_eq!([0, 1].map(|mirror| fetched(&cluster, mirror)), before);
    for mirror in [0, 1, 2] {
        let host = cluster.mirror(mirror);
        for name in &names {
            assert_eq!(status_of(&host, name), 200, "{host}{name}");
        }
    }
    eventually("the redirector knows the names", LIMIT, || {
        let seen = names
            .each_ref()
            .map(|name| status_of(&cluster.public, name));
        match seen {
            [302, 200, 200, 200, 307] => Ok(()),
            _ => Err(format!("{seen:?}")),
        }
    });
    assert!(gates(&cluster).is_empty());
    assert_eq!(cluster.status()["pending_names"], 0);
    let verified = stdout(&mut cluster.command(&["log", "verify", "--json"]));
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(
        (
            &verified["names_pending"],
            &verified["names_set"],
            &verified["unknown"]
        ),
        (&2.into(), &3.into(), &0.into())
    );
}

#[test]
fn when_the_time_is_over_names_are_held_or_dropped_and_a_person_may_decide() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(2),
        ..Setup::default()
    });
    cluster.stage_file("before", b"before");
    cluster.promote();
    cluster.wait_complete(&[0, 1], LIMIT);
    cluster.agents[1].kill_9();
    cluster.stage_file("app", b"one");
    let origin = cluster.coordinator_http.clone();
    let named = || status_of(&origin, &format!("/origin/{FILE}"));

    let mut client = promote(
        &cluster,
        &[
            "--gate",
            "1%",
            "--gate-timeout",
            "1s",
            "--gate-on-timeout",
            "give-up",
        ],
    );
    let (code, done) = ended(&cluster, &mut client);
    assert_eq!(
        (code, &done["gate"]),
        (Some(1), &"given-up".into()),
        "{done}"
    );
    assert_eq!((&done["failed"], &done["copied"]), (&1.into(), &0.into()));
    assert!(events(&cluster).contains("gcp/europe-west1 has 0 of 1"));
    let status = cluster.status();
    assert_eq!(
        (&status["pending_names"], &status["names"]),
        (&0.into(), &1.into())
    );
    assert_eq!(named(), 404);

    // Held: it says so, and goes on waiting.
    let mut client = promote(&cluster, &["--gate", "1%", "--gate-timeout", "1s"]);
    let (code, last) = ended(&cluster, &mut client);
    assert_eq!((code, &last["held"]), (Some(1), &true.into()), "{last}");
    let gate = wait_gate(&cluster, "it is held for one region", |gate| {
        gate["state"] == "held" && is_ready(gate, "aws/us-east-1")
    });
    let operation = gate["operation"].as_str().unwrap();
    assert_eq!(
        (cluster.status()["pending_names"].as_u64(), named()),
        (Some(1), 404)
    );

    // Nobody means something else by the name meanwhile.
    let manifests = cluster.manifests.dir.clone();
    let planned = finish(cluster.command(&["promote", "--json"]).arg(&manifests));
    assert!(String::from_utf8_lossy(&planned.stdout).contains("\"refused\":0"));
    let opened = stdout(&mut cluster.command(&["gate", "open", operation, "--reason", "enough"]));
    assert!(opened.contains("names as revision"), "{opened}");
    assert_eq!(named(), 200);
    let again = finish(&mut cluster.command(&["gate", "open", operation]));
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("does not wait at a gate"), "{said}");

    // And what waits can be given up by a person, too.
    cluster.stage_file("next", b"next");
    let mut client = promote(&cluster, &["--gate", "100%", "--gate-minimum", "2"]);
    let gate = wait_gate(&cluster, "it waits", |gate| gate["gate"]["names"] == 1);
    let operation = gate["operation"].as_str().unwrap();
    stdout(&mut cluster.command(&["gate", "give-up", operation, "--reason", "wrong build"]));
    let (code, done) = ended(&cluster, &mut client);
    assert_eq!((code, &done["gate"]), (Some(1), &"given-up".into()));
    assert!(events(&cluster).contains("given up by loopback: wrong build"));
    assert_eq!(cluster.status()["pending_names"], 0);
}

#[test]
fn a_registry_that_anybody_may_pull_from_shows_the_tag_when_the_gate_opens() {
    let scratch = TempDir::new().unwrap();
    let origin = Registry::start(&scratch.path().join("origin"));
    let staging = Staging::start();
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        mirrors: Some(1),
        origin_store: Some(format!("oci+http://{}/published", origin.host)),
        ..Setup::default()
    });
    cluster.agents[0].kill_9();
    let image = staging.image(&format!("{PROJECT}/tool"), 2, &[50_000]);
    let image = staging_digest(&image);
    cluster.manifests.image("tool", &image, "v1");
    let mut client = promote(&cluster, &["--gate", "100%"]);
    wait_gate(&cluster, "it waits", |gate| gate["gate"]["names"] == 1);
    let tag = format!("http://{}/v2/published/test/tool/manifests/v1", origin.host);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    assert_eq!(curl_status(&tag, &[accept]), Ok(404));

    // What is withdrawn while it waits goes out of sight there, too.
    let by_digest = format!("{}/{image}", tag.trim_end_matches("/v1"));
    assert_eq!(curl_status(&by_digest, &[accept]), Ok(200));
    let withdraw = ["withdraw", "test/tool:v1", "--reason", "CVE-1", "--json"];
    let said: Value = serde_json::from_str(&stdout(&mut cluster.command(&withdraw))).unwrap();
    assert_eq!(said["troubles"], Value::Array(Vec::new()), "{said}");
    assert_eq!(curl_status(&by_digest, &[accept]), Ok(404));
    let reinstate = ["reinstate", "test/tool:v1", "--reason", "a false alarm"];
    stdout(&mut cluster.command(&reinstate));
    assert_eq!(curl_status(&by_digest, &[accept]), Ok(200));
    assert_eq!(curl_status(&tag, &[accept]), Ok(404));

    // The mirror is filled from there, by digest.
    cluster.agents[0] = cluster.again("agent", "aws-east");
    let (code, done) = ended(&cluster, &mut client);
    assert_eq!((code, &done["gate"]), (Some(0), &"opened".into()), "{done}");
    assert_eq!(curl_status(&tag, &[accept]), Ok(200));
}
