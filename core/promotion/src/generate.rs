//! Writes delegated halves: new entries go into a manifest without disturbing
//! what is there.
//!
//! New text is only ever inserted. Comments, order, quotes and faults of what is
//! there stay; each new entry goes after the last one that sorts before it. What
//! was written is read again, and a manifest that would not say exactly what it
//! said before and the new entries is not written at all.

mod edit;
mod files;
mod images;

pub use files::merge_files;
pub use images::{ImageRow, image_names, merge_images};

/// A manifest with new entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The whole manifest.
    pub text: String,
    /// Entries (files, or tags of images) that are new in it.
    pub added: usize,
    /// Entries that were in it.
    pub present: usize,
}

/// Why a manifest can't take new entries. Mending it is up to a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It is not a manifest of this kind that can be read.
    #[error("line {line}: {message}")]
    Unreadable {
        /// Where, from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// It gives a path or a tag another meaning than the new entries do: a name
    /// means one digest for ever. All of them.
    #[error("{}", .0.join("\n"))]
    Conflicts(Vec<String>),
    /// It is written in a way that can't be added to without rewriting it.
    #[error(
        "what is in line {line} is written in a way that can't be added to; make it a plain block list first, one entry a line"
    )]
    Style {
        /// Where, from 1.
        line: u32,
    },
}
