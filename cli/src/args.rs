//! The command line, as DESIGN writes it and `--help` prints it.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Distributes a community's official artifacts through mirrors that other people run.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole of it on this machine: staging, coordinator, three mirrors, redirector.
    Demo(DemoArgs),
    /// The coordinator: executes promotions and publishes the catalog.
    #[command(subcommand)]
    Coordinator(CoordinatorCommand),
    /// The agent: fills and serves one mirror.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The redirector: sends every user to the nearest ready mirror.
    #[command(subcommand)]
    Redirector(RedirectorCommand),
    /// Checks promotion manifests, offline.
    Validate(ValidateArgs),
    /// Says what promoting the manifests would do; changes nothing.
    Plan(PlanArgs),
    /// Resolves the manifests against staging, and with --confirm promotes them.
    Promote(PromoteArgs),
    /// Helps to write manifests.
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// From where and to where projects are promoted.
    #[command(subcommand)]
    Project(ProjectCommand),
    /// API tokens: who may promote what.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Plans the way back to how names were after a revision, and with --confirm goes it.
    Revert(RevertArgs),
    /// Waits until enough mirrors have the names of a revision.
    Wait(WaitArgs),
    /// Takes something that was promoted away from everybody, until it is reinstated.
    Withdraw(WithdrawArgs),
    /// Takes a withdrawal back.
    Reinstate(ReinstateArgs),
    /// The state of the catalog and of the mirrors.
    Status(StatusArgs),
    /// Past operations: when, who, why, and what became of them.
    History(HistoryArgs),
    /// Says where a client at an address is sent for a name, and why.
    Explain(ExplainArgs),
    /// The signed log of the catalog.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Ends after showing it, with exit code 0 only if all of it held.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CoordinatorCommand {
    /// Creates keys and database, and prints the log's verifier keys.
    Init(RunArgs),
    /// Runs it.
    Run(RunArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Runs it.
    Run(RunArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RedirectorCommand {
    /// Runs it.
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file (TOML). `LANDFALL__…` variables outweigh it, flags outweigh both.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Plain text without identity, on loopback addresses only.
    #[arg(long)]
    pub(crate) insecure_loopback: bool,
    /// Sets one configuration key, as `listen.http=127.0.0.1:0`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Where the coordinator is.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// The coordinator's gRPC address.
    #[arg(long, value_name = "URL", env = "LANDFALL_COORDINATOR")]
    pub(crate) coordinator: String,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A root of manifests, a folder that holds several, or one file with the
    /// registries and images of a project.
    pub(crate) dir: PathBuf,
    /// Quarantines bad entries and reports them instead of refusing everything.
    #[arg(long)]
    pub(crate) lenient: bool,
    /// File with the `[[production]]` rules; without it names stay as written.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File with acknowledged findings, which are shown and fail nothing; without
    /// it, `.landfall-acknowledged.toml` in DIR, if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
    /// In a git checkout: refuses a change since this commit that touches both the
    /// registries or file stores and the lists of images or files.
    #[arg(long, value_name = "REV")]
    pub(crate) base: Option<String>,
    /// Wants an OWNERS file beside every list of images or files.
    #[arg(long)]
    pub(crate) owners: bool,
    /// Writes the findings to a file too, as SARIF 2.1.0 for code review.
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
    /// Findings as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A root of manifests, a folder that holds several, or one file with both halves.
    pub(crate) dir: PathBuf,
    /// Plans against this coordinator's catalog and resolves against staging;
    /// without it, against an empty catalog, offline.
    #[arg(long, value_name = "URL", env = "LANDFALL_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// File with the `[[production]]` rules, for a plan without coordinator.
    #[arg(long, value_name = "FILE", conflicts_with = "coordinator")]
    pub(crate) config: Option<PathBuf>,
    /// File with acknowledged findings, which are shown and fail nothing; without
    /// it, `.landfall-acknowledged.toml` in DIR, if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
    /// Removes names that the manifests no longer list.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Lets names move that are not configured as mutable.
    #[arg(long)]
    pub(crate) allow_tag_moves: bool,
    /// Lets more than 5 % of a project be removed, or lost in staging.
    #[arg(long)]
    pub(crate) allow_mass_change: bool,
    /// The plan as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// A root of manifests, a folder that holds several, or one file with both halves.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Executes the plan just resolved; with a digest, that one or none.
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) confirm: Option<String>,
    /// Removes names that the manifests no longer list.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Lets names move that are not configured as mutable.
    #[arg(long)]
    pub(crate) allow_tag_moves: bool,
    /// Lets more than 5 % of a project be removed, or lost in staging.
    #[arg(long)]
    pub(crate) allow_mass_change: bool,
    /// Fails on any finding instead of quarantining entries.
    #[arg(long)]
    pub(crate) strict: bool,
    /// File with acknowledged findings, which are shown and fail nothing; without
    /// it, `.landfall-acknowledged.toml` in DIR, if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
    /// Why, for the catalog and the history.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// Commit id of the manifests; found by itself in a git checkout.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// New entries for a list of files or images, printed or merged into a file.
    #[command(subcommand)]
    Generate(GenerateCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GenerateCommand {
    /// Lists a folder's files with their SHA-256.
    Files(GenerateFilesArgs),
    /// Lists tags of images with the digests that a staging registry has for them.
    Images(GenerateImagesArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GenerateFilesArgs {
    /// The folder; paths in the manifest are relative to it.
    pub(crate) dir: PathBuf,
    /// Only files whose path begins with this, as `v1.30.0/`.
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    /// Merges into this manifest, of which everything stays as it is written.
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,
    /// What was done as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateImagesArgs {
    /// The staging registry, as manifests have it (`gcr.io/k8s-staging-x`) or as a URL.
    pub(crate) registry: String,
    /// The images are below this path of the registry.
    #[arg(long, value_name = "P")]
    pub(crate) project: Option<String>,
    /// An image of it; may be repeated. Without one, those that --into lists.
    #[arg(long = "image", value_name = "NAME")]
    pub(crate) images: Vec<String>,
    /// A tag; may be repeated. Without one, all but `latest`.
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Merges into this manifest, of which everything stays as it is written.
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,
    /// What was done as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Registers the registries and file stores of every project in the manifests.
    Apply(ProjectApplyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProjectApplyArgs {
    /// A root of manifests, or a folder that holds several.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Only says what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token, and prints it this once.
    Create(TokenCreateArgs),
    /// All tokens, without their secrets.
    List(TokenListArgs),
    /// Ends a token at once and for good.
    Revoke(TokenRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// `admin`, `view` or `promote:<project>`; may be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub(crate) roles: Vec<String>,
    /// Runs out after this time, as `90d`, `12h`, `30m` or `45s`.
    #[arg(long, value_name = "D", value_parser = super::output::duration)]
    pub(crate) ttl: Option<std::time::Duration>,
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
    /// The token's id, as `token list` shows it.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    /// The revision after which the names were as they are to be.
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Only the names of this project.
    #[arg(long, value_name = "P")]
    pub(crate) project: Option<String>,
    /// Executes the plan just made; with a digest, that one or none.
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) confirm: Option<String>,
    /// Why, for the catalog and the history.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    /// One JSON event a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The revision.
    pub(crate) revision: u64,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Percent of the active mirrors that are to have its names.
    #[arg(long, value_name = "P%", value_parser = super::output::percent)]
    pub(crate) ready: u8,
    /// Gives up after this time, as `30m`; exit code 1.
    #[arg(long, value_name = "D", value_parser = super::output::duration, default_value = "30m")]
    pub(crate) timeout: std::time::Duration,
    /// As one JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// `repository:tag`, `repository@digest`, a file's path, a digest, a
    /// repository, or everything below `prefix/`.
    #[arg(value_name = "NAME|DIGEST|PREFIX/")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Why; users are told.
    #[arg(long)]
    pub(crate) reason: String,
    /// Only says what it would come to.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Withdraws live images that hold it, too, instead of refusing.
    #[arg(long)]
    pub(crate) with_parents: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReinstateArgs {
    /// As it was withdrawn, or any name or digest of it.
    #[arg(value_name = "NAME|DIGEST|PREFIX/")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// Why, for the catalog and the history.
    #[arg(long)]
    pub(crate) reason: String,
    /// Only says what it would come to.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) coordinator: CoordinatorArgs,
    /// At most this many, newest first.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// `repository:tag`, `repository@digest` or a file's path.
    pub(crate) name: String,
    /// The client's address.
    #[arg(long, value_name = "IP")]
    pub(crate) from: IpAddr,
    /// The redirector to ask.
    #[arg(long, value_name = "URL", required_unless_present = "coordinator")]
    pub(crate) redirector: Option<String>,
    /// Or the coordinator, which knows where redirectors answer.
    #[arg(long, value_name = "URL", env = "LANDFALL_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the newest checkpoint, as signed.
    Checkpoint(LogArgs),
    /// Verifies the whole log: signatures, every entry, every tile, the root.
    Verify(LogVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The coordinator; it says where the log is.
    #[arg(
        long,
        value_name = "URL",
        env = "LANDFALL_COORDINATOR",
        required_unless_present = "url"
    )]
    pub(crate) coordinator: Option<String>,
    /// Or the log's static files, as `http://…/.landfall`.
    #[arg(long, value_name = "URL", conflicts_with = "coordinator")]
    pub(crate) url: Option<String>,
    /// A verifier key of the log (`name+hash+base64`); give both. Needed with
    /// --url; on loopback with --coordinator the keys that it presents are used.
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogVerifyArgs {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// A checkpoint seen before: the log has to be consistent with it.
    #[arg(long, value_name = "FILE")]
    pub(crate) held: Option<PathBuf>,
    /// As one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
