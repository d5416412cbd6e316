//! Which owner has an address: a table of prefixes and ranges with longest-prefix match.

#[cfg(test)]
mod cloud_list;
mod cloud_region;
mod csv;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use thiserror::Error;

pub use self::cloud_region::CloudRegion;
pub use self::csv::{
    RangeError, RangeFault, add_cloud_ranges, parse_asn_csv, parse_cloud_ranges, parse_country_csv,
};
use crate::prefix::Prefix;

/// Marks addresses that nobody owns.
const NOBODY: u32 = u32::MAX;

/// Owners of addresses. The smallest range that holds an address wins, which for prefixes is the longest;
/// of two equal ranges the one that was added later.
///
/// Nested ranges are resolved when the table is built, so a lookup is one search in a sorted list; for IPv4
/// a first level over the upper 16 bits leaves a handful of entries to search.
#[derive(Clone, Debug)]
pub struct PrefixTable<T> {
    owners: Vec<T>,
    v4: Segments<u32>,
    /// For each value of the upper 16 bits the segment that its first address lies in; one more at the end.
    v4_index: Box<[u32]>,
    v6: Segments<u128>,
    ranges: usize,
}

/// The whole address space cut into segments of one owner each; `starts[0]` is 0.
#[derive(Clone, Debug)]
struct Segments<A> {
    starts: Box<[A]>,
    owners: Box<[u32]>,
}

/// Collects ranges for a [`PrefixTable`].
#[derive(Clone, Debug)]
pub struct PrefixTableBuilder<T> {
    owners: Vec<T>,
    index: HashMap<T, u32>,
    v4: Vec<Range>,
    v6: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    first: u128,
    last: u128,
    owner: u32,
}

/// The two addresses are not the ends of a range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotARange {
    /// One end is IPv4 and the other IPv6.
    #[error("the range mixes IPv4 and IPv6")]
    MixedFamilies,
    /// The end lies before the start.
    #[error("the range ends before it starts")]
    Backwards,
}

impl<T> Default for PrefixTableBuilder<T> {
    fn default() -> Self {
        Self {
            owners: Vec::new(),
            index: HashMap::new(),
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> PrefixTableBuilder<T> {
    /// A builder without ranges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `owner` has the addresses of `prefix`.
    pub fn insert(&mut self, prefix: Prefix, owner: T) {
        self.push(prefix.first(), prefix.last(), owner);
    }

    /// Says that `owner` has the addresses from `first` to `last`, both included.
    ///
    /// # Errors
    /// When the two are of different families or in the wrong order.
    pub fn insert_range(&mut self, first: IpAddr, last: IpAddr, owner: T) -> Result<(), NotARange> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_ipv4() != last.is_ipv4() {
            return Err(NotARange::MixedFamilies);
        }
        if last < first {
            return Err(NotARange::Backwards);
        }
        self.push(first, last, owner);
        Ok(())
    }

    fn push(&mut self, first: IpAddr, last: IpAddr, owner: T) {
        let owner = match self.index.get(&owner) {
            Some(&known) => known,
            None => {
                let next = u32::try_from(self.owners.len()).unwrap_or(NOBODY);
                self.owners.push(owner.clone());
                self.index.insert(owner, next);
                next
            }
        };
        let range = Range {
            first: bits(first),
            last: bits(last),
            owner,
        };
        match first {
            IpAddr::V4(_) => self.v4.push(range),
            IpAddr::V6(_) => self.v6.push(range),
        }
    }

    /// The table of all ranges added so far.
    #[must_use]
    pub fn build(self) -> PrefixTable<T> {
        let ranges = self.v4.len() + self.v6.len();
        let v4 = narrow(flatten(&self.v4));
        let v6 = segments(flatten(&self.v6));
        let v4_index = (0..=u32::from(u16::MAX))
            .map(|upper| v4.starts.partition_point(|&start| start <= upper << 16) - 1)
            .chain([v4.starts.len() - 1])
            .map(|position| u32::try_from(position).unwrap_or(NOBODY))
            .collect();
        PrefixTable {
            owners: self.owners,
            v4,
            v4_index,
            v6,
            ranges,
        }
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        let nobody = Box::new([NOBODY]);
        Self {
            owners: Vec::new(),
            v4: Segments {
                starts: Box::new([0]),
                owners: nobody.clone(),
            },
            v4_index: vec![0; (1 << 16) + 1].into_boxed_slice(),
            v6: Segments {
                starts: Box::new([0]),
                owners: nobody,
            },
            ranges: 0,
        }
    }
}

impl<T> PrefixTable<T> {
    /// The owner of an address, if anybody has it. An IPv4-mapped IPv6 address counts as the IPv4 address.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let owner = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let address = v4.to_bits();
                let upper = (address >> 16) as usize;
                let (low, high) = (self.v4_index[upper], self.v4_index[upper + 1]);
                let (low, high) = (low as usize, high as usize);
                let within = &self.v4.starts[low..=high];
                self.v4.owners[low + within.partition_point(|&start| start <= address) - 1]
            }
            IpAddr::V6(v6) => {
                let address = v6.to_bits();
                self.v6.owners[self.v6.starts.partition_point(|&start| start <= address) - 1]
            }
        };
        self.owners.get(owner as usize)
    }

    /// How many prefixes and ranges it was built from.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ranges
    }

    /// Whether it was built from nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges == 0
    }

    /// The distinct owners, in order of their first range.
    #[must_use]
    pub fn owners(&self) -> &[T] {
        &self.owners
    }
}

