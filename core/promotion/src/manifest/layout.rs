//! Which files of a directory are manifests, and whose.
//!
//! A *root* holds `manifests/`, `images/` or `filestores/`. The directory that
//! was given is a root itself, or holds several, one or two levels down:
//!
//! ```text
//! <root>/manifests/<project>/promoter-manifest.yaml      registries (sensitive half)
//! <root>/images/<project>/images.yaml                    images     (delegated half)
//! <root>/filestores/<project>/filepromoter-manifest.yaml filestores (sensitive half)
//! <root>/manifests/<project>/**.yaml                     files      (delegated half)
//! ```
//!
//! An image project may also be one file that holds both halves (`registries` and
//! `images`). It is given by itself: see [`single`].

/// Largest manifest that should be read; today's largest is 1.2 MB.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Most manifests of one tree that should be read.
pub const MAX_FILES: usize = 100_000;

/// Roots are looked for down to this depth below the directory that was given.
const MAX_ROOT_DEPTH: usize = 2;

/// What a manifest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// `promoter-manifest.yaml`: the registries of an image project.
    Registries,
    /// `images.yaml`: the images of an image project.
    Images,
    /// `filepromoter-manifest.yaml`: the file stores of a file project.
    Filestores,
    /// Any other YAML file below `manifests/<project>/`: files of a file project.
    Files,
}

impl FileRole {
    /// Whether this is the half that an administrator registers (where content
    /// comes from and goes to), not the half that a release manager changes.
    #[must_use]
    pub const fn is_sensitive(self) -> bool {
        match self {
            Self::Registries | Self::Filestores => true,
            Self::Images | Self::Files => false,
        }
    }
}

/// The role of a file, or `None` if it is no manifest. `relative_path` is
/// relative to the directory that was given, with `/` between its segments.
#[must_use]
pub fn wanted(relative_path: &str) -> Option<FileRole> {
    place(relative_path).map(|place| place.role)
}

/// The project of a manifest that holds both halves of an image project, or
/// `None` if a file of this path is none. Such a manifest is a tree by itself, in
/// no folder, and its name without the ending is the project's.
#[must_use]
pub fn single(relative_path: &str) -> Option<&str> {
    let project = relative_path
        .strip_suffix(".yaml")
        .or_else(|| relative_path.strip_suffix(".yml"))?;
    let is_name = !project.is_empty() && !project.starts_with('.') && !project.contains('/');
    is_name.then_some(project)
}

/// The project of a file of a tree, or `None` if it is no manifest.
#[must_use]
pub fn project(relative_path: &str) -> Option<&str> {
    place(relative_path)
        .map(|place| place.project)
        .or_else(|| single(relative_path))
}

/// Whether a folder of this path may hold manifests: it is, or is below, one of
/// the folders of a root. What a root itself may be called is anybody's choice.
#[must_use]
pub fn may_hold(relative_path: &str) -> bool {
    let segments: Vec<&str> = relative_path.split('/').collect();
    (0..=MAX_ROOT_DEPTH).any(|depth| match segments.get(depth..) {
        Some(["manifests", ..] | ["images" | "filestores"] | ["images" | "filestores", _]) => true,
        Some(_) | None => false,
    })
}

/// The project of a manifest, or of a folder of a project.
pub(crate) fn project_below(path: &str) -> Option<&str> {
    if let Some(place) = place(path) {
        return Some(place.project);
    }
    let segments: Vec<&str> = path.split('/').collect();
    (0..=MAX_ROOT_DEPTH).find_map(|depth| match segments.get(depth..)? {
        ["manifests" | "images" | "filestores", project, ..] => Some(*project),
        _ => None,
    })
}

/// A manifest's root, project and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// Path of the root, empty for the directory that was given.
    pub(crate) root: &'a str,
    pub(crate) project: &'a str,
    pub(crate) role: FileRole,
}

