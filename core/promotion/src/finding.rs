//! What is wrong with a manifest, where, and how to mend it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use landfall_catalog::Digest;

use crate::canonical::Canonical;
use crate::excerpt::{self, Lines};
use crate::manifest::layout::place;
use crate::parse::Tree;
use crate::plain::plain;
use crate::rules::{self, Rule};

/// Findings of one file past this number are counted, not listed.
pub const MAX_FINDINGS_PER_FILE: usize = 1000;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A rule is broken.
    Error,
    /// Very likely not what was meant; fails a strict validation.
    Warning,
    /// Worth knowing, for example a deprecated field. Never fails anything.
    Note,
    /// Information about what was read. Never fails anything.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::Info => "info",
        })
    }
}

/// A place in a manifest. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Path of the manifest, relative to the directory that was read.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing found in a manifest. [`fmt::Display`] draws it as a compiler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Stable id of the rule, in kebab case (see [`rules`]).
    pub rule: &'static str,
    /// Path of the manifest, relative to the directory that was read.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong, with the values that are.
    pub message: String,
    /// How to mend it.
    pub help: String,
    /// The line of the manifest, or what stands around the place if that is far
    /// along the line; empty where the text is not at hand (what planning finds).
    pub excerpt: String,
    /// Names this fault independently of its file, line and wording: a hash of
    /// the rule, the project and the values at fault. What an
    /// [`Acknowledgement`](crate::Acknowledgement) refers to.
    pub content_hash: Digest,
    /// Whether something was left out of the promotion because of it.
    pub quarantines: bool,
}

impl Finding {
    /// Whether this finding fails a validation: strictly, every error and
    /// warning does; leniently, what had to be quarantined and what is about
    /// the change rather than an entry.
    #[must_use]
    pub fn fails(&self, strict: bool) -> bool {
        match self.severity {
            Severity::Error | Severity::Warning => {
                strict || self.quarantines || self.rule == rules::MIXED_HALVES.id
            }
            Severity::Note | Severity::Info => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.to_string();
        let margin = " ".repeat(line.len());
        writeln!(f, "{}[{}]: {}", self.severity, self.rule, self.message)?;
        let file = plain(&self.file);
        writeln!(f, "{margin}--> {file}:{}:{}", self.line, self.column)?;
        if !self.excerpt.is_empty() {
            writeln!(f, "{margin} |")?;
            writeln!(f, "{line} | {}", self.excerpt)?;
            if let Some(indent) = excerpt::margin(&self.excerpt, self.column) {
                writeln!(f, "{margin} | {indent}^")?;
            }
        }
        write!(f, "{margin} = help: {}", self.help)
    }
}

/// A line and column; both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Spot {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A manifest while it is read: its text, and whose it is.
pub(crate) struct Source<'a> {
    pub(crate) path: Arc<str>,
    pub(crate) text: &'a str,
    /// `project/kind`: what a finding's hash is relative to, so that it does not
    /// depend on from where the tree was read.
    pub(crate) owner: String,
    lines: Lines<'a>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &str, text: &'a str, owner: String) -> Self {
        Self {
            path: path.into(),
            text,
            owner,
            lines: Lines::new(text),
        }
    }

    /// What identifies the text as a whole: where a fault is one of the whole
    /// file, changing the file makes it another fault.
    pub(crate) fn content(&self) -> String {
        Digest::of(self.text.as_bytes()).to_string()
    }

    /// The file's path below its root, which does not depend on from where the
    /// tree was read.
    pub(crate) fn path_below_root(&self) -> &str {
        place(&self.path).map_or(&*self.path, |place| {
            self.path[place.root.len()..].trim_start_matches('/')
        })
    }

    pub(crate) fn position(&self, spot: Spot) -> Position {
        Position {
            file: Arc::clone(&self.path),
            line: spot.line,
            column: spot.column,
        }
    }

    pub(crate) fn excerpt(&self, spot: Spot) -> String {
        self.lines.excerpt(spot.line, spot.column)
    }
}

/// Collects findings; the only place that makes them.
#[derive(Default)]
pub(crate) struct Reporter {
    findings: Vec<Finding>,
    by_file: HashMap<Arc<str>, usize>,
}

impl Reporter {
    /// Has whatever `read` reports be about what `identity` stands for, which is
    /// everything that is left out because of it, and about nothing else with the
    /// same fault: an acknowledgement excuses only what somebody has seen.
    pub(crate) fn about<T>(
        &mut self,
        identity: impl FnOnce() -> Digest,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.findings.len();
        let result = read(self);
        if let Some(new) = self
            .findings
            .get_mut(before..)
            .filter(|new| !new.is_empty())
        {
            let identity = identity();
            for finding in new {
                let mut hash = Canonical::new("landfall finding about 1");
                hash.digest(&finding.content_hash);
                hash.digest(&identity);
                finding.content_hash = hash.finish();
            }
        }
        result
    }

    /// Reports that `rule` is broken at `spot`. `about` are the values at fault:
    /// with the rule and the project they identify it for good. The finding comes
    /// back if it is listed, for a help that says more than the rule's.
    pub(crate) fn report(
        &mut self,
        source: &Source<'_>,
        spot: Spot,
        rule: &Rule,
        message: String,
        about: &[&str],
    ) -> Option<&mut Finding> {
        if !self.has_room(source, spot) {
            return None;
        }
        let excerpt = source.excerpt(spot);
        let finding = finding(
            rule,
            &source.position(spot),
            &source.owner,
            message,
            excerpt,
            about,
        );
        self.findings.push(finding);
        self.findings.last_mut()
    }

