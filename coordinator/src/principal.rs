//! Who asks, and the one table of who may do what.
//!
//! A request with a token is whoever the token is for, and nobody else: what the
//! token may not do is refused even on this machine. Without a token a peer on
//! the loopback interface is the administrator. Anybody else is refused before
//! anything is read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use landfall_proto::status::{Classify, Fault, to_status};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::promote::bounds::Scope;
use crate::tokens::{Bearer, Role, Tokens};

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A process on this machine.
    Loopback,
    /// Whoever has a token.
    Token(Bearer),
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
    /// Open or give up the gate of a promotion.
    DecideGate,
    /// Withdraw what was promoted.
    Withdraw,
    /// Plan the way back to an earlier revision.
    Revert,
    /// Reinstate what was withdrawn.
    Reinstate,
    /// Register from where and to where projects are promoted.
    ApplyProjects,
    /// Have the origin compared with the catalog, and repaired.
    AuditOrigin,
    /// Read operations and audits.
    ReadOperations,
    /// Read the state of the fleet.
    ReadFleet,
    /// Create, list and revoke tokens.
    ManageTokens,
}

/// How far a role lets an action go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Nothing,
    /// For the role's own project.
    Own,
    Everything,
}

/// Who asked, and for which projects they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) who: Principal,
    pub(crate) scope: Scope,
}

/// Why somebody may not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The peer is not on this machine.
    #[error("identity is not configured: only loopback peers are served")]
    NotLoopback,
    /// The token is none, is revoked, or ran out. Which of these is not told.
    #[error("the token is not valid")]
    BadToken,
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
            Self::NotLoopback | Self::BadToken => Fault::Unauthenticated,
            Self::NotAllowed { .. } => Fault::Forbidden,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Token(bearer) => bearer.fmt(f),
        }
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
            Self::DecideGate => "decide on a gate",
            Self::Withdraw => "withdraw",
            Self::Revert => "revert",
            Self::Reinstate => "reinstate",
            Self::ApplyProjects => "register projects",
            Self::AuditOrigin => "audit the origin",
            Self::ReadOperations => "read operations",
            Self::ReadFleet => "read the fleet",
            Self::ManageTokens => "manage tokens",
        })
    }
}

/// The authorization table.
const fn right(role: &Role, action: Action) -> Right {
    match (role, action) {
        (Role::Admin, _)
        | (
            Role::View | Role::Promote(_),
            Action::ReadCatalog | Action::ReadOperations | Action::ReadFleet,
        ) => Right::Everything,
        (
            Role::Promote(_),
            Action::Plan | Action::Promote | Action::DecideGate | Action::Withdraw | Action::Revert,
        ) => Right::Own,
        (
            Role::View | Role::Promote(_),
            Action::ReadRouting
            | Action::ReportProbes
            | Action::BeMirror
            | Action::Plan
            | Action::Promote
            | Action::DecideGate
            | Action::Withdraw
            | Action::Revert
            | Action::Reinstate
            | Action::ApplyProjects
            | Action::AuditOrigin
            | Action::ManageTokens,
        ) => Right::Nothing,
    }
}

/// For which projects somebody may; none if for none.
fn scope(who: &Principal, action: Action) -> Option<Scope> {
    let roles = match who {
        Principal::Loopback => &[Role::Admin][..],
        Principal::Token(bearer) => &bearer.roles,
    };
    let mut own = BTreeSet::new();
    for role in roles {
        match (right(role, action), role) {
            (Right::Everything, _) => return Some(Scope::All),
            (Right::Own, Role::Promote(project)) => {
                own.insert(project.clone());
            }
            (Right::Own, Role::Admin | Role::View) | (Right::Nothing, _) => {}
        }
    }
    (!own.is_empty()).then_some(Scope::Projects(own))
}

/// Decides who is let in; cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    tokens: Tokens,
}

impl Gate {
    pub(crate) const fn new(tokens: Tokens) -> Self {
        Self { tokens }
    }

    /// The first line of every handler.
    #[allow(
        clippy::result_large_err,
        reason = "tonic's handlers return its Status, however large"
    )]
    pub(crate) fn admit<T>(
        &self,
        request: &Request<T>,
        action: Action,
    ) -> Result<Admitted, Status> {
        self.judge(request.remote_addr(), request.metadata(), action)
            .map_err(|refused| to_status(&refused))
    }

    /// Who asks, if they may.
    fn judge(
        &self,
        peer: Option<SocketAddr>,
        metadata: &MetadataMap,
        action: Action,
    ) -> Result<Admitted, Refused> {
        let who = self.identify(peer, metadata)?;
        match scope(&who, action) {
            Some(scope) => Ok(Admitted { who, scope }),
            None => Err(Refused::NotAllowed { who, action }),
        }
    }

    /// Who the peer is. A missing address (not a TCP connection) is nobody.
    fn identify(
        &self,
        peer: Option<SocketAddr>,
        metadata: &MetadataMap,
    ) -> Result<Principal, Refused> {
        // Identity of connections is not configured: also a token is taken on
        // loopback only, where nobody can have read it on the way.
        let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        if !peer.is_some_and(is_loopback) {
            return Err(Refused::NotLoopback);
        }
        let mut presented = metadata.get_all("authorization").iter();
        let Some(authorization) = presented.next() else {
            return Ok(Principal::Loopback);
        };
        if presented.next().is_some() {
            return Err(Refused::BadToken);
        }
        let token = authorization.to_str().ok().and_then(bearer);
        let found = token.and_then(|token| self.tokens.find(token));
        found.map(Principal::Token).ok_or(Refused::BadToken)
    }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1).
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests;
