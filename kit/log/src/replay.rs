//! From stored entries to whole revisions, and to the state that they give.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::thread;

use landfall_catalog::{Catalog, Entry};
use landfall_proto::model::decode_entry;

use crate::error::LogError;
use crate::reader::{Committed, LogReader, VerifiedBundles};

/// Revisions on their way from the reading to the folding thread: enough that
/// neither waits for the other's longest step, few enough to bound memory.
const REVISIONS_AHEAD: usize = 16;

/// A whole revision: its entries, the last of which is its commit.
#[derive(Debug)]
pub(crate) struct Revision {
    /// Index of its first entry in the log.
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
}

/// Reads, verifies and decodes the entries of a committed state from index `from`
/// on, which is where a revision begins, and hands them on revision by revision.
pub(crate) fn replay(
    reader: &LogReader,
    head: &Committed,
    from: u64,
    mut each: impl FnMut(Revision) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let mut revision = Revision {
        first: from,
        entries: Vec::new(),
    };
    let mut bundles = VerifiedBundles::starting(reader, head, from);
    while let Some((first, _, stored)) = bundles.next()? {
        for (index, bytes) in (first..).zip(stored).filter(|(index, _)| *index >= from) {
            let entry = decode_entry(&bytes).map_err(|source| LogError::Entry { index, source })?;
            let ends = matches!(entry, Entry::Commit(_));
            revision.entries.push(entry);
            if !ends {
                continue;
            }
            let next = Revision {
                first: index + 1,
                entries: Vec::new(),
            };
            if each(std::mem::replace(&mut revision, next)).is_break() {
                return Ok(());
            }
        }
    }
    if revision.entries.is_empty() {
        Ok(())
    } else {
        Err(LogError::damaged("it does not end with a commit"))
    }
}

/// The state that the committed log gives. One thread reads, verifies and
/// decodes, this one folds; blocks until both are done.
///
/// # Errors
/// [`LogError::Damaged`] before anything of a wrong bundle is used;
/// [`LogError::Entry`] and [`LogError::Fold`] for a log that was signed wrong.
pub fn load_catalog(reader: &LogReader) -> Result<Catalog, LogError> {
    let head = reader.head();
    let (sender, receiver) = sync_channel::<Revision>(REVISIONS_AHEAD);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            // The receiver goes when the fold has failed: its error counts then.
            replay(reader, &head, 0, move |revision| {
                match sender.send(revision) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        let folded = fold(receiver.into_iter());
        let read = reading.join().map_err(|_| LogError::Worker)?;
        let catalog = folded?;
        read?;
        Ok(catalog)
    })
}

fn fold(revisions: impl Iterator<Item = Revision>) -> Result<Catalog, LogError> {
    let mut catalog = Catalog::default();
    for revision in revisions {
        let end = revision.first + revision.entries.len() as u64;
        catalog
            .apply(&revision.entries)
            .map_err(|source| LogError::Fold { end, source })?;
    }
    Ok(catalog)
}
