//! Hashing again what an earlier writer left.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use landfall_catalog::{Digest, Hasher, PIECE_SIZE};

use super::WriterOptions;
use crate::piece::{PieceHasher, PieceList};

/// Bytes read at once.
const READ_SIZE: usize = 1 << 20;

/// What an earlier writer left, as far as it can be used.
pub(super) struct Prefix {
    pub(super) length: u64,
    pub(super) whole: Hasher,
    pub(super) pieces: PieceHasher,
}

impl Prefix {
    pub(super) fn of(file: &mut File, size: u64, options: &WriterOptions) -> io::Result<Self> {
        let mut prefix = Self {
            length: 0,
            whole: Hasher::new(),
            pieces: PieceHasher::default(),
        };
        let there = file.metadata()?.len();
        if there > size {
            return Ok(prefix);
        }
        file.seek(SeekFrom::Start(0))?;
        match &options.pieces {
            None => prefix.take_all(file, options.make_pieces && size > PIECE_SIZE)?,
            Some(list) => prefix.take_pieces(file, size, list)?,
        }
        Ok(prefix)
    }

    fn take_all(&mut self, file: &mut File, make_pieces: bool) -> io::Result<()> {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.whole.update(&buffer[..read]);
            if make_pieces {
                self.pieces.update(&buffer[..read]);
            }
            self.length += read as u64;
        }
    }

    fn take_pieces(&mut self, file: &mut File, size: u64, list: &PieceList) -> io::Result<()> {
        let mut buffer = Vec::new();
        for index in 0..list.count() {
            let length = PIECE_SIZE.min(size - self.length);
            buffer.clear();
            file.take(length).read_to_end(&mut buffer)?;
            if buffer.len() as u64 != length || list.get(index) != Some(&Digest::of(&buffer)) {
                break;
            }
            self.whole.update(&buffer);
            self.length += length;
        }
        Ok(())
    }
}
