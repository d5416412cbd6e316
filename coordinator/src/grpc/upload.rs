//! Manifests on their way up: bounded, paths checked, text only.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall_promotion::{SourceFile, Tree, Unreadable};
use landfall_proto::status::{Classify, Fault};
use landfall_proto::v1::{PlanOptions, PlanRequest, plan_request::Kind};
use tonic::{Status, Streaming};

use crate::config::Limits;

/// How long an upload may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long nothing of an upload may arrive.
const QUIET: Duration = Duration::from_secs(30);
/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// Why an upload is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// The first message has to be the options.
    #[error("the options come first, once")]
    OptionsFirst,
    /// A message without content.
    #[error("a message is empty")]
    Empty,
    /// A path that is not a plain relative one.
    #[error("\"{0}\" is not a relative path")]
    Path(String),
    /// A path that came before.
    #[error("the file \"{0}\" was sent twice")]
    Twice(String),
    /// A file that is not text.
    #[error("the file \"{0}\" is not UTF-8 text")]
    NotText(String),
    /// More files than are taken.
    #[error("more than {0} files")]
    TooMany(usize),
    /// More bytes than are taken.
    #[error("more than {0} bytes")]
    TooLarge(usize),
}

impl Classify for UploadError {
    fn fault(&self) -> Fault {
        match self {
            Self::TooMany(_) | Self::TooLarge(_) => Fault::Exhausted,
            Self::OptionsFirst
            | Self::Empty
            | Self::Path(_)
            | Self::Twice(_)
            | Self::NotText(_) => Fault::InvalidInput,
        }
    }
}

