//! `landfall validate`: findings in promotion manifests, offline.

use landfall_promotion::{Finding, Severity};
use serde_json::json;

use super::{manifests, promote::FindingJson};
use crate::{
    args::ValidateArgs,
    failure::{Failure, Verdict},
    output,
};

pub(crate) fn run(args: ValidateArgs) -> Result<Verdict, Failure> {
    let tree = manifests::read(&args.dir)?;
    let rules = manifests::production_rules(args.config.as_deref())?;
    let parsed = landfall_promotion::parse(&tree);
    // What only shows across projects or destinations is found by planning.
    let plan = landfall_promotion::plan(
        &parsed,
        &rules,
        &landfall_catalog::Catalog::default(),
        &landfall_promotion::PlanOptions::default(),
    );
    let findings = &plan.findings;
    let strict = !args.lenient;
    let failing = findings
        .iter()
        .filter(|finding| finding.fails(strict))
        .count();
    let stats = &parsed.stats;
    if args.json {
        output::json(&json!({
            "manifests": stats.manifests, "projects": stats.projects,
            "digest_rows": stats.digest_rows, "tags": stats.tags, "files": stats.file_entries,
            "destination_edges": stats.destination_edges, "quarantined": stats.quarantined,
            "findings": findings.iter().map(FindingJson::from).collect::<Vec<_>>(),
            "ok": failing == 0,
        }))?;
    } else {
        for finding in findings {
            if finding.severity != Severity::Info {
                output::line(format!("{finding}\n"))?;
            }
        }
        let count = |severity| {
            findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        output::line(format!(
            "{} projects, {} digest rows, {} tags, {} files: {} errors, {} warnings, {} notes; {}",
            stats.projects,
            stats.digest_rows,
            stats.tags,
            stats.file_entries,
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Note),
            match (failing, args.lenient) {
                (0, _) => "good".to_owned(),
                (failing, true) => format!("{failing} of them quarantined"),
                (failing, false) => format!("refused because of {failing} of them"),
            }
        ))?;
    }
    Ok(if failing == 0 {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            file: finding.file.clone(),
            line: finding.line,
            column: finding.column,
            rule: finding.rule.to_owned(),
            message: finding.message.clone(),
        }
    }
}
