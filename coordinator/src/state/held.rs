//! Names that a person took back: what they are not given again by anything that
//! nobody confirmed.
//!
//! A row is a name and a meaning (or none: the name was gone). It is written in
//! the transaction of the revision that takes the meaning away, and goes when a
//! person decides on the name anew.

use std::collections::HashMap;

use landfall_catalog::Digest;
use rusqlite::{Connection, Transaction, params};

use super::{optional_unsigned, signed};

/// Who took a meaning back, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) how: How,
    /// 0: nothing had to be published for it.
    pub(crate) revision: u64,
    /// May be empty: the time of a gate was over.
    pub(crate) who: String,
    /// May be empty.
    pub(crate) why: String,
}

/// The way in which a name was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By going back to an earlier revision.
    Reverted,
    /// At the gate, before it was a name.
    GivenUp,
}

impl How {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reverted => "reverted",
            Self::GivenUp => "given up",
        }
    }
}

impl std::fmt::Display for Held {
    /// `reverted in revision 7 by alice because it crashes`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.how.as_str())?;
        if self.how == How::GivenUp {
            f.write_str(" at its gate")?;
        }
        if self.revision > 0 {
            write!(f, " in revision {}", self.revision)?;
        }
        if !self.who.is_empty() {
            write!(f, " by {}", self.who)?;
        }
        if !self.why.is_empty() {
            write!(f, " because {}", self.why)?;
        }
        Ok(())
    }
}

/// What a revision does to what is held of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A person promotes or removes it: nothing is held any more.
    Release,
    /// It does not mean `lost` any more, and means `back` again.
    TakeBack {
        lost: Option<Digest>,
        back: Option<Digest>,
    },
    /// It will not come to mean this.
    GiveUp(Option<Digest>),
}

/// Everything that is held, by name and meaning.
pub(crate) type All = HashMap<(String, Option<Digest>), Held>;

/// Applies the changes of one revision, in their order.
pub(crate) fn apply(
    tx: &Transaction<'_>,
    changes: &[(String, Change)],
    held: &Held,
) -> rusqlite::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let anything: bool =
        tx.query_row("SELECT EXISTS (SELECT 1 FROM held)", (), |row| row.get(0))?;
    let mut release = tx.prepare("DELETE FROM held WHERE name = ?1")?;
    let mut back_again = tx.prepare("DELETE FROM held WHERE name = ?1 AND digest = ?2")?;
    let mut hold = tx.prepare(
        "INSERT OR REPLACE INTO held (name, digest, how, revision, who, why)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (name, change) in changes {
        let lost = match change {
            // Most promotions meet nothing that was ever taken back.
            Change::Release if !anything => continue,
            Change::Release => {
                release.execute(params![name])?;
                continue;
            }
            Change::TakeBack { lost, back } => {
                back_again.execute(params![name, bytes(back.as_ref())])?;
                lost
            }
            Change::GiveUp(lost) => lost,
        };
        hold.execute(params![
            name,
            bytes(lost.as_ref()),
            held.how.as_str(),
            signed(held.revision),
            held.who,
            held.why
        ])?;
    }
    Ok(())
}

/// Everything that is held.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<All> {
    connection
        .prepare("SELECT * FROM held")?
        .query_map((), |row| {
            let digest: Vec<u8> = row.get("digest")?;
            let how: String = row.get("how")?;
            let held = Held {
                how: match how.as_str() {
                    "reverted" => How::Reverted,
                    _ => How::GivenUp,
                },
                revision: optional_unsigned(row, "revision")?.unwrap_or_default(),
                who: row.get("who")?,
                why: row.get("why")?,
            };
            let name: String = row.get("name")?;
            Ok(((name, Digest::try_from_slice(&digest).ok()), held))
        })?
        .collect()
}

/// No meaning is no bytes: NULL would be unlike itself in the key.
fn bytes(digest: Option<&Digest>) -> &[u8] {
    digest.map_or(&[], |digest| digest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{State, tests::scratch};

    fn held(revision: u64) -> Held {
        Held {
            how: How::Reverted,
            revision,
            who: "alice".into(),
            why: "it crashes".into(),
        }
    }

    async fn change(state: &State, revision: u64, change: Change) {
        let changes = [("app:v1".to_owned(), change)];
        let written = state.write("test", move |tx| apply(tx, &changes, &held(revision)));
        written.await.unwrap();
    }

    async fn meanings(state: &State) -> Vec<(Option<Digest>, u64)> {
        let all = state.read("test", all).await.unwrap().into_iter();
        let mut meanings: Vec<_> = all
            .map(|((_, digest), held)| (digest, held.revision))
            .collect();
        meanings.sort_unstable();
        meanings
    }

    #[tokio::test]
    async fn each_meaning_that_was_taken_back_is_held_until_somebody_decides_anew() {
        let (_folder, state, _thread) = scratch();
        let [one, two] = [b"one", b"two"].map(|content| Some(Digest::of(content)));
        let take_back = |lost, back| Change::TakeBack { lost, back };
        change(&state, 3, take_back(one, None)).await;
        // Something else came under the name, and went, too.
        change(&state, 5, take_back(two, None)).await;
        let mut expected = [(one, 3), (two, 5)];
        expected.sort_unstable();
        assert_eq!(meanings(&state).await, expected);
        // Back again: what is not to be is that it is gone.
        change(&state, 6, take_back(None, two)).await;
        assert_eq!(meanings(&state).await, [(None, 6), (one, 3)]);
        change(&state, 7, Change::Release).await;
        assert_eq!(meanings(&state).await, []);
        change(&state, 8, Change::GiveUp(one)).await;
        assert_eq!(meanings(&state).await, [(one, 8)]);
    }

    #[test]
    fn a_hold_says_who_and_why_as_far_as_that_is_known() {
        let by_time = Held {
            how: How::GivenUp,
            revision: 0,
            who: String::new(),
            why: "600 s were over".into(),
        };
        for (held, expected) in [
            (
                held(7),
                "reverted in revision 7 by alice because it crashes",
            ),
            (by_time, "given up at its gate because 600 s were over"),
        ] {
            assert_eq!(held.to_string(), expected);
        }
    }
}
