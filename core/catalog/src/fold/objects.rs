//! Objects by ordinal and by digest: append-only, 60-odd bytes each. The few
//! that were described later have their children beside the others'.

use std::collections::HashMap;
use std::fmt;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::facts::Facts;
use super::seeded::Seed;
use super::{FoldFault, MAX_EDGES, MAX_OBJECTS};
use crate::digest::Digest;
use crate::object::{MediaType, Object, Ordinal, Referrer};

/// All objects ever added.
pub(crate) struct Objects {
    seed: Seed,
    records: Vec<Record>,
    /// Ordinals, found by the digest of their record.
    by_digest: HashTable<Ordinal>,
    /// Children of all objects, one object's after the other's.
    edges: Vec<Ordinal>,
    /// All children of the objects that got more of them by a description.
    described: HashMap<Ordinal, Vec<Ordinal>, Seed>,
    /// How many these are together.
    described_edges: usize,
    media_types: Vec<MediaType>,
    media_type_ids: HashMap<MediaType, u32, Seed>,
    /// Digests of piece lists, for the objects that have one, by ordinal.
    pieces: Vec<(Ordinal, Digest)>,
    /// The objects that refer to another, by ordinal.
    referrers: Vec<(Ordinal, Box<Referrer>)>,
    by_subject: HashMap<Digest, Vec<Ordinal>, Seed>,
}

struct Record {
    digest: Digest,
    size: u64,
    media_type: u32,
    /// Where its children end in `edges`; they begin where those of the object
    /// before it end.
    edges_end: u32,
}

/// An object of the catalog.
#[derive(Clone, Copy)]
pub struct ObjectRef<'a> {
    objects: &'a Objects,
    record: &'a Record,
    ordinal: Ordinal,
}

impl<'a> ObjectRef<'a> {
    /// Its number.
    #[must_use]
    pub const fn ordinal(&self) -> Ordinal {
        self.ordinal
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub const fn digest(&self) -> &'a Digest {
        &self.record.digest
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.record.size
    }

    /// What its bytes are.
    #[must_use]
    pub fn media_type(&self) -> &'a MediaType {
        &self.objects.media_types[self.record.media_type as usize]
    }

    /// The objects it needs, in the order of its entry.
    #[must_use]
    pub fn children(&self) -> &'a [Ordinal] {
        self.objects.children(self.ordinal)
    }

    /// What it refers to, if it is a referrer.
    #[must_use]
    pub fn referrer(&self) -> Option<&'a Referrer> {
        find(&self.objects.referrers, self.ordinal).map(AsRef::as_ref)
    }

    /// Digest of its piece list, if it has one.
    #[must_use]
    pub fn pieces(&self) -> Option<&'a Digest> {
        find(&self.objects.pieces, self.ordinal)
    }
}

impl fmt::Debug for ObjectRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectRef")
            .field("ordinal", &self.ordinal)
            .field("digest", self.digest())
            .field("size", &self.size())
            .field("media_type", self.media_type())
            .field("children", &self.children())
            .finish_non_exhaustive()
    }
}

