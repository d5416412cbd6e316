//! The redirector as its clients see it: answers from a view, the listener, and the whole program beside a coordinator
//! that is played.

mod answers;
mod fleet_watch;
mod hostile;
mod oci;
mod probing;
mod program;
mod reports;
pub(crate) mod world;
