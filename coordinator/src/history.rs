//! What ever happened to a name, a repository, all below a prefix, or an object.

use landfall_catalog::Name;
use landfall_proto::status::{Classify, Fault};

use crate::state::history::{self as rows, Change, MOST_BELOW, Names, Place, Subject};
use crate::state::{State, StateError};
use crate::withdraw::Choice;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// The state failed.
    #[error("the history's state failed")]
    State(#[from] StateError),
    /// Too much happened below a prefix.
    #[error("more than {MOST_BELOW} things happened below {0}: ask for a longer prefix, or a name")]
    TooMuch(String),
}

impl Classify for HistoryError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::TooMuch(_) => Fault::InvalidInput,
        }
    }
}

/// Answers from the database; cheap to clone.
#[derive(Clone)]
pub(crate) struct History {
    state: State,
}

impl History {
    pub(crate) const fn new(state: State) -> Self {
        Self { state }
    }

    /// The next changes of what was chosen, newest first.
    pub(crate) async fn changes(
        &self,
        choice: &Choice,
        place: Place,
        limit: u32,
    ) -> Result<Vec<Change>, HistoryError> {
        let subject = subject(choice);
        let found = self
            .state
            .read("read the history", move |connection| {
                rows::changes(connection, &subject, &place, limit)
            })
            .await?;
        found.ok_or_else(|| HistoryError::TooMuch(shown(choice)))
    }
}

/// Which rows are meant. A path may be a repository.
fn subject(choice: &Choice) -> Subject {
    match choice {
        Choice::Digest(digest) => Subject::Object(*digest),
        Choice::Name(name) => {
            let text = name.to_string();
            let mut names = vec![Names::One(text.clone())];
            if let Name::File(_) = name {
                // Tags, and roots.
                names.extend([beginning(&text, ':', ';'), beginning(&text, '@', 'A')]);
            }
            Subject::Names(names)
        }
        Choice::Below(prefix) => Subject::Names(vec![beginning(prefix, '/', '0')]),
    }
}

/// Names that go on with a character; `next` is the one after it.
fn beginning(text: &str, with: char, next: char) -> Names {
    Names::Between(format!("{text}{with}"), format!("{text}{next}"))
}

fn shown(choice: &Choice) -> String {
    match choice {
        Choice::Digest(digest) => digest.to_string(),
        Choice::Name(name) => name.to_string(),
        Choice::Below(prefix) => format!("{prefix}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_a_repository_and_a_prefix_is_all_below_it() {
        let covers = |subject: &Subject, name: &str| match subject {
            Subject::Names(ranges) => ranges.iter().any(|names| match names {
                Names::One(one) => one == name,
                Names::Between(first, end) => first.as_str() <= name && name < end.as_str(),
            }),
            Subject::Object(_) => false,
        };
        let root = format!("a/app@{}", landfall_catalog::Digest::of(b""));
        for (asked, name, is_meant) in [
            ("a/app:v1", "a/app:v1", true),
            ("a/app:v1", "a/app:v10", false),
            ("a/app", "a/app", true),
            ("a/app", "a/app:v1", true),
            ("a/app", &root, true),
            ("a/app", "a/app2:v1", false),
            ("a/app", "a/app/b:v1", false),
            ("a/app", "a/app-x:v1", false),
            ("a/", "a/app:v1", true),
            ("a/", "a/b/c", true),
            ("a/", "ab/c", false),
            ("a/", "a:v1", false),
        ] {
            let subject = subject(&Choice::parse(asked).unwrap());
            assert_eq!(covers(&subject, name), is_meant, "{asked} {name}");
        }
    }
}
