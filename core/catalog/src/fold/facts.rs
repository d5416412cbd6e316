//! What may be said of an object that is known: all that is known, and more.

use super::FoldFault;
use crate::digest::Digest;
use crate::object::{MediaType, Object, Ordinal, Referrer};

/// Everything that a description can add to.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) media_type: MediaType,
    pub(super) children: Vec<Ordinal>,
    pub(super) referrer: Option<Referrer>,
    pub(super) pieces: Option<Digest>,
}

impl Facts {
    /// What the entry of an object says; `children` are its children.
    pub(super) fn of(object: &Object, children: Vec<Ordinal>) -> Self {
        Self {
            size: object.size,
            media_type: object.media_type.clone(),
            children,
            referrer: object.referrer.clone(),
            pieces: object.pieces,
        }
    }

    /// What is known when `object`, with these children, was said. Children that
    /// were known keep their places, the new ones come after them.
    pub(super) fn described(
        mut self,
        object: &Object,
        children: Vec<Ordinal>,
    ) -> Result<Self, FoldFault> {
        let contradicted = |what| {
            Err(FoldFault::Contradicted {
                digest: object.digest,
                what,
            })
        };
        if object.size != self.size {
            return contradicted("size");
        }
        if object.media_type != self.media_type && !self.may_become_another_type() {
            return contradicted("media type");
        }
        if self.children.iter().any(|known| !children.contains(known)) {
            return contradicted("children");
        }
        match (&self.referrer, &object.referrer) {
            (None, _) => {}
            (Some(known), Some(said)) if says_no_less(said, known) => {}
            (Some(_), _) => return contradicted("subject"),
        }
        if self.pieces.is_some() && object.pieces != self.pieces {
            return contradicted("piece list");
        }
        for child in children {
            if !self.children.contains(&child) {
                self.children.push(child);
            }
        }
        self.media_type = object.media_type.clone();
        self.referrer = object.referrer.clone();
        self.pieces = object.pieces;
        Ok(self)
    }

    /// Of bytes of which nothing more is known the media type is what the first
    /// to name them called them: somebody who has read them knows better.
    fn may_become_another_type(&self) -> bool {
        let is_read = !self.children.is_empty() || self.referrer.is_some();
        !is_read || self.media_type == MediaType::octet_stream()
    }
}

/// Whether `said` has all that `known` has.
fn says_no_less(said: &Referrer, known: &Referrer) -> bool {
    let same_type = known.artifact_type.is_empty() || said.artifact_type == known.artifact_type;
    let mut annotations = known.annotations.iter();
    said.subject == known.subject
        && same_type
        && annotations.all(|(key, value)| said.annotations.get(key) == Some(value))
}
