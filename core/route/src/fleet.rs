//! The fleet as routing sees it: one immutable view of all mirrors.

use std::fmt;
use std::sync::Arc;

use landfall_catalog::Readiness;
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// The name that the origin goes by where mirrors are named (`?avoid=origin`, the candidates of an explanation).
pub const ORIGIN: &str = "origin";

/// How a mirror's content is laid out for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// A directory or bucket: `{public_url}/blobs/sha256/{hex}` and `{public_url}/{path}`.
    #[default]
    Files,
    /// An OCI registry: `{public_url}/v2/{prefix}/{repository}/blobs/{digest}`. It holds no files.
    Registry {
        /// What stands before each repository's name, without slashes at its ends; may be empty.
        prefix: String,
    },
}

/// What the operator lets a mirror do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorState {
    /// Asked to join, not accepted yet.
    #[default]
    Pending,
    /// Accepted, and given a tenth of its share to begin with.
    Probation,
    /// In full service.
    Active,
    /// About to leave: serves who was sent before, is sent nobody.
    Draining,
    /// Caught serving wrong content; only an audit or an administrator lifts this.
    Quarantined,
    /// Shut out for good.
    Revoked,
}

/// Whom a mirror may serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Clients that check digests.
    #[default]
    Verified,
    /// Everybody, plain file downloads too.
    Everything,
}

/// What probes say about a mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed yet; counts as up.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl MirrorState {
    /// The word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Probation => "probation",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }
}

impl Serves {
    /// The word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Everything => "everything",
        }
    }
}

impl Health {
    /// The word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for MirrorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Serves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mirror.
#[derive(Clone, Debug, Default)]
pub struct MirrorView {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Where clients reach it, `http://` or `https://`, without a slash at the end.
    pub public_url: String,
    /// How its content is laid out.
    pub kind: StoreKind,
    /// Where it is; see [`Place::completed`].
    pub place: Place,
    /// Networks that it counts as local to, beside the one of its place.
    pub asns: Vec<u32>,
    /// Its share among the mirrors of a tier; 0 means none.
    pub weight: u32,
    /// What the operator lets it do.
    pub state: MirrorState,
    /// Whom it may serve.
    pub serves: Serves,
    /// What it holds, if it has ever said.
    pub readiness: Option<Arc<Readiness>>,
    /// What probes say about it.
    pub healthy: Health,
}

/// The whole fleet at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    /// Number of the view, growing.
    pub revision: u64,
    /// The mirrors, sorted by name.
    pub mirrors: Vec<MirrorView>,
    /// Where the origin serves, laid out as a directory, without a slash at the end; empty if clients may not be
    /// sent there.
    pub origin_url: String,
    /// What probes say about the origin.
    pub origin_health: Health,
}

impl FleetView {
    /// The mirror of that name.
    #[must_use]
    pub fn mirror(&self, name: &str) -> Option<&MirrorView> {
        self.mirrors.iter().find(|mirror| mirror.name == name)
    }
}
