//! The names that users ask for, with every refusal of their grammar.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::Digest;
use crate::excerpt::excerpt;
use crate::string_form::serde_as_string;

/// Longest file path, in bytes; the longest request path that is answered.
pub const MAX_PATH_BYTES: usize = 1024;

/// Longest repository name, in bytes (OCI distribution specification).
const MAX_REPOSITORY_BYTES: usize = 255;
/// Longest tag, in bytes (OCI distribution specification).
const MAX_TAG_BYTES: usize = 128;
/// Longest path segment, in bytes: what common file systems take.
const MAX_SEGMENT_BYTES: usize = 255;

/// First segments of a path that mean something else, at a mirror or at the
/// public name.
const RESERVED_FOLDERS: [&str; 5] = ["blobs", "v2", ".landfall", ".well-known", "origin"];
/// Whole paths that are part of an OCI layout or of a mirror's own index.
const RESERVED_FILES: [&str; 3] = ["index.json", "oci-layout", "index.yaml"];

/// Why a text is not a name. Always the input's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name of the OCI distribution specification.
    #[error("\"{value}\" is not a repository name: {why}")]
    Repository {
        /// The text, escaped and cut.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a tag of the OCI distribution specification.
    #[error("\"{value}\" is not a tag: {why}")]
    Tag {
        /// The text, escaped and cut.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a path that a file may be published under.
    #[error("\"{value}\" is not a publishable path: {why}")]
    Path {
        /// The text, escaped and cut.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A repository: lower-case path segments as in the OCI distribution
/// specification, at most 255 bytes. No registry host in front.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Arc<str>);

/// A tag, as in the OCI distribution specification.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// The relative path of a file below the public name.
///
/// Segments are separated by single `/`; none is empty, `.` or `..`; there are
/// no control characters and no backslash; the whole is at most
/// [`MAX_PATH_BYTES`] long, and stays clear of the paths that mirrors and the
/// public name keep for themselves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Arc<str>);

/// What a user asks for.
///
/// Its text form is `repository:tag`, `repository@sha256:…` or the path.
/// Parsing tries them in this order, so that a path which reads as
/// `repository:tag` means the tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A tag of a repository.
    Tag(Repository, Tag),
    /// An object that a repository offers by digest, without a tag.
    Root(Repository, Digest),
    /// A file.
    File(FilePath),
}

macro_rules! text_newtype {
    ($type:ident, $variant:ident, $check:ident) => {
        impl $type {
            /// Checks `text` against the grammar.
            ///
            /// # Errors
            ///
            #[doc = concat!("[`NameError::", stringify!($variant), "`] with what is wrong.")]
            pub fn try_new(text: impl Into<String>) -> Result<Self, NameError> {
                Self::checked(&text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn checked(text: &str) -> Result<Self, NameError> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(why) => Err(NameError::$variant {
                        value: excerpt(text),
                        why,
                    }),
                }
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::checked(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Sound for maps: the derived Hash, Eq and Ord are those of the text.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        serde_as_string!($type);
    };
}

text_newtype!(Repository, Repository, check_repository);
text_newtype!(Tag, Tag, check_tag);
text_newtype!(FilePath, Path, check_path);

impl Repository {
    /// True if `text` is a repository name; allocates nothing.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        check_repository(text).is_ok()
    }
}

impl Tag {
    /// True if `text` is a tag; allocates nothing.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        check_tag(text).is_ok()
    }
}

impl FilePath {
    /// True if `text` is a publishable path; allocates nothing.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        check_path(text).is_ok()
    }

    /// The folders that hold the file, nearest last: `a` and `a/b` of `a/b/c`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
            Self::Root(repository, digest) => write!(f, "{repository}@{digest}"),
            Self::File(path) => write!(f, "{path}"),
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some((repository, digest)) = text.split_once('@')
            && let (Ok(repository), Ok(digest)) = (repository.parse(), digest.parse())
        {
            return Ok(Self::Root(repository, digest));
        }
        if let Some((repository, tag)) = text.split_once(':')
            && let (Ok(repository), Ok(tag)) = (repository.parse(), tag.parse())
        {
            return Ok(Self::Tag(repository, tag));
        }
        text.parse().map(Self::File)
    }
}

serde_as_string!(Name);

/// OCI: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` in segments separated by `/`.
fn check_repository(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_REPOSITORY_BYTES {
        return Err("longer than 255 bytes");
    }
    if text.split('/').any(str::is_empty) {
        return Err("a segment is empty");
    }
    if text.split('/').all(is_repository_segment) {
        Ok(())
    } else {
        Err("segments are lower-case letters and digits, joined by . _ __ or dashes")
    }
}

fn is_repository_segment(segment: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = segment.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes
            .chunk_by(|a, b| is_word(a) == is_word(b))
            .all(|run| match run {
                [first, ..] if is_word(first) => true,
                [b'.'] | [b'_'] | [b'_', b'_'] => true,
                joint => joint.iter().all(|byte| *byte == b'-'),
            })
}

/// OCI: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(text: &str) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() {
        return Err("empty");
    }
    if text.len() > MAX_TAG_BYTES {
        return Err("longer than 128 bytes");
    }
    if text.starts_with(['.', '-']) {
        return Err("begins with . or -");
    }
    if text
        .bytes()
        .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
    {
        Ok(())
    } else {
        Err("only letters, digits, _ . and - are allowed")
    }
}

fn check_path(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("empty");
    }
    if text.len() > MAX_PATH_BYTES {
        return Err("longer than 1024 bytes");
    }
    if text.starts_with('/') {
        return Err("absolute");
    }
    if text.contains('\\') {
        return Err("contains a backslash");
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err("a segment is empty"),
            "." | ".." => return Err("a segment is . or .."),
            _ if segment.len() > MAX_SEGMENT_BYTES => {
                return Err("a segment is longer than 255 bytes");
            }
            _ => {}
        }
    }
    let first = text.split('/').next().unwrap_or_default();
    if RESERVED_FOLDERS.contains(&first) {
        return Err("begins with a reserved folder");
    }
    if RESERVED_FILES.contains(&text) {
        return Err("reserved");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
