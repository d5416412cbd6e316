//! Why, in codes that stay the same from release to release.

use std::fmt;

use serde::{Serialize, Serializer};

/// Why a mirror (or the origin) is no candidate for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ineligible {
    /// Not accepted yet.
    Pending,
    /// About to leave.
    Draining,
    /// Caught serving wrong content.
    Quarantined,
    /// Shut out.
    Revoked,
    /// The operator gave it no share.
    NoWeight,
    /// The client asked to be sent elsewhere.
    Avoided,
    /// The client came by https and it serves http only.
    Insecure,
    /// The client checks nothing and it is not marked for such clients.
    NotTrusted,
    /// It is a registry, and a file is asked for.
    ServesNoFiles,
    /// It is a registry, and the request does not say which repository.
    NeedsRepository,
    /// Probes find it down.
    Down,
    /// It has never said what it holds.
    NotReported,
    /// It does not hold the object.
    NotReady,
    /// It holds the object, but not yet under the name asked for.
    NameNotReady,
    /// There is no origin that clients may be sent to.
    NoOrigin,
}

/// Why a decision came out as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The nearest mirror that is ready.
    NearestReady,
    /// Everything that is ready looks down, so more likely the probes are wrong.
    HealthFailedOpen,
    /// To the origin, because no mirror holds the object (under the name).
    NoMirrorReady,
    /// To the origin, because no mirror that holds it may serve clients that check nothing.
    NoTrustedMirror,
    /// To the origin, because the mirrors that hold it are down.
    MirrorsDown,
    /// To the origin, because the mirrors that hold it are excluded: by their state, by the client, by the scheme.
    MirrorsExcluded,
    /// Nowhere: no mirror and no origin can be named.
    NothingUsable,
}

impl Ineligible {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
            Self::NoWeight => "no-weight",
            Self::Avoided => "avoided",
            Self::Insecure => "insecure",
            Self::NotTrusted => "not-trusted-for-plain-files",
            Self::ServesNoFiles => "serves-no-files",
            Self::NeedsRepository => "needs-repository",
            Self::Down => "down",
            Self::NotReported => "not-reported",
            Self::NotReady => "not-ready",
            Self::NameNotReady => "name-not-ready",
            Self::NoOrigin => "no-origin",
        }
    }
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NearestReady => "nearest-ready",
            Self::HealthFailedOpen => "health-failed-open",
            Self::NoMirrorReady => "no-mirror-ready",
            Self::NoTrustedMirror => "no-trusted-mirror",
            Self::MirrorsDown => "mirrors-down",
            Self::MirrorsExcluded => "mirrors-excluded",
            Self::NothingUsable => "nothing-usable",
        }
    }
}

macro_rules! shown_as_code {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.code())
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.code())
            }
        }
    };
}
shown_as_code!(Ineligible);
shown_as_code!(Reason);
