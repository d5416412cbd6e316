//! The rules of the tree that no lint knows: which way dependencies point,
//! what the pure crates must not reach, and what no file may contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Dependencies point from a later layer to an earlier one.
const LAYERS: [(&str, u8); 12] = [
    ("core/catalog", 0),
    ("core/promotion", 0),
    ("core/route", 0),
    ("proto", 1),
    ("kit/runtime", 2),
    ("kit/log", 2),
    ("kit/content", 2),
    ("coordinator", 3),
    ("agent", 3),
    ("redirector", 3),
    ("cli", 4),
    ("bench", 5),
];

/// The layers whose crates may build on each other, in the order above.
const LAYERS_WITH_ORDER: [u8; 2] = [0, 2];

/// What a decision must not depend on: other machines, files, databases, and
/// the time of day.
const IMPURE: [&str; 12] = [
    "tokio",
    "async-std",
    "tonic",
    "hyper",
    "reqwest",
    "axum",
    "rusqlite",
    "object_store",
    "jiff",
    "chrono",
    "time",
    "rustix",
];

/// What no source file contains, and why. Split, so that this file passes.
const UNWANTED: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "open work belongs into an issue"),
    (concat!("FIX", "ME"), "open work belongs into an issue"),
    (concat!("#[ign", "ore"), "a test runs, or it is deleted"),
    (concat!("#[should", "_panic"), "assert on the error instead"),
];

const SOURCE_ENDINGS: [&str; 8] = ["rs", "proto", "py", "sh", "toml", "html", "yaml", "md"];

