//! YAML as a tree in which everything knows its place.
//!
//! Scalars stay text as written: a tag `1.10` is not the number 1.1. A tree
//! rather than typed values, so that one bad entry is one finding and its
//! neighbours are still read. Anchors are ignored and aliases refused: no
//! manifest has them, and without them a file's size bounds what it costs.

use std::borrow::Cow;

use granit_parser::{Event, Parser, ScalarStyle};
use landfall_catalog::Digest;

use crate::canonical::Canonical;
use crate::finding::Spot;

/// Manifests are four levels deep.
const MAX_DEPTH: usize = 16;

/// A node and where it begins.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) spot: Spot,
    pub(crate) value: Value<'a>,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// Nothing, `~` or `null`.
    Null,
    /// Text as written; `plain` if it was not in quotes.
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
    },
    Sequence(Vec<Node<'a>>),
    Mapping(Vec<(Node<'a>, Node<'a>)>),
    /// `*name`; its target is not followed.
    Alias,
}

impl Value<'_> {
    /// What to call it in a message.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "text",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
            Self::Alias => "an alias",
        }
    }
}

impl Node<'_> {
    /// What it says, whatever its place, style, comments and order of fields: a
    /// hash of its text.
    /// An alias says what is elsewhere, so `text`, the whole manifest, goes in.
    pub(crate) fn identity(&self, text: &str) -> Digest {
        let mut canonical = Canonical::new("landfall node 1");
        self.encode(&mut canonical, text);
        canonical.finish()
    }

    fn encode(&self, canonical: &mut Canonical, whole: &str) {
        canonical.text(self.value.kind());
        match &self.value {
            Value::Null => {}
            Value::Scalar { text, .. } => canonical.text(text),
            Value::Sequence(items) => {
                canonical.list(items, |canonical, item| item.encode(canonical, whole));
            }
            Value::Mapping(pairs) => {
                // In whatever order the fields are.
                let mut fields: Vec<Digest> = pairs
                    .iter()
                    .map(|(key, value)| {
                        let mut field = Canonical::new("landfall field 1");
                        key.encode(&mut field, whole);
                        value.encode(&mut field, whole);
                        field.finish()
                    })
                    .collect();
                fields.sort_unstable();
                canonical.list(&fields, |canonical, field| canonical.digest(field));
            }
            Value::Alias => canonical.digest(&Digest::of(whole.as_bytes())),
        }
    }
}

/// Why a text is not one YAML document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) spot: Spot,
    pub(crate) message: String,
}

/// Reads a text of one YAML document; an empty text is [`Value::Null`].
pub(crate) fn read(text: &str) -> Result<Node<'_>, SyntaxError> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_unresolved_aliases: true,
    };
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| SyntaxError {
            spot: spot(error.marker()),
            message: error.info(),
        })?;
        builder.accept(event, spot(&span.start))?;
    }
    Ok(builder.root.unwrap_or(Node {
        spot: Spot::START,
        value: Value::Null,
    }))
}

fn spot(marker: &granit_parser::Marker) -> Spot {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Spot {
        line: bounded(marker.line()).max(1),
        column: bounded(marker.col()).saturating_add(1),
    }
}

enum Open<'a> {
    Sequence(Spot, Vec<Node<'a>>),
    Mapping(Spot, Vec<(Node<'a>, Node<'a>)>, Option<Node<'a>>),
}

#[derive(Default)]
struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
}

impl<'a> Builder<'a> {
    fn accept(&mut self, event: Event<'a>, spot: Spot) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let value = if plain && is_null(&text) {
                    Value::Null
                } else {
                    Value::Scalar { text, plain }
                };
                self.add(Node { spot, value })
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.add(Node {
                spot,
                value: Value::Alias,
            }),
            Event::SequenceStart(..) => {
                self.open.push(Open::Sequence(spot, Vec::new()));
                Ok(())
            }
            Event::MappingStart(..) => {
                self.open.push(Open::Mapping(spot, Vec::new(), None));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(spot, items)) => self.add(Node {
                    spot,
                    value: Value::Sequence(items),
                }),
                Some(Open::Mapping(spot, pairs, _)) => self.add(Node {
                    spot,
                    value: Value::Mapping(pairs),
                }),
                None => Ok(()),
            },
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::Comment(..) => Ok(()),
            _ => Err(SyntaxError {
                spot,
                message: "a YAML construct that manifests don't have".to_owned(),
            }),
        }
    }

    fn add(&mut self, node: Node<'a>) -> Result<(), SyntaxError> {
        match self.open.last_mut() {
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping(_, pairs, key)) => match key.take() {
                Some(key) => pairs.push((key, node)),
                None => *key = Some(node),
            },
            None if self.root.is_none() => self.root = Some(node),
            None => {
                return Err(SyntaxError {
                    spot: node.spot,
                    message: "a manifest is one YAML document; this is a second one".to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(node: &Node<'_>) -> Vec<(String, u32, u32)> {
        match &node.value {
            Value::Null => vec![("null".to_owned(), node.spot.line, node.spot.column)],
            Value::Alias => vec![("*".to_owned(), node.spot.line, node.spot.column)],
            Value::Scalar { text, .. } => {
                vec![(text.to_string(), node.spot.line, node.spot.column)]
            }
            Value::Sequence(items) => items.iter().flat_map(texts).collect(),
            Value::Mapping(pairs) => pairs
                .iter()
                .flat_map(|(key, value)| [texts(key), texts(value)].concat())
                .collect(),
        }
    }

    #[test]
    fn scalars_keep_their_spelling_and_their_place() {
        let node = read("# c\n- name: é\n  dmap:\n    \"k\": [1.10, yes, 'a b']\n").unwrap();
        let expected = [
            ("name", 2, 3),
            ("é", 2, 9),
            ("dmap", 3, 3),
            ("k", 4, 5),
            ("1.10", 4, 11),
            ("yes", 4, 17),
            ("a b", 4, 22),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(text, line, column)| (text.to_owned(), line, column))
            .collect();
        assert_eq!(texts(&node), expected);
    }

    #[test]
    fn nothing_is_null() {
        for text in ["", "# only a comment\n", "---\n", "~\n", "null"] {
            assert!(matches!(read(text).unwrap().value, Value::Null), "{text:?}");
        }
        assert!(matches!(
            read("\"\"").unwrap().value,
            Value::Scalar { plain: false, .. }
        ));
    }

    #[test]
    fn aliases_are_seen_and_never_expanded() {
        let mut bomb = String::from("- &a [x]\n");
        for _ in 0..1000 {
            bomb.push_str("- [*a, *a, *b]\n");
        }
        assert_eq!(texts(&read(&bomb).unwrap()).len(), 3001);
    }

    #[test]
    fn deep_nesting_and_second_documents_are_refused() {
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"- ".repeat(100_000)).is_err());
        let error = read("a: 1\n---\nb: 2\n").unwrap_err();
        assert_eq!(error.spot.line, 3);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-:#&*!|>'\"%@`{}\\[\\], \na-c0~?\t]{0,200}") {
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            match read(&text) {
                Ok(node) => {
                    for (_, line, column) in texts(&node) {
                        prop_assert!(line >= 1 && line <= lines && column >= 1);
                    }
                }
                Err(error) => prop_assert!(!error.message.is_empty()),
            }
        }
    }
}
