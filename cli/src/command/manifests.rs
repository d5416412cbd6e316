//! Reads a tree of promotion manifests from disk, bounded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landfall_catalog::Catalog;
use landfall_promotion::{
    Finding, MutableNames, Parsed, Plan, PlanOptions, ProductionRule, SourceFile, Tree, Unreadable,
    layout::{self, MAX_FILE_BYTES, MAX_FILES},
    plain, rules,
};
use landfall_runtime::bounded;
use serde::Deserialize;

use crate::{failure::Failure, output};

/// Folders are followed down to this depth: roots lie up to two levels down,
/// and file manifests may be nested below their project.
const MAX_DEPTH: usize = 10;

/// Longest path that a coordinator takes, in bytes.
const MAX_PATH: usize = 1024;

/// Largest configuration that is read for its `[[production]]` rules.
const MAX_CONFIG: usize = 1 << 20;

/// All manifests below a folder, in a stable order, or the manifest that holds
/// both halves of a project. Symbolic links are not followed; what is in the place
/// of a manifest and cannot be read is in the tree as such.
pub(crate) fn read(dir: &Path) -> Result<Tree, Failure> {
    if dir.is_file() {
        return read_single(dir);
    }
    if !dir.is_dir() {
        return Err(Failure::Usage(format!(
            "there is no folder {}",
            dir.display()
        )));
    }
    let mut walk = Walk::default();
    walk.folder(dir, "", 0)?;
    let Walk {
        mut found,
        mut unreadable,
    } = walk;
    if found.is_empty() && unreadable.is_empty() {
        return Err(Failure::Usage(format!(
            "there are no promotion manifests below {}: expected manifests/PROJECT/promoter-manifest.yaml \
             with images/PROJECT/images.yaml, or filestores/PROJECT/filepromoter-manifest.yaml",
            dir.display()
        )));
    }
    found.sort();
    let mut files = Vec::with_capacity(found.len());
    for (path, file) in found {
        match read_file(&path, &file) {
            Ok(text) => files.push(SourceFile { path, text }),
            Err(fault) => unreadable.push(fault),
        }
    }
    unreadable.sort_by(|a, b| a.path.cmp(&b.path));
    unreadable.dedup_by(|a, b| a.path == b.path);
    Ok(Tree { files, unreadable })
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
        Some(name) => match read_file(name, file) {
            Ok(text) => Ok(Tree {
                files: vec![SourceFile {
                    path: name.to_owned(),
                    text,
                }],
                ..Tree::default()
            }),
            Err(fault) => Err(Failure::Failed(format!(
                "{}:{}:{} cannot be read: {}",
                file.display(),
                fault.line,
                fault.column,
                fault.why
            ))),
        },
        None => Err(Failure::Usage(format!(
            "{} is neither a folder nor a manifest: expected PROJECT.yaml with registries and images",
            file.display()
        ))),
    }
}

fn read_file(path: &str, file: &Path) -> Result<String, Unreadable> {
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let bytes = bounded::read_file(file, limit).map_err(|error| {
        if error.is_too_large() {
            unreadable(path, format!("it has more than {MAX_FILE_BYTES} bytes"))
        } else {
            unreadable(path, landfall_proto::status::chain(&error))
        }
    })?;
    String::from_utf8(bytes.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..at]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Unreadable {
            line: count(before.matches('\n').count() + 1),
            column: count(line.chars().count() + 1),
            ..unreadable(path, "it is not UTF-8 text".to_owned())
        }
    })
}

/// A whole file or folder that cannot be read.
fn unreadable(path: &str, why: String) -> Unreadable {
    let path = plain(path).replace('\\', "\u{fffd}");
    Unreadable {
        path: path.chars().take(MAX_PATH / 4).collect(),
        line: 1,
        column: 1,
        why,
    }
}

/// A coordinator takes no other paths.
fn is_plain(path: &str) -> bool {
    path.len() <= MAX_PATH && !path.contains(|c: char| c == '\\' || c.is_control())
}

/// What is below a folder.
#[derive(Default)]
struct Walk {
    found: Vec<(String, PathBuf)>,
    unreadable: Vec<Unreadable>,
}

