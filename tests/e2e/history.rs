//! What was promoted, by whom, why, and where it is: found again later.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    content::PROJECT,
    eventually, finish, ok,
    staging::Staging,
    stdout,
};

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn names_and_digests_are_found_again_and_an_operation_tells_of_each_entry() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let tool = cluster.stage_file("v1-tool", b"a tool");
    cluster.stage_file("v1-other", b"another");
    cluster
        .manifests
        .file("v1-absent", &format!("sha256:{}", "0".repeat(64)));
    let done = cluster.promote();
    assert_eq!((&done["revision"], &done["lost"]), (&1.into(), &1.into()));
    let search = |arguments: &[&str]| {
        let mut command = cluster.command(&["search", "--json"]);
        let output = finish(command.args(arguments));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), lines(&text))
    };
    let name = "binaries/test/v1-tool";
    for text in ["v1-to", &tool, &tool[..20]] {
        let (code, found) = search(&[text]);
        assert_eq!((code, found.len()), (Some(0), 1), "{text}: {found:?}");
        let seen = &found[0];
        assert_eq!(
            (
                &seen["name"],
                &seen["digest"],
                &seen["bytes"],
                &seen["revision"],
                &seen["state"]
            ),
            (
                &name.into(),
                &tool.clone().into(),
                &6.into(),
                &1.into(),
                &"live".into()
            )
        );
    }
    assert_eq!(search(&["test/v1-"]).1.len(), 2);
    assert_eq!(search(&["test/v1-", "--limit", "1"]).1.len(), 1);
    assert_eq!(
        search(&["test/v1-", "--kind", "image"]),
        (Some(1), Vec::new())
    );
    assert_eq!(search(&["sha256:00000000"]), (Some(1), Vec::new()));
    ok(&mut cluster.command(&["withdraw", name, "--reason", "CVE-1"]));
    let (_, found) = search(&["v1-tool"]);
    assert_eq!(
        (&found[0]["state"], &found[0]["withdrawn"]),
        (&"withdrawn".into(), &"CVE-1".into())
    );

    let operation = done["operation"].as_str().unwrap();
    for what in ["1", operation] {
        let told = lines(&stdout(&mut cluster.command(&["history", "--json", what])));
        let (first, entries) = told.split_first().unwrap();
        assert_eq!(
            (
                &first["operation"],
                &first["why"],
                &first["who"],
                &first["revision"]
            ),
            (
                &operation.into(),
                &"test".into(),
                &"loopback".into(),
                &1.into()
            )
        );
        assert!(first["plan"].as_str().unwrap().starts_with("sha256:"));
        let mut outcomes: Vec<_> = entries
            .iter()
            .map(|entry| entry["outcome"].as_str().unwrap())
            .collect();
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["copied", "copied", "lost"]);
        let lost = entries
            .iter()
            .find(|entry| entry["outcome"] == "lost")
            .unwrap();
        assert!(
            lost["detail"].as_str().unwrap().contains("not there"),
            "{lost}"
        );
    }
    let text = stdout(&mut cluster.command(&["history", "1"]));
    assert!(text.contains("lost: binaries/test/v1-absent"), "{text}");
    let unknown = finish(&mut cluster.command(&["history", "99"]));
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn what_ever_happened_to_a_name_is_told_and_what_was_left_out() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    let first = cluster.stage_file("tool", b"one");
    cluster.manifests.image("bad", "sha256:23eb4b17", "v1");
    let output = finish(
        cluster
            .command(&["promote", "--confirm"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(output.status.code(), Some(1), "quarantined: {output:?}");
    let history = |arguments: &[&str]| {
        let mut command = cluster.command(&["history", "--json"]);
        let output = finish(command.args(arguments));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), lines(&text), said)
    };
    let (code, told, _) = history(&["1"]);
    assert_eq!(
        (code, &told[0]["quarantined"], told.len()),
        (Some(0), &1.into(), 3),
        "{told:?}"
    );
    assert_eq!(
        (&told[2]["outcome"], &told[2]["rule"]),
        (&"quarantined".into(), &"malformed-digest".into())
    );
    let text = stdout(&mut cluster.command(&["history", "1"]));
    assert!(
        text.contains("left out") && text.contains("quarantined: "),
        "{text}"
    );

    let name = "binaries/test/tool";
    ok(&mut cluster.command(&["withdraw", name, "--reason", "CVE-1"]));
    ok(&mut cluster.command(&["reinstate", name, "--reason", "mended"]));
    let changes = |told: &[Value]| -> Vec<String> {
        let change = |event: &Value| event["change"].as_str().unwrap().to_owned();
        told.iter().map(change).collect()
    };
    for what in [name, "binaries/test/"] {
        let (code, told, said) = history(&["--name", what]);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        assert_eq!(changes(&told), ["reinstated", "withdrawn", "set"]);
        assert_eq!(
            (&told[1]["reason"], &told[1]["who"], &told[1]["revision"]),
            (&"CVE-1".into(), &"loopback".into(), &2.into())
        );
        assert_eq!(told[2]["digest"], first);
    }
    let (_, told, said) = history(&["--name", name, "--limit", "1"]);
    assert_eq!(changes(&told), ["reinstated"]);
    assert!(said.contains("--before 3"), "{said}");
    let (_, told, _) = history(&["--name", name, "--before", "3", "--limit", "1"]);
    assert_eq!(changes(&told), ["withdrawn"]);
    let (_, told, said) = history(&["--project", PROJECT, "--limit", "2"]);
    assert_eq!((told.len(), &told[1]["revision"]), (2, &2.into()));
    assert!(said.contains("there is more: --before "), "{said}");
    let (_, told, said) = history(&["--project", PROJECT, "--before", "2"]);
    assert_eq!(
        (told.len(), &told[0]["revision"], said.as_str()),
        (1, &1.into(), "")
    );
    for (arguments, expected) in [
        (&["--name", "binaries/test/none"][..], 1),
        (&["--name", "../x"], 2),
        (&["--name", name, "--before", "x"], 2),
        (&["--name", name, "--before", "0"], 2),
        (&["1", "--name", name], 2),
        (&["--before", "no-operation"], 1),
    ] {
        let (code, told, _) = history(arguments);
        assert_eq!((code, told), (Some(expected), Vec::new()), "{arguments:?}");
    }
}

