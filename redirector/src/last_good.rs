//! The last good view of the fleet on disk: what a redirector boots from with the coordinator gone.
//!
//! The file holds the messages of `Routing.Watch` that lead to the state, each with its length in front, and
//! is read by the same state machine that reads the stream: without its closing bookmark it is nothing. It is
//! replaced whole, and durably. Readiness only ever ends up too old by this, never invented.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_proto::WireError;
use landfall_proto::v1::RoutingWatchResponse;
use landfall_runtime::bounded::{ReadError, read_file};
use prost::Message;
use thiserror::Error;

use crate::fleet::{Fleet, FleetWatch};

/// Largest file that is read, in bytes: ten thousand mirrors of a million objects have a tenth of it.
const MAX_BYTES: usize = 1 << 30;

/// The file is of no use; the coordinator has to be met.
#[derive(Debug, Error)]
pub enum LastGoodError {
    /// It is there and cannot be read.
    #[error("the fleet view on disk cannot be read")]
    Read(#[source] ReadError),
    /// It cannot be looked for or written.
    #[error("the fleet file {} cannot be used", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// It does not hold what it should.
    #[error("the fleet file {} is damaged", .0.display())]
    Damaged(PathBuf, #[source] WireError),
    /// It ends before its bookmark.
    #[error("the fleet file {} is not complete", .0.display())]
    Incomplete(PathBuf),
}

/// The state in the file; none if there is no file. Blocks.
///
/// # Errors
/// [`LastGoodError`] if there is one that cannot be used.
pub fn load(file: &Path) -> Result<Option<Arc<Fleet>>, LastGoodError> {
    match file.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(fault) => return Err(LastGoodError::File(file.to_owned(), fault)),
    }
    let bytes = read_file(file, MAX_BYTES).map_err(LastGoodError::Read)?;
    let damaged = |fault| LastGoodError::Damaged(file.to_owned(), fault);
    let mut rest = bytes.as_ref();
    let mut watch = FleetWatch::default();
    let mut state = None;
    while !rest.is_empty() {
        let message = RoutingWatchResponse::decode_length_delimited(&mut rest)
            .map_err(|fault| damaged(fault.into()))?;
        state = watch.take(message).map_err(damaged)?;
    }
    state
        .map(Some)
        .ok_or_else(|| LastGoodError::Incomplete(file.to_owned()))
}

/// Replaces the file with this state; it is durable when this returns. Blocks.
///
/// # Errors
/// [`LastGoodError::File`]; then the old file is still there.
pub fn save(file: &Path, fleet: &Fleet) -> Result<(), LastGoodError> {
    replace(file, fleet).map_err(|fault| LastGoodError::File(file.to_owned(), fault))
}

fn replace(file: &Path, fleet: &Fleet) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut writer = BufWriter::new(File::create(&partial)?);
    for message in fleet.messages() {
        writer.write_all(&message.encode_length_delimited_to_vec())?;
    }
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    std::fs::rename(&partial, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
