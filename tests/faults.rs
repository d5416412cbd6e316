//! What may break, and what has to hold all the same.

mod agent_killed;
mod audit_killed;
mod coordinator_killed;
mod frozen_peer;
mod lying_source;
mod mirror_killed;
mod names_killed;
mod other_story;
mod promotion_killed;
mod staging;
