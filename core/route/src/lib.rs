//! Who is sent where: from a client's address to its place, and from a place, an object and a view of the
//! fleet to a decision that can be explained.
//!
//! Everything here is a pure function of values that the caller holds. The same code answers HTTP requests,
//! `explain` and the simulator.
//!
//! # Invariants
//!
//! - No decision names a mirror that has not reported the object ready (and, for a plain file, its name in
//!   place), that an administrator did not mark for clients that check nothing, that is excluded by its
//!   state, or that the client asked to avoid. Only bad *health* may be overlooked, when nothing else is left.
//! - Decisions do not depend on the order of the mirrors, on time or on chance: all redirectors that hold the same
//!   view decide alike, and a mirror that leaves moves nobody but those it served.
//! - A URL is built from parsed names and the fleet view, never from what a client sent.
//! - What a decision costs does not grow with the catalog, and naming a mirror allocates nothing.
//!
//! # Deliberately absent
//!
//! No files, sockets, clocks or randomness. Whether an object exists, is live or was withdrawn is the catalog's
//! answer and is asked before. Egress budgets, permitted countries, health by address family and spilling a part of a
//! tier's clients to the next one are not decided here yet.

mod client_address;
mod decide;
mod decision_id;
mod eligible;
mod fleet;
mod locate;
mod location;
mod mix;
mod place;
mod prefix;
pub mod ranges;
mod rank;
mod reason;
mod request;

pub use client_address::{ForwardedHeaders, client_address};
pub use decide::{Alternates, Ask, Candidate, Decision, Target, decide, explain};
pub use decision_id::{DecisionId, DecisionIdError, decision_id};
pub use fleet::{FleetView, Health, MirrorState, MirrorView, ORIGIN, Serves, StoreKind};
pub use locate::{Locator, client_key, client_network};
pub use location::{Content, blob_url, file_url, location};
pub use place::{
    Continent, Coordinates, CoordinatesError, Country, Place, UnknownContinent, UnknownCountry,
    Whereabouts, region_whereabouts,
};
pub use prefix::{Prefix, PrefixError};
pub use ranges::{CloudRegion, PrefixTable, PrefixTableBuilder};
pub use rank::Tier;
pub use reason::{Ineligible, Reason};
pub use request::{Reference, Request, RequestError, Wanted, query_pairs};
