//! Manifests on this machine: checking them, and helping to write them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AcknowledgedArgs;

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
    #[command(flatten)]
    pub(crate) known: AcknowledgedArgs,
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