    /// The same for a fault that leaves nothing out although its rule usually does.
    pub(crate) fn report_only(
        &mut self,
        source: &Source<'_>,
        spot: Spot,
        rule: &Rule,
        message: String,
        about: &[&str],
    ) -> Option<&mut Finding> {
        let lenient = Rule {
            quarantines: false,
            ..*rule
        };
        self.report(source, spot, &lenient, message, about)
    }

    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        sort(&mut self.findings);
        self.findings
    }

    fn has_room(&mut self, source: &Source<'_>, spot: Spot) -> bool {
        let count = self.by_file.entry(Arc::clone(&source.path)).or_default();
        *count += 1;
        let count = *count;
        if count == MAX_FINDINGS_PER_FILE + 1 {
            self.findings.push(finding(
                &rules::TOO_MANY_FINDINGS,
                &source.position(spot),
                &source.owner,
                format!("more than {MAX_FINDINGS_PER_FILE} findings; the rest is not listed"),
                String::new(),
                &[&source.content()],
            ));
        }
        count <= MAX_FINDINGS_PER_FILE
    }
}

/// Adds the lines of the manifests to findings that have none: what planning
/// finds has places only.
pub fn with_excerpts(findings: &mut [Finding], tree: &Tree) {
    let bare = findings.iter().filter(|finding| finding.excerpt.is_empty());
    let wanted: HashSet<&str> = bare.map(|finding| finding.file.as_str()).collect();
    let files = tree
        .files
        .iter()
        .filter(|file| wanted.contains(&*file.path));
    let sources: HashMap<String, Source<'_>> = files
        .map(|file| {
            (
                file.path.clone(),
                Source::new(&file.path, &file.text, String::new()),
            )
        })
        .collect();
    for finding in findings {
        if finding.excerpt.is_empty()
            && let Some(source) = sources.get(&finding.file)
        {
            let (line, column) = (finding.line, finding.column);
            finding.excerpt = source.excerpt(Spot { line, column });
        }
    }
}

/// Orders findings as their places are in the tree.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.rule, &a.message)
            .cmp(&(&b.file, b.line, b.column, b.rule, &b.message))
    });
}

pub(crate) fn finding(
    rule: &Rule,
    at: &Position,
    owner: &str,
    message: String,
    excerpt: String,
    about: &[&str],
) -> Finding {
    let mut hash = Canonical::new("landfall finding 2");
    hash.text(rule.id);
    hash.text(owner);
    hash.list(about, |hash, value| hash.text(value));
    Finding {
        severity: rule.severity,
        rule: rule.id,
        // The names of folders and files are outside text, too.
        file: plain(&at.file),
        line: at.line,
        column: at.column,
        message: plain(&message),
        help: rule.help.to_owned(),
        excerpt,
        content_hash: hash.finish(),
        quarantines: rule.quarantines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_moving_lines_and_renaming_folders() {
        let text = "a\nb\n";
        let report = |path: &str, line: u32, about: &str| {
            let source = Source::new(path, text, "p/images".to_owned());
            let mut reporter = Reporter::default();
            let spot = Spot { line, column: 1 };
            reporter.report(&source, spot, &rules::BAD_TAG, String::new(), &[about]);
            reporter.into_findings().remove(0).content_hash
        };
        assert_eq!(report("x.yaml", 1, "v"), report("y/x.yaml", 2, "v"));
        assert_ne!(report("x.yaml", 1, "v"), report("x.yaml", 1, "w"));
    }

    #[test]
    fn a_drawn_finding_has_no_character_that_steers_a_terminal() {
        let evil = "a\u{1b}]0;x\u{7}\u{202e}\u{61c}\u{2028}\u{2029}\u{9b}31m\r\nb";
        let source = Source::new(evil, evil, evil.to_owned());
        let mut reporter = Reporter::default();
        let message = format!("project {evil} is bad");
        reporter.report(&source, Spot::START, &rules::BAD_TAG, message, &[]);
        let drawn = reporter.into_findings().remove(0).to_string();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(plain(&lines.join(" ")), lines.join(" "), "{drawn:?}");
        assert_eq!(drawn.lines().count(), 6, "{drawn}");
    }

    #[test]
    fn the_bound_holds_where_findings_go_from_file_to_file() {
        let sources = ["f", "g"].map(|path| Source::new(path, "x", String::new()));
        let mut reporter = Reporter::default();
        for _ in 0..MAX_FINDINGS_PER_FILE + 500 {
            for source in &sources {
                reporter.report(source, Spot::START, &rules::BAD_TAG, String::new(), &[]);
            }
        }
        let findings = reporter.into_findings();
        assert_eq!(findings.len(), 2 * (MAX_FINDINGS_PER_FILE + 1));
    }

    #[test]
    fn a_file_of_faults_is_listed_up_to_a_bound() {
        let source = Source::new("f", "x", String::new());
        let mut reporter = Reporter::default();
        for _ in 0..MAX_FINDINGS_PER_FILE + 500 {
            reporter.report(&source, Spot::START, &rules::BAD_TAG, String::new(), &[]);
        }
        let findings = reporter.into_findings();
        assert_eq!(findings.len(), MAX_FINDINGS_PER_FILE + 1);
        assert!(findings.iter().any(|f| f.rule == "too-many-findings"));
    }
}
