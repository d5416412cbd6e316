//! Within a project, a tag means one digest and a path one content.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use landfall_catalog::{Digest, Repository, Tag};

use crate::finding::{Position, Reporter, Source, Spot};
use crate::plain::quoted;
use crate::project::{FileEntry, ImageEntry};
use crate::rules::{self, Rule};

/// At most this many places are named in one message.
const MAX_PLACES: usize = 6;

/// Takes out every tag that two rows of the same image give to different digests,
/// and rows that have no other; returns how many times a tag was taken out.
pub(crate) fn tags(
    rows: &mut Vec<ImageEntry>,
    sources: &[Source<'_>],
    reporter: &mut Reporter,
) -> u64 {
    let claims = rows.iter().enumerate().flat_map(|(index, row)| {
        row.tags
            .iter()
            .map(move |tag| ((&row.name, tag), row.digest, index))
    });
    let conflicts = conflicts(claims);
    let mut out: Vec<(usize, Tag)> = Vec::new();
    for ((name, tag), claims) in &conflicts {
        report(
            &rules::CONFLICTING_TAG,
            &tag_message(name, tag, claims),
            &[name.as_str(), tag.as_str()],
            claims,
            |index| &rows[index].at,
            sources,
            reporter,
        );
        out.extend(claims.iter().map(|(_, index)| (*index, (*tag).clone())));
    }
    let mut emptied = BTreeSet::new();
    for (index, tag) in &out {
        let row = &mut rows[*index];
        row.tags.retain(|other| other != tag);
        // Without a tag the row would ask for the bare digest, which it does not.
        if row.tags.is_empty() {
            emptied.insert(*index);
        }
    }
    take_out(rows, &emptied);
    out.len() as u64
}

/// Takes out every entry of a path that is listed with several hashes; returns
/// how many.
pub(crate) fn hashes(
    entries: &mut Vec<FileEntry>,
    sources: &[Source<'_>],
    reporter: &mut Reporter,
) -> u64 {
    let claims = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (&*entry.name, entry.digest, index));
    let conflicts = conflicts(claims);
    let mut out = BTreeSet::new();
    for (name, claims) in &conflicts {
        let count = distinct(claims);
        report(
            &rules::CONFLICTING_HASHES,
            &format!("{} is listed with {count} different hashes", quoted(name)),
            &[name],
            claims,
            |index| &entries[index].at,
            sources,
            reporter,
        );
        out.extend(claims.iter().map(|(_, index)| *index));
    }
    take_out(entries, &out)
}

fn tag_message(name: &Repository, tag: &Tag, claims: &[(Digest, usize)]) -> String {
    let name = quoted(&format!("{name}:{tag}"));
    format!("{name} is given to {} different digests", distinct(claims))
}

fn distinct(claims: &[(Digest, usize)]) -> usize {
    digests(claims).len()
}

fn digests(claims: &[(Digest, usize)]) -> BTreeSet<Digest> {
    claims.iter().map(|(digest, _)| *digest).collect()
}

/// The keys that are claimed with several digests, each with all its claims in
/// the order of the manifests.
fn conflicts<K: Copy + Eq + Hash + Ord>(
    claims: impl Iterator<Item = (K, Digest, usize)> + Clone,
) -> BTreeMap<K, Vec<(Digest, usize)>> {
    let mut first: HashMap<K, Digest> = HashMap::with_capacity(claims.size_hint().0);
    let mut conflicts: BTreeMap<K, Vec<(Digest, usize)>> = BTreeMap::new();
    for (key, digest, _) in claims.clone() {
        if *first.entry(key).or_insert(digest) != digest {
            conflicts.entry(key).or_default();
        }
    }
    if !conflicts.is_empty() {
        for (key, digest, index) in claims {
            if let Some(all) = conflicts.get_mut(&key) {
                all.push((digest, index));
            }
        }
    }
    conflicts
}

/// Reports at the second place, naming all of them. One more digest makes it
/// another fault than the one that may have been acknowledged.
fn report<'p>(
    rule: &Rule,
    message: &str,
    name: &[&str],
    claims: &[(Digest, usize)],
    place: impl Fn(usize) -> &'p Position,
    sources: &[Source<'_>],
    reporter: &mut Reporter,
) {
    let places: Vec<&Position> = claims.iter().map(|(_, index)| place(*index)).collect();
    let Some(at) = places.get(1).or(places.first()) else {
        return;
    };
    let Some(source) = sources.iter().find(|source| source.path == at.file) else {
        return;
    };
    let named: Vec<String> = places
        .iter()
        .take(MAX_PLACES)
        .map(|at| format!("{}:{}", at.file, at.line))
        .collect();
    let more = match places.len().saturating_sub(MAX_PLACES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("{message}: {}{more}", named.join(", "));
    let spot = Spot {
        line: at.line,
        column: at.column,
    };
    let digests: Vec<String> = digests(claims).iter().map(Digest::to_string).collect();
    let digests = digests.iter().map(String::as_str);
    let about: Vec<&str> = name.iter().copied().chain(digests).collect();
    reporter.report(source, spot, rule, message, &about);
}

fn take_out<T>(items: &mut Vec<T>, out: &BTreeSet<usize>) -> u64 {
    if out.is_empty() {
        return 0;
    }
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        !out.contains(&(index - 1))
    });
    out.len() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the obvious quadratic definition.
        #[test]
        fn what_is_left_has_one_hash_a_path(
            rows in proptest::collection::vec((0_u8..6, 0_u8..3), 0..24)
        ) {
            let at = Position { file: "f".into(), line: 1, column: 1 };
            let mut entries: Vec<FileEntry> = rows
                .iter()
                .map(|(name, content)| FileEntry {
                    name: name.to_string().into(),
                    digest: Digest::of(&[*content]),
                    at: at.clone(),
                })
                .collect();
            let expected: Vec<FileEntry> = entries
                .iter()
                .filter(|one| {
                    entries
                        .iter()
                        .all(|other| one.name != other.name || one.digest == other.digest)
                })
                .cloned()
                .collect();
            let before = entries.len();
            let mut reporter = Reporter::default();
            let out = hashes(&mut entries, &[], &mut reporter);
            prop_assert_eq!(out, (before - expected.len()) as u64);
            prop_assert_eq!(entries, expected);
        }
    }
}
