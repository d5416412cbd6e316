//! `landfall log`: the newest checkpoint, and verification of the whole log.

use std::path::Path;

use landfall_catalog::PinnedKeys;
use landfall_log::verify;
use landfall_proto::status::chain;
use landfall_runtime::{
    bounded,
    dial::{http_client, refuse_plain_text_elsewhere},
};
use serde::Serialize;
use url::Url;

use super::status;
use crate::{
    args::{LogArgs, LogCommand, LogVerifyArgs},
    connect,
    failure::{Failure, Verdict},
    output,
};

/// Largest note that is read.
const MAX_NOTE: usize = 64 << 10;

/// The object of `log verify --json`; fields are only ever added.
#[derive(Debug, Serialize)]
struct Verified {
    origin: String,
    size: u64,
    root: String,
    time: u64,
    revision: u64,
    objects_added: u64,
    objects_described: u64,
    names_set: u64,
    names_removed: u64,
    names_pending: u64,
    names_dropped: u64,
    withdrawn: u64,
    reinstated: u64,
    commits: u64,
    unknown: u64,
    keys: Vec<String>,
}

pub(crate) async fn run(command: LogCommand) -> Result<Verdict, Failure> {
    match command {
        LogCommand::Checkpoint(args) => checkpoint(args).await,
        LogCommand::Verify(args) => verify(args).await,
    }
}

async fn checkpoint(args: LogArgs) -> Result<Verdict, Failure> {
    let log = locate(&args).await?;
    let mut url = log.url.clone();
    url.set_path(&format!("{}/checkpoint", url.path().trim_end_matches('/')));
    let answer = connect::get(&url, MAX_NOTE).await?;
    if !answer.status.is_success() {
        return Err(Failure::Failed(format!(
            "{url} was answered with HTTP status {}",
            answer.status
        )));
    }
    if let Some(keys) = &log.keys {
        keys.verify(&answer.body)
            .map_err(|error| Failure::failed("the checkpoint is refused", &error))?;
    }
    let note = std::str::from_utf8(&answer.body)
        .map_err(|error| Failure::failed("the checkpoint is no text", &error))?;
    output::line(note.trim_end_matches('\n'))?;
    Ok(Verdict::Done)
}

async fn verify(args: LogVerifyArgs) -> Result<Verdict, Failure> {
    let log = locate(&args.log).await?;
    let keys = log.keys.ok_or_else(|| {
        Failure::Usage("say which keys to trust: --key NAME+HASH+BASE64, both of them".into())
    })?;
    let held = args.held.as_deref().map(read_note).transpose()?;
    let http = http_client().map_err(|error| Failure::failed("cannot dial", &error))?;
    let verified = verify::verify(&http, &log.url, &keys, held.as_deref())
        .await
        .map_err(|error| match &error {
            verify::VerifyError::Refused { .. } => Failure::Failed(format!(
                "the log at {} is refused: {}",
                log.url,
                chain(&error)
            )),
            verify::VerifyError::Fetch(_)
            | verify::VerifyError::Held(_)
            | verify::VerifyError::Keys(_) => Failure::failed(
                &format!("the log at {} cannot be verified", log.url),
                &error,
            ),
        })?;
    let checkpoint = &verified.checkpoint.checkpoint;
    let report = Verified {
        origin: checkpoint.origin.clone(),
        size: checkpoint.size,
        root: checkpoint.root.to_string(),
        time: verified.checkpoint.time,
        revision: verified.revision.map_or(0, |revision| revision.get()),
        objects_added: verified.entries.objects_added,
        objects_described: verified.entries.objects_described,
        names_set: verified.entries.names_set,
        names_removed: verified.entries.names_removed,
        names_pending: verified.entries.names_pending,
        names_dropped: verified.entries.names_dropped,
        withdrawn: verified.entries.withdrawn,
        reinstated: verified.entries.reinstated,
        commits: verified.entries.commits,
        unknown: verified.entries.unknown,
        keys: keys.to_strings(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::line(format!(
            "{}: {} entries up to revision {}, signed {}\nroot {}\nevery signature, entry and tile is right: {} objects added, {} described, {} names set, {} removed, {} made pending, {} dropped, {} withdrawn, {} reinstated, {} commits, {} unknown",
            report.origin,
            report.size,
            report.revision,
            output::time(report.time),
            report.root,
            report.objects_added,
            report.objects_described,
            report.names_set,
            report.names_removed,
            report.names_pending,
            report.names_dropped,
            report.withdrawn,
            report.reinstated,
            report.commits,
            report.unknown,
        ))?;
        for key in &report.keys {
            output::line(format!("key {key}"))?;
        }
    }
    Ok(Verdict::Done)
}

/// Where a log is, and whose keys it has to be signed with, if that is known.
struct Located {
    url: Url,
    keys: Option<PinnedKeys>,
}

async fn locate(args: &LogArgs) -> Result<Located, Failure> {
    let given = if args.keys.is_empty() {
        None
    } else {
        Some(PinnedKeys::parse(&args.keys).map_err(|error| {
            Failure::Usage(format!(
                "--key: expected the log's two keys: {}",
                chain(&error)
            ))
        })?)
    };
    let coordinator = match &args.url {
        Some(_) => None,
        None => args.coordinator.clone().or_else(connect::from_environment),
    };
    if let Some(coordinator) = &coordinator {
        let about = status::fetch(coordinator).await?;
        let keys = match given {
            Some(keys) => Some(keys),
            // The connection is to loopback, or it would not have been made.
            None => Some(PinnedKeys::parse(&about.verifier_keys).map_err(|error| {
                Failure::failed("the coordinator presents no keys of a log", &error)
            })?),
        };
        Ok(Located {
            url: connect::parse(&about.log_url)?,
            keys,
        })
    } else if let Some(url) = &args.url {
        let url = connect::parse(url)?;
        refuse_plain_text_elsewhere(&url).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Located { url, keys: given })
    } else {
        Err(Failure::Usage(
            "where is the log? give --coordinator URL or --url URL".into(),
        ))
    }
}

fn read_note(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded::read_file(path, MAX_NOTE)
        .map(Into::into)
        .map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), &error))
}
