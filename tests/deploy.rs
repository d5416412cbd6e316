//! The samples in `deploy/` are what operators begin with: each is loaded by the
//! program that it is for, and the units start these programs with them.

use std::{
    fs, iter,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support;

const PROGRAMS: [&str; 3] = ["coordinator", "agent", "redirector"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn sample(program: &str) -> PathBuf {
    deploy().join(format!("{program}.toml"))
}

fn coordinator(file: &Path) -> landfall_coordinator::Config {
    landfall_coordinator::Config::load(file, iter::empty(), &[])
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn agent(file: &Path) -> landfall_agent::Config {
    landfall_agent::Config::load(file, iter::empty(), &[])
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn redirector(file: &Path) -> landfall_redirector::Config {
    landfall_redirector::Config::load(file, iter::empty(), &[])
        .unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn the_samples_load_and_lead_to_each_other() {
    let coordinator = coordinator(&sample("coordinator"));
    let agent = agent(&sample("agent"));
    let redirector = redirector(&sample("redirector"));
    let grpc = format!("http://{}", coordinator.listen.grpc);
    assert_eq!(agent.coordinator.as_str(), grpc);
    assert_eq!(redirector.coordinator.as_str().trim_end_matches('/'), grpc);
    assert_eq!(
        coordinator.public_url.as_str(),
        format!("http://{}", redirector.listen.http)
    );
    let origin = coordinator.origin.public_url.unwrap();
    assert_eq!(
        origin.as_str(),
        format!("http://{}/origin", coordinator.listen.http)
    );
    assert_eq!(
        agent.mirror.public_url.as_str(),
        format!("http://{}", agent.listen.unwrap())
    );
    let decided: Vec<_> = coordinator.mirror.iter().map(|it| &it.name).collect();
    assert_eq!(decided, [&agent.mirror.name]);
}

#[test]
fn the_samples_load_with_every_optional_key() {
    let dir = tempfile::tempdir().unwrap();
    let complete = |program: &str| {
        let text = fs::read_to_string(sample(program)).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
                Some(_) | None => line,
            })
            .collect();
        let file = dir.path().join(format!("{program}.toml"));
        fs::write(&file, lines.join("\n")).unwrap();
        file
    };
    coordinator(&complete("coordinator"));
    let agent = agent(&complete("agent"));
    assert_eq!(agent.log_keys.len(), 2);
    assert_eq!(agent.mirror.asns, [224]);
    let redirector = redirector(&complete("redirector"));
    assert_eq!(redirector.log_keys.len(), 2);
    assert!(redirector.locate.country.is_some());
    assert_eq!(redirector.locate.ranges.len(), 1);
}

#[test]
fn the_units_start_the_programs_with_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for program in PROGRAMS {
        let name = format!("landfall-{program}.service");
        let unit = fs::read_to_string(deploy().join("systemd").join(&name)).unwrap();
        let command = format!(
            "ExecStart=/usr/bin/landfall {program} run --config /etc/landfall/{program}.toml --insecure-loopback"
        );
        assert!(unit.lines().any(|line| line == command), "{name}");
        // The folders that a program writes to are those that it is given.
        let text = fs::read_to_string(sample(program)).unwrap();
        let given = unit
            .lines()
            .find_map(|line| line.strip_prefix("StateDirectory="))
            .unwrap();
        for folder in given.split(' ') {
            assert!(text.contains(&format!("/var/lib/{folder}\"")), "{folder}");
        }
        let installed = unit.replace("/usr/bin/landfall", env!("CARGO_BIN_EXE_landfall"));
        let file = dir.path().join(&name);
        fs::write(&file, installed).unwrap();
        verify.arg(file);
    }
    let output = support::ok(&mut verify);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_unit_of_reconcile_starts_it_with_its_sample() {
    let unit = fs::read_to_string(deploy().join("systemd/landfall-reconcile.service")).unwrap();
    let of = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {unit}"))
    };
    assert_eq!(of("EnvironmentFile="), "/etc/landfall/reconcile.env");
    let sample = fs::read_to_string(deploy().join("reconcile.env")).unwrap();
    let grpc = coordinator(&self::sample("coordinator")).listen.grpc;
    let address = format!("LANDFALL_COORDINATOR=http://{grpc}");
    assert!(sample.lines().any(|line| line == address), "{sample}");

    // As written, but with the program of this build, and for one round only.
    let dir = tempfile::tempdir().unwrap();
    let mut words = of("ExecStart=").split(' ');
    assert_eq!(words.next(), Some("/usr/bin/landfall"));
    let output = support::finish(
        support::process::landfall()
            .args(
                words.map(|word| word.replace("/srv/landfall", &dir.path().display().to_string())),
            )
            .env("LANDFALL_COORDINATOR", format!("http://{grpc}")),
    );
    // There is no checkout yet: told before anything is asked.
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("manifests"), "{told}");

    let installed = unit.replace("/usr/bin/landfall", env!("CARGO_BIN_EXE_landfall"));
    let file = dir.path().join("landfall-reconcile.service");
    fs::write(&file, installed).unwrap();
    let output = support::ok(Command::new("systemd-analyze").arg("verify").arg(&file));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_sample_of_channels_promotes_onward_what_the_sample_configuration_publishes() {
    let mut validate = support::process::landfall();
    validate.args(["validate", "--json", "--config"]);
    validate.args([sample("coordinator"), deploy().join("channels")]);
    let found = support::stdout(&mut validate);
    assert!(found.contains("promoted-onward"), "{found}");
}
