//! One round: what the manifests list and production lacks is promoted.

use landfall_promotion::Tree;
use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde::Serialize;

use super::rhythm::{Ended, Recheck};
use crate::{
    args::ReconcileArgs,
    command::{
        findings::Known,
        operation::{self, Telling},
        promote::{self, Resolved},
    },
    connect,
    failure::Failure,
};

/// Names amiss that are told one by one.
const MOST_TOLD: usize = 100;

/// How production compares to the manifests; fields are only ever added.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Round {
    /// Commit id of the manifests; empty if it is not known.
    pub(super) source: String,
    /// False: nothing had changed since the last look, whose figures these are.
    pub(super) looked: bool,
    /// None: there was nothing to execute.
    pub(super) operation: Option<String>,
    /// What was published; none: nothing.
    pub(super) revision: Option<u64>,
    /// What was published of it before its names, which wait; none: nothing.
    pub(super) content_revision: Option<u64>,
    /// Staging was asked again for signatures and platforms that came later.
    pub(super) rechecked: bool,
    /// Names that are as the manifests say.
    pub(super) present: u64,
    /// Names that wait at a gate, and are not published yet.
    pub(super) waiting: u64,
    pub(super) copied: u64,
    pub(super) removed: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
    /// Refused, too, for findings that are acknowledged.
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    /// Names that a person took back: they are set again by a person only.
    pub(super) held: u64,
    /// Findings that leave something out and are not acknowledged.
    pub(super) findings: u64,
    /// Findings, and then what is lost, refused, held back or failed; at most 100.
    pub(super) amiss: Vec<Amiss>,
    /// Other findings that people are warned of, at most 100.
    pub(super) warnings: Vec<Amiss>,
}

/// A name, or a place in the manifests, that is not in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Amiss {
    pub(super) name: String,
    /// `lost`, `refused`, `held`, `failed`, or the rule of a finding.
    pub(super) outcome: String,
    pub(super) detail: String,
    /// Entries may follow from it.
    #[serde(skip)]
    pub(super) is_finding: bool,
}

impl Amiss {
    fn entry(name: String, outcome: &str, detail: String) -> Self {
        Self {
            name,
            outcome: outcome.to_owned(),
            detail,
            is_finding: false,
        }
    }

    fn finding(finding: &v1::Finding) -> Self {
        Self {
            // What is said of a project as a whole is at no line.
            name: match finding.file.as_str() {
                "" => String::new(),
                file => format!("{file}:{}:{}", finding.line, finding.column),
            },
            outcome: finding.rule.clone(),
            detail: finding.message.clone(),
            is_finding: true,
        }
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let Self {
            name,
            outcome,
            detail,
            ..
        } = self;
        match name.as_str() {
            "" => format!("{outcome}: {detail}"),
            _ => format!("{outcome}: {name}: {detail}"),
        }
    }
}

