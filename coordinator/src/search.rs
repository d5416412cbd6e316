//! What the catalog has under a text: names that hold it, or, for a digest, the
//! names that mean it and those of what holds it. Pure; the caller looks at a
//! slice at a time, so that no commit waits for long.

use landfall_catalog::{Catalog, Digest, Name, NameRecord, Ordinal};
use roaring::RoaringBitmap;

use crate::promote::resolve::closure_of;

/// Shortest run of hexadecimal digits that is looked for among digests.
const SHORTEST_DIGEST: usize = 6;

/// Names of one kind, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Images,
    Files,
}

/// What is looked for.
#[derive(Debug)]
pub(crate) enum Sought {
    /// A part of a name.
    Text(String),
    /// These objects, and with them everything that holds them.
    Objects {
        meant: RoaringBitmap,
        reaching: RoaringBitmap,
    },
}

/// A name that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) digest: Digest,
    /// Bytes of the object and all it needs.
    pub(crate) bytes: u64,
    /// Index in the log of the entry that set it.
    pub(crate) set_at: u64,
    /// Why it was withdrawn; empty if it was not.
    pub(crate) withdrawn: String,
    /// It only holds what was looked for.
    pub(crate) holds: bool,
}

/// What one slice of the names gave.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub(crate) found: Vec<Found>,
    /// The last name that was looked at; none: there are no more.
    pub(crate) last: Option<Name>,
}

impl Sought {
    /// `sha256:` and at least the first six of its digits mean a digest,
    /// everything else a part of a name.
    pub(crate) fn of(catalog: &Catalog, text: &str) -> Self {
        let digits = text.strip_prefix("sha256:").filter(|digits| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
            (SHORTEST_DIGEST..=64).contains(&digits.len()) && digits.bytes().all(is_hex)
        });
        let Some(digits) = digits else {
            return Self::Text(text.to_owned());
        };
        let objects =
            (0..catalog.object_count()).filter_map(|ordinal| catalog.object(Ordinal::new(ordinal)));
        let (mut meant, mut reaching) = (RoaringBitmap::new(), RoaringBitmap::new());
        // Children have smaller ordinals: one pass finds everything above.
        for object in objects {
            let is_meant = begins_with(object.digest(), digits);
            if is_meant {
                meant.insert(object.ordinal().get());
            }
            let mut children = object.children().iter();
            if is_meant || children.any(|child| reaching.contains(child.get())) {
                reaching.insert(object.ordinal().get());
            }
        }
        Self::Objects { meant, reaching }
    }

    fn matches(&self, name: &Name, record: NameRecord, scratch: &mut String) -> bool {
        use std::fmt::Write as _;
        match self {
            Self::Objects { reaching, .. } => reaching.contains(record.ordinal.get()),
            Self::Text(text) => {
                scratch.clear();
                // Writing to a string does not fail.
                let _ = write!(scratch, "{name}");
                scratch.contains(text.as_str())
            }
        }
    }

    fn only_holds(&self, ordinal: Ordinal) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Objects { meant, .. } => !meant.contains(ordinal.get()),
        }
    }
}

/// Looks at the next `budget` names after `after`, until `limit` are found.
pub(crate) fn slice(
    catalog: &Catalog,
    sought: &Sought,
    kind: Kind,
    after: Option<&Name>,
    budget: usize,
    limit: usize,
) -> Slice {
    let mut slice = Slice::default();
    let mut scratch = String::new();
    let mut names = catalog.names_after(after).filter(|(name, _)| match name {
        Name::Tag(..) | Name::Root(..) => kind != Kind::Files,
        Name::File(_) => kind != Kind::Images,
    });
    for _ in 0..budget {
        let Some((name, record)) = names.next() else {
            slice.last = None;
            return slice;
        };
        if sought.matches(&name, record, &mut scratch) {
            slice.found.extend(found(catalog, sought, &name, record));
        }
        slice.last = Some(name);
        if slice.found.len() >= limit {
            break;
        }
    }
    slice
}

