//! What the catalog has under a text: names that hold it, or, for a digest, the
//! names that mean it and those of what holds it.
//!
//! The catalog is looked at in slices, each under its lock for about a
//! millisecond, so that no commit waits for a question. What changes in between
//! may be found or not; what is found is true when it is told.

mod marks;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use landfall_catalog::{Catalog, Digest, Name, NameEntry, Ordinal};
use memchr::memmem::Finder;

use marks::Marks;

/// Shortest run of hexadecimal digits that is looked for among digests.
const SHORTEST_DIGEST: usize = 6;
/// Names, objects or edges that are looked at in one slice.
const AT_A_TIME: usize = 20_000;
/// Names of what was looked for that are gathered object by object; if there are
/// more, all names are looked at in their order.
const FEW: usize = 20_000;
/// Passes over all objects. Each follows any number of edges that lead the same
/// way, up or down the ordinals, and images are nested a few levels deep.
const MOST_PASSES: usize = 64;

/// A catalog behind a lock.
pub trait Held {
    /// Runs `look` under the lock.
    fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T;
}

/// Names of one kind, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All names.
    Any,
    /// Tags, and roots without a tag.
    Images,
    /// Paths of files.
    Files,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// A part of a name; `sha256:` and at least six of its digits mean a digest.
    pub text: String,
    /// Among which names.
    pub kind: Kind,
    /// Only names after this one, in the catalog's order.
    pub after: Option<Name>,
    /// At most so many names.
    pub limit: usize,
}

/// A name that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name.
    pub name: Name,
    /// What it means.
    pub digest: Digest,
    /// Bytes of the object and all it needs.
    pub bytes: u64,
    /// Index in the log of the entry that set it.
    pub set_at: u64,
    /// Why it was withdrawn; empty if it was not.
    pub withdrawn: String,
    /// It only holds what was looked for.
    pub holds: bool,
}

/// What was found, in the catalog's order of names.
#[derive(Debug, Default)]
pub struct Page {
    /// The names.
    pub found: Vec<Found>,
    /// Names after this one were not looked at; none: all were.
    pub next: Option<Name>,
}

/// Looks for `query` until its limit, or until `is_over` says that it took long
/// enough; what is left out begins after [`Page::next`].
pub fn search(catalog: &impl Held, query: &Query, mut is_over: impl FnMut() -> bool) -> Page {
    let Some(sought) = Sought::of(catalog, &query.text) else {
        return Page::default();
    };
    let few = match &sought {
        Sought::Objects { reaching, .. } => few_names(catalog, reaching, query),
        Sought::Text(_) => None,
    };
    let (names, next) = few.unwrap_or_else(|| scan(catalog, &sought, query, &mut is_over));
    Page {
        found: look_up(catalog, &sought, names),
        next,
    }
}

/// The hexadecimal digits of a digest, or of its beginning, if that is meant;
/// everything else is a part of a name.
#[must_use]
pub fn digits(text: &str) -> Option<&str> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let digits = text.strip_prefix("sha256:")?;
    ((SHORTEST_DIGEST..=64).contains(&digits.len()) && digits.bytes().all(is_hex)).then_some(digits)
}

/// What is looked for, as names are compared with it.
enum Sought {
    /// A part of a name.
    Text(Box<Finder<'static>>),
    /// These objects, and with them everything that holds them.
    Objects { meant: Marks, reaching: Marks },
}

impl Sought {
    /// None if there is no such object.
    fn of(catalog: &impl Held, text: &str) -> Option<Self> {
        let Some(digits) = digits(text) else {
            return Some(Self::Text(Box::new(Finder::new(text).into_owned())));
        };
        let meant = meant(catalog, digits);
        let reaching = reaching(catalog, &meant)?;
        Some(Self::Objects { meant, reaching })
    }

