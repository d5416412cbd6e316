//! The sensitive halves: from where a project may be promoted, and to where.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::signed;

/// Images or files: the two are registered and compared apart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HalfKind {
    /// `promoter-manifest.yaml`.
    Images,
    /// `filepromoter-manifest.yaml`.
    Files,
}

impl HalfKind {
    /// As in the database and in messages.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Files => "files",
        }
    }
}

/// The sensitive half of one project and kind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Half {
    /// The project's name.
    pub(crate) project: String,
    /// Images or files.
    pub(crate) kind: HalfKind,
    /// The staging registry or file store.
    pub(crate) source: String,
    /// The production registries or file stores, sorted.
    pub(crate) destinations: Vec<String>,
}

/// How a half compares with the registered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is registered, exactly so.
    Registered,
    /// Nothing is registered for this project and kind.
    Unregistered,
    /// Another one is registered.
    Differs,
}

/// How `offered` compares with the registered half of its project and kind.
pub(crate) fn compare(registered: &Half, offered: &Half) -> Standing {
    let is_same = registered.source == offered.source
        && destinations_column(registered) == destinations_column(offered);
    if is_same {
        Standing::Registered
    } else {
        Standing::Differs
    }
}

/// All registered halves.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<Half>> {
    connection
        .prepare("SELECT project, kind, source, destinations FROM project ORDER BY project, kind")?
        .query_map((), half_from_row)?
        .collect()
}

fn half_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Half> {
    let destinations: String = row.get("destinations")?;
    Ok(Half {
        project: row.get("project")?,
        kind: match row.get::<_, String>("kind")?.as_str() {
            "images" => HalfKind::Images,
            _ => HalfKind::Files,
        },
        source: row.get("source")?,
        destinations: serde_json::from_str(&destinations).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                3,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
    })
}

/// Compares with what is registered.
pub(crate) fn standing(connection: &Connection, half: &Half) -> rusqlite::Result<Standing> {
    let registered = connection
        .query_row(
            "SELECT project, kind, source, destinations FROM project
             WHERE project = ?1 AND kind = ?2",
            params![half.project, half.kind.as_str()],
            half_from_row,
        )
        .optional()?;
    Ok(registered.map_or(Standing::Unregistered, |registered| {
        compare(&registered, half)
    }))
}

/// Registers a half that is not registered yet; says how it compared before.
pub(crate) fn register(
    tx: &Transaction<'_>,
    half: &Half,
    who: &str,
    now: u64,
) -> rusqlite::Result<Standing> {
    let before = standing(tx, half)?;
    if before == Standing::Unregistered {
        tx.execute(
            "INSERT INTO project (project, kind, source, destinations, registered_by, registered_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                half.project,
                half.kind.as_str(),
                half.source,
                destinations_column(half),
                who,
                signed(now)
            ],
        )?;
    }
    Ok(before)
}

/// Registers a half, in place of another of its project and kind if there is one.
pub(crate) fn replace(
    tx: &Transaction<'_>,
    half: &Half,
    who: &str,
    now: u64,
) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM project WHERE project = ?1 AND kind = ?2",
        params![half.project, half.kind.as_str()],
    )?;
    register(tx, half, who, now)?;
    Ok(())
}

fn destinations_column(half: &Half) -> String {
    let mut sorted = half.destinations.clone();
    sorted.sort();
    serde_json::Value::from(sorted).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::scratch;

    fn half(source: &str, destinations: &[&str]) -> Half {
        Half {
            project: "kops".into(),
            kind: HalfKind::Images,
            source: source.into(),
            destinations: destinations.iter().map(|&text| text.into()).collect(),
        }
    }

    #[tokio::test]
    async fn the_first_half_is_registered_and_another_one_differs() {
        let (_folder, state, _thread) = scratch();
        for (offered, expected) in [
            (half("src", &["b", "a"]), Standing::Unregistered),
            (half("src", &["a", "b"]), Standing::Registered),
            (half("elsewhere", &["a", "b"]), Standing::Differs),
            (half("src", &["a"]), Standing::Differs),
            (
                Half {
                    kind: HalfKind::Files,
                    ..half("other", &["c"])
                },
                Standing::Unregistered,
            ),
        ] {
            let compared = offered.clone();
            let before = state
                .write("test", move |tx| register(tx, &compared, "loopback", 7))
                .await
                .unwrap();
            assert_eq!(before, expected, "{offered:?}");
        }
    }
}
