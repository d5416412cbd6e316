//! Readers of what strangers send, for the fuzzer: everybody else meets them
//! behind the services, and nothing here is needed to use those.

use landfall_catalog::Digest;
use landfall_content::oci::Document;
use landfall_promotion::Tree;
use landfall_proto::status::chain;
use landfall_proto::v1::PlanRequest;

use crate::grpc::trace::is_trace_parent;
use crate::grpc::upload::Upload;
use crate::promote::staging::Staging;
pub use crate::promote::staging::StagingRule;
use crate::search;
use crate::tokens::Role;
use crate::withdraw::Choice;
use crate::{principal, promote, tokens};

/// What an upload of manifests holds, of at most so many files and bytes.
///
/// # Errors
/// Why it is not taken.
pub fn uploaded(
    messages: impl IntoIterator<Item = PlanRequest>,
    files: usize,
    bytes: usize,
) -> Result<Tree, String> {
    let mut upload = Upload::new(files, bytes);
    for message in messages {
        upload.take(message).map_err(|error| error.to_string())?;
    }
    let whole = upload.finish().map_err(|error| error.to_string())?;
    Ok(whole.1)
}

/// Public and secret half of the token in an `Authorization`.
#[must_use]
pub fn presented(authorization: &str) -> Option<(&str, &str)> {
    tokens::halves(principal::bearer(authorization)?)
}

/// A role, as it is written again.
///
/// # Errors
/// Why it is none.
pub fn role(text: &str) -> Result<String, String> {
    let role: Role = text.parse().map_err(|error| chain(&error))?;
    Ok(role.to_string())
}

/// Whether a trace is gone on with.
#[must_use]
pub fn continues_trace(value: &str) -> bool {
    is_trace_parent(value)
}

/// What a withdrawal is of: `digest`, `name`, or the prefix whose names are meant.
///
/// # Errors
/// Why it is nothing.
pub fn choice(text: &str) -> Result<String, String> {
    Ok(match Choice::parse(text).map_err(|error| chain(&error))? {
        Choice::Digest(_) => "digest".to_owned(),
        Choice::Name(_) => "name".to_owned(),
        Choice::Below(prefix) => format!("{prefix}/"),
    })
}

/// Whether a text that is looked for is taken for a digest.
#[must_use]
pub fn is_sought_as_digest(text: &str) -> bool {
    search::digits(text).is_some()
}

/// Whether a document may come under a tag of cosign's.
///
/// # Errors
/// Why not.
pub fn cosigned(suffix: &str, subject: &Digest, document: &Document) -> Result<(), String> {
    promote::cosign::check(suffix, subject, document)
}

/// Endpoint and repository of an image in staging.
///
/// # Errors
/// Why it leads nowhere.
pub fn staged_image(rules: Vec<StagingRule>, name: &str) -> Result<(String, String), String> {
    let staging = Staging::new(rules, std::sync::Arc::default());
    let place = staging.repository(name);
    let place = place.map_err(|error| error.to_string())?;
    Ok((place.registry, place.repository))
}

/// Store and key of a file in staging.
///
/// # Errors
/// Why it leads nowhere.
pub fn staged_file(rules: Vec<StagingRule>, url: &str) -> Result<(String, String), String> {
    let staging = Staging::new(rules, std::sync::Arc::default());
    let (store, key) = staging.file(url).map_err(|error| error.to_string())?;
    Ok((store.into(), key))
}
