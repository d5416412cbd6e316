use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
struct Sample {
    name: String,
    public_url: HttpUrl,
    listen: Listen,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    mirror: Vec<Mirror>,
    store: Option<Store>,
    #[serde(default)]
    labels: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Listen {
    grpc: SocketAddr,
    http: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Limits {
    log: Option<String>,
    address: Option<std::net::IpAddr>,
    workers: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Mirror {
    name: String,
    #[serde(default)]
    serves: Serves,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Serves {
    #[default]
    Verified,
    Everything,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Store {
    path: String,
    key: String,
}

impl Check for Sample {
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.name.len() < 3 {
            faults.push(Fault::new("name", "must have at least 3 letters"));
        }
        if !self.listen.grpc.ip().is_loopback() {
            faults.push(Fault::new("listen.grpc", "must be a loopback address"));
        }
        for (index, mirror) in self.mirror.iter().enumerate() {
            if mirror.name.is_empty() {
                let key = format!("mirror[{index}].name");
                faults.push(Fault::new(key, "must not be empty"));
            }
        }
        faults
    }
}

const GOOD: &str = r#"
name = "sample"
public_url = "http://127.0.0.1:1/"
listen = { grpc = "127.0.0.1:2" }
[limits]
address = "192.0.2.1"
[[mirror]]
name = "a"
serves = "everything"
"#;

fn read(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Sample, ConfigFaults> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        pairs.collect()
    };
    load_text(
        Path::new("sample.toml"),
        text,
        "LANDFALL",
        owned(env),
        &owned(flags),
    )
}

#[track_caller]
fn check_faults(text: &str, env: &[(&str, &str)], expected: &[&str]) {
    let faults = read(text, env, &[]).unwrap_err().to_string();
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_file_alone_is_a_configuration() {
    let sample = read(GOOD, &[], &[]).unwrap();
    assert_eq!(sample.name, "sample");
    assert_eq!(sample.listen.http, None);
    assert_eq!(sample.limits.address, "192.0.2.1".parse().ok());
    assert_eq!(sample.mirror[0].serves, Serves::Everything);
}

#[test]
fn the_environment_outweighs_the_file_and_flags_outweigh_both() {
    let env = [
        ("LANDFALL__LISTEN__HTTP", "127.0.0.1:3"),
        ("LANDFALL__LISTEN__GRPC", "127.0.0.1:4"),
        ("LANDFALL__NAME", "2026"),
        ("LANDFALL__LIMITS__WORKERS", "7"),
        ("LANDFALL__MIRROR", r#"[{ name = "b" }, { name = "c" }]"#),
        ("LANDFALL__STORE", r#"{ path = "p" }"#),
        ("LANDFALL__STORE__KEY", "k"),
        ("LANDFALL_TOKEN", "not configuration"),
        ("OTHER__NAME", "not ours"),
    ];
    let sample = read(GOOD, &env, &[("listen.grpc", "127.0.0.1:5")]).unwrap();
    assert_eq!(sample.listen.http, Some("127.0.0.1:3".parse().unwrap()));
    assert_eq!(sample.listen.grpc, "127.0.0.1:5".parse().unwrap());
    assert_eq!(sample.name, "2026");
    assert_eq!(sample.limits.workers, 7);
    assert_eq!(sample.limits.address, "192.0.2.1".parse().ok());
    let names: Vec<&str> = sample.mirror.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let store = sample.store.unwrap();
    assert_eq!((store.path.as_str(), store.key.as_str()), ("p", "k"));
}

#[test]
fn a_quoted_value_in_the_environment_is_its_text() {
    let sample = read(GOOD, &[("LANDFALL__NAME", "\"quoted\"")], &[]).unwrap();
    assert_eq!(sample.name, "quoted");
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let text = r#"
name = "x"
nmae = "sample"
public_url = "ftp://example.org"
listen = { grpc = "nonsense", htp = 1 }
[limits]
address = "12 parsecs"
log = 100
workers = 70000
[[mirror]]
name = "a"
serves = "some"
[[mirror]]
colour = "red"
[[mirror]]
name = ""
[store]
path = "p"
[labels]
fine = 1
odd = "two"
[strange]
"#;
    let env = [
        ("LANDFALL__LISTEN__HTTP", "8080"),
        ("LANDFALL__LIMITTS__DISK", "1 GB"),
    ];
    check_faults(
        text,
        &env,
        &[
            "sample.toml:2:1: `name` must have at least 3 letters",
            "sample.toml:3:1: unknown key `nmae`: did you mean `name`?",
            "sample.toml:4:1: `public_url`: must be an http:// or https:// URL with a host",
            "sample.toml:5:12: `listen.grpc`: invalid socket address syntax",
            "sample.toml:5:31: unknown key `listen.htp`: did you mean `http`?",
            "sample.toml:7:1: `limits.address`: invalid IP address syntax",
            "sample.toml:8:1: `limits.log`: is integer `100`: write a string here",
            "sample.toml:9:1: `limits.workers`: integer `70000` does not fit: write a whole number from 0 to 65535 here",
            "sample.toml:12:1: `mirror[0].serves`: `some` is none of the choices: choose one of `verified`, `everything`",
            "sample.toml:13:1: `mirror[1].name` is missing: set it in the file",
            "sample.toml:14:1: unknown key `mirror[1].colour`: known here are `name`, `serves`",
            "sample.toml:16:1: `mirror[2].name` must not be empty",
            "sample.toml:17:2: `store.key` is missing: set it in the file or as LANDFALL__STORE__KEY",
            "sample.toml:21:1: `labels.odd`: is a string: write a whole number from 0 to 4294967295 here",
            "sample.toml:22:2: unknown key `strange`: known here are `name`, `public_url`, `listen`, `limits`, `mirror`, `store`, `labels`",
            "environment LANDFALL__LIMITTS__DISK: unknown key `limitts`: did you mean `limits`?",
            "environment LANDFALL__LISTEN__HTTP: `listen.http`: invalid socket address syntax",
        ],
    );
}

#[test]
fn every_missing_key_is_reported_and_a_missing_section_only_once() {
    check_faults(
        "",
        &[],
        &[
            "sample.toml: `listen` is missing: set it in the file or as LANDFALL__LISTEN",
            "sample.toml: `name` is missing: set it in the file or as LANDFALL__NAME",
            "sample.toml: `public_url` is missing: set it in the file or as LANDFALL__PUBLIC_URL",
        ],
    );
}

#[test]
fn faults_of_syntax_are_all_reported_too() {
    check_faults(
        "name = \nlisten = [1, \n",
        &[],
        &[
            "sample.toml:1:8: not valid TOML: string values must be quoted, expected literal string",
            "sample.toml:2:13: not valid TOML: unclosed array, expected `]`",
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_never_repeated_when_it_is_a_string() {
    let text = GOOD.replace("[limits]", "[limits]\nworkers = \"hunter2\"");
    let faults = read(&text, &[], &[]).unwrap_err().to_string();
    assert!(faults.contains("`limits.workers`: is a string"), "{faults}");
    assert!(!faults.contains("hunter2"), "{faults}");
}

#[test]
fn a_scalar_where_a_section_belongs_is_a_fault_of_its_key() {
    check_faults(
        &GOOD.replace(
            "listen = { grpc = \"127.0.0.1:2\" }",
            "listen = \"127.0.0.1:2\"",
        ),
        &[],
        &["sample.toml:4:1: `listen`: is a string: write a table here"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault_with_its_name() {
    let missing = Path::new("/nonexistent/sample.toml");
    let faults = load::<Sample>(missing, "LANDFALL", [], &[]).unwrap_err();
    assert_eq!(faults.faults().len(), 1);
    let text = faults.to_string();
    assert!(
        text.starts_with("/nonexistent/sample.toml: cannot read"),
        "{text}"
    );
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn the_list_of_faults_ends_somewhere() {
    let text: String = (0..500)
        .map(|i| format!("[[mirror]]\nx{i} = 1\n"))
        .collect();
    let faults = read(&text, &[], &[]).unwrap_err();
    assert_eq!(faults.faults().len(), MAX_FAULTS);
}
