//! Release managers with tokens: each promotes its own project, and no token is
//! ever in a log.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use crate::support::{
    cluster::{Cluster, Setup},
    content::PROJECT,
    finish, ok, stdout,
};

#[test]
fn a_named_token_is_known_by_its_name_and_what_is_asked_wrongly_exits_2() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(0),
        ..Setup::default()
    });
    cluster.stage_file("tool", b"tool");
    let name = ["--name", "ci-release"];
    let create = ["token", "create", "--json", "--role", "admin"];
    let made = json(cluster.command(&create).args(name));
    let id = made["id"].as_str().unwrap().to_owned();
    let token = made["token"].as_str().unwrap().to_owned();
    let mut promote = cluster.command(&["promote", "--confirm", "--json"]);
    ok(promote
        .arg(&cluster.manifests.dir)
        .env("LANDFALL_TOKEN", &token));
    let operation = json(&mut cluster.command(&["history", "--json"]));
    assert_eq!(operation["who"], format!("token ci-release ({id})"));
    let list = stdout(&mut cluster.command(&["token", "list"]));
    let secret = token.rsplit('_').next().unwrap();
    assert!(list.contains("ci-release") && !list.contains(secret));

    let code = |arguments: &[&str], token: &str| {
        let mut command = cluster.command(arguments);
        let output = finish(command.env("LANDFALL_TOKEN", token));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("error: "), "{said}");
        output.status.code()
    };
    for (arguments, token, expected) in [
        (&["token", "create", "--role", "root"][..], "", 2),
        (
            &["token", "create", "--role", "view", "--name", "a b"],
            "",
            2,
        ),
        (
            &["token", "create", "--role", "view", "--name", "ci-release"],
            "",
            1,
        ),
        (&["token", "revoke", "nobody"], "", 1),
        (&["withdraw", "../x", "--reason", "r"], "", 2),
        (&["withdraw", "binaries/test/none", "--reason", "r"], "", 1),
        (&["search", ""], "", 2),
        (&["history", "99"], "", 1),
        (&["token", "list"], "lft_0_0", 1),
    ] {
        assert_eq!(code(arguments, token), Some(expected), "{arguments:?}");
    }
    let revoke = ["token", "revoke", "ci-release", "--json"];
    let revoked = json(&mut cluster.command(&revoke));
    assert_eq!(revoked["revoked"], serde_json::json!([id]));
    assert_eq!(code(&["status"], &token), Some(1));
}

fn json(command: &mut Command) -> Value {
    let text = stdout(command);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_token_promotes_its_project_alone_until_it_is_revoked_and_is_in_no_log() {
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        ..Setup::default()
    });
    cluster.stage_file("tool", b"tool");
    let applied = json(
        cluster
            .command(&["project", "apply", "--json"])
            .arg(&cluster.manifests.dir),
    );
    assert_eq!(
        applied["projects"].as_array().map(Vec::len),
        Some(2),
        "{applied}"
    );

    let create = |role: &str, ttl: &str| {
        json(&mut cluster.command(&["token", "create", "--json", "--role", role, "--ttl", ttl]))
    };
    let own = create(&format!("promote:{PROJECT}"), "1h");
    let other = create("promote:somebody-else", "1h");
    let view = create("view", "30d");
    let token = |made: &Value| made["token"].as_str().unwrap().to_owned();
    let promote = |token: &str| {
        finish(
            cluster
                .command(&["promote", "--confirm", "--json"])
                .arg(&cluster.manifests.dir)
                .env("LANDFALL_TOKEN", token),
        )
    };
    for (who, code) in [(token(&other), 1), (token(&view), 1), ("lft_0_0".into(), 1)] {
        let output = promote(&who);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(cluster.status()["revision"], 0);
    }
    let output = promote(&token(&own));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(cluster.status()["revision"], 1);
    cluster.wait_complete(&[0], Duration::from_secs(20));
    let status = json(
        cluster
            .command(&["status", "--json"])
            .env("LANDFALL_TOKEN", token(&view)),
    );
    assert_eq!(status["revision"], 1);
    let history = json(&mut cluster.command(&["history", "--json", "--limit", "1"]));
    assert_eq!(
        history["who"],
        format!("token {}", own["id"].as_str().unwrap())
    );

    stdout(&mut cluster.command(&["token", "revoke", own["id"].as_str().unwrap()]));
    let output = promote(&token(&own));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let list = stdout(&mut cluster.command(&["token", "list", "--json"]));
    assert_eq!(list.lines().count(), 3);

    let mut logs = vec![cluster.coordinator.log(), cluster.redirector.log(), list];
    logs.extend(cluster.agents.iter().map(|agent| agent.log()));
    logs.push(String::from_utf8_lossy(&output.stderr).into_owned());
    let state = fs::read(cluster.dir.path().join("coordinator/coordinator.sqlite")).unwrap();
    logs.push(String::from_utf8_lossy(&state).into_owned());
    assert!(logs.iter().all(|log| !log.is_empty()));
    for made in [&own, &other, &view] {
        let secret = token(made).rsplit('_').next().unwrap().to_owned();
        assert_eq!(secret.len(), 32);
        assert!(logs.iter().all(|log| !log.contains(&secret)));
    }
}