#[test]
fn the_pure_crates_reach_no_io_and_no_clock() {
    let workspace = Workspace::read();
    for (folder, layer) in LAYERS {
        let reached = workspace.normal_tree(folder);
        let impure: Vec<&str> = IMPURE
            .into_iter()
            .filter(|name| reached.contains(*name))
            .collect();
        if layer == 0 {
            assert_eq!(impure, [""; 0], "{folder} is pure, but depends on these");
        }
        // The walk itself works: the programs do reach what is impure.
        if layer == 3 {
            assert!(impure.contains(&"tokio"), "{folder} reaches no tokio");
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let workspace = Workspace::read();
    let mut wrong = Vec::new();
    for (folder, package) in &workspace.members {
        for dependency in &package.on_members {
            if !may_depend(folder, dependency) {
                wrong.push(format!("{folder} -> {dependency}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0], "core <- proto <- kit <- programs <- cli");
}

#[test]
fn no_crate_may_depend_on_a_later_layer_or_on_another_program() {
    for (from, to, allowed) in [
        ("cli", "agent", true),
        ("agent", "kit/log", true),
        ("kit/log", "kit/runtime", true),
        ("core/promotion", "core/catalog", true),
        ("kit/runtime", "kit/log", false),
        ("core/catalog", "core/route", false),
        ("agent", "coordinator", false),
        ("coordinator", "agent", false),
        ("core/route", "proto", false),
        ("proto", "kit/log", false),
        ("kit/content", "agent", false),
        ("agent", "bench", false),
    ] {
        assert_eq!(may_depend(from, to), allowed, "{from} -> {to}");
    }
}

#[test]
fn every_member_has_its_layer_and_inherits_lints_and_versions() {
    let workspace = Workspace::read();
    let members: BTreeSet<&str> = workspace.members.keys().map(String::as_str).collect();
    let layered: BTreeSet<&str> = LAYERS.iter().map(|(folder, _)| *folder).collect();
    assert_eq!(members, layered, "a member without a layer, or the reverse");

    let mut wrong = Vec::new();
    for folder in members {
        let path = root().join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&path).expect("a member has a manifest");
        let manifest: toml::Table = text.parse().expect("cargo has read it already");
        if !inherits(manifest.get("lints")) {
            wrong.push(format!("{folder}: no `[lints] workspace = true`"));
        }
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(kind).and_then(toml::Value::as_table);
            for (name, dependency) in dependencies.into_iter().flatten() {
                if !inherits(Some(dependency)) {
                    wrong.push(format!("{folder}: {name} has a version of its own"));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn no_file_holds_open_work_or_a_test_that_does_not_count() {
    let files = source_files();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8 text");
        let shown = path.strip_prefix(root()).unwrap_or(&path).display();
        for (number, line) in (1..).zip(text.lines()) {
            for (unwanted, why) in UNWANTED {
                if line.contains(unwanted) {
                    wrong.push(format!("{shown}:{number}: {unwanted}: {why}"));
                }
            }
        }
        if path.ends_with("mod.rs") {
            wrong.push(format!("{shown}: name it like its folder, beside it"));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// What `cargo metadata` says about the members, by folder.
struct Workspace {
    members: BTreeMap<String, Member>,
    /// Package id -> name, and the ids of its normal dependencies.
    graph: BTreeMap<String, (String, Vec<String>)>,
}

struct Member {
    id: String,
    /// Folders of the members that it depends on, in any way.
    on_members: Vec<String>,
}

impl Workspace {
    fn read() -> Self {
        let metadata = cargo_metadata();
        let packages = array(&metadata["packages"]);
        let is_member = |package: &&Value| package["source"].is_null();
        let members = packages.iter().filter(is_member).map(|package| {
            let on_members = array(&package["dependencies"])
                .iter()
                .filter_map(|dependency| dependency["path"].as_str())
                .map(|path| folder(Path::new(path)))
                .collect();
            let manifest = PathBuf::from(string(&package["manifest_path"]));
            let member = Member {
                id: string(&package["id"]),
                on_members,
            };
            (folder(manifest.parent().unwrap_or(&manifest)), member)
        });
        let members = members.collect();

        let names: BTreeMap<String, String> = packages
            .iter()
            .map(|package| (string(&package["id"]), string(&package["name"])))
            .collect();
        let nodes = array(&metadata["resolve"]["nodes"]).iter().map(|node| {
            let is_normal = |dependency: &&Value| {
                let mut kinds = array(&dependency["dep_kinds"]).iter();
                kinds.any(|kind| kind["kind"].is_null())
            };
            let normal = array(&node["deps"]).iter().filter(is_normal);
            let dependencies = normal.map(|dependency| string(&dependency["pkg"]));
            let id = string(&node["id"]);
            let name = names[&id].clone();
            (id, (name, dependencies.collect()))
        });
        Self {
            members,
            graph: nodes.collect(),
        }
    }

    /// The names of all crates that end up in a build of this member.
    fn normal_tree(&self, folder: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![&self.members[folder].id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&self.graph[id].1);
            }
        }
        seen.into_iter()
            .map(|id| self.graph[id].0.as_str())
            .collect()
    }
}

fn may_depend(from: &str, to: &str) -> bool {
    let position = |folder: &str| LAYERS.iter().position(|(known, _)| *known == folder);
    let (Some(from), Some(to)) = (position(from), position(to)) else {
        return false;
    };
    let (from_layer, to_layer) = (LAYERS[from].1, LAYERS[to].1);
    to_layer < from_layer
        || to_layer == from_layer && to < from && LAYERS_WITH_ORDER.contains(&from_layer)
}

fn cargo_metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Only what this platform builds is sure to be here without the network.
    let host = host_platform();
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host])
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {complaint}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn host_platform() -> String {
    let output = Command::new("rustc").arg("-vV").output();
    let text = output.expect("rustc runs").stdout;
    String::from_utf8_lossy(&text)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .expect("rustc says which platform it is for")
}

fn root() -> &'static Path {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("cli lies in the workspace")
}

/// Relative to the workspace, with `/`.
fn folder(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap_or(path);
    relative.to_string_lossy().into_owned()
}

fn inherits(entry: Option<&toml::Value>) -> bool {
    entry
        .and_then(|entry| entry.get("workspace"))
        .and_then(toml::Value::as_bool)
        .unwrap_or(false)
}

fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree is readable") {
            let path = entry.expect("a folder of the tree is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    open.push(path);
                }
            } else if is_source(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn is_source(path: &Path) -> bool {
    match path.extension() {
        Some(ending) => SOURCE_ENDINGS.iter().any(|known| ending == *known),
        None => path.file_name().is_some_and(|name| name == "run"),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
