//! Findings as they are judged and shown: what fails, what is acknowledged.

use std::path::{Path, PathBuf};

use landfall_catalog::Digest;
use landfall_promotion::{ACKNOWLEDGED_FILE, Acknowledgement, Acknowledgements, Finding, rules};
use landfall_proto::v1;
use landfall_runtime::{bounded, config};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, output};

/// Largest file of acknowledgements that is read.
const MAX_FILE: usize = 4 << 20;

/// What is acknowledged, and where that is written.
#[derive(Debug, Default)]
pub(crate) struct Known {
    acknowledgements: Acknowledgements,
    file: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    acknowledged: Vec<Acknowledgement>,
}

impl config::Check for File {
    fn check(&self) -> Vec<config::Fault> {
        let faults = Acknowledgements::try_new(self.acknowledged.clone());
        let faults = faults.err().unwrap_or_default().into_iter();
        faults
            .map(|(index, message)| config::Fault::new(format!("acknowledged.{index}"), message))
            .collect()
    }
}

impl Known {
    /// Reads the acknowledgements of `file`, or of `.landfall-acknowledged.toml`
    /// in `dir` (or beside it, if it is a file) if there is one.
    pub(crate) fn read(file: Option<&Path>, dir: &Path) -> Result<Self, Failure> {
        let default = if dir.is_file() {
            dir.with_file_name(ACKNOWLEDGED_FILE)
        } else {
            dir.join(ACKNOWLEDGED_FILE)
        };
        let path = match file {
            Some(file) => file.to_owned(),
            None if default.is_file() => default,
            None => return Ok(Self::default()),
        };
        Self::load(path)
    }

    fn load(path: PathBuf) -> Result<Self, Failure> {
        let cannot = |error: &dyn std::error::Error| {
            let chain = landfall_proto::status::chain(error);
            Failure::Usage(format!("cannot use {}: {chain}", path.display()))
        };
        let bytes = bounded::read_file(&path, MAX_FILE).map_err(|error| cannot(&error))?;
        let text = String::from_utf8(bytes.into()).map_err(|error| cannot(&error))?;
        let read: File = config::load_text(&path, &text, "LANDFALL", [], &[])
            .map_err(|faults| Failure::Usage(faults.to_string()))?;
        let acknowledgements = Acknowledgements::try_new(read.acknowledged).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|(_, message)| message).collect();
            Failure::Usage(format!("{}: {}", path.display(), faults.join("; ")))
        })?;
        Ok(Self {
            acknowledgements,
            file: path.display().to_string(),
            text,
        })
    }

    /// The file, as it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Who acknowledged a fault, and why.
    pub(crate) fn of(&self, rule: &str, hash: &Digest) -> Option<&Acknowledgement> {
        self.acknowledgements.of(rule, hash)
    }

    /// A note for each acknowledgement that nothing found needs.
    pub(crate) fn stale(&self, findings: &[Finding]) -> Vec<Finding> {
        self.acknowledgements
            .stale(findings, &self.file, &self.text)
    }

    /// Whether a finding fails a validation and is not acknowledged.
    pub(crate) fn leave_failing(&self, finding: &Finding, strict: bool) -> bool {
        self.acknowledgements.leave_failing(finding, strict)
    }

    /// The same for what a coordinator found.
    pub(crate) fn leave_failing_remote(&self, finding: &v1::Finding, strict: bool) -> bool {
        let fails = matches!(finding.severity.as_str(), "error" | "warning")
            && (strict || finding.quarantines);
        fails && self.of_remote(finding).is_none()
    }

    /// Whether what a coordinator refuses for what other manifests ask is
    /// acknowledged: the refusal has the rule and the place of its finding.
    pub(crate) fn holds_refusal(&self, entry: &v1::PlannedEntry, findings: &[v1::Finding]) -> bool {
        let place = (entry.file.as_str(), entry.line, entry.column);
        let rule = entry.detail.split(':').next();
        entry.state == "refused"
            && findings.iter().any(|finding| {
                (finding.file.as_str(), finding.line, finding.column) == place
                    && rule == Some(finding.rule.as_str())
                    && self.of_remote(finding).is_some()
            })
    }

    pub(crate) fn of_remote(&self, finding: &v1::Finding) -> Option<&Acknowledgement> {
        let hash = Digest::try_from_slice(&finding.content_hash).ok()?;
        self.of(&finding.rule, &hash)
    }

    /// A finding for people: as a compiler draws it, then who acknowledged it,
    /// or, if it fails and could be acknowledged, by what hash.
    pub(crate) fn draw(&self, finding: &Finding, fails: bool) -> String {
        let margin = " ".repeat(finding.line.to_string().len());
        match self.of(finding.rule, &finding.content_hash) {
            Some(known) => {
                let (who, why) = (output::plain(&known.who), output::plain(&known.why));
                format!("{finding}\n{margin} = acknowledged by {who}: {why}")
            }
            None if fails && finding.rule != rules::MIXED_HALVES.id => {
                format!("{finding}\n{margin} = hash: {}", finding.content_hash)
            }
            None => finding.to_string(),
        }
    }

    /// A finding for programs.
    pub(crate) fn json(&self, finding: &Finding) -> FindingJson {
        FindingJson {
            severity: finding.severity.to_string(),
            file: finding.file.clone(),
            line: finding.line,
            column: finding.column,
            rule: finding.rule.to_owned(),
            message: finding.message.clone(),
            help: finding.help.clone(),
            hash: finding.content_hash.to_string(),
            quarantines: finding.quarantines,
            acknowledged: self.of(finding.rule, &finding.content_hash).is_some(),
        }
    }

    /// The same for what a coordinator found.
    pub(crate) fn json_remote(&self, finding: &v1::Finding) -> FindingJson {
        FindingJson {
            severity: finding.severity.clone(),
            file: finding.file.clone(),
            line: finding.line,
            column: finding.column,
            rule: finding.rule.clone(),
            message: finding.message.clone(),
            help: finding.help.clone(),
            hash: Digest::try_from_slice(&finding.content_hash)
                .map(|hash| hash.to_string())
                .unwrap_or_default(),
            quarantines: finding.quarantines,
            acknowledged: self.of_remote(finding).is_some(),
        }
    }
}

