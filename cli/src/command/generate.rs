//! `landfall manifest generate`: new entries for the delegated half, printed or
//! merged into a file.

mod files;
mod images;

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use landfall_promotion::{
    generate::{MergeError, Merged},
    layout::MAX_FILE_BYTES,
};
use landfall_runtime::bounded;
use serde_json::json;

use crate::{
    args::{GenerateCommand, ManifestCommand},
    failure::{Failure, Verdict},
    output,
};

pub(crate) async fn run(command: ManifestCommand) -> Result<Verdict, Failure> {
    let ManifestCommand::Generate(command) = command;
    match command {
        GenerateCommand::Files(args) => files::run(args).await,
        GenerateCommand::Images(args) => images::run(args).await,
    }
}

/// The manifest that is added to; empty if it is to be a new one.
fn existing(into: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = into else {
        return Ok(String::new());
    };
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let cannot = |error: &dyn std::error::Error| {
        Failure::failed(&format!("cannot read {}", path.display()), error)
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(cannot(&error)),
        Ok(_) => {
            let bytes = bounded::read_file(path, limit).map_err(|error| cannot(&error))?;
            String::from_utf8(bytes.into()).map_err(|error| cannot(&error))
        }
    }
}

/// Prints the manifest, or puts it in the place of `into` and says what is new.
fn deliver(
    into: Option<&Path>,
    merged: Result<Merged, MergeError>,
    json: bool,
) -> Result<(), Failure> {
    let shown = into.map_or_else(
        || "the manifest".to_owned(),
        |into| into.display().to_string(),
    );
    let merged = merged.map_err(|error| match error {
        MergeError::Conflicts(conflicts) => Failure::Failed(format!(
            "{shown} has other digests, and a name means one digest for ever; nothing was written:\n{}",
            conflicts.join("\n")
        )),
        other @ (MergeError::Unreadable { .. } | MergeError::Style { .. }) => {
            Failure::Failed(format!("cannot add to {shown}: {other}"))
        }
    })?;
    let Merged {
        text,
        added,
        present,
    } = merged;
    match into {
        Some(path) => {
            if added > 0 {
                replace(path, &text)
                    .map_err(|error| Failure::failed(&format!("cannot write {shown}"), &error))?;
            }
            if json {
                output::json(&json!({"file": shown, "added": added, "present": present}))?;
            } else {
                output::line(format!("{shown}: {added} added, {present} were there"))?;
            }
        }
        None if json => {
            output::json(&json!({"manifest": text, "added": added, "present": present}))?;
        }
        None => output::line(text.trim_end())?,
    }
    Ok(())
}

/// The file is the old one or the new one, whole, whatever happens meanwhile.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // Through a link the file that it names is replaced.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = target.with_file_name(name);
    let written = (|| {
        let mut file = File::create(&new)?;
        if let Ok(metadata) = fs::metadata(&target) {
            file.set_permissions(metadata.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &target)
    })();
    if written.is_err() {
        // What is in the way then is said by the first error.
        let _ = fs::remove_file(&new);
    }
    written
}
