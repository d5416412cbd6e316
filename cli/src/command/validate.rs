//! `landfall validate`: findings in promotion manifests, offline.

use std::path::Path;

use landfall_promotion::{Change, Figures, Finding, PlanOptions, Severity, rules};
use serde_json::json;

use super::{change, findings::Known, manifests};
use crate::{
    args::ValidateArgs,
    failure::{Failure, Verdict},
    output::{
        self,
        sarif::{self, Judged},
    },
};

pub(crate) fn run(args: ValidateArgs) -> Result<Verdict, Failure> {
    let known = Known::read(args.known.acknowledged.as_deref(), &args.dir)?;
    let tree = manifests::read(&args.dir)?;
    let rules = manifests::rules(args.config.as_deref())?;
    let parsed = landfall_promotion::parse(&tree);
    // What only shows across projects or destinations is found by planning.
    let mut plan = rules.plan(&parsed, PlanOptions::default());
    let mut findings = std::mem::take(&mut plan.findings);
    if let Some(changes) = changes(&args)? {
        findings.extend(landfall_promotion::separation(&changes));
        let before = landfall_promotion::before(&tree, &changes);
        let before = rules.plan(&landfall_promotion::parse(&before), PlanOptions::default());
        findings.extend(landfall_promotion::compared(&before, &plan));
    }
    landfall_promotion::with_excerpts(&mut findings, &tree);
    if args.owners {
        let present = |path: &str| args.dir.join(path).is_file();
        findings.extend(landfall_promotion::missing_owners(&tree, present));
    }
    findings.extend(known.stale(&findings));
    let report = Report {
        stats: &parsed.stats,
        findings: &findings,
        known: &known,
        lenient: args.lenient,
        dir: &args.dir,
    };
    if let Some(file) = &args.sarif {
        report.sarif(file, &args.dir)?;
    }
    if args.json {
        report.json()?;
    } else {
        report.text()?;
    }
    Ok(if report.failing() == 0 {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

/// What the change touches that is checked; none without `--base`.
fn changes(args: &ValidateArgs) -> Result<Option<Vec<Change>>, Failure> {
    let Some(base) = &args.base else {
        return Ok(None);
    };
    if args.dir.is_file() {
        return Err(Failure::Usage(format!(
            "--base: {} holds both halves in one file; give a folder with the two apart",
            args.dir.display()
        )));
    }
    change::since(&args.dir, base).map(Some)
}

/// A file's path from the top of its checkout; its name, if it is in none.
fn in_checkout(file: &Path) -> String {
    let above = change::path_in_checkout(folder_of(file)).unwrap_or_default();
    let name = file.file_name().unwrap_or_default();
    format!("{above}{}", name.display())
}

fn folder_of(file: &Path) -> &Path {
    let above = file.parent();
    above
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// What was found, and how it is judged.
struct Report<'a> {
    stats: &'a Figures,
    findings: &'a [Finding],
    known: &'a Known,
    lenient: bool,
    /// What was validated.
    dir: &'a Path,
}

impl Report<'_> {
    fn fails(&self, finding: &Finding) -> bool {
        self.known.leave_failing(finding, !self.lenient)
    }

    fn count(&self, of: impl Fn(&Finding) -> bool) -> usize {
        self.findings.iter().filter(|finding| of(finding)).count()
    }

    fn failing(&self) -> usize {
        self.count(|finding| self.fails(finding))
    }

    fn acknowledged(&self) -> usize {
        self.count(|finding| {
            let known = self.known.of(finding.rule, &finding.content_hash);
            known.is_some()
        })
    }

    fn json(&self) -> Result<(), Failure> {
        let stats = self.stats;
        let findings = self.findings.iter();
        output::json(&json!({
            "manifests": stats.manifests, "projects": stats.projects,
            "digest_rows": stats.digest_rows, "tags": stats.tags, "files": stats.file_entries,
            "destination_edges": stats.destination_edges, "quarantined": stats.quarantined,
            "findings": findings.map(|finding| self.known.json(finding)).collect::<Vec<_>>(),
            "failing": self.failing(), "acknowledged": self.acknowledged(),
            "ok": self.failing() == 0,
        }))?;
        Ok(())
    }

    fn sarif(&self, file: &Path, dir: &Path) -> Result<(), Failure> {
        let folder = if dir.is_file() { folder_of(dir) } else { dir };
        let prefix = change::path_in_checkout(folder).unwrap_or_default();
        let judged = self.findings.iter().map(|finding| Judged {
            finding,
            acknowledged: self.known.of(finding.rule, &finding.content_hash),
            path: if finding.rule == rules::STALE_ACKNOWLEDGEMENT.id {
                in_checkout(Path::new(&finding.file))
            } else {
                format!("{prefix}{}", finding.file)
            },
        });
        let log = sarif::log(judged).to_string();
        std::fs::write(file, log)
            .map_err(|error| Failure::failed(&format!("cannot write {}", file.display()), &error))
    }

    fn text(&self) -> Result<(), Failure> {
        for finding in self.findings {
            if finding.severity != Severity::Info {
                let shown = manifests::shown(self.dir, finding);
                let drawn = self.known.draw(&shown, self.fails(finding));
                output::line(format!("{drawn}\n"))?;
            }
        }
        let stats = self.stats;
        let of = |severity| self.count(|finding| finding.severity == severity);
        let verdict = match (self.failing(), self.lenient) {
            (0, _) => "good".to_owned(),
            (failing, true) => format!("{failing} of them leave something out"),
            (failing, false) => format!("refused because of {failing} of them"),
        };
        let acknowledged = match self.acknowledged() {
            0 => String::new(),
            count => format!(", {count} of them acknowledged"),
        };
        output::line(format!(
            "{} projects, {} digest rows, {} tags, {} files: {} errors, {} warnings, {} notes{acknowledged}, {} quarantined; {verdict}",
            stats.projects,
            stats.digest_rows,
            stats.tags,
            stats.file_entries,
            of(Severity::Error),
            of(Severity::Warning),
            of(Severity::Note),
            stats.quarantined,
        ))?;
        Ok(())
    }
}
