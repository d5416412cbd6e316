//! `promoter-manifest.yaml` and `images.yaml`, or both in one file.

use std::collections::HashMap;

use landfall_catalog::{Digest, Repository, Tag};

use super::half::{
    Fields, Half, HalfFormat, Reported, Unknown, document, half_of, read_half, wrong_shape,
};
use super::yaml::{Node, Value};
use crate::canonical::Canonical;
use crate::finding::{Reporter, Source, Spot};
use crate::mutable::is_referrers_tag;
use crate::parse::Figures;
use crate::plain::{few, quoted};
use crate::project::ImageEntry;
use crate::rules::{self, Rule};

const FORMAT: HalfFormat = HalfFormat {
    list: "registries",
    location: "name",
    deprecated: Some("imagesPath"),
    noun: "a registry",
    empty: &rules::NO_REGISTRIES,
    check: check_registry,
};

/// Reads `promoter-manifest.yaml`.
pub(crate) fn read_registries(source: &Source<'_>, reporter: &mut Reporter) -> Option<Half> {
    read_half(&FORMAT, source, reporter)
}

/// A registry is `host[:port][/path]`; the path must do as the beginning of a
/// repository's name.
fn check_registry(text: &str) -> Result<(), (&'static Rule, String)> {
    let fault = |why: &str| {
        let message = format!("{} is no registry: {why}", quoted(text));
        Err((&rules::BAD_REGISTRY, message))
    };
    if text.contains("://") {
        return fault("it has a scheme");
    }
    if text.ends_with('/') {
        return fault("it ends with a slash");
    }
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if name.is_empty() || !name.chars().all(is_host) {
        return fault("it does not begin with a host");
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return fault("its port is no number");
    }
    if path.is_some_and(|path| !Repository::is_valid(path)) {
        return fault("its path is no repository name");
    }
    Ok(())
}

/// What `images.yaml` gives: sound rows, and how many were not.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) rows: Vec<ImageEntry>,
    /// Tags, and digests without one, sound or not.
    pub(crate) listed: u64,
    pub(crate) quarantined: u64,
}

/// Reads `images.yaml`.
pub(crate) fn read_images(
    source: &Source<'_>,
    reporter: &mut Reporter,
    figures: &mut Figures,
) -> Images {
    let mut images = Images::default();
    let Some(node) = document(source, reporter) else {
        images.quarantined += 1;
        return images;
    };
    let items = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        Value::Null => &[],
        Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => {
            wrong_shape(source, reporter, &node, "images.yaml", "a list of images");
            images.quarantined += 1;
            return images;
        }
    };
    if items.is_empty() {
        let message = "no images are listed".to_owned();
        reporter.report(source, node.spot, &rules::EMPTY_IMAGES, message, &[]);
    }
    read_items(items, source, reporter, figures, &mut images);
    images
}