fn found(catalog: &Catalog, sought: &Sought, name: &Name, record: NameRecord) -> Option<Found> {
    let digest = *catalog.object(record.ordinal)?.digest();
    let closure = closure_of(catalog, &digest)?;
    let sizes = closure.iter().map(|object| object.size);
    Some(Found {
        name: name.clone(),
        digest,
        bytes: sizes.fold(0, u64::saturating_add),
        set_at: record.set_at,
        withdrawn: catalog.withdrawn(&digest).unwrap_or_default().to_owned(),
        holds: sought.only_holds(record.ordinal),
    })
}

fn begins_with(digest: &Digest, digits: &str) -> bool {
    let bytes = digest.as_bytes();
    digits.bytes().enumerate().all(|(position, digit)| {
        let byte = bytes[position / 2];
        let nibble = if position % 2 == 0 {
            byte >> 4
        } else {
            byte & 15
        };
        char::from_digit(u32::from(nibble), 16) == Some(char::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use landfall_catalog::{Commit, Entry, MediaType, Object};

    use super::*;

    fn catalog(names: &[(&str, &str)]) -> Catalog {
        let object = |content: &str, children: Vec<Digest>| {
            Entry::ObjectAdded(Object {
                digest: Digest::of(content.as_bytes()),
                size: 10,
                media_type: MediaType::octet_stream(),
                children,
                referrer: None,
                pieces: None,
            })
        };
        let mut entries = vec![
            object("part", Vec::new()),
            object("image", vec![Digest::of(b"part")]),
            object("file", Vec::new()),
        ];
        entries.extend(names.iter().map(|(name, content)| Entry::NameSet {
            name: name.parse().unwrap(),
            digest: Digest::of(content.as_bytes()),
        }));
        entries.push(Entry::Commit(Commit {
            revision: Catalog::default().revision().next(),
            time: 0,
            who: String::new(),
            why: String::new(),
            source: String::new(),
            plan: None,
            operation: String::new(),
        }));
        let mut catalog = Catalog::default();
        catalog.apply(&entries).unwrap();
        catalog
    }

    /// All that is found, in slices of so many names.
    fn all(catalog: &Catalog, text: &str, kind: Kind, budget: usize, limit: usize) -> Vec<Found> {
        let sought = Sought::of(catalog, text);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let slice = slice(catalog, &sought, kind, after.as_ref(), budget, limit);
            found.extend(slice.found);
            after = slice.last;
            if after.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn parts_of_names_and_digests_are_found_once_however_it_is_sliced() {
        let root = format!("b/app@{}", Digest::of(b"image"));
        let catalog = catalog(&[
            ("a/app:v1", "image"),
            ("a/app:v2", "image"),
            (&root, "image"),
            ("c/part:v1", "part"),
            ("app/tool", "file"),
            ("z/app", "file"),
        ]);
        let (image, part) = (Digest::of(b"image"), Digest::of(b"part"));
        for (text, kind, expected) in [
            (
                "app",
                Kind::Any,
                vec!["a/app:v1", "a/app:v2", &root, "app/tool", "z/app"],
            ),
            ("app", Kind::Files, vec!["app/tool", "z/app"]),
            ("app:v", Kind::Images, vec!["a/app:v1", "a/app:v2"]),
            ("nothing", Kind::Any, vec![]),
            (
                &image.to_string()[..20],
                Kind::Any,
                vec!["a/app:v1", "a/app:v2", &root],
            ),
            (
                &part.to_string(),
                Kind::Any,
                vec!["a/app:v1", "a/app:v2", &root, "c/part:v1"],
            ),
        ] {
            for (budget, limit) in [(1, 1), (2, 9), (100, 1), (100, 100)] {
                let found = all(&catalog, text, kind, budget, limit);
                let names: Vec<_> = found.iter().map(|found| found.name.to_string()).collect();
                assert_eq!(names, expected, "{text} {budget} {limit}");
            }
        }
        let found = all(&catalog, &part.to_string(), Kind::Any, 100, 100);
        let holds: Vec<_> = found
            .iter()
            .map(|found| (found.holds, found.bytes))
            .collect();
        assert_eq!(holds, [(true, 20), (true, 20), (true, 20), (false, 10)]);
    }
}