    fn matches(&self, name: &NameEntry<'_>, scratch: &mut String) -> bool {
        match self {
            Self::Objects { reaching, .. } => name
                .record()
                .is_some_and(|record| reaching.has(record.ordinal)),
            Self::Text(finder) => {
                scratch.clear();
                name.write_to(scratch);
                finder.find(scratch.as_bytes()).is_some()
            }
        }
    }

    fn only_holds(&self, ordinal: Ordinal) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Objects { meant, .. } => !meant.has(ordinal),
        }
    }
}

/// The objects whose digest begins with these digits.
fn meant(catalog: &impl Held, digits: &str) -> Marks {
    let mut meant = Marks::default();
    if let Ok(digest) = Digest::from_hex(digits) {
        let known = catalog.read(|catalog| catalog.ordinal(&digest));
        known.into_iter().for_each(|ordinal| meant.put(ordinal));
        return meant;
    }
    let prefix = Prefix::of(digits);
    slices(catalog, false, |catalog, ordinal| {
        if let Some(object) = catalog.object(ordinal)
            && prefix.begins(object.digest())
        {
            meant.put(ordinal);
        }
        1
    });
    meant
}

/// The beginning of a digest.
struct Prefix {
    bytes: Vec<u8>,
    /// Upper half of the byte after them.
    half: Option<u8>,
}

impl Prefix {
    /// `digits` are hexadecimal.
    fn of(digits: &str) -> Self {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => digit - b'0',
            _ => digit.wrapping_sub(b'a').wrapping_add(10),
        };
        let mut pairs = digits.as_bytes().chunks_exact(2);
        let bytes = pairs.by_ref();
        Self {
            bytes: bytes
                .map(|pair| value(pair[0]) << 4 | value(pair[1]))
                .collect(),
            half: pairs.remainder().first().map(|digit| value(*digit)),
        }
    }

    fn begins(&self, digest: &Digest) -> bool {
        let Some(rest) = digest.as_bytes().strip_prefix(self.bytes.as_slice()) else {
            return false;
        };
        self.half
            .is_none_or(|half| rest.first().is_some_and(|byte| byte >> 4 == half))
    }
}

/// These objects and everything that needs one of them; none if there are none.
/// Most parents come after their children. Those that do not are the reason for
/// passes in the other direction, until nothing is new.
fn reaching(catalog: &impl Held, meant: &Marks) -> Option<Marks> {
    if meant.is_empty() {
        return None;
    }
    let mut reaching = meant.clone();
    for pass in 0..MOST_PASSES {
        let is_down = pass % 2 == 1;
        // Edges that lead the other way, whose children this pass saw too late.
        let (mut is_new, mut has_others) = (false, false);
        slices(catalog, is_down, |catalog, ordinal| {
            let children = catalog.object(ordinal).map_or(&[][..], |it| it.children());
            let mut reaches = false;
            for child in children {
                reaches |= reaching.has(*child);
                has_others |= (*child > ordinal) != is_down;
            }
            if reaches && !reaching.has(ordinal) {
                reaching.put(ordinal);
                is_new = true;
            }
            1 + children.len()
        });
        // A first pass that saw edges the other way may have missed what they lead to.
        if !has_others || (pass > 0 && !is_new) {
            break;
        }
    }
    Some(reaching)
}

/// Shows every object, upwards or downwards, in slices; `look` gives what an
/// object cost.
fn slices(catalog: &impl Held, is_down: bool, mut look: impl FnMut(&Catalog, Ordinal) -> usize) {
    let count = catalog.read(Catalog::object_count);
    let mut done = 0;
    while done < count {
        catalog.read(|catalog| {
            let mut cost = 0;
            while done < count && cost < AT_A_TIME {
                let at = if is_down { count - 1 - done } else { done };
                cost += look(catalog, Ordinal::new(at));
                done += 1;
            }
        });
    }
}

