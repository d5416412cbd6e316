//! How a command ends: the exit codes that programs may rely on.

use std::{error::Error, process::ExitCode};

use landfall_runtime::StopSignal;

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done, and nothing to complain of. Exit code 0.
    Done,
    /// Something was found, or not everything was done. Exit code 1.
    Incomplete,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::SUCCESS,
            Verdict::Incomplete => Self::from(1),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong use or configuration. Exit code 2.
    Usage(String),
    /// It could not be done: the other side is out of reach, or refused. Exit code 1.
    Failed(String),
    /// A signal ended it early. Exit code 130 after Ctrl-C.
    Interrupted(StopSignal),
    /// Whoever read the output has gone, as `head` does: nothing to say. Exit
    /// code 141, as of any command that a closed pipe ends.
    Unread,
}

impl Failure {
    /// A failure told with its whole chain of causes.
    pub(crate) fn failed(what: &str, error: &dyn Error) -> Self {
        Self::Failed(format!("{what}: {}", landfall_proto::status::chain(error)))
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            // 128 and the number of the signal.
            Self::Interrupted(signal) => u8::try_from(signal.exit_code()).unwrap_or(1),
            Self::Unread => 141,
        }
    }

    /// What a person reads.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Interrupted(_) => "interrupted before it was done",
            Self::Unread => "",
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::failed("cannot write the output", &error)
    }
}
