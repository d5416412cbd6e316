//! What the two formats have in common: mappings of known fields, and a
//! sensitive half that names one source and several destinations.

use std::collections::HashMap;

use super::yaml::{Node, SyntaxError, Value, read};
use crate::excerpt::tab_from;
use crate::finding::{Reporter, Source, Spot};
use crate::manifest::layout::MAX_FILE_BYTES;
use crate::plain::quoted;
use crate::rules::{self, Rule};

/// Reads the document of a manifest, or reports why it can't be read.
pub(crate) fn document<'a>(source: &Source<'a>, reporter: &mut Reporter) -> Option<Node<'a>> {
    if source.text.len() as u64 > MAX_FILE_BYTES {
        let message = format!(
            "the manifest has {} bytes; at most {MAX_FILE_BYTES} are read",
            source.text.len()
        );
        reporter.report(
            source,
            Spot::START,
            &rules::TOO_LARGE,
            message,
            &[&source.content()],
        );
        return None;
    }
    match read(source.text) {
        Ok(node) => Some(node),
        Err(SyntaxError { spot, message }) => {
            let about = [&*source.content()];
            let is_tab = message.contains("tab");
            let tab = tab_from(source.text, spot).filter(|_| is_tab);
            let spot = tab.unwrap_or(spot);
            let finding = reporter.report(source, spot, &rules::YAML_SYNTAX, message, &about);
            if let (true, Some(finding)) = (is_tab, finding) {
                "indent with spaces: YAML takes no tabs there".clone_into(&mut finding.help);
            }
            None
        }
    }
}

/// Reports that a node is not what the format has there.
pub(crate) fn wrong_shape(
    source: &Source<'_>,
    reporter: &mut Reporter,
    node: &Node<'_>,
    what: &str,
    expected: &str,
) {
    let rule = match node.value {
        Value::Alias => &rules::YAML_ALIAS,
        Value::Null | Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => {
            &rules::WRONG_SHAPE
        }
    };
    let found = node.value.kind();
    let message = format!("{what} is {found}, not {expected}");
    let identity = node.identity(source.text).to_string();
    let about = [what, found, &identity];
    let finding = reporter.report(source, node.spot, rule, message, &about);
    if let Some(finding) = finding.filter(|finding| finding.rule == rules::WRONG_SHAPE.id) {
        finding.help = format!("write {expected} here");
    }
}

/// How a field that is not one of the known ones is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// What holds it is left out: nobody knows what the field was to say.
    Spoils,
    /// It is reported, and the rest of the file is read.
    Reported,
}

/// The values of a mapping's known fields.
pub(crate) struct Fields<'n, 'a, const N: usize> {
    values: [Option<(Spot, &'n Node<'a>)>; N],
    /// Something was wrong that makes the whole mapping doubtful.
    pub(crate) spoiled: bool,
}

impl<'n, 'a, const N: usize> Fields<'n, 'a, N> {
    /// Sorts a mapping's pairs by known field. `context` says in messages whose
    /// fields they are.
    pub(crate) fn of(
        pairs: &'n [(Node<'a>, Node<'a>)],
        known: [&str; N],
        unknown: Unknown,
        context: &str,
        source: &Source<'_>,
        reporter: &mut Reporter,
    ) -> Self {
        let mut fields = Self {
            values: [None; N],
            spoiled: false,
        };
        for (key, value) in pairs {
            let Value::Scalar { text, .. } = &key.value else {
                wrong_shape(source, reporter, key, "a field's name", "a word");
                fields.spoiled = true;
                continue;
            };
            let Some(index) = known.iter().position(|name| name == text) else {
                let message = format!("{context} has no field {}", quoted(text));
                let about = [context, text];
                match unknown {
                    Unknown::Spoils => {
                        fields.spoiled = true;
                        let rule = &rules::UNKNOWN_FIELD;
                        let finding = reporter.report(source, key.spot, rule, message, &about);
                        if let Some(finding) = finding {
                            let known = known.map(|name| format!("`{name}`")).join(", ");
                            finding.help = format!("{}; the fields are {known}", rule.help);
                        }
                    }
                    Unknown::Reported => {
                        let rule = &rules::UNKNOWN_FIELD;
                        let identity = value.identity(source.text).to_string();
                        let about = [context, text, source.path_below_root(), &identity];
                        reporter.report_only(source, key.spot, rule, message, &about);
                    }
                }
                continue;
            };
            if let Some((first, _)) = fields.values[index] {
                fields.spoiled = true;
                let message = format!(
                    "{context} has the field {} twice, first in line {}",
                    quoted(text),
                    first.line
                );
                let about = [context, text];
                reporter.report(source, key.spot, &rules::DUPLICATE_KEY, message, &about);
                continue;
            }
            fields.values[index] = Some((key.spot, value));
        }
        fields
    }