/// Names of these objects, if there are not many; and after which there are more.
fn few_names(
    catalog: &impl Held,
    objects: &Marks,
    query: &Query,
) -> Option<(Vec<Name>, Option<Name>)> {
    let mut first = BTreeMap::new();
    let after = query.after.as_ref().map(Place::of);
    let mut looked_at = 0;
    let mut ordinals = objects.iter().peekable();
    while ordinals.peek().is_some() {
        catalog.read(|catalog| {
            let until = looked_at + AT_A_TIME / 10;
            while looked_at < until
                && let Some(ordinal) = ordinals.next()
            {
                looked_at += 1;
                for name in catalog.names_of(ordinal).take(FEW + 1) {
                    looked_at += 1;
                    let place = Place::of(&name);
                    let is_later = after.as_ref().is_none_or(|after| place > *after);
                    if is_later && query.kind.has(matches!(name, Name::File(_))) {
                        first.insert(place, name);
                        if first.len() > query.limit + 1 {
                            first.pop_last();
                        }
                    }
                }
            }
        });
        if looked_at > FEW {
            return None;
        }
    }
    let is_cut = first.len() > query.limit;
    let names: Vec<Name> = first.into_values().take(query.limit).collect();
    let next = names.last().filter(|_| is_cut).cloned();
    Some((names, next))
}

/// Looks at all names in their order.
fn scan(
    catalog: &impl Held,
    sought: &Sought,
    query: &Query,
    is_over: &mut impl FnMut() -> bool,
) -> (Vec<Name>, Option<Name>) {
    let (mut found, mut last) = (Vec::new(), query.after.clone());
    let mut scratch = String::new();
    loop {
        let seen = catalog.read(|catalog| {
            let mut seen = None;
            for name in catalog.names_after(last.as_ref()).take(AT_A_TIME) {
                if query.kind.has(name.is_file()) && sought.matches(&name, &mut scratch) {
                    found.push(name.name());
                }
                seen = Some(name);
                if found.len() >= query.limit {
                    break;
                }
            }
            seen.map(|name| name.name())
        });
        let Some(seen) = seen else {
            return (found, None);
        };
        last = Some(seen);
        if found.len() >= query.limit || is_over() {
            return (found, last);
        }
    }
}

/// What names mean that were found; those that went meanwhile are left out.
fn look_up(catalog: &impl Held, sought: &Sought, names: Vec<Name>) -> Vec<Found> {
    let mut found = Vec::with_capacity(names.len());
    let mut names = names.into_iter().peekable();
    while names.peek().is_some() {
        catalog.read(|catalog| {
            let mut cost = 0;
            while cost < AT_A_TIME / 4
                && let Some(name) = names.next()
            {
                let Some(record) = catalog.name(&name) else {
                    continue;
                };
                let closure = catalog.closure([record.ordinal]);
                cost += closure.len();
                let Some(object) = catalog.object(record.ordinal) else {
                    continue;
                };
                let sizes = closure.iter().filter_map(|part| catalog.object(*part));
                found.push(Found {
                    name,
                    digest: *object.digest(),
                    bytes: sizes.fold(0, |sum: u64, part| sum.saturating_add(part.size())),
                    set_at: record.set_at,
                    withdrawn: catalog
                        .withdrawn(object.digest())
                        .unwrap_or_default()
                        .to_owned(),
                    holds: sought.only_holds(record.ordinal),
                });
            }
        });
    }
    found
}

impl Kind {
    fn has(self, is_file: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Images => !is_file,
            Self::Files => is_file,
        }
    }
}

/// Where a name is in the catalog's order: images by repository, tags before
/// roots, then files.
#[derive(Clone, PartialEq, Eq)]
struct Place(Name);

impl Place {
    fn of(name: &Name) -> Self {
        Self(name.clone())
    }

    fn parts(&self) -> (bool, &str, bool) {
        match &self.0 {
            Name::Tag(repository, _) => (false, repository.as_str(), false),
            Name::Root(repository, _) => (false, repository.as_str(), true),
            Name::File(path) => (true, path.as_str(), false),
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // What is left to compare is of one variant.
        let parts = self.parts().cmp(&other.parts());
        parts.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests;
