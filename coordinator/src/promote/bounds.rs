//! Whose names are whose: what a project may set and remove. Pure.
//!
//! A name belongs to the projects whose registered half publishes it under the
//! longest prefix above it, as pruning has it. Projects may share a prefix; then
//! an administrator may promote for each of them there, and a token only if it
//! is for all of them.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::Name;
use landfall_promotion::{Kind, Position, ProductionRule, Project, public_prefixes};

use crate::state::projects::{Half, HalfKind};

/// The projects that somebody may act for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All, also those that are not registered yet.
    All,
    /// These, and only as they are registered.
    Projects(BTreeSet<String>),
}

impl Scope {
    /// Whether it holds that project.
    pub(crate) fn holds(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Projects(projects) => projects.contains(project),
        }
    }
}

/// The prefixes of all projects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// Projects by kind and public prefix.
    owners: BTreeMap<(HalfKind, String), BTreeSet<String>>,
}

impl Bounds {
    pub(crate) fn new<'a>(
        halves: impl IntoIterator<Item = &'a Half>,
        rules: &[ProductionRule],
    ) -> Self {
        let mut owners: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for half in halves {
            for prefix in prefixes(half, rules) {
                let projects = owners.entry((half.kind, prefix)).or_default();
                projects.insert(half.project.clone());
            }
        }
        Self { owners }
    }

    /// The projects that a name belongs to; none if it is under nobody's prefix.
    pub(crate) fn owners(&self, name: &Name) -> Option<&BTreeSet<String>> {
        let (kind, text) = match name {
            Name::Tag(repository, _) | Name::Root(repository, _) => {
                (HalfKind::Images, repository.as_str())
            }
            Name::File(path) => (HalfKind::Files, path.as_str()),
        };
        let mut above = text;
        loop {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(owners) = self.owners.get(&(kind, above.to_owned())) {
                return Some(owners);
            }
            if above.is_empty() {
                return None;
            }
        }
    }

    /// The projects that any of these names belongs to.
    pub(crate) fn owners_of<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> BTreeSet<String> {
        let owners = names.into_iter().filter_map(|name| self.owners(name));
        owners.flatten().cloned().collect()
    }

    /// Why `project` may not set `name` on behalf of somebody with that scope.
    pub(crate) fn setting(&self, name: &Name, project: &str, scope: &Scope) -> Result<(), String> {
        if !scope.holds(project) {
            return Err(not_in_scope(project));
        }
        let below = self.below(name, project);
        if !below.is_empty() {
            let others = list(&below);
            return Err(format!(
                "outside-project: {name} is, or is above, the folder of {others}"
            ));
        }
        match self.owners(name) {
            Some(owners) if !owners.contains(project) => Err(format!(
                "outside-project: {name} is below a prefix of {}, not of {project}",
                list(owners)
            )),
            Some(_) => self.touching(name, scope),
            None => Err(format!(
                "outside-project: {name} is below no prefix of {project}"
            )),
        }
    }

    /// The other projects for whose files one at `name` would leave no place.
    fn below(&self, name: &Name, project: &str) -> BTreeSet<String> {
        let Name::File(path) = name else {
            return BTreeSet::new();
        };
        let (folder, inside) = (path.as_str(), format!("{path}/"));
        let exactly = self
            .owners
            .get_key_value(&(HalfKind::Files, folder.to_owned()));
        let inside_on = self.owners.range((HalfKind::Files, inside.clone())..);
        let below = inside_on.take_while(|((kind, prefix), _)| {
            *kind == HalfKind::Files && prefix.starts_with(&inside)
        });
        let owners = exactly
            .into_iter()
            .chain(below)
            .flat_map(|(_, owners)| owners);
        owners.filter(|owner| *owner != project).cloned().collect()
    }

    /// Why somebody with that scope may not change what `name` means or whether
    /// it is served.
    pub(crate) fn touching(&self, name: &Name, scope: &Scope) -> Result<(), String> {
        let Scope::Projects(projects) = scope else {
            return Ok(());
        };
        match self.owners(name) {
            Some(owners) if owners.is_subset(projects) => Ok(()),
            Some(owners) => Err(format!(
                "outside-project: {name} belongs to {}, which the token is not for",
                list(owners)
            )),
            None => Err(format!("outside-project: {name} belongs to no project")),
        }
    }
}

/// Why nothing of a project is promoted for a token.
pub(crate) fn not_in_scope(project: &str) -> String {
    format!("outside-project: the token is not for {project}")
}

/// Why nothing of a project is promoted for a token that an administrator would
/// have to register first.
pub(crate) fn not_registered(project: &str, kind: HalfKind) -> String {
    format!(
        "unregistered: {project} ({}) is not registered; an administrator does that with `landfall project apply`",
        kind.as_str()
    )
}

pub(super) fn list(projects: &BTreeSet<String>) -> String {
    let projects: Vec<_> = projects.iter().map(String::as_str).collect();
    projects.join(", ")
}

/// The public prefixes of a registered half.
pub(crate) fn prefixes(half: &Half, rules: &[ProductionRule]) -> Vec<String> {
    let project = Project {
        name: half.project.clone(),
        kind: model_kind(half.kind),
        source: half.source.clone(),
        destinations: half.destinations.clone(),
        images: Vec::new(),
        files: Vec::new(),
        quarantined: 0,
        at: Position {
            file: "".into(),
            line: 1,
            column: 1,
        },
    };
    public_prefixes(&project, rules)
}