/// Receives a whole upload.
pub(super) async fn receive(
    mut messages: Streaming<PlanRequest>,
    limits: &Limits,
) -> Result<(PlanOptions, Tree), Status> {
    let mut upload = Upload::new(limits.plan_files, limits.plan_bytes);
    let all = async {
        let quiet = |_| Status::deadline_exceeded("nothing more of the manifests arrived");
        while let Some(message) = tokio::time::timeout(QUIET, messages.message())
            .await
            .map_err(quiet)??
        {
            upload
                .take(message)
                .map_err(|error| landfall_proto::status::to_status(&error))?;
        }
        Ok::<_, Status>(())
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .map_err(|_| Status::deadline_exceeded("the manifests took too long to arrive"))??;
    upload
        .finish()
        .map_err(|error| landfall_proto::status::to_status(&error))
}

/// What has arrived so far.
pub(crate) struct Upload {
    max_files: usize,
    max_bytes: usize,
    bytes: usize,
    options: Option<PlanOptions>,
    seen: BTreeSet<String>,
    open: Option<(String, Vec<u8>)>,
    files: Vec<SourceFile>,
    unreadable: Vec<Unreadable>,
}

impl Upload {
    pub(crate) const fn new(max_files: usize, max_bytes: usize) -> Self {
        Self {
            max_files,
            max_bytes,
            bytes: 0,
            options: None,
            seen: BTreeSet::new(),
            open: None,
            files: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, message: PlanRequest) -> Result<(), UploadError> {
        match message.kind.ok_or(UploadError::Empty)? {
            Kind::Options(options) => {
                if self.options.is_some() {
                    return Err(UploadError::OptionsFirst);
                }
                self.options = Some(options);
            }
            Kind::File(chunk) => {
                if self.options.is_none() {
                    return Err(UploadError::OptionsFirst);
                }
                self.bytes += chunk.data.len() + chunk.path.len();
                if self.bytes > self.max_bytes {
                    return Err(UploadError::TooLarge(self.max_bytes));
                }
                let continues = self
                    .open
                    .as_ref()
                    .is_some_and(|(path, _)| *path == chunk.path);
                if !continues {
                    self.begin(chunk.path)?;
                }
                if let Some((_, bytes)) = &mut self.open {
                    bytes.extend_from_slice(&chunk.data);
                }
            }
            Kind::Unreadable(file) => {
                if self.options.is_none() {
                    return Err(UploadError::OptionsFirst);
                }
                self.bytes += file.path.len() + file.why.len();
                if self.bytes > self.max_bytes {
                    return Err(UploadError::TooLarge(self.max_bytes));
                }
                self.close()?;
                self.expect(&file.path)?;
                self.unreadable.push(Unreadable {
                    path: file.path,
                    line: file.line.max(1),
                    column: file.column.max(1),
                    why: file.why,
                });
            }
        }
        Ok(())
    }

    fn begin(&mut self, path: String) -> Result<(), UploadError> {
        self.close()?;
        self.expect(&path)?;
        self.open = Some((path, Vec::new()));
        Ok(())
    }

    fn expect(&mut self, path: &str) -> Result<(), UploadError> {
        if !is_plain(path) {
            return Err(UploadError::Path(path.chars().take(100).collect()));
        }
        if self.seen.len() >= self.max_files {
            return Err(UploadError::TooMany(self.max_files));
        }
        if !self.seen.insert(path.to_owned()) {
            return Err(UploadError::Twice(path.to_owned()));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), UploadError> {
        let Some((path, bytes)) = self.open.take() else {
            return Ok(());
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                self.files.push(SourceFile { path, text });
                Ok(())
            }
            Err(_) => Err(UploadError::NotText(path)),
        }
    }

    pub(crate) fn finish(mut self) -> Result<(PlanOptions, Tree), UploadError> {
        self.close()?;
        let options = self.options.ok_or(UploadError::OptionsFirst)?;
        let tree = Tree {
            files: self.files,
            unreadable: self.unreadable,
        };
        Ok((options, tree))
    }
}

/// Relative, `/` between non-empty segments, none of them `.` or `..`.
fn is_plain(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_proto::v1::FileChunk;

    fn options() -> PlanRequest {
        PlanRequest {
            kind: Some(Kind::Options(PlanOptions::default())),
        }
    }

    fn chunk(path: &str, data: &[u8]) -> PlanRequest {
        PlanRequest {
            kind: Some(Kind::File(FileChunk {
                path: path.into(),
                data: data.to_vec().into(),
            })),
        }
    }

    fn upload(messages: Vec<PlanRequest>) -> Result<Tree, UploadError> {
        let mut upload = Upload::new(2, 100);
        for message in messages {
            upload.take(message)?;
        }
        upload.finish().map(|(_, tree)| tree)
    }

    #[test]
    fn chunks_of_a_file_are_joined_and_a_new_path_begins_a_new_file() {
        let tree = upload(vec![
            options(),
            chunk("a/b.yaml", "caf\u{e9}".as_bytes().split_at(4).0),
            chunk("a/b.yaml", "caf\u{e9}".as_bytes().split_at(4).1),
            chunk("c.yaml", b""),
        ])
        .unwrap();
        let files: Vec<_> = tree
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.text.as_str()))
            .collect();
        assert_eq!(files, [("a/b.yaml", "caf\u{e9}"), ("c.yaml", "")]);
    }

    #[test]
    fn what_the_sender_cannot_read_arrives_with_its_place() {
        let unreadable = |path: &str| PlanRequest {
            kind: Some(Kind::Unreadable(landfall_proto::v1::UnreadableFile {
                path: path.into(),
                line: 2,
                column: 0,
                why: "why".into(),
            })),
        };
        let tree = upload(vec![options(), chunk("a", b"x"), unreadable("b")]).unwrap();
        assert_eq!(tree.files.len(), 1);
        assert_eq!((tree.unreadable[0].line, tree.unreadable[0].column), (2, 1));
        let refused = upload(vec![options(), unreadable("../b")]).unwrap_err();
        assert_eq!(refused, UploadError::Path("../b".into()));
    }

    #[test]
    fn what_is_out_of_bounds_or_order_is_refused() {
        for (messages, expected) in [
            (vec![], UploadError::OptionsFirst),
            (vec![chunk("a", b"")], UploadError::OptionsFirst),
            (vec![options(), options()], UploadError::OptionsFirst),
            (vec![PlanRequest { kind: None }], UploadError::Empty),
            (
                vec![options(), chunk("a", &[b'x'; 60]), chunk("a", &[b'x'; 60])],
                UploadError::TooLarge(100),
            ),
            (
                vec![options(), chunk("a", b""), chunk("b", b""), chunk("c", b"")],
                UploadError::TooMany(2),
            ),
            (
                vec![options(), chunk("a", b""), chunk("b", b""), chunk("a", b"")],
                UploadError::TooMany(2),
            ),
            (
                vec![options(), chunk("a", &[0xff])],
                UploadError::NotText("a".into()),
            ),
        ] {
            assert_eq!(upload(messages).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_file_is_sent_once_and_its_path_stays_below_the_root() {
        let twice = vec![options(), chunk("a", b""), chunk("b", b""), chunk("a", b"")];
        let mut wide = Upload::new(9, 100);
        let result: Result<Vec<()>, _> = twice
            .into_iter()
            .map(|message| wide.take(message))
            .collect();
        assert_eq!(result.unwrap_err(), UploadError::Twice("a".into()));
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/./b",
            "a\\b",
            "a\0",
            &"a".repeat(1025),
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(is_plain("images/k8s-staging-kops/images.yaml"));
    }
}
