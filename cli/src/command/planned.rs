//! What a plan would do, name by name: for the person who is to confirm it, and
//! for programs.

use std::collections::BTreeMap;

use landfall_catalog::Digest;
use landfall_proto::v1;
use serde_json::{Value, json};

use crate::output;

/// Names of one project that are shown of one kind of change; all, if asked.
const SHOWN: usize = 10;

/// What becomes of a name, in the order in which people read it: first what
/// nobody may overlook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Move,
    Remove,
    Lost,
    Failed,
    Refused,
    Held,
    Pending,
    Set,
}

impl Change {
    fn of(entry: &v1::PlannedEntry) -> Self {
        match entry.state.as_str() {
            "remove" => Self::Remove,
            "lost" => Self::Lost,
            "failed" => Self::Failed,
            "refused" => Self::Refused,
            "held" => Self::Held,
            "pending" => Self::Pending,
            _ if moves(entry) => Self::Move,
            _ => Self::Set,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Remove => "remove",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Set => "set",
        }
    }
}

/// One line a name. Moves are shown whole; of anything else, each project's first
/// few, and how many there are beside, unless all are wanted. What is refused for
/// a finding that is `acknowledged` says so.
pub(super) fn lines(
    entries: &[v1::PlannedEntry],
    all: bool,
    acknowledged: impl Fn(&v1::PlannedEntry) -> bool,
) -> Vec<String> {
    let mut groups: BTreeMap<(Change, &str), Vec<&v1::PlannedEntry>> = BTreeMap::new();
    for entry in entries {
        groups
            .entry((Change::of(entry), &entry.project))
            .or_default()
            .push(entry);
    }
    let mut lines = Vec::new();
    for ((change, project), entries) in groups {
        let shown = if all || change == Change::Move || entries.len() <= SHOWN + 1 {
            entries.len()
        } else {
            SHOWN
        };
        lines.extend(entries.iter().take(shown).map(|entry| {
            let known = if acknowledged(entry) {
                " (acknowledged)"
            } else {
                ""
            };
            line(change, entry) + known
        }));
        if shown < entries.len() {
            lines.push(format!(
                "{}: … and {} more{}; --verbose shows all",
                change.word(),
                entries.len() - shown,
                match project {
                    "" => String::new(),
                    project => format!(" of {}", output::plain(project)),
                },
            ));
        }
    }
    lines
}

fn line(change: Change, entry: &v1::PlannedEntry) -> String {
    let (word, name) = (change.word(), output::plain(&entry.name));
    // Of what is done after all: what is to be known of it.
    let known = match entry.detail.as_str() {
        "" => String::new(),
        detail => format!(" ({})", output::plain(detail)),
    };
    match change {
        Change::Move => format!(
            "{word}: {name}: {} -> {}{known}",
            short(&entry.replaces),
            short(&entry.digest)
        ),
        Change::Set => match entry.bytes_to_copy {
            0 => format!("{word}: {name}: {}{known}", short(&entry.digest)),
            copied => format!(
                "{word}: {name}: {}, {} to copy{known}",
                short(&entry.digest),
                output::bytes(copied)
            ),
        },
        Change::Remove => format!("{word}: {name}: {}{known}", short(&entry.digest)),
        Change::Lost | Change::Failed | Change::Refused | Change::Held | Change::Pending => {
            format!("{word}: {name}: {}", output::plain(&entry.detail))
        }
    }
}

/// A name as programs read it; fields are only ever added.
pub(super) fn value(entry: &v1::PlannedEntry) -> Value {
    json!({
        "name": entry.name,
        "project": entry.project,
        "state": entry.state,
        "digest": long(&entry.digest),
        "replaces": moves(entry).then(|| long(&entry.replaces)),
        "bytes_to_copy": entry.bytes_to_copy,
        "detail": entry.detail,
    })
}

fn moves(entry: &v1::PlannedEntry) -> bool {
    !entry.replaces.is_empty() && entry.replaces != entry.digest
}

fn long(digest: &[u8]) -> Option<String> {
    let digest = Digest::try_from_slice(digest).ok()?;
    Some(digest.to_string())
}

/// Enough of a digest to know it again.
fn short(digest: &[u8]) -> String {
    let mut text = long(digest).unwrap_or_default();
    text.truncate("sha256:".len() + 12);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, state: &str, replaces: Option<u8>) -> v1::PlannedEntry {
        v1::PlannedEntry {
            name: name.into(),
            project: "kops".into(),
            state: state.into(),
            digest: vec![0x11; 32].into(),
            replaces: replaces
                .map(|byte| vec![byte; 32].into())
                .unwrap_or_default(),
            detail: match state {
                "lost" | "refused" | "failed" => "why".into(),
                _ => String::new(),
            },
            ..v1::PlannedEntry::default()
        }
    }

    #[test]
    fn what_nobody_may_overlook_comes_first() {
        let entries = [
            entry("app:v1", "to-copy", None),
            entry("app:v2", "present", Some(0x11)),
            entry("app:gone", "remove", None),
            entry("app:lost", "lost", Some(0x22)),
            entry("app:stable", "present", Some(0x22)),
        ];
        assert_eq!(
            lines(&entries, false, |_| false),
            [
                "move: app:stable: sha256:222222222222 -> sha256:111111111111",
                "remove: app:gone: sha256:111111111111",
                "lost: app:lost: why",
                "set: app:v1: sha256:111111111111",
                "set: app:v2: sha256:111111111111",
            ]
        );
    }

    #[test]
    fn much_of_the_same_is_folded_but_never_a_move() {
        let refused: Vec<_> = (0..40)
            .map(|number| entry(&format!("app:v{number}"), "refused", None))
            .collect();
        let folded = lines(&refused, false, |_| false);
        assert_eq!(folded.len(), SHOWN + 1);
        assert_eq!(
            folded[SHOWN],
            "refused: … and 30 more of kops; --verbose shows all"
        );
        assert_eq!(lines(&refused, true, |_| false).len(), 40);
        // One more is not worth a line that says so.
        assert_eq!(lines(&refused[..=SHOWN], false, |_| false).len(), SHOWN + 1);
        let moved: Vec<_> = (0..40)
            .map(|number| entry(&format!("app:v{number}"), "to-copy", Some(0x22)))
            .collect();
        assert_eq!(lines(&moved, false, |_| false).len(), 40);
    }

    #[test]
    fn nothing_from_elsewhere_reaches_the_terminal_raw() {
        let hostile = v1::PlannedEntry {
            detail: "no\u{1b}[2J\nset: fine".into(),
            ..entry("app:v1", "refused", None)
        };
        assert_eq!(
            lines(&[hostile], true, |_| true),
            ["refused: app:v1: no\u{fffd}[2J set: fine (acknowledged)"]
        );
    }
}
