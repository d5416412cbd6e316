//! What a mirror holds, said in a few integers when it holds everything.
//!
//! A mirror speaks of ordinals, and only of what it durably holds: an object
//! whose children are not all held is not held. What it does not want because
//! of its filter is missing too, so that nobody else has to evaluate a filter.
//!
//! The sets travel as Roaring bitmaps, one block of 65,536 ordinals at a time,
//! in the portable format of the Roaring specification. Decoding is bounded and
//! takes one spelling of the outside: one container, its own block, no ordinal
//! beyond the catalog, no bytes left over.

use std::io;
use std::ops::RangeInclusive;

use roaring::RoaringBitmap;

use crate::digest::Digest;
use crate::fold::NameRecord;
use crate::merkle::TreeHash;
use crate::object::Ordinal;

/// Most bytes of an encoded block: a container of 65,536 bits and its header.
pub const MAX_BLOCK_BYTES: usize = 16 + 8192;

/// Cookies of the Roaring format, without and with run containers.
const COOKIE_PLAIN: u32 = 12_346;
const COOKIE_RUNS: u32 = 12_347;

/// A place in a log: enough to tell whether two programs speak of the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: TreeHash,
}

/// What a mirror holds, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Every object below this ordinal is held but for `missing`.
    pub through: u32,
    /// Ordinals below `through` that are not held.
    pub missing: RoaringBitmap,
    /// Ordinals from `through` on that are held.
    pub extra: RoaringBitmap,
    /// Log size up to which all names of the held objects are in place.
    pub names_through: u64,
    /// SHA-256 of the filter that the mirror applies.
    pub filter: Digest,
    /// The log that the ordinals are of, as far as the mirror has applied it.
    pub log: LogPosition,
}

/// A readiness without its sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessHeader {
    /// See [`Readiness::through`].
    pub through: u32,
    /// See [`Readiness::names_through`].
    pub names_through: u64,
    /// See [`Readiness::filter`].
    pub filter: Digest,
    /// See [`Readiness::log`].
    pub log: LogPosition,
}

/// Which of the two sets a block is of; missing ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockSet {
    /// [`Readiness::missing`].
    Missing,
    /// [`Readiness::extra`].
    Extra,
}

/// The part of a set within one block of 65,536 ordinals, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessBlock {
    /// The set.
    pub set: BlockSet,
    /// Upper 16 bits of its ordinals.
    pub block: u16,
    /// Its members, as [`decode_block`] takes them.
    pub bytes: Vec<u8>,
}

/// Why a report of readiness is not one. The sender's fault; the last good
/// report stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReadinessError {
    /// More bytes than [`MAX_BLOCK_BYTES`].
    #[error("block has {0} bytes")]
    TooLong(usize),
    /// Not exactly one container.
    #[error("block does not hold exactly one container")]
    Containers,
    /// Not a Roaring bitmap.
    #[error("block is not a bitmap")]
    Malformed(#[source] io::Error),
    /// Bytes after the bitmap.
    #[error("{0} bytes after the bitmap of the block")]
    TrailingBytes(usize),
    /// Members of another block.
    #[error("block {block} has members of block {found}")]
    OtherBlock {
        /// The block that was announced.
        block: u16,
        /// The block of its members.
        found: u32,
    },
    /// A member, or `through`, is beyond the objects of the catalog.
    #[error("{found} is beyond the {objects} objects of the catalog")]
    BeyondCatalog {
        /// The number.
        found: u32,
        /// Number of objects.
        objects: u32,
    },
    /// A block that does not come after the one before it.
    #[error("block {0} is out of order")]
    Order(u16),
    /// A missing ordinal from `through` on, or an extra one below.
    #[error("ordinal {found} is on the wrong side of {through}")]
    WrongSide {
        /// The ordinal.
        found: u32,
        /// The report's `through`.
        through: u32,
    },
}

impl Readiness {
    /// The report on what is held among the first `objects` objects, in the
    /// one form that says it shortest for a mirror that holds most.
    #[must_use]
    pub fn from_held(
        held: &RoaringBitmap,
        objects: u32,
        names_through: u64,
        filter: Digest,
        log: LogPosition,
    ) -> Self {
        let mut missing = RoaringBitmap::new();
        missing.insert_range(0..objects);
        missing -= held;
        missing.optimize();
        let mut extra = held.clone();
        extra.remove_range(0..objects);
        extra.optimize();
        Self {
            through: objects,
            missing,
            extra,
            names_through,
            filter,
            log,
        }
    }

    /// The set of held objects that this reports.
    #[must_use]
    pub fn held(&self) -> RoaringBitmap {
        let mut held = RoaringBitmap::new();
        held.insert_range(0..self.through);
        held -= &self.missing;
        held |= &self.extra;
        held
    }

    /// True if the object is held.
    #[must_use]
    pub fn holds(&self, ordinal: Ordinal) -> bool {
        let number = ordinal.get();
        (number < self.through && !self.missing.contains(number)) || self.extra.contains(number)
    }

    /// Whether all of these objects are held, at a cost in proportion to them.
    #[must_use]
    pub fn holds_all(&self, objects: &RoaringBitmap) -> bool {
        let below = objects - &self.extra;
        below.max().is_none_or(|last| last < self.through) && below.is_disjoint(&self.missing)
    }

    /// True if the object of the name is held and the name is in place.
    #[must_use]
    pub fn serves_name(&self, name: NameRecord) -> bool {
        self.names_through > name.set_at && self.holds(name.ordinal)
    }

