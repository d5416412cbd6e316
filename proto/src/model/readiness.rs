//! Readiness reports: a header, 65,536-ordinal blocks, an end marker.
//!
//! A report is nothing until its end marker has come: "not reported" is never
//! "empty". What is kept until then is bounded by the size of the catalog,
//! because an agent may be anybody's program.

use bytes::Bytes;
use landfall_catalog::{
    BlockSet, LogPosition, MAX_BLOCK_BYTES, Readiness, ReadinessBlock, ReadinessHeader, TreeHash,
};

use super::{WireError, digest, digest_to_wire, invalid};
use crate::v1::{self, readiness_chunk::Kind};

/// A report as chunks, each at most a block's size (about 8 KiB and a few
/// bytes). `wanted` is the number of objects that the mirror wants.
#[must_use]
pub fn readiness_to_wire(readiness: &Readiness, wanted: u64) -> Vec<v1::ReadinessChunk> {
    let header = readiness.header();
    let chunk = |kind| v1::ReadinessChunk { kind: Some(kind) };
    let mut chunks = vec![chunk(Kind::Header(v1::ReadinessHeader {
        through: header.through,
        names_through: header.names_through,
        filter: digest_to_wire(&header.filter),
        log_origin: header.log.origin,
        log_size: header.log.size,
        log_root: Bytes::copy_from_slice(header.log.root.as_bytes()),
        wanted,
    }))];
    let mut blocks = 0;
    for block in readiness.blocks() {
        blocks += 1;
        chunks.push(chunk(Kind::Block(v1::ReadinessBlock {
            set: match block.set {
                BlockSet::Missing => v1::OrdinalSet::Missing,
                BlockSet::Extra => v1::OrdinalSet::Extra,
            }
            .into(),
            block: block.block.into(),
            roaring: block.bytes.into(),
        })));
    }
    chunks.push(chunk(Kind::End(v1::ReadinessEnd { blocks })));
    chunks
}

/// Puts a report together from its chunks.
#[derive(Debug, Default)]
pub struct ReadinessAssembler {
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    header: ReadinessHeader,
    wanted: u64,
    blocks: Vec<ReadinessBlock>,
}

impl ReadinessAssembler {
    /// The log that the report which is coming in is about, from its header on.
    #[must_use]
    pub fn log(&self) -> Option<&LogPosition> {
        self.partial.as_ref().map(|partial| &partial.header.log)
    }

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
        let begun = || taken.ok_or(WireError::Missing("readiness.header"));
        match chunk.kind {
            None => Err(WireError::Missing("readiness.kind")),
            Some(Kind::Header(header)) => {
                self.partial = Some(Partial {
                    wanted: header.wanted,
                    header: header_from_wire(header)?,
                    blocks: Vec::new(),
                });
                Ok(None)
            }
            Some(Kind::Block(block)) => {
                let mut partial = begun()?;
                partial.add(block, objects)?;
                self.partial = Some(partial);
                Ok(None)
            }
            Some(Kind::End(end)) => begun()?.finish(end.blocks, objects).map(Some),
        }
    }
}

fn header_from_wire(header: v1::ReadinessHeader) -> Result<ReadinessHeader, WireError> {
    let root: [u8; 32] = header
        .log_root
        .as_ref()
        .try_into()
        .map_err(invalid("readiness.log_root"))?;
    Ok(ReadinessHeader {
        through: header.through,
        names_through: header.names_through,
        filter: digest("readiness.filter", &header.filter)?,
        log: LogPosition {
            origin: header.log_origin,
            size: header.log_size,
            root: TreeHash::from_raw(root),
        },
    })
}

impl Partial {
    fn add(&mut self, wire: v1::ReadinessBlock, objects: u32) -> Result<(), WireError> {
        const FIELD: &str = "readiness.block";
        let most_blocks = 2 * ((objects >> 16) as usize + 1);
        let set = match wire.set() {
            v1::OrdinalSet::Missing => BlockSet::Missing,
            v1::OrdinalSet::Extra => BlockSet::Extra,
            v1::OrdinalSet::Unspecified => {
                return Err(invalid(FIELD)(format!("set {} is not known", wire.set)));
            }
        };
        if self.blocks.len() >= most_blocks || wire.roaring.len() > MAX_BLOCK_BYTES {
            return Err(invalid(FIELD)(format!(
                "more than a catalog of {objects} objects can need"
            )));
        }
        self.blocks.push(ReadinessBlock {
            set,
            block: u16::try_from(wire.block).map_err(invalid(FIELD))?,
            bytes: wire.roaring.into(),
        });
        Ok(())
    }

    fn finish(self, announced: u32, objects: u32) -> Result<(Readiness, u64), WireError> {
        if announced as usize != self.blocks.len() {
            return Err(invalid("readiness.end.blocks")(format!(
                "{announced} were announced, {} came",
                self.blocks.len()
            )));
        }
        Readiness::from_blocks(self.header, &self.blocks, objects)
            .map(|readiness| (readiness, self.wanted))
            .map_err(|error| invalid("readiness")(crate::status::chain(&error)))
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
        // Ordinals of blocks 0, 1, 3 are missing, of block 3 extra.
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
        for objects in [200_600, 100] {
            let chunks = readiness_to_wire(&report(), 12);
            assert!(assemble(chunks, objects).is_err());
        }
    }

    #[test]
    fn more_blocks_than_the_catalog_can_need_are_refused_before_they_are_kept() {
        let mut chunks = readiness_to_wire(&report(), 12);
        let block = chunks[1].clone();
        chunks.truncate(1);
        chunks.extend(std::iter::repeat_n(block, 11));
        assert!(assemble(chunks, OBJECTS).is_err());
    }
}