pub(crate) fn place(path: &str) -> Option<Place<'_>> {
    let segments: Vec<&str> = path.split('/').collect();
    if segments
        .iter()
        .any(|segment| matches!(*segment, "" | "." | ".."))
    {
        return None;
    }
    // A file with a name of its own settles the matter wherever its root is;
    // only then may `manifests/` claim what is left.
    let depths = 0..=MAX_ROOT_DEPTH;
    let (depth, role) = depths
        .clone()
        .find_map(|depth| Some((depth, named_role(segments.get(depth..)?)?)))
        .or_else(|| {
            depths
                .clone()
                .find_map(|depth| Some((depth, files_role(segments.get(depth..)?)?)))
        })?;
    let root_len = segments[..depth].iter().map(|s| s.len() + 1).sum::<usize>();
    Some(Place {
        root: path[..root_len].trim_end_matches('/'),
        project: segments[depth + 1],
        role,
    })
}

fn named_role(below: &[&str]) -> Option<FileRole> {
    match below {
        ["manifests", _, "promoter-manifest.yaml"] => Some(FileRole::Registries),
        ["images", _, "images.yaml"] => Some(FileRole::Images),
        ["filestores", _, "filepromoter-manifest.yaml"] => Some(FileRole::Filestores),
        _ => None,
    }
}

fn files_role(below: &[&str]) -> Option<FileRole> {
    match below {
        ["manifests", _, .., last] if last.ends_with(".yaml") || last.ends_with(".yml") => {
            Some(FileRole::Files)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(&str, &str, FileRole)>) {
        let found = place(path).map(|place| (place.root, place.project, place.role));
        assert_eq!(found, expected, "{path}");
        assert_eq!(wanted(path), expected.map(|(_, _, role)| role), "{path}");
    }

    #[test]
    fn a_manifest_says_by_its_path_whose_it_is() {
        for (path, owner) in [
            ("a/images/kops/images.yaml", Some("kops")),
            ("manifests/etcd/v1/new.yaml", Some("etcd")),
            ("kops.yaml", Some("kops")),
            ("a/README.md", None),
        ] {
            assert_eq!(project(path), owner, "{path}");
        }
    }

    #[test]
    fn manifests_are_known_by_their_path_at_three_depths() {
        for root in ["", "registry.k8s.io", "a/b"] {
            let at = |rest: &str| {
                if root.is_empty() {
                    rest.to_owned()
                } else {
                    format!("{root}/{rest}")
                }
            };
            check(
                &at("manifests/p/promoter-manifest.yaml"),
                Some((root, "p", FileRole::Registries)),
            );
            check(
                &at("images/p/images.yaml"),
                Some((root, "p", FileRole::Images)),
            );
            check(
                &at("filestores/p/filepromoter-manifest.yaml"),
                Some((root, "p", FileRole::Filestores)),
            );
            check(
                &at("manifests/p/1.2.yaml"),
                Some((root, "p", FileRole::Files)),
            );
            check(
                &at("manifests/p/a/b/1.yml"),
                Some((root, "p", FileRole::Files)),
            );
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        for path in [
            "",
            "README.md",
            "images/p/other.yaml",
            "images/p/deeper/images.yaml",
            "manifests/p.yaml",
            "manifests/p/README.md",
            "manifests/p/OWNERS",
            "a/b/c/images/p/images.yaml",
            "a/../images/p/images.yaml",
            "/images/p/images.yaml",
            "images//images.yaml",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_manifest_of_one_file_is_in_no_folder() {
        assert_eq!(single("kops.yaml"), Some("kops"));
        assert_eq!(single("k8s-staging-x.1.yml"), Some("k8s-staging-x.1"));
        for path in ["", ".yaml", "a/kops.yaml", "kops.json", "/kops.yaml"] {
            assert_eq!(single(path), None, "{path}");
        }
    }

    #[test]
    fn a_root_may_be_called_like_one_of_its_folders() {
        check(
            "manifests/images/p/images.yaml",
            Some(("manifests", "p", FileRole::Images)),
        );
    }
}
