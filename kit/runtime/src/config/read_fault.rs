//! Why a value of the configuration could not be read, in plain words.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};

/// Why a reading ended.
#[derive(Debug)]
pub(super) struct ReadFault {
    /// Where; `None` until the fault has passed the value it is about.
    pub(super) path: Option<String>,
    pub(super) kind: FaultKind,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    Missing(&'static str),
    Other { message: String, help: String },
}

impl ReadFault {
    pub(super) fn other(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            path: None,
            kind: FaultKind::Other {
                message: message.into(),
                help: help.into(),
            },
        }
    }

    pub(super) fn at(mut self, path: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(match self.kind {
                FaultKind::Missing(field) => join(path, field),
                FaultKind::Other { .. } => path.to_owned(),
            });
        }
        self
    }
}

impl Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Missing(field) => write!(f, "missing {field}"),
            FaultKind::Other { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for ReadFault {}

impl serde::de::Error for ReadFault {
    fn custom<T: Display>(message: T) -> Self {
        Self::other(message.to_string(), "")
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            path: None,
            kind: FaultKind::Missing(field),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        wrong_type(&found_in_words(&found), &expected.to_string())
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::other(
            format!("{} does not fit", found_in_words(&found)),
            format!("write {} here", expected_in_words(&expected.to_string())),
        )
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let choices = expected.join("`, `");
        Self::other(
            format!("`{variant}` is none of the choices"),
            format!("choose one of `{choices}`"),
        )
    }
}

/// A value of one kind where another belongs.
pub(super) fn wrong_type(found: &str, expected: &str) -> ReadFault {
    let expected = expected_in_words(expected);
    ReadFault::other(format!("is {found}"), format!("write {expected} here"))
}

/// A string's text is not repeated: it may hold a password.
fn found_in_words(found: &Unexpected<'_>) -> String {
    if matches!(found, Unexpected::Str(_)) {
        "a string".to_owned()
    } else if matches!(found, Unexpected::Seq) {
        "an array".to_owned()
    } else if matches!(found, Unexpected::Map) {
        "a table".to_owned()
    } else {
        found.to_string()
    }
}

/// What serde's own types call themselves, as TOML calls it.
fn expected_in_words(expected: &str) -> String {
    let whole_number =
        |least: &dyn Display, most: &dyn Display| format!("a whole number from {least} to {most}");
    match expected {
        "u8" => whole_number(&u8::MIN, &u8::MAX),
        "u16" => whole_number(&u16::MIN, &u16::MAX),
        "u32" => whole_number(&u32::MIN, &u32::MAX),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// The path of a key below a path.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