#[test]
fn any_number_of_people_follow_a_promotion_and_one_who_leaves_stops_nothing() {
    let staging = Staging::start();
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        coordinator: format!(
            "[[staging]]\nprefix = \"gs://{PROJECT}/releases/web/\"\nendpoint = \"http://{}/web/\"\n",
            staging.host()
        ),
        ..Setup::default()
    });
    let digest = staging.file("web/large", vec![7; 6 << 20]);
    cluster.manifests.file("web/large", &digest.to_string());
    staging.throttle(200_000);
    let mut promote = cluster.command(&["promote", "--confirm", "--json"]);
    let mut promote: Child = promote
        .arg(&cluster.manifests.dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (operation, _) = eventually("the promotion runs", Duration::from_secs(20), || {
        let listed = stdout(&mut cluster.command(&["history", "--json"]));
        let listed = lines(&listed);
        let running = listed.iter().find(|operation| operation["finished"] == 0);
        let id = running.and_then(|operation| operation["operation"].as_str());
        id.map(str::to_owned).ok_or("none".into())
    });
    let follow = || {
        let mut watch = cluster.command(&["operation", "watch", &operation, "--json"]);
        watch.stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut leaves, stays) = (follow(), follow());
    // Who asked for it goes, too.
    for child in [&mut leaves, &mut promote] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    staging.throttle(0);
    let output = stays.wait_with_output().unwrap();
    let told = lines(&String::from_utf8_lossy(&output.stdout));
    let last = told.last().unwrap();
    assert_eq!(
        (
            output.status.code(),
            &last["event"],
            &last["revision"],
            &last["copied"]
        ),
        (Some(0), &"done".into(), &1.into(), &1.into()),
        "{told:?}"
    );
    assert!(
        told.iter().any(|event| event["event"] == "entry"),
        "{told:?}"
    );
}
