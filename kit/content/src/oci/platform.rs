//! What an index says that its children are for.

use landfall_catalog::Digest;
use serde::Deserialize;

use super::Closure;

/// Longest text of a platform that is shown.
const MAX_TEXT: usize = 60;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    digest: Digest,
    platform: Option<Platform>,
}

/// `platform` of a descriptor (OCI image specification, "Image Index").
#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Closure {
    /// The platform of a document, as an index of this closure names it:
    /// `linux/arm64/v8`. For people: short, and of visible characters only.
    #[must_use]
    pub fn platform(&self, digest: &Digest) -> Option<String> {
        let mut documents = self.documents.values();
        documents.find_map(|index| platform_in(index, digest))
    }
}

/// The platform of a document, as this index names it.
pub(crate) fn platform_in(index: &[u8], digest: &Digest) -> Option<String> {
    let index: Index = serde_json::from_slice(index).ok()?;
    let mut children = index.manifests.into_iter();
    let Platform {
        os,
        architecture,
        variant,
    } = children
        .find(|child| child.digest == *digest && child.platform.is_some())?
        .platform?;
    let parts: Vec<_> = [os, architecture, variant].into_iter().flatten().collect();
    let visible = |c: &char| c.is_ascii_graphic();
    let text = parts.join("/");
    let text: String = text.chars().filter(visible).take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}