fn read_items(
    items: &[Node<'_>],
    source: &Source<'_>,
    reporter: &mut Reporter,
    figures: &mut Figures,
    images: &mut Images,
) {
    for item in items {
        figures.image_entries += 1;
        read_image(item, source, reporter, figures, images);
    }
}

/// Reads a manifest that holds both halves: `registries` and `images`.
pub(crate) fn read_single(
    source: &Source<'_>,
    reporter: &mut Reporter,
    figures: &mut Figures,
) -> (Option<Half>, Images) {
    let mut images = Images::default();
    let Some(node) = document(source, reporter) else {
        images.quarantined += 1;
        return (None, images);
    };
    let pairs = match &node.value {
        Value::Mapping(pairs) => pairs.as_slice(),
        Value::Null => &[],
        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias => {
            let expected = "a mapping with `registries` and `images`";
            wrong_shape(source, reporter, &node, "the manifest", expected);
            images.quarantined += 1;
            return (None, images);
        }
    };
    let known = ["registries", "imagesPath", "images"];
    let context = "a manifest of one file";
    let fields = reporter.about(
        || node.identity(source.text),
        |reporter| Fields::of(pairs, known, Unknown::Reported, context, source, reporter),
    );
    let half = reporter.about(
        || fields.get(0).unwrap_or(&node).identity(source.text),
        |reporter| half_of(&FORMAT, &node, &fields, source, reporter),
    );
    match fields.get(2).map(|list| (list, &list.value)) {
        Some((_, Value::Sequence(items))) if !items.is_empty() => {
            read_items(items, source, reporter, figures, &mut images);
        }
        None | Some((_, Value::Sequence(_) | Value::Null)) => {
            let message = "no images are listed".to_owned();
            reporter.report(source, node.spot, &rules::EMPTY_IMAGES, message, &[]);
        }
        Some((list, Value::Scalar { .. } | Value::Mapping(_) | Value::Alias)) => {
            wrong_shape(source, reporter, list, "`images`", "a list of images");
            images.quarantined += 1;
        }
    }
    (half.filter(|_| !fields.spoiled), images)
}

fn read_image(
    item: &Node<'_>,
    source: &Source<'_>,
    reporter: &mut Reporter,
    figures: &mut Figures,
    images: &mut Images,
) {
    let whole = |reporter: &mut Reporter| read_entry(item, source, reporter);
    let Some(entry) = reporter.about(|| item.identity(source.text), whole) else {
        images.quarantined += 1;
        return;
    };
    let name = entry.name.as_ref().map_or("", Repository::as_str);
    let rows: Vec<Row> = entry
        .rows
        .iter()
        .map(|(key, value)| read_row(name, key, value, source, reporter))
        .collect();
    images.listed += rows.iter().map(|row| row.tag_count.max(1)).sum::<u64>();
    figures.digest_rows += rows.len() as u64;
    figures.tags += rows.iter().map(|row| row.tag_count).sum::<u64>();
    let Some(name) = entry.name else {
        images.quarantined += rows.len().max(1) as u64;
        return;
    };
    let mut firsts = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some((digest, tags)) = row.content else {
            images.quarantined += 1;
            continue;
        };
        let first = *firsts.entry(digest).or_insert(row.spot);
        if first != row.spot {
            let message = format!(
                "{digest} is listed twice for {}, first in line {}{}",
                quoted(name.as_str()),
                first.line,
                left_out(tags.iter().map(Tag::as_str)),
            );
            let digest = digest.to_string();
            let mut about = vec![name.as_str(), &digest];
            about.extend(tags.iter().map(Tag::as_str));
            reporter.report(source, row.spot, &rules::DUPLICATE_KEY, message, &about);
            images.quarantined += 1;
            continue;
        }
        images.quarantined += row.bad_tags;
        // Without a tag the row would ask for the bare digest, which it does not.
        if tags.is_empty() && row.bad_tags > 0 {
            continue;
        }
        images.rows.push(ImageEntry {
            name: name.clone(),
            digest,
            tags,
            at: source.position(row.spot),
        });
    }
}

/// An image's name, if everything beside its rows is sound, and its rows.
struct Entry<'n, 'a> {
    name: Option<Repository>,
    rows: &'n [(Node<'a>, Node<'a>)],
}

