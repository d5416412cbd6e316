//! Reads a tree again and again until every fault is known.

use serde::de::DeserializeOwned;

use super::read_fault::{FaultKind, ReadFault};
use super::reader::{Reader, Session, StandIn, is_within};
use super::tree::Tree;
use super::{Check, ConfigFault, MAX_FAULTS};

/// The value, or all faults.
pub(super) fn read_all<T: DeserializeOwned + Check>(
    tree: &Tree,
    env_prefix: &str,
) -> Result<T, Vec<ConfigFault>> {
    let mut session = Session::default();
    let mut faults = Vec::new();
    let value = loop {
        let reader = Reader {
            node: Some(&tree.root),
            path: String::new(),
            session: &session,
        };
        match T::deserialize(reader) {
            Ok(value) => break Some(value),
            Err(fault) => {
                let progress = note_fault(tree, env_prefix, &mut session, &mut faults, fault);
                if !progress || faults.len() >= MAX_FAULTS {
                    break None;
                }
            }
        }
    };
    for (path, known) in session.unknown.borrow().iter() {
        faults.push(ConfigFault {
            place: tree.nearest_place(path),
            key: path.clone(),
            message: format!("unknown key `{path}`"),
            help: suggest(path, known),
        });
    }
    if let Some(value) = &value {
        let is_about_stand_in = |key: &str| {
            let mut replaced = session.stand_ins.keys();
            replaced.any(|path| is_within(key, path) || is_within(path, key))
        };
        let found = value.check();
        let credible = found
            .into_iter()
            .filter(|fault| !is_about_stand_in(&fault.key));
        faults.extend(credible.map(|fault| ConfigFault {
            place: tree.nearest_place(&fault.key),
            message: format!("`{}` {}", fault.key, fault.message),
            key: fault.key,
            help: String::new(),
        }));
    }
    faults.truncate(MAX_FAULTS);
    match value {
        Some(value) if faults.is_empty() => Ok(value),
        Some(_) | None => Err(faults),
    }
}

/// Notes the fault, unless a stand-in caused it, and makes the next reading
/// come further. False when it could not.
fn note_fault(
    tree: &Tree,
    env_prefix: &str,
    session: &mut Session,
    faults: &mut Vec<ConfigFault>,
    fault: ReadFault,
) -> bool {
    let path = fault.path.clone().unwrap_or_default();
    if let Some(stand_in) = session.stand_ins.get_mut(&path) {
        if matches!(stand_in, StandIn::Refused) {
            return false;
        }
        *stand_in = stand_in.next();
        return true;
    }
    let mut replaced = session.stand_ins.keys();
    let below_stand_in = replaced.any(|ancestor| is_within(&path, ancestor));
    session.stand_ins.insert(path.clone(), StandIn::FIRST);
    if !below_stand_in {
        faults.push(describe(tree, env_prefix, path, fault.kind));
    }
    true
}

fn describe(tree: &Tree, env_prefix: &str, path: String, kind: FaultKind) -> ConfigFault {
    let place = tree.nearest_place(&path);
    let (message, help) = match kind {
        FaultKind::Missing(_) => (
            format!("`{path}` is missing"),
            format!("set it in the file{}", or_in_environment(env_prefix, &path)),
        ),
        FaultKind::Other { message, help } if path.is_empty() => (message, help),
        FaultKind::Other { message, help } => (format!("`{path}`: {message}"), help),
    };
    ConfigFault {
        place,
        key: path,
        message,
        help,
    }
}

fn or_in_environment(env_prefix: &str, path: &str) -> String {
    if path.contains('[') {
        return String::new();
    }
    let keys = path.replace('.', "__").to_uppercase();
    format!(" or as {env_prefix}__{keys}")
}

fn suggest(path: &str, known: &[&str]) -> String {
    let key = path.rsplit('.').next().unwrap_or(path);
    let nearest = known
        .iter()
        .min_by_key(|candidate| distance(key, candidate));
    match nearest {
        Some(nearest) if distance(key, nearest) <= 2 => format!("did you mean `{nearest}`?"),
        Some(_) => format!("known here are `{}`", known.join("`, `")),
        None => "remove it".to_owned(),
    }
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_insertions_deletions_and_substitutions() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("listen", "listem", 1),
            ("listen", "lsten", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
