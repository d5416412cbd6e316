//! `filepromoter-manifest.yaml` and the lists of files.

use landfall_catalog::{Digest, FilePath, NameError};

use super::half::{Fields, Half, HalfFormat, Unknown, document, read_half, wrong_shape};
use super::images::why_no_hex;
use super::yaml::{Node, Value};
use crate::canonical::Canonical;
use crate::finding::{Reporter, Source, Spot};
use crate::parse::Figures;
use crate::plain::quoted;
use crate::project::FileEntry;
use crate::rules::{self, Rule};

const FORMAT: HalfFormat = HalfFormat {
    list: "filestores",
    location: "base",
    deprecated: None,
    noun: "a file store",
    empty: &rules::NO_FILESTORES,
    check: check_filestore,
};

/// Reads `filepromoter-manifest.yaml`.
pub(crate) fn read_filestores(source: &Source<'_>, reporter: &mut Reporter) -> Option<Half> {
    read_half(&FORMAT, source, reporter)
}

/// A file store is `gs://bucket[/prefix][/]` or the same with `s3://`.
fn check_filestore(text: &str) -> Result<(), (&'static Rule, String)> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let message = format!("{} is no file store: it has no scheme", quoted(text));
        return Err((&rules::UNSUPPORTED_SCHEME, message));
    };
    if !matches!(scheme, "gs" | "s3") {
        let message = format!("{} has the scheme {}", quoted(text), quoted(scheme));
        return Err((&rules::UNSUPPORTED_SCHEME, message));
    }
    let trimmed = rest.strip_suffix('/').unwrap_or(rest);
    if is_clean_path(trimmed) {
        Ok(())
    } else {
        let message = format!("{} is no bucket with a prefix", quoted(text));
        Err((&rules::BAD_FILESTORE, message))
    }
}

/// Whether a path is well-formed wherever it is put: reserved names, which only
/// count at the beginning of a public path, are not looked at.
fn is_clean_path(path: &str) -> bool {
    path_fault(path).is_none()
}

fn path_fault(path: &str) -> Option<String> {
    // Below a folder nothing is reserved, and every other refusal remains.
    let below = format!("-/{path}");
    let error = FilePath::try_new(below).err()?;
    let NameError::Path { why, .. } = error else {
        return Some(error.to_string());
    };
    let why = if path.starts_with('/') {
        "absolute"
    } else {
        why
    };
    Some(format!("{} is no relative path: {why}", quoted(path)))
}

/// What a list of files gives: sound entries, and how many were not.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) entries: Vec<FileEntry>,
    /// Entries, sound or not.
    pub(crate) listed: u64,
    pub(crate) quarantined: u64,
}

/// Reads one list of files and adds to `files`.
pub(crate) fn read_files(
    source: &Source<'_>,
    reporter: &mut Reporter,
    figures: &mut Figures,
    files: &mut Files,
) {
    let Some(node) = document(source, reporter) else {
        files.quarantined += 1;
        return;
    };
    let identity = || {
        let content = node.identity(source.text);
        let mut whole = Canonical::new("landfall list 1");
        whole.text(source.path_below_root());
        whole.digest(&content);
        whole.finish()
    };
    let items = reporter.about(identity, |reporter| list(&node, source, reporter));
    let Some(items) = items else {
        files.quarantined += 1;
        return;
    };
    for item in items {
        figures.file_entries += 1;
        files.listed += 1;
        let read = |reporter: &mut Reporter| read_file(item, source, reporter);
        match reporter.about(|| item.identity(source.text), read) {
            Some(entry) => files.entries.push(entry),
            None => files.quarantined += 1,
        }
    }
}

/// The entries of a list, or none if it can't be known which they are.
fn list<'n, 'a>(
    node: &'n Node<'a>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<&'n [Node<'a>]> {
    let pairs = match &node.value {
        Value::Mapping(pairs) => pairs.as_slice(),
        Value::Null => &[],
        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias => {
            let expected = "a mapping with `files`";
            wrong_shape(source, reporter, node, "the manifest", expected);
            return None;
        }
    };
    let known = ["files"];
    let fields = Fields::of(
        pairs,
        known,
        Unknown::Reported,
        "the manifest",
        source,
        reporter,
    );
    if fields.spoiled {
        return None;
    }
    let items = match fields.get(0).map(|node| (node, &node.value)) {
        Some((_, Value::Sequence(items))) => items.as_slice(),
        None | Some((_, Value::Null)) => &[],
        Some((list, Value::Scalar { .. } | Value::Mapping(_) | Value::Alias)) => {
            wrong_shape(source, reporter, list, "`files`", "a list");
            return None;
        }
    };
    if items.is_empty() {
        let message = "no files are listed".to_owned();
        reporter.report(
            source,
            node.spot,
            &rules::EMPTY_FILES,
            message,
            &[source.path_below_root()],
        );
    }
    Some(items)
}

fn read_file(item: &Node<'_>, source: &Source<'_>, reporter: &mut Reporter) -> Option<FileEntry> {
    let Value::Mapping(pairs) = &item.value else {
        let expected = "a mapping with `name` and `sha256`";
        wrong_shape(source, reporter, item, "a file", expected);
        return None;
    };
    let known = ["name", "sha256"];
    let fields = Fields::of(pairs, known, Unknown::Spoils, "a file", source, reporter);
    let name = read_name(&fields, item.spot, source, reporter);
    let shown = name.unwrap_or_default();
    let digest = read_sha256(&fields, item.spot, shown, source, reporter);
    let (name, digest) = name.zip(digest)?;
    (!fields.spoiled).then(|| FileEntry {
        name: name.into(),
        digest,
        at: source.position(item.spot),
    })
}

fn read_name<'n>(
    fields: &Fields<'n, '_, 2>,
    item: Spot,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<&'n str> {
    let text = fields.text(0, "`name`", source, reporter).ok()?;
    let Some((text, spot)) = text.filter(|(text, _)| !text.is_empty()) else {
        let message = "the file has no name".to_owned();
        reporter.report(source, item, &rules::EMPTY_NAME, message, &[]);
        return None;
    };
    if let Some(message) = path_fault(text) {
        reporter.report(source, spot, &rules::BAD_PATH, message, &[text]);
        return None;
    }
    Some(text)
}

fn read_sha256(
    fields: &Fields<'_, '_, 2>,
    item: Spot,
    name: &str,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Digest> {
    let text = fields.text(1, "`sha256`", source, reporter).ok()?;
    let Some((text, spot)) = text.filter(|(text, _)| !text.is_empty()) else {
        let message = format!("file {} has no sha256", quoted(name));
        reporter.report(source, item, &rules::MISSING_SHA256, message, &[name]);
        return None;
    };
    // Either case, as in Go's hex package, which reads them today.
    let Ok(digest) = Digest::from_hex(&text.to_ascii_lowercase()) else {
        let message = format!("the sha256 {} {}", quoted(text), why_no_hex(text));
        let about = [name, text];
        reporter.report(source, spot, &rules::MALFORMED_SHA256, message, &about);
        return None;
    };
    Some(digest)
}
