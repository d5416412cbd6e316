//! What a change touches, as git tells it: for `validate --base REV`.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use landfall_promotion::{Change, layout::MAX_FILE_BYTES, manifests_in};
use landfall_runtime::bounded;

use crate::failure::Failure;

/// Longest list of changed paths that is read.
const MAX_LIST: u64 = 64 << 20;

/// The manifests below `dir` that differ between the commit at which this
/// checkout left `base` and the files as they are now, also those that are not
/// committed yet. What others changed on `base` since then is not of this change.
pub(crate) fn since(dir: &Path, base: &str) -> Result<Vec<Change>, Failure> {
    let git = Git { dir };
    let commit = format!("{base}^{{commit}}");
    let arguments = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &commit,
    ];
    let base = git.line(&arguments, MAX_LIST).map_err(|_| {
        Failure::Usage(format!(
            "--base: {base} is no commit of the git checkout at {}; is its history there?",
            dir.display()
        ))
    })?;
    // Without a common ancestor (a shallow clone) it is compared as it is.
    let fork = git
        .line(&["merge-base", &base, "HEAD"], MAX_LIST)
        .unwrap_or(base);
    let mut paths = git.differing(&fork, &["--exclude-standard"])?;
    paths.sort();
    paths.dedup();
    let changes = paths.into_iter().map(|path| {
        let before = git.run(
            &["cat-file", "blob", &format!("{fork}:./{path}")],
            MAX_FILE_BYTES + 1,
        );
        let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
        let after = bounded::read_file(&dir.join(&path), limit);
        let after = match after {
            Ok(bytes) => Some(text(bytes.into())),
            // Not read, but there: it counts as something.
            Err(error) if error.is_too_large() => Some("too large".to_owned()),
            Err(_) => None,
        };
        Change {
            before: before.ok().map(text),
            after,
            path,
        }
    });
    // Touched, but the same: nothing was changed.
    Ok(changes
        .filter(|change| change.before != change.after)
        .collect())
}

/// Text that is only compared and read as YAML.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The folder's path in its git checkout, ending in a slash unless it is the top;
/// none outside of one.
pub(crate) fn path_in_checkout(dir: &Path) -> Option<String> {
    let git = Git { dir };
    git.line(&["rev-parse", "--show-prefix"], MAX_LIST).ok()
}

/// Whether manifests below `dir` are not as in the commit that is checked out,
/// also such that git is told to ignore.
pub(crate) fn is_dirty(dir: &Path) -> bool {
    let git = Git { dir };
    git.differing("HEAD", &[])
        .is_ok_and(|paths| !paths.is_empty())
}

struct Git<'a> {
    dir: &'a Path,
}

impl Git<'_> {
    /// The manifests that are not as in a commit; `exclude` is which of those that
    /// git does not know are left out.
    fn differing(&self, commit: &str, exclude: &[&str]) -> Result<Vec<String>, Failure> {
        let differing = [
            "diff",
            "--name-only",
            "--no-renames",
            "--relative",
            "-z",
            commit,
            "--",
            ".",
        ];
        let mut untracked = vec!["ls-files", "--others"];
        untracked.extend(exclude);
        untracked.extend(["-z", "--", "."]);
        let mut paths = Vec::new();
        for arguments in [&differing[..], &untracked] {
            paths.extend(manifests_in(&self.run(arguments, MAX_LIST)?));
        }
        Ok(paths)
    }

    fn line(&self, arguments: &[&str], limit: u64) -> Result<String, Failure> {
        let output = self.run(arguments, limit)?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// What git prints, up to a limit.
    fn run(&self, arguments: &[&str], limit: u64) -> Result<Vec<u8>, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::failed(&format!("cannot run git {arguments:?}"), &error)
        };
        let mut child = Command::new("git")
            .arg("-C")
            .arg(self.dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout
                .take(limit)
                .read_to_end(&mut output)
                .map_err(cannot)?;
        }
        let status = child.wait().map_err(cannot)?;
        if status.success() {
            Ok(output)
        } else {
            let what = arguments.first().copied().unwrap_or_default();
            Err(Failure::Failed(format!(
                "git {what} failed in {}: {status}",
                self.dir.display()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn git(dir: &Path, arguments: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let status = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(identity)
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    }

    fn write(dir: &Path, path: &str, text: &str) {
        let file = dir.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn a_change_is_what_this_side_did_since_it_left_the_base() {
        let checkout = tempfile::tempdir().unwrap();
        let top = checkout.path();
        git(top, &["init", "-q", "-b", "main"]);
        write(top, "r/images/p/images.yaml", "[]\n");
        write(top, "r/images/q/images.yaml", "[]\n");
        write(top, "other/images/p/images.yaml", "[]\n");
        git(top, &["add", "."]);
        git(top, &["commit", "-q", "-m", "base"]);
        git(top, &["checkout", "-q", "-b", "mine"]);
        write(top, "r/images/p/images.yaml", "- name: a\n");
        write(top, "other/images/p/images.yaml", "- name: a\n");
        git(top, &["commit", "-q", "-a", "-m", "mine"]);
        git(top, &["checkout", "-q", "main"]);
        write(top, "r/images/q/images.yaml", "- name: theirs\n");
        git(top, &["commit", "-q", "-a", "-m", "theirs"]);
        git(top, &["checkout", "-q", "mine"]);
        write(
            top,
            "r/manifests/n/promoter-manifest.yaml",
            "registries: []\n",
        );
        write(top, "r/README.md", "x");

        let changes = since(&top.join("r"), "main").unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            ["images/p/images.yaml", "manifests/n/promoter-manifest.yaml"]
        );
        assert_eq!(changes[0].before.as_deref(), Some("[]\n"));
        assert_eq!(changes[0].after.as_deref(), Some("- name: a\n"));
        assert_eq!(changes[1].before, None);
        assert!(is_dirty(&top.join("r")), "a new one");
        assert!(!is_dirty(&top.join("other")), "a README elsewhere");
        write(top, ".gitignore", "*.yaml\n");
        assert!(
            is_dirty(&top.join("r")),
            "an ignored one is read all the same"
        );
        assert_eq!(path_in_checkout(&top.join("r")).as_deref(), Some("r/"));

        for unknown in ["nothing", "--help", ""] {
            assert_eq!(since(top, unknown).unwrap_err().code(), 2, "{unknown}");
        }
    }
}
