//! What is asked for: promotion manifests, read with the position of everything
//! and compared with what production holds.
//!
//! The formats are those that Kubernetes uses today, for images
//! (`promoter-manifest.yaml` and `images.yaml`) and for files
//! (`filepromoter-manifest.yaml` and lists of files). [`parse`] turns a [`Tree`]
//! of them into [`Project`]s and [`Finding`]s; [`plan`] compares what they ask
//! for with a catalog; a [`ResolvedPlan`] adds what staging really holds, and an
//! [`Outcome`] says what became of each of its entries.
//!
//! # Invariants
//!
//! - One bad entry never holds up another: it becomes a finding and is left out.
//!   A fault in a project's sensitive half leaves out that project alone.
//! - A path and a tag mean one digest for ever, except for [`MutableNames`].
//! - The same text, rules and catalog give the same plan, in the same order,
//!   with the same digest.
//! - Work is in proportion to the text and the names asked for, never to names
//!   times mirrors: a project's destinations are mapped once.
//!
//! # Deliberately absent
//!
//! No files, network or clock: the caller reads the directory
//! ([`layout`] says which files) and hands over text. Staging is not looked at
//! here, nor is anything copied. Who may promote what is not decided here.

mod acknowledged;
mod asked;
mod canonical;
mod compared;
mod conflict;
mod excerpt;
mod finding;
pub mod generate;
mod manifest;
mod mutable;
mod outcome;
mod parse;
mod plain;
mod plan;
mod production;
mod project;
mod resolved;
pub mod rules;
mod separation;

pub use acknowledged::{ACKNOWLEDGED_FILE, Acknowledgement, Acknowledgements};
pub use asked::{Asked, SourceRef};
pub use compared::{before, compared};
pub use finding::{Finding, MAX_FINDINGS_PER_FILE, Position, Severity, with_excerpts};
pub use manifest::layout;
pub use mutable::{MutableNames, cosign_subject, is_referrers_tag};
pub use outcome::{Outcome, Tally};
pub use parse::{Figures, Parsed, SourceFile, Tree, Unreadable, parse};
pub use plain::plain;
pub use plan::{Neighbour, Plan, PlanOptions, plan};
pub use production::{
    MAX_PUBLIC_PREFIXES, ProductionRule, PublicPlace, public_place, public_prefixes,
};
pub use project::{FileEntry, ImageEntry, Kind, Project};
pub use resolved::{EntryState, Evidence, Removal, ResolvedEntry, ResolvedPlan};
pub use separation::{Change, manifests_in, missing_owners, separation};
