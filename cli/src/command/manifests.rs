//! Reads a tree of promotion manifests from disk, bounded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landfall_promotion::{
    ProductionRule, SourceFile, Tree,
    layout::{self, MAX_FILE_BYTES, MAX_FILES},
};
use landfall_runtime::bounded;
use serde::Deserialize;

use crate::failure::Failure;

/// Folders are followed down to this depth: roots lie up to two levels down,
/// and file manifests may be nested below their project.
const MAX_DEPTH: usize = 10;

/// Largest configuration that is read for its `[[production]]` rules.
const MAX_CONFIG: usize = 1 << 20;

/// All manifests below a folder, in a stable order, or the manifest that holds
/// both halves of a project. Symbolic links are not followed.
pub(crate) fn read(dir: &Path) -> Result<Tree, Failure> {
    if dir.is_file() {
        return read_single(dir);
    }
    let mut found = Vec::new();
    walk(dir, String::new(), 0, &mut found)?;
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "there are no promotion manifests below {}: expected manifests/PROJECT/promoter-manifest.yaml \
             with images/PROJECT/images.yaml, or filestores/PROJECT/filepromoter-manifest.yaml",
            dir.display()
        )));
    }
    found.sort();
    let files = found
        .into_iter()
        .map(|(path, file)| read_file(path, &file))
        .collect::<Result<_, Failure>>()?;
    Ok(Tree { files })
}

/// What of a tree is these projects'; all of it, if there are none.
pub(crate) fn only(mut tree: Tree, projects: &[String]) -> Result<Tree, Failure> {
    if projects.is_empty() {
        return Ok(tree);
    }
    let is_of = |file: &SourceFile, project: &str| layout::project(&file.path) == Some(project);
    for project in projects {
        if !tree.files.iter().any(|file| is_of(file, project)) {
            return Err(Failure::Usage(format!(
                "--project {project}: there are no manifests of it here"
            )));
        }
    }
    tree.files
        .retain(|file| projects.iter().any(|project| is_of(file, project)));
    Ok(tree)
}

fn read_single(file: &Path) -> Result<Tree, Failure> {
    let name = file.file_name().and_then(|name| name.to_str());
    match name.filter(|name| layout::single(name).is_some()) {
        Some(name) => Ok(Tree {
            files: vec![read_file(name.to_owned(), file)?],
        }),
        None => Err(Failure::Usage(format!(
            "{} is neither a folder nor a manifest: expected PROJECT.yaml with registries and images",
            file.display()
        ))),
    }
}

fn read_file(path: String, file: &Path) -> Result<SourceFile, Failure> {
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let bytes = bounded::read_file(file, limit)
        .map_err(|error| Failure::failed(&format!("cannot read {}", file.display()), &error))?;
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        Failure::Failed(format!(
            "{} is not UTF-8: byte {} is not part of a character",
            file.display(),
            error.utf8_error().valid_up_to()
        ))
    })?;
    Ok(SourceFile { path, text })
}

fn walk(
    dir: &Path,
    relative: String,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::failed(&format!("cannot read the folder {}", dir.display()), &error)
    };
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(cannot)?;
        let path = if relative.is_empty() {
            name
        } else {
            format!("{relative}/{name}")
        };
        if kind.is_dir() && depth < MAX_DEPTH {
            walk(&entry.path(), path, depth + 1, found)?;
        } else if kind.is_file() && layout::wanted(&path).is_some() {
            if found.len() >= MAX_FILES {
                return Err(Failure::Failed(format!(
                    "there are more than {MAX_FILES} manifests below this folder; give one root"
                )));
            }
            found.push((path, entry.path()));
        }
    }
    Ok(())
}

/// The `[[production]]` rules of a coordinator's configuration; none without a file.
pub(crate) fn production_rules(config: Option<&Path>) -> Result<Vec<ProductionRule>, Failure> {
    /// Only these keys are looked at: the file may be a coordinator's.
    #[derive(Deserialize)]
    struct Rules {
        #[serde(default)]
        production: Vec<ProductionRule>,
    }
    let Some(path) = config else {
        return Ok(Vec::new());
    };
    let cannot = |error: &dyn std::error::Error| {
        Failure::Usage(format!(
            "cannot use {}: {}",
            path.display(),
            landfall_proto::status::chain(error)
        ))
    };
    let bytes = bounded::read_file(path, MAX_CONFIG).map_err(|error| cannot(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| cannot(&error))?;
    let rules: Rules = toml::from_str(text).map_err(|error| cannot(&error))?;
    Ok(rules.production)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_are_read_in_a_stable_order_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("images/p/images.yaml", "[]"),
            ("manifests/p/promoter-manifest.yaml", "registries: []"),
            ("images/p/OWNERS", "x"),
            (".git/manifests/p/promoter-manifest.yaml", "x"),
        ] {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("filestores")).unwrap();
        let tree = read(dir.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["images/p/images.yaml", "manifests/p/promoter-manifest.yaml"]
        );
    }

    #[test]
    fn a_folder_without_manifests_is_wrong_use() {
        let dir = tempfile::tempdir().unwrap();
        let failure = read(dir.path()).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.message().contains("promoter-manifest.yaml"));
    }
}
