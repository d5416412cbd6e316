//! Readiness reports: a header, 65,536-ordinal blocks, an end marker.
//!
//! A report is nothing until its end marker has come: "not reported" is never
//! "empty". Everything is bounded before it is decoded, because an agent may be
//! anybody's program.

use bytes::Bytes;
use landfall_catalog::{LogPosition, Readiness, TreeHash, decode_block};
use roaring::RoaringBitmap;

use super::{WireError, digest, digest_to_wire, invalid};
use crate::v1::{self, readiness_chunk::Kind};

/// Blocks of 65,536 ordinals that one set can have: all of u32.
pub const MAX_BLOCKS_PER_SET: u32 = 1 << 16;

/// A report as chunks, each at most a block's size (about 8 KiB and a few bytes).
#[must_use]
pub fn readiness_to_wire(readiness: &Readiness, wanted: u64) -> Vec<v1::ReadinessChunk> {
    let mut chunks = vec![v1::ReadinessChunk {
        kind: Some(Kind::Header(v1::ReadinessHeader {
            through: readiness.through,
            names_through: readiness.names_through,
            filter: digest_to_wire(&readiness.filter),
            log_origin: readiness.log.origin.clone(),
            log_size: readiness.log.size,
            log_root: Bytes::copy_from_slice(readiness.log.root.as_bytes()),
            wanted,
        })),
    }];
    let sets = [
        (v1::OrdinalSet::Missing, &readiness.missing),
        (v1::OrdinalSet::Extra, &readiness.extra),
    ];
    let mut blocks = 0;
    for (set, members) in sets {
        for (block, members) in split(members) {
            blocks += 1;
            chunks.push(v1::ReadinessChunk {
                kind: Some(Kind::Block(v1::ReadinessBlock {
                    set: set.into(),
                    block,
                    roaring: serialise(&members),
                })),
            });
        }
    }
    chunks.push(v1::ReadinessChunk {
        kind: Some(Kind::End(v1::ReadinessEnd { blocks })),
    });
    chunks
}

fn split(members: &RoaringBitmap) -> Vec<(u32, RoaringBitmap)> {
    let mut blocks: Vec<(u32, RoaringBitmap)> = Vec::new();
    let mut next = members.min();
    while let Some(first) = next {
        let block = first >> 16;
        let from = block << 16;
        let to = from | 0xffff;
        let mut inside = members.clone();
        inside.remove_range(..from);
        if to < u32::MAX {
            inside.remove_range(to + 1..);
        }
        inside.optimize();
        blocks.push((block, inside));
        next = match to.checked_add(1) {
            Some(after) => members.range(after..).next(),
            None => None,
        };
    }
    blocks
}

