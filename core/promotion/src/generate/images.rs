//! Lists of images.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Digest, Repository, Tag};

use super::edit::{Edit, document, misread, quoted, scalar, style, wrong};
use super::{MergeError, Merged};
use crate::finding::{Reporter, Source, Spot};
use crate::manifest::images::read_images;
use crate::manifest::yaml::{Node, Value};
use crate::parse::Figures;

/// A digest of an image, and one of the tags that it is to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRow {
    /// Name of the image below the registries of its project.
    pub name: Repository,
    /// What is promoted.
    pub digest: Digest,
    /// Its tag.
    pub tag: Tag,
}

/// Tags by image and digest.
type Rows = BTreeMap<(Repository, Digest), BTreeSet<Tag>>;

/// Puts tags into an `images.yaml`; `existing` is empty for a new one.
///
/// # Errors
/// [`MergeError`]; then nothing of it was done.
pub fn merge_images(existing: &str, rows: &[ImageRow]) -> Result<Merged, MergeError> {
    let before = listed(existing);
    let wanted: BTreeSet<&ImageRow> = rows.iter().collect();
    let mut digests: BTreeMap<(&Repository, &Tag), Digest> = BTreeMap::new();
    for ((name, digest), tags) in &before {
        digests.extend(tags.iter().map(|tag| ((name, tag), *digest)));
    }
    let mut conflicts = Vec::new();
    let mut new: Rows = BTreeMap::new();
    let mut present = 0;
    for row in &wanted {
        match digests.insert((&row.name, &row.tag), row.digest) {
            Some(digest) if digest != row.digest => {
                let (name, tag) = (&row.name, &row.tag);
                conflicts.push(format!(
                    "`{name}:{tag}` is {digest}, and is {} now",
                    row.digest
                ));
            }
            Some(_) => present += 1,
            None => {
                let tags = new.entry((row.name.clone(), row.digest)).or_default();
                tags.insert(row.tag.clone());
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(MergeError::Conflicts(conflicts));
    }
    let text = insert(existing, &new)?;
    let mut expected = before;
    for (key, tags) in new {
        expected.entry(key).or_default().extend(tags);
    }
    if listed(&text) != expected {
        return Err(misread(existing, &text));
    }
    Ok(Merged {
        text,
        added: wanted.len() - present,
        present,
    })
}

/// The names of the images that an `images.yaml` lists, each once.
#[must_use]
pub fn image_names(existing: &str) -> Vec<Repository> {
    let names: BTreeSet<Repository> = listed(existing).into_keys().map(|(name, _)| name).collect();
    names.into_iter().collect()
}

/// The sound rows of a list.
fn listed(text: &str) -> Rows {
    let source = Source::new("", text, String::new());
    let images = read_images(&source, &mut Reporter::default(), &mut Figures::default());
    let mut rows = Rows::new();
    for row in images.rows {
        rows.entry((row.name, row.digest))
            .or_default()
            .extend(row.tags);
    }
    rows
}

/// An image of the list and the lines that it takes.
struct Item<'n, 'a> {
    name: &'n str,
    spot: Spot,
    /// Its rows, if they are written one a line.
    rows: Option<&'n [(Node<'a>, Node<'a>)]>,
    last_line: u32,
}

fn insert(existing: &str, new: &Rows) -> Result<String, MergeError> {
    let node = document(existing)?;
    let mut edit = Edit::new(existing);
    let nodes = match &node.value {
        Value::Null => &[],
        Value::Sequence(nodes) => nodes.as_slice(),
        Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => {
            return Err(wrong(&node, "a list of images"));
        }
    };
    if new.is_empty() {
        return Ok(edit.finish());
    }
    let indent = match nodes.first() {
        Some(first) => edit.dash(first.spot).ok_or(style(first.spot))?,
        None => "",
    };
    let items = items(&edit, nodes);
    // What no item of the list can take becomes an item of its own.
    let mut fresh: BTreeMap<&Repository, Vec<String>> = BTreeMap::new();
    for ((name, digest), tags) in new {
        let same = || items.iter().filter(|item| item.name == name.as_str());
        let text = digest.to_string();
        let row = same().find_map(|item| {
            let row = item.rows?.iter().position(|(key, _)| is(key, &text))?;
            Some((item, row))
        });
        if let Some((item, row)) = row {
            add_tags(&mut edit, item, row, tags)?;
            continue;
        }
        match same().rfind(|item| item.rows.is_some()) {
            Some(item) => add_row(&mut edit, item, &text, tags)?,
            None => fresh.entry(name).or_default().push(row_text(&text, tags)),
        }
    }
    for (name, rows) in fresh {
        let mut lines = vec![
            format!("{indent}- name: {}", name_text(name)),
            format!("{indent}  dmap:"),
        ];
        lines.extend(rows.iter().map(|row| format!("{indent}    {row}")));
        match (
            items.iter().rposition(|item| item.name <= name.as_str()),
            items.first(),
        ) {
            (Some(index), _) => edit.insert_lines_after(items[index].last_line, &lines),
            (None, Some(first)) => edit.insert_lines_before(first.spot.line, &lines),
            (None, None) => edit.insert_at_end(&lines),
        }
    }
    if nodes.is_empty() && matches!(node.value, Value::Sequence(_)) {
        edit.remove_empty_list(node.spot)?;
    }
    Ok(edit.finish())
}

fn items<'n, 'a>(edit: &Edit<'_>, nodes: &'n [Node<'a>]) -> Vec<Item<'n, 'a>> {
    nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let next = nodes.get(index + 1).map(|next| next.spot.line);
            let field = |wanted: &str| {
                let Value::Mapping(pairs) = &node.value else {
                    return None;
                };
                pairs
                    .iter()
                    .find(|(key, _)| is(key, wanted))
                    .map(|(_, value)| value)
            };
            let name = match field("name").map(|name| &name.value) {
                Some(Value::Scalar { text, .. }) => text.as_ref(),
                _ => "",
            };
            let rows = match field("dmap").map(|dmap| &dmap.value) {
                Some(Value::Mapping(pairs)) if block(edit, pairs) => Some(pairs.as_slice()),
                _ => None,
            };
            Item {
                name,
                spot: node.spot,
                rows,
                last_line: edit.last_line(node.spot.line, next),
            }
        })
        .collect()
}

/// Whether each row begins a line.
fn block(edit: &Edit<'_>, pairs: &[(Node<'_>, Node<'_>)]) -> bool {
    !pairs.is_empty()
        && pairs.iter().all(|(key, _)| {
            let before = edit.indent(key.spot);
            before.is_some_and(|before| before.bytes().all(|byte| byte == b' '))
        })
}

fn is(node: &Node<'_>, wanted: &str) -> bool {
    matches!(&node.value, Value::Scalar { text, .. } if text == wanted)
}

/// One more row: where the rows are sorted by digest in its place, else last.
fn add_row(
    edit: &mut Edit<'_>,
    item: &Item<'_, '_>,
    digest: &str,
    tags: &BTreeSet<Tag>,
) -> Result<(), MergeError> {
    let rows = item.rows.ok_or(style(item.spot))?;
    let keys: Vec<&str> = rows
        .iter()
        .map(|(key, _)| match &key.value {
            Value::Scalar { text, .. } => text.as_ref(),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Alias => "",
        })
        .collect();
    let before = if keys.len() > 1 && keys.is_sorted() {
        keys.iter().rposition(|key| *key <= digest)
    } else {
        Some(keys.len() - 1)
    };
    let indent = edit.indent(rows[0].0.spot).ok_or(style(rows[0].0.spot))?;
    let line = [format!("{indent}{}", row_text(digest, tags))];
    match before {
        Some(index) => {
            let last = last_line_of_row(edit, item, rows, index);
            edit.insert_lines_after(last, &line);
        }
        None => edit.insert_lines_before(rows[0].0.spot.line, &line),
    }
    Ok(())
}

fn last_line_of_row(
    edit: &Edit<'_>,
    item: &Item<'_, '_>,
    rows: &[(Node<'_>, Node<'_>)],
    index: usize,
) -> u32 {
    let (key, value) = &rows[index];
    let next = rows.get(index + 1).map(|(key, _)| key.spot.line);
    // The last row may be followed by the item's name: tags are where it ends.
    let next = next.or_else(|| match &value.value {
        Value::Sequence(tags) => tags.last().map(|tag| tag.spot.line + 1),
        Value::Null | Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => None,
    });
    let single = key.spot.line + 1;
    edit.last_line(key.spot.line, Some(next.unwrap_or(single)))
        .min(item.last_line)
}

/// More tags for a row: each before the first that sorts after it.
fn add_tags(
    edit: &mut Edit<'_>,
    item: &Item<'_, '_>,
    row: usize,
    new: &BTreeSet<Tag>,
) -> Result<(), MergeError> {
    let rows = item.rows.ok_or(style(item.spot))?;
    let (key, value) = &rows[row];
    let tags = match &value.value {
        Value::Sequence(tags) => tags,
        Value::Null => {
            let line = edit.line(key.spot.line);
            if !line.ends_with(':') {
                return Err(style(key.spot));
            }
            let end = Spot {
                line: key.spot.line,
                column: u32::try_from(line.chars().count()).unwrap_or(u32::MAX - 1) + 1,
            };
            let at = edit.byte(end).ok_or(style(end))?;
            edit.insert(at, format!(" [{}]", list(new)));
            return Ok(());
        }
        Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => return Err(style(value.spot)),
    };
    let text = |node: &Node<'_>| match &node.value {
        Value::Scalar { text, .. } => text.to_string(),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Alias => String::new(),
    };
    let flow = edit
        .rest(value.spot)
        .is_some_and(|rest| rest.starts_with('['));
    let mut last = BTreeSet::new();
    for tag in new {
        let larger = tags.iter().find(|other| *text(other) > *tag.as_str());
        match larger {
            Some(other) if flow => {
                let at = edit.byte(other.spot).ok_or(style(other.spot))?;
                edit.insert(at, format!("{}, ", quoted(tag.as_str())));
            }
            Some(other) => {
                let indent = edit.dash(other.spot).ok_or(style(other.spot))?;
                let line = [format!("{indent}- {}", quoted(tag.as_str()))];
                edit.insert_lines_before(other.spot.line, &line);
            }
            None => {
                last.insert(tag.clone());
            }
        }
    }
    if last.is_empty() {
        return Ok(());
    }
    if flow {
        let begin = edit.byte(value.spot).ok_or(style(value.spot))?;
        let from = tags
            .last()
            .map_or(Some(begin + 1), |tag| edit.byte(tag.spot));
        let from = from.ok_or(style(value.spot))?;
        let rest = edit.rest(value.spot).unwrap_or_default();
        let end = closing(&rest[from - begin..]).ok_or(style(value.spot))?;
        let comma = if tags.is_empty() { "" } else { ", " };
        edit.insert(from + end, format!("{comma}{}", list(&last)));
    } else {
        let tag = tags.last().ok_or(style(value.spot))?;
        let indent = edit.dash(tag.spot).ok_or(style(tag.spot))?;
        let lines: Vec<String> = last
            .iter()
            .map(|tag| format!("{indent}- {}", quoted(tag.as_str())))
            .collect();
        edit.insert_lines_after(tag.spot.line, &lines);
    }
    Ok(())
}

/// Where the last scalar of a `[…]` ends, seen from its beginning.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, ']') => return Some(text[..at].trim_end().len()),
            // No tag has a quote in it, escaped or not.
            (Some(open), _) if open == c => quote = None,
            (None, '\n' | '#') => return None,
            _ => {}
        }
    }
    None
}

fn row_text(digest: &str, tags: &BTreeSet<Tag>) -> String {
    format!("{}: [{}]", quoted(digest), list(tags))
}

fn list(tags: &BTreeSet<Tag>) -> String {
    let quoted: Vec<String> = tags.iter().map(|tag| quoted(tag.as_str())).collect();
    quoted.join(", ")
}

/// Names of images are words that YAML takes for text, but for a few.
fn name_text(name: &Repository) -> String {
    let odd = matches!(
        name.as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let is_text = name
        .as_str()
        .bytes()
        .any(|byte| matches!(byte, b'a'..=b'd' | b'f'..=b'z'));
    if is_text && !odd {
        name.to_string()
    } else {
        scalar(name.as_str())
    }
}
