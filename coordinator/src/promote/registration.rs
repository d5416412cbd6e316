//! Registering the sensitive halves: where a project is staged, and where it is
//! published. Nothing is promoted that differs from what is registered.

use std::collections::{BTreeMap, BTreeSet};

use landfall_promotion::{Kind, Tree, parse};
use landfall_proto::status::{Classify, Fault};

use super::orders::half_of;
use crate::state::projects::{self, Half, HalfKind, Standing};
use crate::state::{State, StateError};

/// Why nothing was registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The state failed.
    #[error("the projects' state failed")]
    State(#[from] StateError),
    /// Some of the manifests have no readable sensitive half.
    #[error("nothing was registered: {0} cannot be read; `landfall validate` says why")]
    Unreadable(String),
    /// Two manifests say different things of a project.
    #[error("nothing was registered: the manifests say two things of {project} ({kind})")]
    Twice {
        /// The project.
        project: String,
        /// Images or files.
        kind: &'static str,
    },
    /// There is nothing to register.
    #[error("the manifests have no project")]
    Empty,
    /// The program is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
}

impl Classify for ApplyError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Unreadable(_) | Self::Twice { .. } | Self::Empty => Fault::InvalidInput,
            Self::Stopping => Fault::Unavailable,
        }
    }
}

/// One project and kind, before and after.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) half: Half,
    pub(crate) before: Option<Half>,
}

impl Applied {
    /// `new`, `changed` or `same`.
    pub(crate) fn change(&self) -> &'static str {
        match &self.before {
            None => "new",
            Some(before) => match projects::compare(before, &self.half) {
                Standing::Differs => "changed",
                Standing::Registered | Standing::Unregistered => "same",
            },
        }
    }
}

/// Registers the sensitive halves of all projects in `tree`, all of them or
/// none. With `dry_run` it only says what that would change.
pub(crate) async fn apply(
    state: &State,
    tree: Tree,
    who: String,
    now: u64,
    dry_run: bool,
) -> Result<Vec<Applied>, ApplyError> {
    let halves = tokio::task::spawn_blocking(move || halves(&tree))
        .await
        .map_err(|_| ApplyError::Stopping)??;
    let applied = state
        .write("register projects", move |tx| {
            let registered = projects::all(tx)?;
            let mut applied = Vec::new();
            for half in halves {
                let is_same =
                    |other: &&Half| other.project == half.project && other.kind == half.kind;
                let before = registered.iter().find(is_same).cloned();
                let one = Applied { half, before };
                if !dry_run && one.change() != "same" {
                    projects::replace(tx, &one.half, &who, now)?;
                }
                applied.push(one);
            }
            Ok(applied)
        })
        .await?;
    if !dry_run {
        for one in applied.iter().filter(|one| one.change() != "same") {
            let (project, kind) = (&one.half.project, one.half.kind.as_str());
            tracing::info!(project, kind, change = one.change(), "project registered");
        }
    }
    Ok(applied)
}

fn halves(tree: &Tree) -> Result<Vec<Half>, ApplyError> {
    let parsed = parse(tree);
    if !parsed.left_out.is_empty() {
        let left_out: BTreeSet<String> = parsed
            .left_out
            .iter()
            .map(|(project, kind)| match kind {
                Kind::Images => format!("{project} (images)"),
                Kind::Files => format!("{project} (files)"),
            })
            .collect();
        let left_out: Vec<_> = left_out.into_iter().collect();
        return Err(ApplyError::Unreadable(left_out.join(", ")));
    }
    let mut halves: BTreeMap<(String, HalfKind), Half> = BTreeMap::new();
    for project in &parsed.projects {
        let half = half_of(project);
        let key = (half.project.clone(), half.kind);
        match halves.get(&key) {
            Some(other) if projects::compare(other, &half) == Standing::Differs => {
                return Err(ApplyError::Twice {
                    kind: half.kind.as_str(),
                    project: half.project,
                });
            }
            Some(_) => {}
            None => {
                halves.insert(key, half);
            }
        }
    }
    if halves.is_empty() {
        return Err(ApplyError::Empty);
    }
    Ok(halves.into_values().collect())
}