    /// Number of objects held.
    #[must_use]
    pub fn ready_count(&self) -> u64 {
        let below = u64::from(self.through) - self.missing.range_cardinality(..self.through);
        let above = self.extra.range_cardinality(self.through..);
        // A report with extra ordinals on the wrong side still counts right.
        let both = &self.extra & &self.missing;
        below + above + both.range_cardinality(..self.through)
    }

    /// Everything but the sets.
    #[must_use]
    pub fn header(&self) -> ReadinessHeader {
        ReadinessHeader {
            through: self.through,
            names_through: self.names_through,
            filter: self.filter,
            log: self.log.clone(),
        }
    }

    /// The sets, block by block, in the order of [`Readiness::from_blocks`].
    pub fn blocks(&self) -> impl Iterator<Item = ReadinessBlock> {
        let of = |set, members| blocks_of(members).map(move |(block, bytes)| (set, block, bytes));
        of(BlockSet::Missing, &self.missing)
            .chain(of(BlockSet::Extra, &self.extra))
            .map(|(set, block, bytes)| ReadinessBlock { set, block, bytes })
    }

    /// Puts a report together that is relative to a catalog of `objects`
    /// objects.
    ///
    /// # Errors
    ///
    /// [`ReadinessError`] for anything that [`Readiness::blocks`] of a report
    /// within the catalog would not give.
    pub fn from_blocks<'a>(
        header: ReadinessHeader,
        blocks: impl IntoIterator<Item = &'a ReadinessBlock>,
        objects: u32,
    ) -> Result<Self, ReadinessError> {
        let ReadinessHeader {
            through,
            names_through,
            filter,
            log,
        } = header;
        if through > objects {
            let found = through;
            return Err(ReadinessError::BeyondCatalog { found, objects });
        }
        let mut this = Self {
            through,
            missing: RoaringBitmap::new(),
            extra: RoaringBitmap::new(),
            names_through,
            filter,
            log,
        };
        let mut last = None;
        for block in blocks {
            let place = (block.set, block.block);
            if last.is_some_and(|last| last >= place) {
                return Err(ReadinessError::Order(block.block));
            }
            last = Some(place);
            let members = decode_block(&block.bytes, block.block, objects)?;
            match block.set {
                BlockSet::Missing => this.missing |= members,
                BlockSet::Extra => this.extra |= members,
            }
        }
        let wrong_side = this
            .missing
            .max()
            .filter(|found| *found >= through)
            .or_else(|| this.extra.min().filter(|found| *found < through));
        match wrong_side {
            Some(found) => Err(ReadinessError::WrongSide { found, through }),
            None => Ok(this),
        }
    }
}

/// The members of one block of a catalog of `objects` objects.
///
/// # Errors
///
/// [`ReadinessError`] unless the bytes are one Roaring container with the key
/// `block`, and nothing else.
pub fn decode_block(
    bytes: &[u8],
    block: u16,
    objects: u32,
) -> Result<RoaringBitmap, ReadinessError> {
    if bytes.len() > MAX_BLOCK_BYTES {
        return Err(ReadinessError::TooLong(bytes.len()));
    }
    // Before the library reads it: how many containers does it claim to be?
    let (words, _) = bytes.as_chunks::<4>();
    let one_container = match words {
        [cookie, count, ..] if u32::from_le_bytes(*cookie) == COOKIE_PLAIN => {
            u32::from_le_bytes(*count) == 1
        }
        // The count less one is in the upper half.
        [cookie, ..] => u32::from_le_bytes(*cookie) == COOKIE_RUNS,
        [] => false,
    };
    if !one_container {
        return Err(ReadinessError::Containers);
    }
    let mut rest = bytes;
    let members = RoaringBitmap::deserialize_from(&mut rest).map_err(ReadinessError::Malformed)?;
    if !rest.is_empty() {
        return Err(ReadinessError::TrailingBytes(rest.len()));
    }
    let (Some(first), Some(last)) = (members.min(), members.max()) else {
        return Err(ReadinessError::Containers);
    };
    if first >> 16 != u32::from(block) {
        let found = first >> 16;
        return Err(ReadinessError::OtherBlock { block, found });
    }
    if last >= objects {
        let found = last;
        return Err(ReadinessError::BeyondCatalog { found, objects });
    }
    Ok(members)
}

/// The non-empty blocks of a set, encoded.
fn blocks_of(members: &RoaringBitmap) -> impl Iterator<Item = (u16, Vec<u8>)> {
    let mut next = members.min();
    std::iter::from_fn(move || {
        let first = next?;
        let ordinals = block_of(first);
        let after = ordinals.end().checked_add(1);
        next = after.and_then(|after| members.range(after..).next());
        let mut block = RoaringBitmap::new();
        block.insert_range(ordinals);
        block &= members;
        block.optimize();
        let mut bytes = Vec::with_capacity(block.serialized_size());
        // Writing to memory does not fail; if it did, the block would be
        // refused as malformed, never taken for empty.
        let _ = block.serialize_into(&mut bytes);
        Some((u16::try_from(first >> 16).ok()?, bytes))
    })
}

/// All ordinals of the block that `ordinal` is in.
const fn block_of(ordinal: u32) -> RangeInclusive<u32> {
    let first = ordinal & 0xffff_0000;
    first..=first | 0xffff
}

#[cfg(test)]
mod tests;