impl Round {
    pub(super) const fn ended(&self) -> Ended {
        if self.failed > 0 {
            Ended::Failed
        } else if self.lost + self.refused + self.held + self.findings > 0 {
            Ended::Stuck
        } else {
            Ended::Clean
        }
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let amiss: Vec<_> = [
            (self.waiting, "waiting at a gate"),
            (self.lost, "lost"),
            (self.refused, "refused"),
            (self.held, "held back"),
            (self.failed, "failed"),
            (self.findings, "findings"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
        let amiss = amiss.concat();
        if !self.looked {
            return format!("nothing has changed: {} present{amiss}", self.present);
        }
        if self.operation.is_none() {
            return format!("nothing to do: {} present{amiss}", self.present);
        }
        let published = self.revision.map_or_else(
            || match self.content_revision {
                None => "nothing new to publish".to_owned(),
                Some(revision) => format!("content published as revision {revision}"),
            },
            |revision| format!("published as revision {revision}"),
        );
        format!(
            "{} copied, {} present, {} removed{amiss}; {published}",
            self.copied, self.present, self.removed
        )
    }

    /// What was planned and not executed.
    fn planned(resolved: &Resolved) -> Self {
        let summary = &resolved.summary;
        let amiss = resolved.entries.iter().filter_map(|entry| {
            let outcome @ ("lost" | "refused" | "failed") = entry.state.as_str() else {
                return None;
            };
            let (name, detail) = (entry.name.clone(), entry.detail.clone());
            Some(Amiss::entry(name, outcome, detail))
        });
        Self {
            present: summary.unchanged,
            lost: summary.lost,
            refused: summary.refused,
            failed: summary.failed,
            amiss: amiss.collect(),
            ..Self::default()
        }
    }

    /// What waits at gates or is held back is neither executed nor as it should be.
    fn set_aside(&mut self, entries: &[v1::PlannedEntry]) {
        let of_state = |state: &'static str| entries.iter().filter(move |it| it.state == state);
        let pending = of_state("pending").count() as u64;
        self.present = self.present.saturating_sub(pending);
        self.waiting += pending;
        for entry in of_state("held") {
            self.held += 1;
            let (name, detail) = (entry.name.clone(), entry.detail.clone());
            self.amiss.push(Amiss::entry(name, "held", detail));
        }
    }

    /// What an operation came to.
    fn executed(done: &v1::OperationDone, amiss: Vec<v1::EntryOutcome>, unchanged: u64) -> Self {
        let amiss = amiss
            .into_iter()
            .map(|entry| Amiss::entry(entry.name, &entry.outcome, entry.detail));
        let waits = done.gate == operation::WAITING;
        let content = Some(done.content_revision).filter(|revision| waits && *revision > 0);
        Self {
            operation: Some(done.operation.clone()),
            revision: Some(done.revision).filter(|revision| *revision > 0),
            content_revision: content,
            waiting: done.waiting,
            present: if waits { unchanged } else { done.present },
            copied: done.copied,
            removed: done.removed,
            lost: done.lost,
            refused: done.refused,
            failed: done.failed,
            amiss: amiss.collect(),
            ..Self::default()
        }
    }
}

/// Plans, and executes if there is anything to execute. The manifests were
/// reviewed: nobody is asked. Tags are never moved, and the brake on mass
/// changes stays.
pub(super) async fn look(
    args: &ReconcileArgs,
    tree: Tree,
    known: &Known,
    source: String,
    recheck: Recheck,
) -> Result<Round, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let mut client = PromotionClient::new(connect::connection(coordinator)?);
    let options = v1::PlanOptions {
        prune: args.prune,
        recheck: recheck != Recheck::No,
        recheck_within_seconds: match recheck {
            Recheck::No | Recheck::All => 0,
            Recheck::Within(time) => time.as_secs(),
        },
        unattended: true,
        ..v1::PlanOptions::default()
    };
    let resolved = promote::resolve(&mut client, coordinator, tree, options).await?;
    let summary = &resolved.summary;
    let mut round = if summary.set + summary.removed == 0 {
        Round::planned(&resolved)
    } else {
        let request = v1::PromoteRequest {
            plan: summary.plan.clone(),
            why: args.why.clone(),
            source: source.clone(),
            gate: args.gate.terms(),
        };
        let mut amiss = Vec::new();
        let telling = Telling::Nobody(&mut amiss);
        let done = operation::execute(&mut client, coordinator, request, telling, 0).await?;
        Round::executed(&done, amiss, summary.unchanged)
    };
    round.set_aside(&resolved.entries);
    // What was looked at and is lived with is not amiss.
    for entry in &resolved.entries {
        if known.holds_refusal(entry, &resolved.findings) {
            round.refused = round.refused.saturating_sub(1);
            round.acknowledged += 1;
            let is_it = |amiss: &Amiss| amiss.name == entry.name && amiss.detail == entry.detail;
            round.amiss.retain(|amiss| !is_it(amiss));
        }
    }
    let failing = resolved
        .findings
        .iter()
        .filter(|finding| known.leave_failing_remote(finding, false));
    let mut findings: Vec<_> = failing.map(Amiss::finding).collect();
    let warnings = resolved.findings.iter().filter(|finding| {
        finding.severity == "warning"
            && known.of_remote(finding).is_none()
            && !known.leave_failing_remote(finding, false)
    });
    round.warnings = warnings.map(Amiss::finding).take(MOST_TOLD).collect();
    round.source = source;
    round.looked = true;
    round.rechecked = recheck != Recheck::No;
    round.findings = findings.len() as u64;
    round.amiss.sort_by(|one, other| one.name.cmp(&other.name));
    // Causes before what follows from them.
    findings.append(&mut round.amiss);
    findings.truncate(MOST_TOLD);
    round.amiss = findings;
    Ok(round)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: &str) -> v1::PlannedEntry {
        v1::PlannedEntry {
            name: state.to_owned(),
            state: state.to_owned(),
            ..v1::PlannedEntry::default()
        }
    }

    #[test]
    fn a_staging_that_cannot_be_read_is_a_failure_and_no_refusal() {
        let resolved = Resolved {
            entries: vec![entry("failed"), entry("refused"), entry("lost")],
            summary: v1::PlanSummary {
                refused: 1,
                failed: 1,
                lost: 1,
                unchanged: 7,
                ..v1::PlanSummary::default()
            },
            ..Resolved::default()
        };
        let round = Round::planned(&resolved);
        assert_eq!(
            (round.present, round.lost, round.refused, round.failed),
            (7, 1, 1, 1)
        );
        assert_eq!(round.ended(), Ended::Failed);
        let outcomes: Vec<_> = round.amiss.iter().map(|it| it.outcome.as_str()).collect();
        assert_eq!(outcomes, ["failed", "refused", "lost"]);
        let looked = Round {
            looked: true,
            ..round
        };
        assert_eq!(
            looked.text(),
            "nothing to do: 7 present, 1 lost, 1 refused, 1 failed"
        );
    }

    #[test]
    fn a_round_that_published_says_so_on_one_line() {
        let done = v1::OperationDone {
            operation: "op".into(),
            revision: 5,
            copied: 3,
            present: 2,
            ..v1::OperationDone::default()
        };
        let round = Round {
            looked: true,
            ..Round::executed(&done, Vec::new(), 2)
        };
        assert_eq!(round.ended(), Ended::Clean);
        assert_eq!(
            round.text(),
            "3 copied, 2 present, 0 removed; published as revision 5"
        );
    }
}
