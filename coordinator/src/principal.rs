//! Who asks, and the one table of who may do what.
//!
//! Identity (tokens, client certificates) is not configured yet, so there is
//! exactly one principal: a peer on the loopback interface, which is the
//! administrator. Anybody else is refused before anything is read.

use std::fmt;
use std::net::SocketAddr;

use landfall_proto::status::{Classify, Fault, to_status};
use tonic::{Request, Status};

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A process on this machine.
    Loopback,
}

/// What a request does; one for each right that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read the catalog's log.
    ReadCatalog,
    /// Read the fleet as it is used for routing.
    ReadRouting,
    /// Report what probes saw.
    ReportProbes,
    /// Report as a mirror's agent.
    BeMirror,
    /// Plan a promotion.
    Plan,
    /// Execute a plan.
    Promote,
    /// Withdraw what was promoted.
    Withdraw,
    /// Reinstate what was withdrawn.
    Reinstate,
    /// Read operations.
    ReadOperations,
    /// Read the state of the fleet.
    ReadFleet,
}

/// Why somebody may not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The peer is not on this machine.
    #[error("identity is not configured: only loopback peers are served")]
    NotLoopback,
    /// The table says no.
    #[error("{who} may not {action}")]
    NotAllowed {
        /// The principal.
        who: Principal,
        /// What it asked for.
        action: Action,
    },
}

impl Classify for Refused {
    fn fault(&self) -> Fault {
        match self {
            Self::NotLoopback => Fault::Unauthenticated,
            Self::NotAllowed { .. } => Fault::Forbidden,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadCatalog => "read the catalog",
            Self::ReadRouting => "read routing",
            Self::ReportProbes => "report probes",
            Self::BeMirror => "report as a mirror",
            Self::Plan => "plan a promotion",
            Self::Promote => "promote",
            Self::Withdraw => "withdraw",
            Self::Reinstate => "reinstate",
            Self::ReadOperations => "read operations",
            Self::ReadFleet => "read the fleet",
        })
    }
}

/// The authorization table.
const fn allows(who: Principal, action: Action) -> bool {
    match (who, action) {
        (
            Principal::Loopback,
            Action::ReadCatalog
            | Action::ReadRouting
            | Action::ReportProbes
            | Action::BeMirror
            | Action::Plan
            | Action::Promote
            | Action::Withdraw
            | Action::Reinstate
            | Action::ReadOperations
            | Action::ReadFleet,
        ) => true,
    }
}

/// Who the peer is. A missing address (not a TCP connection) is nobody.
fn identify(peer: Option<SocketAddr>) -> Result<Principal, Refused> {
    match peer {
        Some(address) if address.ip().to_canonical().is_loopback() => Ok(Principal::Loopback),
        Some(_) | None => Err(Refused::NotLoopback),
    }
}

/// Who asks, if they may.
fn judge(peer: Option<SocketAddr>, action: Action) -> Result<Principal, Refused> {
    let who = identify(peer)?;
    if allows(who, action) {
        Ok(who)
    } else {
        Err(Refused::NotAllowed { who, action })
    }
}

/// The first line of every handler.
#[allow(
    clippy::result_large_err,
    reason = "tonic's handlers return its Status, however large"
)]
pub(crate) fn admit<T>(request: &Request<T>, action: Action) -> Result<Principal, Status> {
    judge(request.remote_addr(), action).map_err(|refused| to_status(&refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_peers_are_somebody() {
        for (peer, expected) in [
            ("127.0.0.1:1", Ok(Principal::Loopback)),
            ("127.9.9.9:1", Ok(Principal::Loopback)),
            ("[::1]:1", Ok(Principal::Loopback)),
            ("[::ffff:127.0.0.1]:1", Ok(Principal::Loopback)),
            ("10.0.0.1:1", Err(Refused::NotLoopback)),
            ("[2001:db8::1]:1", Err(Refused::NotLoopback)),
        ] {
            assert_eq!(identify(peer.parse().ok()), expected, "{peer}");
        }
        assert_eq!(identify(None), Err(Refused::NotLoopback));
    }

    #[test]
    fn loopback_is_the_administrator() {
        let peer = "127.0.0.1:1".parse().ok();
        for action in [Action::Promote, Action::BeMirror, Action::ReadFleet] {
            assert_eq!(judge(peer, action), Ok(Principal::Loopback));
        }
    }
}
