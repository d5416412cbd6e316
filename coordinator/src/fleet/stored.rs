//! Mirrors and reports as bytes in the database: the schema's own messages, so
//! that a later version reads what an earlier one stored.

use landfall_proto::{WireError, model, v1};
use landfall_route::{MirrorState, MirrorView};
use prost::Message;

use super::{FleetError, Report, state_word};
use crate::state::mirrors::{MirrorRow, ReportRow};

const STATES: [MirrorState; 6] = [
    MirrorState::Pending,
    MirrorState::Probation,
    MirrorState::Active,
    MirrorState::Draining,
    MirrorState::Quarantined,
    MirrorState::Revoked,
];

/// What a mirror said of itself.
pub(super) fn declaration(view: &MirrorView) -> Vec<u8> {
    model::mirror_to_wire(view).encode_to_vec()
}

/// A stored mirror.
pub(super) fn mirror(row: &MirrorRow) -> Result<MirrorView, FleetError> {
    let failed = |source| FleetError::Stored {
        mirror: row.name.clone(),
        source,
    };
    let wire = v1::Mirror::decode(&row.declaration[..]).map_err(|error| failed(error.into()))?;
    let view = model::mirror_from_wire(wire).map_err(failed)?;
    let state = STATES
        .into_iter()
        .find(|state| state_word(*state) == row.state)
        .ok_or_else(|| {
            failed(WireError::Invalid {
                field: "mirror.state",
                why: format!("\"{}\" is not a state", row.state),
            })
        })?;
    Ok(MirrorView { state, ..view })
}

/// A report as it is stored.
pub(super) fn report_row(mirror: String, report: &Report) -> ReportRow {
    let body = report
        .chunks
        .iter()
        .flat_map(Message::encode_length_delimited_to_vec)
        .collect();
    ReportRow {
        mirror,
        received: report.received,
        body,
    }
}

/// A stored report on a catalog of `objects` objects.
pub(super) fn report(row: &ReportRow, objects: u32) -> Result<Report, WireError> {
    let mut assembler = model::ReadinessAssembler::default();
    let mut rest = &row.body[..];
    while !rest.is_empty() {
        let chunk = v1::ReadinessChunk::decode_length_delimited(&mut rest)?;
        if let Some((readiness, wanted)) = assembler.push(chunk, objects)? {
            return Ok(Report::new(readiness, wanted, row.received));
        }
    }
    Err(WireError::Missing("readiness.end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::board::tests::{report as sample, view};

    #[test]
    fn a_report_reads_back_as_it_was_and_a_cut_one_is_none() {
        let row = report_row("oslo".into(), &sample(3, 44));
        let back = report(&row, 3).unwrap();
        assert_eq!(back.chunks, sample(3, 44).chunks);
        assert_eq!((back.received, back.wanted), (44, 3));
        assert!(report(&row, 2).is_err(), "of a smaller catalog");
        for cut in 0..row.body.len() {
            let cut = ReportRow {
                body: row.body[..cut].to_vec(),
                ..row.clone()
            };
            assert!(report(&cut, 3).is_err());
        }
    }

    #[test]
    fn a_mirror_reads_back_in_its_stored_state() {
        for state in STATES {
            let row = MirrorRow {
                name: "oslo".into(),
                declaration: declaration(&view("oslo")),
                state: state_word(state).into(),
                version: String::new(),
                first_seen: 1,
                last_seen: 1,
            };
            let back = mirror(&row).unwrap();
            let expected = MirrorView {
                state,
                ..view("oslo")
            };
            assert_eq!(format!("{back:?}"), format!("{expected:?}"));
        }
    }
}
