//! API tokens.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::CoordinatorArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token, and prints it this once.
    Create(TokenCreateArgs),
    /// All tokens, without their secrets.
    List(TokenListArgs),
    /// Ends a token, or all that a name was given to, at once and for good.
    Revoke(TokenRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// What history calls who uses it: letters, digits, `.`, `_` and `-`.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// `admin`, `view` or `promote:<project>`; may be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub(crate) roles: Vec<String>,
    /// Runs out after this time, as `90d`, `12h`, `30m` or `45s`.
    #[arg(long, value_name = "D", value_parser = crate::output::duration)]
    pub(crate) ttl: Option<Duration>,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's name or id, as `token list` shows them.
    #[arg(value_name = "NAME|ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
