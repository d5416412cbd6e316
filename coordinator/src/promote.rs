//! Promotion: what manifests ask for becomes what the catalog says.
//!
//! [`plan`] parses and plans, [`resolve`] and [`referrers`] (and [`cosign`])
//! read staging through [`sources`] ([`channel`] production itself),
//! [`own`] says what of it is in production under the project's own names,
//! [`orders`] keeps the result until it is confirmed, [`operation`]
//! carries it out, [`execute`] (with [`compare`]) brings the content, and [`compose`] (with what
//! [`facts`] makes of several words on one object) makes one revision of all that
//! succeeded. After the confirmation nothing is left to choose. With a [`gate`]
//! there are two revisions: content, then names. [`hold`] keeps what a person took back from what
//! nobody confirms, [`rest`] what staging had wrong from being read over and over.
//! [`registration`] says what a project is; [`bounds`] whose names are
//! whose, asked when a plan is made and again when it is executed; [`brake`] stops
//! what would take much of a project away.

pub(crate) mod bounds;
pub(crate) mod brake;
mod channel;
mod compare;
pub(crate) mod compose;
pub(crate) mod cosign;
pub(crate) mod execute;
mod facts;
pub(crate) mod follow;
pub(crate) mod gate;
pub(crate) mod hold;
pub(crate) mod leftovers;
pub(crate) mod operation;
pub(crate) mod orders;
mod own;
mod patient;
pub(crate) mod plan;
pub(crate) mod referrers;
pub(crate) mod registration;
pub(crate) mod resolve;
pub(crate) mod rest;
pub(crate) mod revert;
pub(crate) mod sources;
pub(crate) mod staging;
mod survey;
mod walk;
