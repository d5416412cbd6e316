//! One encoding for everything whose digest people confirm or refer to.
//!
//! A digest is SHA-256 over a sequence of fields. Text and bytes are preceded by
//! their length as 8 bytes big endian, numbers are 8 bytes big endian, a list is
//! its number of items and then the items, an option is one byte (0 or 1) and
//! then the value, a variant is its name as text and then its fields. The first
//! field is a text that names what is encoded and the version of its encoding.
//! No two different values have the same encoding.

use landfall_catalog::{Digest, Hasher};

/// Feeds a [`Hasher`] field by field.
pub(crate) struct Canonical(Hasher);

impl Canonical {
    /// Begins the encoding of what `label` names.
    pub(crate) fn new(label: &str) -> Self {
        let mut canonical = Self(Hasher::new());
        canonical.text(label);
        canonical
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.0.update(&[u8::from(flag)]);
    }

    /// 32 raw bytes: of fixed size, so without a length.
    pub(crate) fn digest(&mut self, digest: &Digest) {
        self.0.update(digest.as_bytes());
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    pub(crate) fn option<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_digest() {
        let of = |fields: &[&str]| {
            let mut canonical = Canonical::new("t");
            canonical.list(fields, |canonical, field| canonical.text(field));
            canonical.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["", "a"]), of(&["a", ""]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let mut canonical = Canonical::new("t");
        canonical.option(Some(&7), |canonical, number| canonical.number(*number));
        let expected = b"\0\0\0\0\0\0\0\x01t\x01\0\0\0\0\0\0\0\x07";
        assert_eq!(canonical.finish(), Digest::of(expected));
    }
}
