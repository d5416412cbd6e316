//! Findings for code review: SARIF 2.1.0 (OASIS Standard, 27 March 2020).

use std::collections::BTreeMap;

use landfall_promotion::{Acknowledgement, Finding, Severity, rules};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// RFC 3986: what a path of a relative reference may hold, less the colon, which
/// would begin a scheme.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A finding, and what a log says of it besides.
pub(crate) struct Judged<'a> {
    pub(crate) finding: &'a Finding,
    pub(crate) acknowledged: Option<&'a Acknowledgement>,
    /// From the top of the checkout: viewers take paths as relative to that.
    pub(crate) path: String,
}

/// A log of one run, with what GitHub's code scanning asks of one besides
/// (docs.github.com, "SARIF support for code scanning").
pub(crate) fn log<'a>(findings: impl Iterator<Item = Judged<'a>>) -> Value {
    let mut index = BTreeMap::new();
    let mut used = Vec::new();
    let mut times = BTreeMap::new();
    let mut results = Vec::new();
    for judged in findings {
        let finding = judged.finding;
        let rule = *index.entry(finding.rule).or_insert_with(|| {
            used.push(rule(finding));
            used.len() - 1
        });
        let time = times.entry(finding.content_hash).or_insert(0_usize);
        *time += 1;
        results.push(result(&judged, rule, *time));
    }
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "landfall",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": used,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(finding: &Finding) -> Value {
    // Rules of other stages than validation bring only what the finding has.
    let rule = rules::ALL.iter().find(|rule| rule.id == finding.rule);
    let severity = rule.map_or(finding.severity, |rule| rule.severity);
    let described = rule.map_or(&*finding.help, |rule| rule.help);
    json!({
        "id": finding.rule,
        "shortDescription": {"text": finding.rule.replace('-', " ")},
        "fullDescription": {"text": described},
        "help": {"text": described},
        "defaultConfiguration": {"level": level(severity)},
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
        Severity::Info => "none",
    }
}

/// `time` is how often this fault has come until now, for results have to differ.
fn result(judged: &Judged<'_>, rule: usize, time: usize) -> Value {
    let finding = judged.finding;
    let hash = finding.content_hash.to_hex();
    // A place is one character; where it ends is not known.
    let region = json!({
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.line,
        "endColumn": finding.column.saturating_add(1),
    });
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        // Section 3.27.9: what does not fail has the level "none".
        "kind": if finding.severity == Severity::Info { "informational" } else { "fail" },
        "level": level(finding.severity),
        "message": {"text": format!("{}\n{}", finding.message, finding.help)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": utf8_percent_encode(&judged.path, PATH).to_string()},
            "region": region,
        }}],
        // The first is the only one that code scanning looks at.
        "partialFingerprints": {
            "primaryLocationLineHash": format!("{}:{time}", &hash[..16]),
            "landfallContentHash/v1": hash,
        },
    });
    if let Some(known) = judged.acknowledged {
        let justification = format!("{} ({})", known.why, known.who);
        result["suppressions"] =
            json!([{"kind": "external", "status": "accepted", "justification": justification}]);
    }
    result
}

#[cfg(test)]
mod tests {
    use landfall_promotion::{SourceFile, Tree, parse};

    use super::*;

    fn findings() -> Vec<Finding> {
        let file = |path: &str, text: &str| SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let tree = Tree {
            files: vec![
                file(
                    "manifests/p/promoter-manifest.yaml",
                    "imagesPath: x\nregistries:\n- name: gcr.io/s\n  src: true\n- name: eu.example/p\n",
                ),
                file(
                    "images/p/images.yaml",
                    "- name: A\n  dmap:\n    \"sha256:é\": []\n    \"sha256:12\": []\n",
                ),
                file("images/q é/images.yaml", "[]"),
                file(
                    "manifests/q é/promoter-manifest.yaml",
                    "registries:\n- name: gcr.io/q\n  src: true\n- name: eu.example/q\n",
                ),
            ],
            ..Tree::default()
        };
        parse(&tree).findings
    }

    #[test]
    fn a_log_has_what_the_standard_requires() {
        let findings = findings();
        assert_eq!(findings.len(), 5);
        let known = Acknowledgement {
            hash: findings[0].content_hash,
            rule: findings[0].rule.to_owned(),
            why: "old".to_owned(),
            who: "me".to_owned(),
        };
        let acknowledged = std::iter::once(Some(&known)).chain(std::iter::repeat(None));
        let judged = findings.iter().zip(acknowledged);
        let log = log(judged.map(|(finding, acknowledged)| Judged {
            finding,
            acknowledged,
            path: format!("r/{}", finding.file),
        }));
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "landfall");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), findings.len());
        assert_eq!(rules.len(), 4, "each rule is declared once: {rules:?}");
        for (result, finding) in results.iter().zip(&findings) {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(
                ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap())
            );
            let informs = result["kind"] == "informational";
            assert_eq!(informs, result["level"] == "none");
            let message = result["message"]["text"].as_str().unwrap();
            assert!(message.starts_with(&finding.message));
            let location = &result["locations"][0]["physicalLocation"];
            let uri = location["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.starts_with("r/"), "{uri}");
            // A relative reference: resolving it only adds to the base.
            let base = url::Url::parse("file:///top/").unwrap();
            assert!(base.join(uri).unwrap().path().starts_with("/top/r/"));
            assert!(!uri.contains([' ', 'é']), "{uri}");
            let region = |key: &str| location["region"][key].as_u64();
            assert!(region("startLine") >= Some(1) && region("startColumn") >= Some(1));
            assert_eq!(region("endLine"), region("startLine"));
            assert!(region("endColumn") > region("startColumn"));
            let print = result["partialFingerprints"]["landfallContentHash/v1"].as_str();
            assert_eq!(print, Some(&*finding.content_hash.to_hex()));
        }
        for rule in rules {
            for text in ["shortDescription", "fullDescription", "help"] {
                assert!(!rule[text]["text"].as_str().unwrap().is_empty(), "{rule}");
            }
        }
        assert_eq!(results[0]["suppressions"][0]["justification"], "old (me)");
        assert_eq!(results[1]["suppressions"], Value::Null);
    }

    #[test]
    fn results_differ_in_the_fingerprint_that_code_scanning_looks_at() {
        let findings = findings();
        let twice = findings.iter().chain(&findings);
        let log = log(twice.map(|finding| Judged {
            finding,
            acknowledged: None,
            path: finding.file.clone(),
        }));
        let results = log["runs"][0]["results"].as_array().unwrap();
        let prints: std::collections::BTreeSet<_> = results
            .iter()
            .map(|result| result["partialFingerprints"]["primaryLocationLineHash"].as_str())
            .collect();
        assert_eq!(prints.len(), 2 * findings.len(), "{prints:?}");
    }
}
