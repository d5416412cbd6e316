//! The whole way, by user story.

mod acknowledged;
mod audit;
mod bucket_origin;
mod channels;
mod confirming;
mod demo;
mod gate;
mod generate;
mod history;
mod life;
mod log;
mod manifests;
mod post_merge;
mod pre_merge;
mod private_staging;
mod real_clients;
mod reconcile;
mod registry_origin;
mod revert;
mod shared_content;
mod starting;
mod takeover;
mod tokens;
mod trace;
mod withdraw;