/// A finding as programs read it; fields are only ever added.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson {
    pub(crate) severity: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) rule: String,
    pub(crate) message: String,
    pub(crate) help: String,
    /// What an acknowledgement of it has as `hash`.
    pub(crate) hash: String,
    /// Something is left out because of it.
    pub(crate) quarantines: bool,
    /// It fails nothing: somebody has looked at it.
    pub(crate) acknowledged: bool,
}

#[cfg(test)]
mod tests {
    use landfall_promotion::{SourceFile, Tree, parse};

    use super::*;

    const MANIFESTS: [(&str, &str); 2] = [
        (
            "manifests/p/promoter-manifest.yaml",
            "registries:\n- name: gcr.io/s\n  src: true\n- name: eu.example/p\n",
        ),
        (
            "images/p/images.yaml",
            "- name: a\n  dmap:\n    \"sha256:12ab\": [\"v1\"]\n",
        ),
    ];

    fn finding() -> Finding {
        let files = MANIFESTS.iter().map(|(path, text)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        });
        let tree = Tree {
            files: files.collect(),
            ..Tree::default()
        };
        parse(&tree).findings.remove(0)
    }

    fn known(text: &str) -> Result<Known, Failure> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ACKNOWLEDGED_FILE), text).unwrap();
        Known::read(None, dir.path())
    }

    #[test]
    fn a_failing_finding_is_drawn_with_its_place_its_cure_and_its_hash() {
        let finding = finding();
        let drawn = Known::default().draw(&finding, true);
        let expected = format!(
            "error[malformed-digest]: `sha256:12ab` has 4 hexadecimal digits, not 64; its tag `v1` is left out\n \
             --> images/p/images.yaml:3:5\n  \
             |\n\
             3 |     \"sha256:12ab\": [\"v1\"]\n  \
             |     ^\n  \
             = help: write sha256: and the 64 lower-case hexadecimal digits of the image's digest\n  \
             = hash: {}",
            finding.content_hash
        );
        assert_eq!(drawn, expected);
    }

    #[test]
    fn an_acknowledged_finding_fails_nothing_and_is_still_drawn() {
        let finding = finding();
        let known = known(&format!(
            "[[acknowledged]]\nhash = \"{}\"\nrule = \"malformed-digest\"\nwhy = \"it is\\nold\"\nwho = \"me\"\n",
            finding.content_hash
        ))
        .unwrap();
        assert!(!known.leave_failing(&finding, true));
        let drawn = known.draw(&finding, false);
        assert!(
            drawn.ends_with("= acknowledged by me: it is old"),
            "{drawn}"
        );
        assert!(known.json(&finding).acknowledged);
        assert_eq!(known.stale(&[finding]), []);
        assert_eq!(known.stale(&[]).len(), 1);
    }

    #[test]
    fn every_fault_of_the_file_is_told_with_its_place() {
        let failure = known(
            "[[acknowledged]]\nhash = \"sha256:12\"\nrule = \"x\"\nwhy = \"y\"\nwho = \"z\"\nuntil = 1\n\n[other]\n",
        )
        .unwrap_err();
        assert_eq!(failure.code(), 2);
        for word in ["toml:2:", "until", "other"] {
            assert!(failure.message().contains(word), "{}", failure.message());
        }
        let silent = known(&format!(
            "[[acknowledged]]\nhash = \"{}\"\nrule = \"x\"\nwhy = \"\"\nwho = \"z\"\n",
            Digest::of(b"x")
        ));
        assert!(silent.unwrap_err().message().contains("why"));
    }
}
