//! The mirrors fill: watched through the coordinator's status, told line by line.

use std::{collections::BTreeMap, time::Duration};

use landfall_proto::v1;

use super::{places::DONORS, story::Story};
use crate::{command::status, failure::Failure};

/// How often the status is asked for.
const POLL: Duration = Duration::from_millis(200);
/// How long the mirrors may take.
const COMPLETE_WITHIN: Duration = Duration::from_secs(45);

/// Tells how the mirrors fill until all are complete.
///
/// # Errors
/// The mirrors that are not complete in time.
pub(super) async fn watch(story: &Story, coordinator: &str) -> Result<(), Failure> {
    let deadline = story.elapsed() + COMPLETE_WITHIN;
    let mut told = String::new();
    loop {
        let status = status::fetch(coordinator).await?;
        let mirrors = of_donors(&status);
        let line: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
        let line = line.join("   ");
        if line != told {
            story.tell(&line)?;
            told = line;
        }
        let waiting: Vec<&str> = mirrors
            .iter()
            .filter(|mirror| !mirror.complete)
            .map(|mirror| mirror.name)
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if story.elapsed() > deadline {
            return Err(Failure::Failed(format!(
                "not complete within {} s: {}",
                COMPLETE_WITHIN.as_secs(),
                waiting.join(", ")
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How far a mirror is.
#[derive(Debug, PartialEq, Eq)]
struct Filling {
    name: &'static str,
    ready: u64,
    wanted: u64,
    complete: bool,
}

impl std::fmt::Display for Filling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            ready,
            wanted,
            complete,
        } = self;
        let sign = if *complete { " complete" } else { "         " };
        write!(f, "{name} {ready:>2}/{wanted} objects{sign}")
    }
}

/// The donors' mirrors, whether the coordinator has heard of them or not.
fn of_donors(status: &v1::ListMirrorsResponse) -> Vec<Filling> {
    let known: BTreeMap<&str, &v1::MirrorStatus> = status
        .mirrors
        .iter()
        .filter_map(|mirror| Some((mirror.mirror.as_ref()?.name.as_str(), mirror)))
        .collect();
    DONORS
        .iter()
        .map(|donor| {
            known.get(donor.name).map_or(
                Filling {
                    name: donor.name,
                    ready: 0,
                    wanted: 0,
                    complete: false,
                },
                |mirror| Filling {
                    name: donor.name,
                    ready: mirror.ready_objects,
                    wanted: mirror.wanted_objects,
                    // Complete under the names in force, not only in bytes.
                    complete: mirror.wanted_objects > 0
                        && mirror.ready_objects == mirror.wanted_objects
                        && mirror.names_revision == status.revision,
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: u64, names_revision: u64) -> v1::ListMirrorsResponse {
        v1::ListMirrorsResponse {
            revision: 1,
            mirrors: vec![v1::MirrorStatus {
                mirror: Some(v1::Mirror {
                    name: "aws-east".into(),
                    ..v1::Mirror::default()
                }),
                ready_objects: ready,
                wanted_objects: 9,
                names_revision,
                ..v1::MirrorStatus::default()
            }],
            ..v1::ListMirrorsResponse::default()
        }
    }

    #[test]
    fn a_mirror_is_complete_when_it_has_all_objects_under_the_names_in_force() {
        for (ready, names_revision, complete) in
            [(0, 0, false), (8, 1, false), (9, 0, false), (9, 1, true)]
        {
            let mirrors = of_donors(&status(ready, names_revision));
            assert_eq!(mirrors[0].complete, complete, "{ready} {names_revision}");
            assert!(!mirrors[1].complete, "nobody has heard of it");
        }
    }
}
