//! Staging that only those may read who are logged in, with a real registry.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Layout, PROJECT},
    finish, ok,
    peers::Registry,
    process::landfall,
    stdout,
};

/// `user:hunter2`, as a file of credentials has it.
const LOGIN: &str = "dXNlcjpodW50ZXIy";

#[test]
fn a_private_registry_is_read_as_who_is_logged_in_and_says_so_when_nobody_is() {
    let scratch = TempDir::new().unwrap();
    let data = scratch.path().join("registry");
    let open = Registry::start(&data);
    let layout = Layout::new(&scratch.path().join("layout"));
    let image = layout.image("amd64", 61, &[9 << 20, 10_000]);
    let digest = layout.push(&image, &format!("{}/{PROJECT}/app:v1", open.host));
    drop(open);
    let registry = Registry::start_locked(&data);
    let login = scratch.path().join("auth.json");
    let named = login.display().to_string();
    let mut cluster = Cluster::start(Setup {
        registry: Some(registry.host.clone()),
        mirrors: Some(1),
        env: vec![("REGISTRY_AUTH_FILE", named.clone())],
        ..Setup::default()
    });
    cluster.manifests.image("app", &digest, "v1");
    let generate = || {
        let mut command = landfall();
        command.args(["manifest", "generate", "images", "--image", "app"]);
        command.arg(format!("http://{}/{PROJECT}", registry.host));
        command.env("REGISTRY_AUTH_FILE", &login);
        command
    };
    let mut told = String::new();

    // Nobody is logged in.
    let output = finish(cluster.command(&["plan"]).arg(&cluster.manifests.dir));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = finish(&mut generate());
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let generated = String::from_utf8_lossy(&refused.stderr).into_owned();
    for said in [&plan, &generated] {
        for part in [&registry.host, &named, "podman login"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    told.extend([plan, generated]);

    // Somebody with the wrong password is.
    let wrong = json!({"auths": {&registry.host: {"auth": "dXNlcjp3cm9uZw=="}}});
    fs::write(&login, wrong.to_string()).unwrap();
    let output = finish(cluster.command(&["plan"]).arg(&cluster.manifests.dir));
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(plan.contains("401") && plan.contains("ran out"), "{plan}");
    told.push_str(&plan);

    // From now on the right one is, without any restart.
    let auths = json!({"auths": {&registry.host: {"auth": LOGIN}}});
    fs::write(&login, auths.to_string()).unwrap();
    let done: Value = cluster.promote();
    assert_eq!(
        (&done["revision"], &done["copied"]),
        (&1.into(), &1.into()),
        "{done}"
    );
    let listed = stdout(&mut generate());
    assert!(
        listed.contains(&digest) && listed.contains("v1"),
        "{listed}"
    );
    let copied = scratch.path().join("copied");
    ok(Command::new("skopeo")
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{}/test/app:v1", cluster.public))
        .arg(format!("dir:{}", copied.display())));

    told.push_str(&cluster.coordinator.log());
    for secret in ["hunter2", LOGIN, "dXNlcjp3cm9uZw"] {
        assert!(!told.contains(secret), "{told}");
    }
}