    /// The value of the known field with this index; `None` also for `field:`
    /// with nothing after it.
    pub(crate) fn get(&self, index: usize) -> Option<&'n Node<'a>> {
        self.values[index]
            .map(|(_, node)| node)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// The text of a field, reported if it is none.
    pub(crate) fn text(
        &self,
        index: usize,
        what: &str,
        source: &Source<'_>,
        reporter: &mut Reporter,
    ) -> Result<Option<(&'n str, Spot)>, Reported> {
        let Some(node) = self.get(index) else {
            return Ok(None);
        };
        let Value::Scalar { text, .. } = &node.value else {
            wrong_shape(source, reporter, node, what, "text");
            return Err(Reported);
        };
        Ok(Some((text, node.spot)))
    }
}

/// It is wrong, and has been reported.
#[derive(Debug)]
pub(crate) struct Reported;

/// What tells the two sensitive halves apart.
pub(crate) struct HalfFormat {
    /// Name of the list: `registries` or `filestores`.
    pub(crate) list: &'static str,
    /// Name of the field with the location: `name` or `base`.
    pub(crate) location: &'static str,
    /// A field that is accepted, noted and ignored.
    pub(crate) deprecated: Option<&'static str>,
    /// What to call an entry.
    pub(crate) noun: &'static str,
    /// What an empty list breaks.
    pub(crate) empty: &'static Rule,
    /// Whether a location is well-formed; else the rule that it breaks and why.
    pub(crate) check: fn(&str) -> Result<(), (&'static Rule, String)>,
}

/// The sensitive half of a project.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) source: String,
    pub(crate) destinations: Vec<String>,
}

/// Reads a sensitive half. A fault in it leaves out the whole project: which
/// part of it is right can't be known.
pub(crate) fn read_half(
    format: &HalfFormat,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Half> {
    let node = document(source, reporter)?;
    reporter.about(
        || node.identity(source.text),
        |reporter| half_in(format, &node, source, reporter),
    )
}

fn half_in(
    format: &HalfFormat,
    node: &Node<'_>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Half> {
    let pairs = match &node.value {
        Value::Mapping(pairs) => pairs.as_slice(),
        Value::Null => &[],
        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias => {
            let expected = format!("a mapping with `{}`", format.list);
            wrong_shape(source, reporter, node, "the manifest", &expected);
            return None;
        }
    };
    // Without a deprecated field the second name is shadowed by the first.
    let known = [format.list, format.deprecated.unwrap_or(format.list)];
    let fields = Fields::of(
        pairs,
        known,
        Unknown::Reported,
        "the manifest",
        source,
        reporter,
    );
    half_of(format, node, &fields, source, reporter)
}

/// Reads the list of a sensitive half, which is the first of `fields`; the second
/// is the deprecated one, if the format has it. `node` is what holds the fields.
pub(crate) fn half_of<const N: usize>(
    format: &HalfFormat,
    node: &Node<'_>,
    fields: &Fields<'_, '_, N>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Half> {
    if let (Some(deprecated), Some(Some((spot, _)))) = (format.deprecated, fields.values.get(1)) {
        let message = format!("`{deprecated}` is deprecated and has no effect");
        let about = [deprecated];
        reporter.report(source, *spot, &rules::DEPRECATED_FIELD, message, &about);
    }
    let Some(list) = fields.get(0) else {
        let message = format!("no `{}` are listed", format.list);
        reporter.report(source, node.spot, format.empty, message, &[]);
        return None;
    };
    let items = match &list.value {
        Value::Sequence(items) if !items.is_empty() => items,
        Value::Sequence(_) => {
            let message = format!("no `{}` are listed", format.list);
            reporter.report(source, list.spot, format.empty, message, &[]);
            return None;
        }
        Value::Null | Value::Scalar { .. } | Value::Mapping(_) | Value::Alias => {
            let what = format!("`{}`", format.list);
            wrong_shape(source, reporter, list, &what, "a list");
            return None;
        }
    };
    let locations: Vec<Option<Location<'_>>> = items
        .iter()
        .map(|item| read_location(format, item, source, reporter))
        .collect();
    // Sources and destinations are only counted once every entry can be read.
    let locations: Option<Vec<Location<'_>>> = locations.into_iter().collect();
    let half = one_source(format, list.spot, &locations?, source, reporter)?;
    (!fields.spoiled).then_some(half)
}

struct Location<'n> {
    text: &'n str,
    spot: Spot,
    is_source: bool,
}

fn read_location<'n>(
    format: &HalfFormat,
    item: &'n Node<'_>,
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Location<'n>> {
    let Value::Mapping(pairs) = &item.value else {
        let expected = format!("a mapping with `{}`", format.location);
        wrong_shape(source, reporter, item, format.noun, &expected);
        return None;
    };
    let known = [format.location, "src", "service-account"];
    let fields = Fields::of(pairs, known, Unknown::Spoils, format.noun, source, reporter);
    let what = format!("`{}`", format.location);
    let text = fields.text(0, &what, source, reporter);
    let is_source = match fields.get(1) {
        None => Some(false),
        Some(node) => {
            let found = boolean(node);
            if found.is_none() {
                wrong_shape(source, reporter, node, "`src`", "a plain true or false");
            }
            found
        }
    };
    let account = fields.text(2, "`service-account`", source, reporter);
    let (Ok(text), Some(is_source), Ok(_)) = (text, is_source, account) else {
        return None;
    };
    let Some((text, spot)) = text.filter(|(text, _)| !text.is_empty()) else {
        let message = format!("{} has no `{}`", format.noun, format.location);
        let rule = &rules::EMPTY_NAME;
        if let Some(finding) = reporter.report(source, item.spot, rule, message, &[format.noun]) {
            finding.help = format!("give the entry its `{}`", format.location);
        }
        return None;
    };
    if let Err((rule, message)) = (format.check)(text) {
        reporter.report(source, spot, rule, message, &[text]);
        return None;
    }
    (!fields.spoiled).then_some(Location {
        text,
        spot,
        is_source,
    })
}

fn one_source(
    format: &HalfFormat,
    list: Spot,
    locations: &[Location<'_>],
    source: &Source<'_>,
    reporter: &mut Reporter,
) -> Option<Half> {
    let mut sources = locations.iter().filter(|location| location.is_source);
    let mut sound = true;
    let first = sources.next();
    if first.is_none() {
        let message = format!("none of the `{}` is marked as the source", format.list);
        reporter.report(source, list, &rules::NO_SOURCE, message, &[]);
        sound = false;
    }
    for other in sources {
        let first = first.map_or("", |first| first.text);
        let message = format!(
            "{} is a second source, beside {}",
            quoted(other.text),
            quoted(first)
        );
        let about = [other.text];
        reporter.report(source, other.spot, &rules::SEVERAL_SOURCES, message, &about);
        sound = false;
    }
    if locations.iter().all(|location| location.is_source) {
        let message = format!("none of the `{}` is a destination", format.list);
        reporter.report(source, list, &rules::NO_DESTINATION, message, &[]);
        sound = false;
    }
    let mut firsts = HashMap::new();
    for location in locations {
        let first = *firsts
            .entry(location.text.trim_end_matches('/'))
            .or_insert(location.spot);
        if first != location.spot {
            let message = format!(
                "{} is listed twice, first in line {}",
                quoted(location.text),
                first.line
            );
            let rule = &rules::DUPLICATE_DESTINATION;
            reporter.report(source, location.spot, rule, message, &[location.text]);
            sound = false;
        }
    }
    let destinations = locations
        .iter()
        .filter(|location| !location.is_source)
        .map(|location| location.text.to_owned())
        .collect();
    first.filter(|_| sound).map(|first| Half {
        source: first.text.to_owned(),
        destinations,
    })
}

/// The booleans of YAML 1.1 that `kpromo`'s parser takes, in plain style only.
fn boolean(node: &Node<'_>) -> Option<bool> {
    let Value::Scalar { text, plain: true } = &node.value else {
        return None;
    };
    match text.as_ref() {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Some(false)
        }
        _ => None,
    }
}