fn serialise(members: &RoaringBitmap) -> Bytes {
    let mut bytes = Vec::with_capacity(members.serialized_size());
    // Writing into a Vec cannot fail.
    if members.serialize_into(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes.into()
}

/// Puts a report together from its chunks.
#[derive(Debug, Default)]
pub struct ReadinessAssembler {
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    readiness: Readiness,
    wanted: u64,
    blocks: u32,
    last: Option<(v1::OrdinalSet, u32)>,
}

impl ReadinessAssembler {
    /// Takes the next chunk of a report on a catalog of `objects` objects.
    /// `Some` with the report and the number of objects that the mirror wants
    /// once the end marker is in.
    ///
    /// # Errors
    /// [`WireError`] for anything out of order, out of bounds or malformed. The
    /// partial report is dropped; the next header starts afresh.
    pub fn push(
        &mut self,
        chunk: v1::ReadinessChunk,
        objects: u32,
    ) -> Result<Option<(Readiness, u64)>, WireError> {
        let taken = self.partial.take();
        match chunk.kind {
            None => Err(WireError::Missing("readiness.kind")),
            Some(Kind::Header(header)) => {
                self.partial = Some(Partial::start(header, objects)?);
                Ok(None)
            }
            Some(Kind::Block(block)) => {
                let mut partial = taken.ok_or(WireError::Missing("readiness.header"))?;
                partial.add(&block, objects)?;
                self.partial = Some(partial);
                Ok(None)
            }
            Some(Kind::End(end)) => {
                let partial = taken.ok_or(WireError::Missing("readiness.header"))?;
                if end.blocks != partial.blocks {
                    return Err(WireError::Invalid {
                        field: "readiness.end.blocks",
                        why: format!("{} were announced, {} came", end.blocks, partial.blocks),
                    });
                }
                Ok(Some((partial.readiness, partial.wanted)))
            }
        }
    }
}

impl Partial {
    fn start(header: v1::ReadinessHeader, objects: u32) -> Result<Self, WireError> {
        if header.through > objects {
            return Err(WireError::Invalid {
                field: "readiness.through",
                why: format!("{} of {objects} objects", header.through),
            });
        }
        Ok(Self {
            readiness: Readiness {
                through: header.through,
                missing: RoaringBitmap::new(),
                extra: RoaringBitmap::new(),
                names_through: header.names_through,
                filter: digest("readiness.filter", &header.filter)?,
                log: LogPosition {
                    origin: header.log_origin,
                    size: header.log_size,
                    root: TreeHash::from_raw(
                        header
                            .log_root
                            .as_ref()
                            .try_into()
                            .map_err(invalid("readiness.log_root"))?,
                    ),
                },
            },
            wanted: header.wanted,
            blocks: 0,
            last: None,
        })
    }

    fn add(&mut self, wire: &v1::ReadinessBlock, objects: u32) -> Result<(), WireError> {
        let set = wire.set();
        let target = match set {
            v1::OrdinalSet::Missing => &mut self.readiness.missing,
            v1::OrdinalSet::Extra => &mut self.readiness.extra,
            v1::OrdinalSet::Unspecified => {
                return Err(WireError::Invalid {
                    field: "readiness.block.set",
                    why: format!("{} is not known", wire.set),
                });
            }
        };
        if self
            .last
            .is_some_and(|(last, block)| last == set && block >= wire.block)
        {
            return Err(WireError::Invalid {
                field: "readiness.block.block",
                why: format!("{} is out of order", wire.block),
            });
        }
        let block = u16::try_from(wire.block).map_err(invalid("readiness.block.block"))?;
        let members = decode_block(&wire.roaring, block, objects)
            .map_err(invalid("readiness.block.roaring"))?;
        *target |= members;
        self.last = Some((set, wire.block));
        self.blocks += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::Digest;

    const OBJECTS: u32 = 300_000;

    fn report() -> Readiness {
        Readiness {
            through: 200_000,
            missing: [5, 70_000, 70_001, 199_999].into_iter().collect(),
            extra: (200_500..201_500).collect(),
            names_through: 700_000,
            filter: Digest::of(b""),
            log: LogPosition {
                origin: "artifacts.example.org".into(),
                size: 700_100,
                root: TreeHash::from_raw([7; 32]),
            },
        }
    }

    fn assemble(
        chunks: Vec<v1::ReadinessChunk>,
        objects: u32,
    ) -> Result<Option<(Readiness, u64)>, WireError> {
        let mut assembler = ReadinessAssembler::default();
        let mut last = None;
        for chunk in chunks {
            last = assembler.push(chunk, objects)?;
        }
        Ok(last)
    }

    #[test]
    fn a_report_survives_the_wire_block_by_block() {
        let chunks = readiness_to_wire(&report(), 12);
        assert_eq!(chunks.len(), 1 + 3 + 1 + 1);
        let (back, wanted) = assemble(chunks, OBJECTS).unwrap().unwrap();
        assert_eq!(back, report());
        assert_eq!(wanted, 12);
    }

    #[test]
    fn a_report_without_its_end_marker_is_no_report() {
        let mut chunks = readiness_to_wire(&report(), 12);
        chunks.pop();
        assert!(assemble(chunks, OBJECTS).unwrap().is_none());
    }

    #[test]
    fn a_lost_block_is_noticed() {
        let mut chunks = readiness_to_wire(&report(), 12);
        chunks.remove(2);
        assert!(assemble(chunks, OBJECTS).is_err());
    }

    #[test]
    fn blocks_out_of_order_or_beyond_the_catalog_are_refused() {
        let mut chunks = readiness_to_wire(&report(), 12);
        chunks.swap(1, 2);
        assert!(assemble(chunks, OBJECTS).is_err());
        let chunks = readiness_to_wire(&report(), 12);
        assert!(assemble(chunks, 200_600).is_err());
        let chunks = readiness_to_wire(&report(), 12);
        assert!(assemble(chunks, 100).is_err());
    }
}
