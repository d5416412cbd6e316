//! One thing that the manifests ask for, under its public name.

use std::fmt;
use std::sync::Arc;

use landfall_catalog::{Digest, Name, Repository};

use crate::canonical::Canonical;
use crate::finding::Position;
use crate::project::Kind;

/// A public name that is to mean a digest, and where its content is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The public name.
    pub name: Name,
    /// What it is to mean.
    pub digest: Digest,
    /// The project that asks.
    pub project: String,
    /// Whether it asks for an image or a file.
    pub kind: Kind,
    /// Where the content is staged.
    pub source: SourceRef,
    /// Whether the name may move to another digest later.
    pub mutable: bool,
    /// Where a manifest asks for it.
    pub at: Position,
}

impl Asked {
    /// Everything that execution depends on; the place in a manifest is not.
    pub(crate) fn encode(&self, canonical: &mut Canonical) {
        canonical.text(&self.name.to_string());
        canonical.digest(&self.digest);
        canonical.text(&self.project);
        canonical.text(&self.kind.to_string());
        canonical.text(&self.source.to_string());
        canonical.flag(self.mutable);
    }
}

/// Where content is staged, in the words of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRef {
    /// An image of a staging registry.
    Image {
        /// `host/path` of the registry.
        registry: Arc<str>,
        /// Name of the image below it.
        name: Repository,
        /// Its digest.
        digest: Digest,
    },
    /// A file of a staging store.
    File {
        /// Base of the store, as written.
        base: Arc<str>,
        /// Path below it.
        path: Arc<str>,
    },
}

impl SourceRef {
    /// Where it is, without the digest of an image: `host/path/name`, or the URL
    /// of a file. What prefixes of staging places are compared with.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Image { registry, name, .. } => format!("{registry}/{name}"),
            Self::File { base, path } => format!("{}/{path}", base.trim_end_matches('/')),
        }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location())?;
        match self {
            Self::Image { digest, .. } => write!(f, "@{digest}"),
            Self::File { .. } => Ok(()),
        }
    }
}
