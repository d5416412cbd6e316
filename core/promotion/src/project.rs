//! A project: where its content is staged, where it is promoted to, and what.

use std::fmt;
use std::sync::Arc;

use landfall_catalog::{Digest, Repository, Tag};

use crate::finding::Position;

/// What a project promotes. The two kinds are registered, compared and pruned
/// apart, also where they share a project's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Container images, from a registry.
    Images,
    /// Release files, from a file store.
    Files,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Files => "files",
        })
    }
}

/// One project of one kind: its sensitive half and what of its delegated half
/// is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Name of the project's folders, for example `k8s-staging-kops`.
    pub name: String,
    /// Whether it promotes images or files.
    pub kind: Kind,
    /// Where content is staged: `host/path` of a registry, or the base of a file
    /// store such as `gs://bucket/prefix/`, as written.
    pub source: String,
    /// Where it is promoted to, as written and in that order.
    pub destinations: Vec<String>,
    /// Rows of its images, if it promotes images.
    pub images: Vec<ImageEntry>,
    /// Its files, if it promotes files.
    pub files: Vec<FileEntry>,
    /// How many rows or files were left out because of a finding.
    pub quarantined: u64,
    /// Where its sensitive half begins.
    pub at: Position,
}

/// One digest of an image, with the tags that it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Name of the image below the source and below each destination.
    pub name: Repository,
    /// What is promoted.
    pub digest: Digest,
    /// Its tags. None at all: it is promoted by digest alone.
    pub tags: Vec<Tag>,
    /// Where the row is.
    pub at: Position,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Path below the source and below each destination.
    pub name: Arc<str>,
    /// Its content.
    pub digest: Digest,
    /// Where the entry is.
    pub at: Position,
}