fn read_entry<'n, 'a>(
    item: &'n Node<'a>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Entry<'n, 'a>> {
    let Value::Mapping(pairs) = &item.value else {
        let expected = "a mapping with `name` and `dmap`";
        wrong_shape(source, reporter, item, "an image", expected);
        return None;
    };
    let known = ["name", "dmap"];
    let fields = Fields::of(pairs, known, Unknown::Spoils, "an image", source, reporter);
    let name = read_name(&fields, item.spot, source, reporter);
    let rows = read_dmap(&fields, item.spot, source, reporter).ok()?;
    Some(Entry {
        name: name.filter(|_| !fields.spoiled),
        rows,
    })
}

fn read_name(
    fields: &Fields<'_, '_, 2>,
    item: Spot,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Repository> {
    let text = fields.text(0, "`name`", source, reporter).ok()?;
    let Some((text, spot)) = text.filter(|(text, _)| !text.is_empty()) else {
        let message = "the image has no name".to_owned();
        reporter.report(source, item, &rules::EMPTY_NAME, message, &[]);
        return None;
    };
    match text.parse::<Repository>() {
        Ok(name) => Some(name),
        Err(error) => {
            let message = error.to_string();
            reporter.report(source, spot, &rules::BAD_IMAGE_NAME, message, &[text]);
            None
        }
    }
}

/// The rows of an image.
fn read_dmap<'n, 'a>(
    fields: &Fields<'n, 'a, 2>,
    item: Spot,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Result<&'n [(Node<'a>, Node<'a>)], Reported> {
    match fields.get(1).map(|node| (node, &node.value)) {
        Some((_, Value::Mapping(pairs))) if !pairs.is_empty() => Ok(pairs),
        None | Some((_, Value::Mapping(_) | Value::Null)) => {
            let spot = fields.get(1).map_or(item, |node| node.spot);
            let name = fields.get(0).map(|node| &node.value);
            let name = match name {
                Some(Value::Scalar { text, .. }) => text.as_ref(),
                _ => "",
            };
            let message = format!("image {} lists no digests", quoted(name));
            reporter.report(source, spot, &rules::EMPTY_DMAP, message, &[name]);
            Ok(&[])
        }
        Some((node, Value::Scalar { .. } | Value::Sequence(_) | Value::Alias)) => {
            let expected = "a mapping of digests to tags";
            wrong_shape(source, reporter, node, "`dmap`", expected);
            Err(Reported)
        }
    }
}

/// One `digest: [tags]`, also if it is not sound.
struct Row {
    spot: Spot,
    tag_count: u64,
    /// Tags that are left out although the row is not.
    bad_tags: u64,
    content: Option<(Digest, Vec<Tag>)>,
}

/// Reads a row of the image `name`. What is wrong with its digest leaves out all
/// of it, what is wrong with a tag that tag alone.
fn read_row(
    name: &str,
    key: &Node<'_>,
    value: &Node<'_>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Row {
    let items = match &value.value {
        Value::Sequence(items) => items.as_slice(),
        Value::Null | Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => &[],
    };
    let row = || {
        let mut row = Canonical::new("landfall row 1");
        row.text(name);
        row.digest(&key.identity(source.text));
        row.digest(&value.identity(source.text));
        row.finish()
    };
    let (digest, is_list) = reporter.about(row, |reporter| {
        let digest = read_digest(key, items, source, reporter);
        let is_list = matches!(value.value, Value::Sequence(_) | Value::Null);
        if !is_list {
            let what = "the value of a digest";
            wrong_shape(source, reporter, value, what, "a list of tags");
        }
        (digest, is_list)
    });
    let mut tags = Vec::with_capacity(items.len());
    for item in items {
        let tag = || {
            let mut tag = Canonical::new("landfall tag 1");
            tag.text(name);
            tag.digest(&key.identity(source.text));
            tag.digest(&item.identity(source.text));
            tag.finish()
        };
        tags.extend(reporter.about(tag, |reporter| read_tag(name, item, source, reporter)));
    }
    Row {
        spot: key.spot,
        tag_count: items.len() as u64,
        bad_tags: (items.len() - tags.len()) as u64,
        content: digest.filter(|_| is_list).map(|digest| (digest, tags)),
    }
}

fn read_digest(
    key: &Node<'_>,
    tags: &[Node<'_>],
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Digest> {
    let Value::Scalar { text, .. } = &key.value else {
        wrong_shape(source, reporter, key, "a key of `dmap`", "a digest");
        return None;
    };
    let Ok(digest) = text.parse() else {
        let tags: Vec<&str> = tags.iter().map(text_of).collect();
        let why = why_no_digest(text);
        let left_out = left_out(tags.into_iter());
        let message = format!("{} {why}{left_out}", quoted(text));
        reporter.report(source, key.spot, &rules::MALFORMED_DIGEST, message, &[text]);
        return None;
    };
    Some(digest)
}

/// The end of a message about a row that is left out with these tags.
fn left_out<'a>(tags: impl ExactSizeIterator<Item = &'a str>) -> String {
    match tags.len() {
        0 => String::new(),
        1 => format!("; its tag {} is left out", few(tags)),
        _ => format!("; its tags {} are left out", few(tags)),
    }
}

fn text_of<'n>(node: &'n Node<'_>) -> &'n str {
    match &node.value {
        Value::Scalar { text, .. } => text,
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Alias => "",
    }
}

fn read_tag(
    name: &str,
    item: &Node<'_>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Tag> {
    if let Value::Sequence(_) | Value::Mapping(_) | Value::Alias = item.value {
        wrong_shape(source, reporter, item, "a tag", "text");
        return None;
    }
    let text = text_of(item);
    match text.parse::<Tag>() {
        Ok(tag) => {
            if is_referrers_tag(text) {
                let tag = quoted(&format!("{name}:{text}"));
                let message = format!("{tag} is a registry's list of referrers, which changes");
                let rule = &rules::REFERRERS_TAG;
                reporter.report(source, item.spot, rule, message, &[text]);
            }
            Some(tag)
        }
        Err(error) => {
            let message = format!("{error}; this tag alone is left out");
            reporter.report(source, item.spot, &rules::BAD_TAG, message, &[text]);
            None
        }
    }
}

fn why_no_digest(text: &str) -> String {
    text.strip_prefix("sha256:")
        .map_or_else(|| "does not begin with sha256:".to_owned(), why_no_hex)
}

/// What keeps a text from being the 64 lower-case hexadecimal digits of a SHA-256.
pub(super) fn why_no_hex(hex: &str) -> String {
    if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && hex.len() != 64 {
        return format!("has {} hexadecimal digits, not 64", hex.len());
    }
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "has upper-case digits".to_owned();
    }
    if hex.starts_with("sha256:") {
        return "begins with sha256:, which stands for image digests only".to_owned();
    }
    "has other characters than hexadecimal digits".to_owned()
}
