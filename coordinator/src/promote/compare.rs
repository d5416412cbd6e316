//! Whether staging has a file as its manifest says: read to the end, kept nowhere.
//!
//! Bytes that the origin holds already need not be copied, but what they came
//! for was another name, and maybe another project's.

use futures::StreamExt;
use landfall_catalog::{Digest, Hasher, Object};
use landfall_content::{Source, SourceError, SourceErrorKind, TransferLimits};
use landfall_runtime::retry::{RetryPolicy, retry};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::execute::Missed;
use super::resolve::Reading;

/// What a source has.
enum Seen {
    Nothing,
    /// Bytes of this digest; none: more than the object has.
    Bytes(Option<Digest>),
}

/// Reads `source`, again if need be, and compares.
pub(super) async fn compare(
    source: &dyn Source,
    object: &Object,
    limits: &TransferLimits,
) -> Result<(), Missed> {
    let seen = retry(RetryPolicy::default(), "compare with staging", || {
        let reading = read(source, object.size, limits);
        async { reading.await.map_err(Reading::from) }
    });
    let (digest, name) = (object.digest, source.name());
    match seen.await {
        Ok(Seen::Bytes(Some(found))) if found == digest => Ok(()),
        Ok(Seen::Bytes(Some(found))) => Err(Missed::Refused(format!(
            "{name} has bytes that hash to {found}, not to {digest}"
        ))),
        Ok(Seen::Bytes(None)) => Err(Missed::Refused(format!(
            "{name} has more bytes than {digest}"
        ))),
        Ok(Seen::Nothing) => Err(Missed::Lost(format!("{digest} is not there at {name}"))),
        Err(Reading::Transient(why)) => Err(Missed::Failed(why)),
        Err(Reading::Final(why)) => Err(Missed::Refused(why)),
    }
}

async fn read(
    source: &dyn Source,
    size: u64,
    limits: &TransferLimits,
) -> Result<Seen, SourceError> {
    let late = || SourceError::transient("did not answer in time");
    let opened = match timeout(limits.open_timeout, source.open(0)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) if error.kind == SourceErrorKind::NotFound => return Ok(Seen::Nothing),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(late()),
    };
    let mut stream = opened.stream;
    let mut hasher = Hasher::new();
    let mut left = size;
    // As fast as a copy has to be, at the least.
    let full = size.div_ceil(limits.min_throughput.max(1));
    let all = limits.throughput_window + std::time::Duration::from_secs(full);
    let hashing = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                return Ok(Seen::Bytes(None));
            };
            left = rest;
            hasher = spawn_blocking(move || {
                hasher.update(&chunk);
                hasher
            })
            .await
            .map_err(|_| SourceError::transient("the program is stopping"))?;
        }
        Ok(Seen::Bytes(Some(hasher.finish())))
    };
    timeout(all, hashing).await.unwrap_or_else(|_| Err(late()))
}
