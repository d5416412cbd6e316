//! Trees from literals and from directories.

use std::fs;
use std::path::Path;

use landfall_promotion::{Finding, SourceFile, Tree, layout};

/// A tree of the given files.
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    Tree {
        files: files
            .iter()
            .map(|(path, text)| SourceFile {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect(),
    }
}

/// The manifests below a directory, read as a shell would.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            if layout::wanted(relative).is_some() {
                tree.files.push(SourceFile {
                    path: relative.to_owned(),
                    text: fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    tree
}

/// Findings as a person sees them.
pub(crate) fn drawn(findings: &[Finding]) -> String {
    let drawn: Vec<String> = findings
        .iter()
        .map(|finding| {
            let left_out = if finding.quarantines {
                " (left out)"
            } else {
                ""
            };
            format!("{finding}{left_out}")
        })
        .collect();
    drawn.join("\n\n")
}
