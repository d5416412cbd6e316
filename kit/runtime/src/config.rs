//! Configuration: a TOML file, then the environment, then flags, in that
//! order of growing weight, read whole before anything is refused.
//!
//! `LANDFALL__LISTEN__GRPC=…` sets `listen.grpc`: two underscores go one
//! level down, keys are lower-cased, and a value is read as whatever its key
//! wants (a TOML scalar, array or inline table; else as a plain string).
//! Flags come as pairs of such a dotted key and a value.
//!
//! Unknown keys are faults, known from the fields of the derived
//! `Deserialize` implementations: so sections are plain structs, without
//! `#[serde(flatten)]` and without untagged enums around structs, through
//! which serde hides the fields from the format.
//!
//! How all faults are found at once: the reader deserialises, notes the first
//! fault, puts a stand-in where it was, and starts again until nothing new
//! comes. The value that comes out at the end is given to nobody unless there
//! was no fault at all.

mod collect;
mod http_url;
mod read_fault;
mod reader;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use http_url::{HttpUrl, HttpUrlError};

use crate::bounded;

/// Configuration files are read up to this size.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// No more faults than this are listed.
pub const MAX_FAULTS: usize = 100;

/// What types alone cannot say about a configuration.
pub trait Check {
    /// Every fault, never only the first. When keys could not be read, this
    /// sees stand-ins in their place, and what it says about them is dropped.
    fn check(&self) -> Vec<Fault>;
}

/// A fault that [`Check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which key, as in `listen.grpc` or `mirror[0].name`.
    pub key: String,
    /// What is wrong with it and what to do, as one clause.
    pub message: String,
}

impl Fault {
    /// A fault of one key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// Where a value, or the lack of one, comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A place in the file; lines and columns (in characters) count from 1.
    File {
        /// The file as it was given.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The file as a whole.
    WholeFile(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag, by the key that it sets.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(key) => write!(f, "command line ({key})"),
        }
    }
}

/// One fault: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigFault {
    /// Where to look.
    pub place: Place,
    /// Which key, dotted; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do; empty when the message says it.
    pub help: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if self.help.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.help)
        }
    }
}

/// Every fault of a configuration, in the order of the file, then of the
/// environment, then of the flags. Never empty. Displays one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    faults: Vec<ConfigFault>,
}

impl ConfigFaults {
    /// The faults.
    pub fn faults(&self) -> &[ConfigFault] {
        &self.faults
    }

    fn sorted(mut faults: Vec<ConfigFault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { faults }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Reads `file`, lays the environment's variables that begin with
/// `{env_prefix}__` over it, and over that the flags in `overrides` (dotted
/// key, value).
///
/// # Errors
/// All faults together.
pub fn load<T: DeserializeOwned + Check>(
    file: &Path,
    env_prefix: &str,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<T, ConfigFaults> {
    let text = read_text(file).map_err(|message| ConfigFaults {
        faults: vec![ConfigFault {
            place: Place::WholeFile(file.to_owned()),
            key: String::new(),
            message,
            help: String::new(),
        }],
    })?;
    load_text(file, &text, env_prefix, env, overrides)
}

/// As [`load`], of a file's text that is already there. `file` is what the
/// faults call it.
///
/// # Errors
/// All faults together.
pub fn load_text<T: DeserializeOwned + Check>(
    file: &Path,
    text: &str,
    env_prefix: &str,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<T, ConfigFaults> {
    let mut tree = tree::Tree::parse(file, text).map_err(ConfigFaults::sorted)?;
    tree.overlay_environment(env_prefix, env);
    tree.overlay_flags(overrides);
    collect::read_all(&tree, env_prefix).map_err(ConfigFaults::sorted)
}

/// The process's environment, for [`load`]. Variables that are not UTF-8
/// cannot name a key and are left out.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn read_text(file: &Path) -> Result<String, String> {
    let content = bounded::read_file(file, MAX_FILE_BYTES).map_err(|error| {
        std::error::Error::source(&error).map_or_else(
            || format!("cannot read the configuration: {error}"),
            |source| format!("cannot read the configuration: {source}"),
        )
    })?;
    String::from_utf8(content.to_vec()).map_err(|_| "is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests;
