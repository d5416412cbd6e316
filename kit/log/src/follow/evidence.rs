//! What is kept of a refusal, for the people who have to find out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landfall_catalog::{Digest, SignedCheckpoint};

use crate::refusal::Refusal;

/// Below the log's directory.
const DIRECTORY: &str = "evidence";
/// No more files than that: the first ones tell the most.
const MAX_FILES: usize = 64;

/// A log that was offered and not taken. What is held stays in force.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// By name.
    pub why: Refusal,
    /// The facts.
    pub detail: String,
    /// Who offered it.
    pub source: String,
    /// The note that is held, if there is one.
    pub held: Option<Vec<u8>>,
    /// The note that was offered, if there was one.
    pub offered: Vec<u8>,
    /// The file that has all this, if it could be written.
    pub file: Option<PathBuf>,
}

impl Evidence {
    pub(super) fn new(
        why: Refusal,
        detail: String,
        source: String,
        held: Option<&SignedCheckpoint>,
        offered: &[u8],
    ) -> Self {
        Self {
            why,
            detail,
            source,
            held: held.map(|held| held.note().to_vec()),
            offered: offered.to_vec(),
            file: None,
        }
    }

    /// Writes it below `dir`, once for each note that is offered.
    pub(super) fn keep(&mut self, dir: &Path, now: u64) -> io::Result<()> {
        let directory = dir.join(DIRECTORY);
        fs::create_dir_all(&directory)?;
        let name = format!(
            "{}-{}.txt",
            self.why.to_string().replace(' ', "-"),
            &Digest::of(&self.offered).to_hex()[..16]
        );
        let path = directory.join(name);
        if !path.try_exists()? {
            if fs::read_dir(&directory)?.count() >= MAX_FILES {
                return Err(io::Error::other("there is much evidence already"));
            }
            fs::write(&path, self.text(now))?;
        }
        self.file = Some(path);
        Ok(())
    }

    fn text(&self, now: u64) -> String {
        let show = |note: &[u8]| String::from_utf8_lossy(note).into_owned();
        format!(
            "refused: {}\ndetail: {}\nsource: {}\ntime: {now}\n\n--- held ---\n{}\n--- offered ---\n{}",
            self.why,
            self.detail,
            self.source,
            self.held
                .as_deref()
                .map_or_else(|| "nothing\n".to_owned(), show),
            show(&self.offered),
        )
    }
}