impl Walk {
    fn folder(&mut self, dir: &Path, relative: &str, depth: usize) -> Result<(), Failure> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if layout::may_hold(relative) => {
                let why = format!("the folder cannot be listed: {error}");
                self.unreadable.push(unreadable(relative, why));
                return Ok(());
            }
            Err(error) => return Err(cannot_list(dir, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| cannot_list(dir, &error))?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with('.') {
                continue;
            }
            let path = if relative.is_empty() {
                text.into_owned()
            } else {
                format!("{relative}/{text}")
            };
            let kind = entry
                .file_type()
                .map_err(|error| cannot_list(dir, &error))?;
            let is_odd = name.to_str().is_none() || !is_plain(&path);
            let fault = if kind.is_dir() && !is_odd && depth < MAX_DEPTH {
                self.folder(&entry.path(), &path, depth + 1)?;
                continue;
            } else if kind.is_file() && !is_odd {
                if layout::wanted(&path).is_some() {
                    self.file(path, entry.path())?;
                }
                continue;
            } else if kind.is_symlink() {
                "it is a symbolic link, which is not followed"
            } else if is_odd {
                "its path has characters that no manifest's has, or is too long"
            } else if kind.is_dir() {
                "it is too many folders deep"
            } else {
                "it is no regular file"
            };
            if concerns(&path, &entry.path(), kind.is_file()) {
                self.unreadable.push(unreadable(&path, fault.to_owned()));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, file: PathBuf) -> Result<(), Failure> {
        if self.found.len() >= MAX_FILES {
            return Err(Failure::Failed(format!(
                "there are more than {MAX_FILES} manifests below this folder; give one root"
            )));
        }
        self.found.push((path, file));
        Ok(())
    }
}

/// Whether manifests would be read here, were it a file or folder of its own.
fn concerns(path: &str, place: &Path, is_file: bool) -> bool {
    if layout::wanted(path).is_some() {
        return true;
    }
    if is_file || !fs::metadata(place).is_ok_and(|target| target.is_dir()) {
        return false;
    }
    let is_root = || {
        let mut folders = ["manifests", "images", "filestores"].iter();
        let shallow = path.split('/').count() <= 2;
        shallow && folders.any(|folder| place.join(folder).is_dir())
    };
    layout::may_hold(path) || is_root()
}

fn cannot_list(dir: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(&format!("cannot read the folder {}", dir.display()), error)
}

/// A finding as it is shown: its place can be opened from the working folder.
pub(crate) fn shown(dir: &Path, finding: &Finding) -> Finding {
    let mut shown = finding.clone();
    let folder = if dir.is_file() {
        dir.parent()
    } else {
        Some(dir)
    };
    // That one has the path of the file that holds it.
    let elsewhere = finding.rule == rules::STALE_ACKNOWLEDGEMENT.id;
    if let Some(folder) = folder.filter(|folder| !elsewhere && *folder != Path::new(".")) {
        shown.file = folder.join(&finding.file).display().to_string();
    }
    shown
}

/// What of a coordinator's configuration decides how manifests are read; the rest
/// of it is not looked at.
#[derive(Default, Deserialize)]
pub(crate) struct Rules {
    /// None: destinations are taken as they are.
    #[serde(default)]
    pub(crate) production: Vec<ProductionRule>,
    #[serde(default)]
    pub(crate) mutable: MutableNames,
}

impl Rules {
    /// What the manifests ask for, against an empty catalog.
    pub(crate) fn plan(&self, parsed: &Parsed, options: PlanOptions) -> Plan {
        let options = PlanOptions {
            mutable: self.mutable.clone(),
            ..options
        };
        landfall_promotion::plan(parsed, &self.production, &Catalog::default(), &options)
    }
}

/// The rules of a coordinator's configuration; the usual ones without a file.
pub(crate) fn rules(config: Option<&Path>) -> Result<Rules, Failure> {
    let Some(path) = config else {
        return Ok(Rules::default());
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
    if rules.production.is_empty() {
        output::note(format!(
            "note: {} has no [[production]] rules: destinations are taken as they are",
            path.display()
        ));
    }
    Ok(rules)
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
        std::os::unix::fs::symlink("/etc", dir.path().join("docs")).unwrap();
        let tree = read(dir.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["images/p/images.yaml", "manifests/p/promoter-manifest.yaml"]
        );
    }

    #[test]
    fn what_is_in_the_place_of_a_manifest_and_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, bytes: &[u8]| {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        };
        let link = |path: &str, to: &str| {
            std::os::unix::fs::symlink(to, dir.path().join(path)).unwrap();
        };
        file("images/p/images.yaml", "- name: a\n  é \u{fffd}".as_bytes());
        file("images/q/images.yaml", b"- name: a\n  \xc3\xa9 \xff");
        file("manifests/q/README.md", b"x");
        file("manifests/e\u{1b}vil/x.yaml", b"");
        file(&format!("manifests/q/{}x.yaml", "d/".repeat(12)), b"");
        link("manifests/q/v1.yaml", "README.md");
        link("manifests/q/gone.yaml", "nowhere");
        link("manifests/q/OWNERS", "README.md");
        link("filestores", "/etc");
        link("docs", "/etc");
        let tree = read(dir.path()).unwrap();
        assert_eq!(tree.files.len(), 1);
        let mut told: Vec<_> = tree
            .unreadable
            .iter()
            .map(|item| (item.path.as_str(), item.line, item.column))
            .collect();
        told.sort_unstable();
        let deep = format!("manifests/q/{}d", "d/".repeat(8));
        let mut expected = vec![
            ("filestores", 1, 1),
            ("images/q/images.yaml", 2, 5),
            (deep.as_str(), 1, 1),
            ("manifests/e\u{fffd}vil", 1, 1),
            ("manifests/q/gone.yaml", 1, 1),
            ("manifests/q/v1.yaml", 1, 1),
        ];
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_folder_that_is_not_there_is_wrong_use() {
        let dir = tempfile::tempdir().unwrap();
        let failure = read(&dir.path().join("nothing")).unwrap_err();
        assert_eq!(failure.code(), 2);
    }

    #[test]
    fn a_folder_without_manifests_is_wrong_use() {
        let dir = tempfile::tempdir().unwrap();
        let failure = read(dir.path()).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.message().contains("promoter-manifest.yaml"));
    }
}
