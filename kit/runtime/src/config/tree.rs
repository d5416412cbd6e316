//! The merged configuration as a tree whose every node knows its origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigFault, Place};

/// Where a node was written.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// At a byte offset of the file.
    File(usize),
    Environment(String),
    Flag(String),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    String(String),
    /// From outside the file: typed by the key that it is for.
    Untyped(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Content {
    pub(super) const fn in_words(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::String(_) | Self::Untyped(_) => "a string",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }

    /// What an untyped text is when nothing says what it should be: the TOML
    /// value that it spells, else a string.
    pub(super) fn of_untyped(text: &str, origin: &Origin) -> Self {
        match DeValue::parse(text) {
            Ok(value) => Self::from_toml(value.into_inner(), &|_| origin.clone()),
            Err(_) => Self::String(text.to_owned()),
        }
    }

    fn from_toml(value: DeValue<'_>, origin: &dyn Fn(usize) -> Origin) -> Self {
        match value {
            DeValue::String(text) => Self::String(text.into_owned()),
            DeValue::Boolean(flag) => Self::Boolean(flag),
            DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
                .map_or(Self::Float(f64::INFINITY), Self::Integer),
            DeValue::Float(float) => Self::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(datetime) => Self::String(datetime.to_string()),
            DeValue::Array(items) => Self::Array(
                items
                    .into_iter()
                    .map(|item| Node {
                        origin: origin(item.span().start),
                        content: Self::from_toml(item.into_inner(), origin),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::from_toml_table(table, origin),
        }
    }

    fn from_toml_table(table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let node = Node {
                origin: origin(key.span().start),
                content: Self::from_toml(value.into_inner(), origin),
            };
            (key.into_inner().into_owned(), node)
        });
        Self::Table(entries.collect())
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    file: PathBuf,
    /// Byte offset at which each line begins.
    line_starts: Vec<usize>,
    text: String,
    pub(super) root: Node,
}

impl Tree {
    /// Parses the file, or lists every fault of its syntax.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, Vec<ConfigFault>> {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(offset, _)| offset + 1))
            .collect();
        let (table, errors): (Spanned<DeTable<'_>>, _) = DeTable::parse_recoverable(text);
        let tree = Self {
            file: file.to_owned(),
            line_starts,
            text: text.to_owned(),
            root: Node {
                origin: Origin::File(0),
                content: Content::from_toml_table(table.into_inner(), &Origin::File),
            },
        };
        if errors.is_empty() {
            return Ok(tree);
        }
        let faults = errors.iter().map(|error| ConfigFault {
            place: tree.place(&Origin::File(error.span().map_or(0, |span| span.start))),
            key: String::new(),
            message: format!("not valid TOML: {}", error.message()),
            help: String::new(),
        });
        Err(faults.collect())
    }

    /// Lays `{prefix}__A__B=value` over the tree as `a.b`, in the order of
    /// the names.
    pub(super) fn overlay_environment(
        &mut self,
        prefix: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) {
        let start = format!("{prefix}__");
        let variables: BTreeMap<String, String> = env
            .into_iter()
            .filter(|(name, _)| name.starts_with(&start))
            .collect();
        for (name, value) in variables {
            let keys = name[start.len()..].to_lowercase();
            let origin = Origin::Environment(name);
            self.set(keys.split("__"), value, &origin);
        }
    }

    pub(super) fn overlay_flags(&mut self, overrides: &[(String, String)]) {
        for (key, value) in overrides {
            self.set(key.split('.'), value.clone(), &Origin::Flag(key.clone()));
        }
    }

    /// Sets one value; whatever is in the way is replaced.
    fn set<'k>(&mut self, keys: impl Iterator<Item = &'k str>, value: String, origin: &Origin) {
        let mut node = &mut self.root;
        for key in keys {
            node = child_for_overlay(node, key, origin);
        }
        *node = Node {
            origin: origin.clone(),
            content: Content::Untyped(value),
        };
    }

    pub(super) fn place(&self, origin: &Origin) -> Place {
        match origin {
            Origin::File(offset) => {
                let line = self.line_starts.partition_point(|start| start <= offset);
                let line_start = self.line_starts[line - 1];
                let before = self.text.get(line_start..*offset).unwrap_or("");
                Place::File {
                    path: self.file.clone(),
                    line,
                    column: before.chars().count() + 1,
                }
            }
            Origin::Environment(name) => Place::Environment(name.clone()),
            Origin::Flag(key) => Place::Flag(key.clone()),
        }
    }

    /// The place of `path`, or of the innermost of its parents that is there.
    pub(super) fn nearest_place(&self, path: &str) -> Place {
        let mut node = &self.root;
        for step in path.split(['.', '[']) {
            let child = match &node.content {
                Content::Table(table) => table.get(step),
                Content::Array(items) => step
                    .trim_end_matches(']')
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index)),
                Content::Boolean(_)
                | Content::Integer(_)
                | Content::Float(_)
                | Content::String(_)
                | Content::Untyped(_) => None,
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        if std::ptr::eq(node, &raw const self.root) {
            return Place::WholeFile(self.file.clone());
        }
        self.place(&node.origin)
    }
}

fn child_for_overlay<'a>(node: &'a mut Node, key: &str, origin: &Origin) -> &'a mut Node {
    if let Content::Untyped(text) = &node.content {
        node.content = Content::of_untyped(text, &node.origin);
    }
    if !matches!(node.content, Content::Table(_)) {
        *node = Node {
            origin: origin.clone(),
            content: Content::Table(BTreeMap::new()),
        };
    }
    let Content::Table(table) = &mut node.content else {
        unreachable!("it was made a table just above");
    };
    table.entry(key.to_owned()).or_insert_with(|| Node {
        origin: origin.clone(),
        content: Content::Table(BTreeMap::new()),
    })
}