impl Objects {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            records: Vec::new(),
            by_digest: HashTable::new(),
            edges: Vec::new(),
            described: HashMap::with_hasher(seed),
            described_edges: 0,
            media_types: Vec::new(),
            media_type_ids: HashMap::with_hasher(seed),
            pieces: Vec::new(),
            referrers: Vec::new(),
            by_subject: HashMap::with_hasher(seed),
        }
    }

    /// Number of objects: the next ordinal.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "push keeps the number at or below MAX_OBJECTS"
    )]
    pub(crate) fn len(&self) -> u32 {
        self.records.len() as u32
    }

    /// Number of edges from objects to their children.
    pub(super) fn edge_count(&self) -> usize {
        self.edges.len() + self.described_edges
    }

    /// What is known of an object of this catalog.
    pub(super) fn facts(&self, ordinal: Ordinal) -> Facts {
        let record = &self.records[index(ordinal)];
        Facts {
            size: record.size,
            media_type: self.media_types[record.media_type as usize].clone(),
            children: self.children(ordinal).to_vec(),
            referrer: find(&self.referrers, ordinal).map(|referrer| Referrer::clone(referrer)),
            pieces: find(&self.pieces, ordinal).copied(),
        }
    }

    pub(super) fn ordinal(&self, digest: &Digest) -> Option<Ordinal> {
        self.by_digest
            .find(self.seed.hash_digest(digest), |ordinal| {
                self.records[index(*ordinal)].digest == *digest
            })
            .copied()
    }

    pub(super) fn get(&self, ordinal: Ordinal) -> Option<ObjectRef<'_>> {
        self.records.get(index(ordinal)).map(|record| ObjectRef {
            objects: self,
            record,
            ordinal,
        })
    }

    /// Length of an object of this catalog.
    pub(crate) fn size(&self, ordinal: Ordinal) -> u64 {
        self.records[index(ordinal)].size
    }

    /// Children of an object of this catalog.
    pub(crate) fn children(&self, ordinal: Ordinal) -> &[Ordinal] {
        if !self.described.is_empty()
            && let Some(children) = self.described.get(&ordinal)
        {
            return children;
        }
        let end = self.records[index(ordinal)].edges_end as usize;
        &self.edges[self.edges_before(index(ordinal))..end]
    }

    pub(super) fn referrers_of(&self, subject: &Digest) -> &[Ordinal] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    /// Visits `start`, then the children of every object that `visit` says
    /// `true` to. Gives the number of visits.
    pub(crate) fn cascade(&self, start: Ordinal, mut visit: impl FnMut(Ordinal) -> bool) -> u64 {
        let mut waiting = vec![start];
        let mut visits = 0;
        while let Some(ordinal) = waiting.pop() {
            visits += 1;
            if visit(ordinal) {
                waiting.extend_from_slice(self.children(ordinal));
            }
        }
        visits
    }

    /// Adds an object. On an error nothing has changed.
    pub(super) fn push(&mut self, object: &Object) -> Result<(), FoldFault> {
        let ordinal = Ordinal::new(self.len());
        if ordinal.get() >= MAX_OBJECTS {
            return Err(FoldFault::Full("objects"));
        }
        let edges_before = self.edges.len();
        for child in &object.children {
            let Some(known) = self.ordinal(child) else {
                self.edges.truncate(edges_before);
                return Err(FoldFault::UnknownChild {
                    parent: object.digest,
                    child: *child,
                });
            };
            self.edges.push(known);
        }
        let edges_end = u32::try_from(self.edges.len())
            .ok()
            .filter(|edges| *edges <= MAX_EDGES);
        let Some(edges_end) = edges_end else {
            self.edges.truncate(edges_before);
            return Err(FoldFault::Full("edges"));
        };
        let (seed, records) = (self.seed, &self.records);
        let slot = self.by_digest.entry(
            seed.hash_digest(&object.digest),
            |known| records[index(*known)].digest == object.digest,
            |known| seed.hash_digest(&records[index(*known)].digest),
        );
        match slot {
            Slot::Occupied(_) => {
                self.edges.truncate(edges_before);
                return Err(FoldFault::DuplicateObject(object.digest));
            }
            Slot::Vacant(slot) => {
                slot.insert(ordinal);
            }
        }
        let media_type = self.intern(&object.media_type);
        self.records.push(Record {
            digest: object.digest,
            size: object.size,
            media_type,
            edges_end,
        });
        if let Some(pieces) = object.pieces {
            self.pieces.push((ordinal, pieces));
        }
        if let Some(referrer) = &object.referrer {
            self.by_subject
                .entry(referrer.subject)
                .or_default()
                .push(ordinal);
            self.referrers.push((ordinal, Box::new(referrer.clone())));
        }
        Ok(())
    }

    /// Takes over what more is said of an object, which was checked. Gives the
    /// object and the children that it has got.
    pub(super) fn describe(&mut self, object: &Object) -> Option<(Ordinal, Vec<Ordinal>)> {
        let ordinal = self.ordinal(&object.digest)?;
        let children = object.children.iter();
        let children = children
            .map(|child| self.ordinal(child))
            .collect::<Option<_>>()?;
        let known = self.facts(ordinal);
        let (before, had_referrer) = (known.children.len(), known.referrer.is_some());
        let now = known.described(object, children).ok()?;
        let new = now.children[before..].to_vec();
        self.records[index(ordinal)].media_type = self.intern(&now.media_type);
        if !new.is_empty() {
            let replaced = self.described.insert(ordinal, now.children);
            // The children from its own entry stay in `edges`, unused.
            self.described_edges += new.len();
            self.described_edges += if replaced.is_none() { before } else { 0 };
        }
        if let Some(pieces) = now.pieces {
            put(&mut self.pieces, ordinal, pieces);
        }
        if let Some(referrer) = now.referrer {
            if !had_referrer {
                let of_subject = self.by_subject.entry(referrer.subject).or_default();
                if let Err(place) = of_subject.binary_search(&ordinal) {
                    of_subject.insert(place, ordinal);
                }
            }
            put(&mut self.referrers, ordinal, Box::new(referrer));
        }
        Some((ordinal, new))
    }

    /// Takes the newest objects back until `len` are left.
    pub(super) fn truncate(&mut self, len: u32) {
        while self.len() > len
            && let Some(record) = self.records.pop()
        {
            let ordinal = Ordinal::new(self.len());
            let hash = self.seed.hash_digest(&record.digest);
            if let Ok(slot) = self.by_digest.find_entry(hash, |known| *known == ordinal) {
                slot.remove();
            }
            self.pieces.pop_if(|(of, _)| *of == ordinal);
            if let Some((_, referrer)) = self.referrers.pop_if(|(of, _)| *of == ordinal)
                && let Some(of_subject) = self.by_subject.get_mut(&referrer.subject)
            {
                of_subject.pop();
                if of_subject.is_empty() {
                    self.by_subject.remove(&referrer.subject);
                }
            }
        }
        self.edges.truncate(self.edges_before(self.records.len()));
    }

    fn edges_before(&self, index: usize) -> usize {
        let before = index
            .checked_sub(1)
            .and_then(|index| self.records.get(index));
        before.map_or(0, |record| record.edges_end as usize)
    }

    fn intern(&mut self, media_type: &MediaType) -> u32 {
        if let Some(id) = self.media_type_ids.get(media_type) {
            return *id;
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "there are no more media types than objects"
        )]
        let id = self.media_types.len() as u32;
        self.media_types.push(media_type.clone());
        self.media_type_ids.insert(media_type.clone(), id);
        id
    }
}

/// The value of `ordinal` in a list sorted by ordinal.
fn find<T>(list: &[(Ordinal, T)], ordinal: Ordinal) -> Option<&T> {
    let at = list.binary_search_by_key(&ordinal, |(of, _)| *of).ok()?;
    list.get(at).map(|(_, value)| value)
}

/// Sets the value of `ordinal` in a list sorted by ordinal.
fn put<T>(list: &mut Vec<(Ordinal, T)>, ordinal: Ordinal, value: T) {
    match list.binary_search_by_key(&ordinal, |(of, _)| *of) {
        Ok(at) => list[at].1 = value,
        Err(at) => list.insert(at, (ordinal, value)),
    }
}

const fn index(ordinal: Ordinal) -> usize {
    ordinal.get() as usize
}