pub(crate) const fn model_kind(kind: HalfKind) -> Kind {
    match kind {
        HalfKind::Images => Kind::Images,
        HalfKind::Files => Kind::Files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promote::orders::half_of;

    fn half(project: &str, kind: HalfKind, destinations: &[&str]) -> Half {
        Half {
            project: project.into(),
            kind,
            source: "staging".into(),
            destinations: destinations.iter().map(|&to| to.to_owned()).collect(),
        }
    }

    fn bounds() -> Bounds {
        let halves = [
            half("a", HalfKind::Images, &["eu.example/a", "us.example/a"]),
            half("b", HalfKind::Images, &["eu.example/b"]),
            half("nested", HalfKind::Images, &["eu.example/a/nested"]),
            half("files", HalfKind::Files, &["gs://bucket/a"]),
            half("deep", HalfKind::Files, &["gs://bucket/a/x/deep"]),
            half("one", HalfKind::Images, &["eu.example/both"]),
            half("two", HalfKind::Images, &["eu.example/both"]),
        ];
        Bounds::new(&halves, &[])
    }

    #[test]
    fn a_name_belongs_to_the_longest_prefix_by_whole_segments_and_kind() {
        let bounds = bounds();
        let digest = landfall_catalog::Digest::of(b"");
        for (name, owners) in [
            ("a/app:v1".to_owned(), "a"),
            (format!("a/app@{digest}"), "a"),
            ("a/x/app:v1".into(), "a"),
            ("a/nested/app:v1".into(), "nested"),
            ("a/nested2/app:v1".into(), "a"),
            ("ab/app:v1".into(), ""),
            ("a:v1".into(), ""),
            ("b/app:v1".into(), "b"),
            ("a/file".into(), "files"),
            ("b/file".into(), ""),
            ("both/app:v1".into(), "one, two"),
        ] {
            let found = bounds.owners(&name.parse().unwrap()).map(list);
            assert_eq!(found.unwrap_or_default(), owners, "{name}");
        }
    }

    #[test]
    fn nobody_sets_what_is_not_below_its_own_prefix() {
        let bounds = bounds();
        let only = |project: &str| Scope::Projects(BTreeSet::from([project.to_owned()]));
        let both = Scope::Projects(["one", "two"].map(str::to_owned).into());
        for (name, project, scope, allowed) in [
            ("a/app:v1", "a", Scope::All, true),
            ("a/nested/app:v1", "a", Scope::All, false),
            ("b/app:v1", "a", Scope::All, false),
            ("elsewhere/app:v1", "a", Scope::All, false),
            ("both/app:v1", "one", Scope::All, true),
            ("a/app:v1", "a", only("a"), true),
            ("b/app:v1", "b", only("a"), false),
            ("b/app:v1", "a", only("a"), false),
            ("a/nested/app:v1", "a", only("a"), false),
            ("a/file", "a", only("a"), false),
            ("both/app:v1", "one", only("one"), false),
            ("both/app:v1", "one", both, true),
        ] {
            let judged = bounds.setting(&name.parse().unwrap(), project, &scope);
            assert_eq!(
                judged.is_ok(),
                allowed,
                "{name} {project} {scope:?}: {judged:?}"
            );
        }
    }

    /// The real manifests of Kubernetes, below `LANDFALL_SHARED` or `../shared`
    /// beside the workspace, where a copy of them is at hand.
    #[test]
    fn no_project_of_the_real_trees_reaches_outside_its_prefixes() {
        let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let shared = std::env::var_os("LANDFALL_SHARED").map_or(beside, Into::into);
        for (root, entries) in [("registry.k8s.io", 20_000), ("artifacts", 1_000)] {
            let root = shared.join("data/k8s.io").join(root);
            if !root.is_dir() {
                continue;
            }
            let mut tree = landfall_promotion::Tree::default();
            read(&root, &root, &mut tree);
            let parsed = landfall_promotion::parse(&tree);
            let halves: Vec<_> = parsed.projects.iter().map(half_of).collect();
            let rules = [ProductionRule {
                registries: ["us-central1", "europe-west1", "us-west1", "asia-east1"]
                    .map(|region| format!("{region}-docker.pkg.dev/k8s-artifacts-prod/images"))
                    .to_vec(),
                filestores: vec!["gs://k8s-artifacts-prod/".into()],
                ..ProductionRule::default()
            }];
            for rules in [&rules[..], &[]] {
                let bounds = Bounds::new(&halves, rules);
                let catalog = landfall_catalog::Catalog::default();
                let plan = landfall_promotion::plan(
                    &parsed,
                    rules,
                    &catalog,
                    &landfall_promotion::PlanOptions::default(),
                );
                assert!(plan.set.len() > entries, "{} in {root:?}", plan.set.len());
                for asked in &plan.set {
                    let judged = bounds.setting(&asked.name, &asked.project, &Scope::All);
                    assert_eq!(judged, Ok(()), "{}", asked.name);
                }
            }
        }
    }

    fn read(root: &std::path::Path, folder: &std::path::Path, tree: &mut landfall_promotion::Tree) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(root, &path, tree);
                continue;
            }
            let relative = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if landfall_promotion::layout::wanted(&relative).is_some() {
                let text = std::fs::read_to_string(&path).unwrap();
                let file = landfall_promotion::SourceFile {
                    path: relative,
                    text,
                };
                tree.files.push(file);
            }
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    #[test]
    fn nobody_puts_a_file_where_another_project_has_its_folder() {
        let bounds = bounds();
        let set = |name: &str, project: &str| {
            let name = name.parse().unwrap();
            bounds.setting(&name, project, &Scope::All).is_ok()
        };
        for (name, may) in [
            ("a/y", true),
            ("a/x/de", true),
            ("a/x/deep2", true),
            ("a/x-deep", true),
            ("a/x", false),
            ("a/x/deep", false),
            ("a/x/deep/z", false),
        ] {
            assert_eq!(set(name, "files"), may, "{name}");
        }
        assert!(set("a/x/deep/z", "deep"));
    }
}