impl<T: Clone + Eq + Hash> FromIterator<(Prefix, T)> for PrefixTable<T> {
    fn from_iter<I: IntoIterator<Item = (Prefix, T)>>(prefixes: I) -> Self {
        let mut builder = PrefixTableBuilder::new();
        for (prefix, owner) in prefixes {
            builder.insert(prefix, owner);
        }
        builder.build()
    }
}

const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Cuts the address space where the owner changes: (first address, owner), sorted, beginning at 0.
///
/// A sweep over the ends of all ranges that keeps those it is inside of, smallest first.
fn flatten(ranges: &[Range]) -> Vec<(u128, u32)> {
    let mut opening: Vec<usize> = (0..ranges.len()).collect();
    opening.sort_unstable_by_key(|&order| ranges[order].first);
    // A range up to the last address of the space never closes.
    let mut closing: Vec<(u128, usize)> = (0..ranges.len())
        .filter_map(|order| Some((ranges[order].last.checked_add(1)?, order)))
        .collect();
    closing.sort_unstable();
    let key = |order: usize| (ranges[order].last - ranges[order].first, Reverse(order));

    let mut cuts = vec![(0, NOBODY)];
    let mut inside: BTreeMap<(u128, Reverse<usize>), u32> = BTreeMap::new();
    let (mut opening, mut closing) = (
        opening.into_iter().peekable(),
        closing.into_iter().peekable(),
    );
    loop {
        let next_opening = opening.peek().map(|&order| ranges[order].first);
        let next_closing = closing.peek().map(|&(end, _)| end);
        let Some(at) = next_opening.into_iter().chain(next_closing).min() else {
            return cuts;
        };
        while let Some((_, order)) = closing.next_if(|&(end, _)| end == at) {
            inside.remove(&key(order));
        }
        while let Some(order) = opening.next_if(|&order| ranges[order].first == at) {
            inside.insert(key(order), ranges[order].owner);
        }
        let owner = inside.first_key_value().map_or(NOBODY, |(_, &owner)| owner);
        match cuts.last_mut() {
            Some(last) if last.0 == at => last.1 = owner,
            Some(last) if last.1 == owner => {}
            Some(_) | None => cuts.push((at, owner)),
        }
    }
}

fn segments(cuts: Vec<(u128, u32)>) -> Segments<u128> {
    let (starts, owners): (Vec<_>, Vec<_>) = cuts.into_iter().unzip();
    Segments {
        starts: starts.into(),
        owners: owners.into(),
    }
}

/// The same for IPv4; a cut behind the last address falls away.
fn narrow(cuts: Vec<(u128, u32)>) -> Segments<u32> {
    let (starts, owners): (Vec<_>, Vec<_>) = cuts
        .into_iter()
        .filter_map(|(start, owner)| Some((u32::try_from(start).ok()?, owner)))
        .unzip();
    Segments {
        starts: starts.into(),
        owners: owners.into(),
    }
}

#[cfg(test)]
mod tests;
