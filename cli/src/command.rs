//! One file a verb.

pub(crate) mod audit;
pub(crate) mod change;
pub(crate) mod explain;
pub(crate) mod findings;
pub(crate) mod gate;
pub(crate) mod generate;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod manifests;
pub(crate) mod operation;
pub(crate) mod plan;
mod planned;
pub(crate) mod project;
pub(crate) mod promote;
pub(crate) mod reconcile;
pub(crate) mod revert;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod validate;
pub(crate) mod wait;
pub(crate) mod withdraw;
