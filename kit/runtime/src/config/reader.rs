//! The tree as a serde format that knows about unknown keys and stand-ins.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::read_fault::{ReadFault, join, wrong_type};
use super::tree::{Content, Node};

/// Strings to stand in for one that cannot be used; the first that a type
/// takes will do. They are never seen outside of this module.
const STAND_IN_STRINGS: [&str; 9] = [
    "stand-in",
    "http://127.0.0.1:1",
    "127.0.0.1:1",
    "file:///stand-in",
    "1 MB",
    "1 Mbit/s",
    "127.0.0.0/8",
    "NO",
    "",
];

/// What stands where a value could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum StandIn {
    /// This one of the strings, or the simplest value of another type.
    Try(usize),
    /// The type takes none of them.
    Refused,
}

impl StandIn {
    pub(super) const FIRST: Self = Self::Try(0);

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Try(index) if index + 1 < STAND_IN_STRINGS.len() => Self::Try(index + 1),
            Self::Try(_) | Self::Refused => Self::Refused,
        }
    }

    fn string(self) -> &'static str {
        match self {
            Self::Try(index) => STAND_IN_STRINGS[index],
            Self::Refused => STAND_IN_STRINGS[0],
        }
    }
}

/// What one reading needs to know and finds out besides its value.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By path.
    pub(super) stand_ins: BTreeMap<String, StandIn>,
    /// Paths of unknown keys, each with the keys that are known there.
    pub(super) unknown: RefCell<BTreeMap<String, &'static [&'static str]>>,
}

impl Session {
    /// 0: nothing below `path` was replaced; 1: something was; 2: something
    /// was in vain. What is sound is read first, so that its faults are seen.
    fn rank(&self, path: &str) -> u8 {
        let ranks = self.stand_ins.iter().filter_map(|(replaced, stand_in)| {
            is_within(replaced, path).then_some(match stand_in {
                StandIn::Try(_) => 1,
                StandIn::Refused => 2,
            })
        });
        ranks.max().unwrap_or(0)
    }
}

/// Whether `path` is `ancestor` or lies below it.
pub(super) fn is_within(path: &str, ancestor: &str) -> bool {
    ancestor.is_empty()
        || path
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A value at a path. Without a node it is there only as a stand-in.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    pub(super) node: Option<&'a Node>,
    pub(super) path: String,
    pub(super) session: &'a Session,
}

impl<'a> Reader<'a> {
    fn stand_in(&self) -> Option<StandIn> {
        self.session.stand_ins.get(&self.path).copied()
    }

    /// The content, typed; `None` for a stand-in.
    fn content(&self) -> Option<Content> {
        if self.stand_in().is_some() {
            return None;
        }
        let node = self.node?;
        Some(if let Content::Untyped(text) = &node.content {
            Content::of_untyped(text, &node.origin)
        } else {
            node.content.clone()
        })
    }

    fn visit<'de, V: Visitor<'de>>(
        &self,
        content: Content,
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        match content {
            Content::Boolean(flag) => visitor.visit_bool(flag),
            Content::Integer(integer) => match (i64::try_from(integer), u64::try_from(integer)) {
                (Ok(signed), _) => visitor.visit_i64(signed),
                (_, Ok(unsigned)) => visitor.visit_u64(unsigned),
                _ => visitor.visit_i128(integer),
            },
            Content::Float(float) => visitor.visit_f64(float),
            Content::String(text) | Content::Untyped(text) => visitor.visit_string(text),
            Content::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                path: &self.path,
                session: self.session,
            }),
            Content::Table(table) => {
                let keys = table.keys().cloned().collect();
                visitor.visit_map(Entries::new(self, &table, keys))
            }
        }
    }

    fn simplest<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        simplest: impl FnOnce(V, StandIn) -> Result<V::Value, ReadFault>,
    ) -> Result<V::Value, ReadFault> {
        let path = self.path.clone();
        let result = match self.stand_in() {
            Some(stand_in) => simplest(visitor, stand_in),
            None => match self.content() {
                Some(content) => self.visit(content, visitor),
                None => visitor.visit_none(),
            },
        };
        result.map_err(|fault| fault.at(&path))
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
            self.simplest(visitor, |visitor, _| visitor.visit_u64(1))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadFault;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.simplest(visitor, |visitor, stand_in| {
            visitor.visit_str(stand_in.string())
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.simplest(visitor, |visitor, _| visitor.visit_bool(false))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        // `LANDFALL__NAME=2026` is a name when a string is wanted.
        if self.stand_in().is_none()
            && let Some(node) = self.node
            && let Content::Untyped(text) = &node.content
        {
            let text = match Content::of_untyped(text, &node.origin) {
                Content::String(unquoted) => unquoted,
                Content::Boolean(_)
                | Content::Integer(_)
                | Content::Float(_)
                | Content::Untyped(_)
                | Content::Array(_)
                | Content::Table(_) => text.clone(),
            };
            return visitor
                .visit_string(text)
                .map_err(|fault: ReadFault| fault.at(&self.path));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        if self.stand_in().is_some() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        let path = self.path.clone();
        visitor
            .visit_newtype_struct(self)
            .map_err(|fault| fault.at(&path))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.simplest(visitor, |visitor, _| {
            visitor.visit_seq(serde::de::value::SeqDeserializer::new(
                std::iter::empty::<u8>(),
            ))
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.simplest(visitor, |visitor, _| {
            visitor.visit_map(serde::de::value::MapDeserializer::new(std::iter::empty::<(
                u8,
                u8,
            )>()))
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        let table = match self.content() {
            Some(Content::Table(table)) => table,
            Some(other) => {
                return Err(wrong_type(other.in_words(), "a table").at(&self.path));
            }
            None => BTreeMap::new(),
        };
        for key in table.keys().filter(|key| !fields.contains(&key.as_str())) {
            let path = join(&self.path, key);
            self.session.unknown.borrow_mut().insert(path, fields);
        }
        let is_given = |field: &&&str| {
            table.contains_key(**field)
                || self
                    .session
                    .stand_ins
                    .contains_key(&join(&self.path, field))
        };
        let keys = fields
            .iter()
            .filter(is_given)
            .map(|field| (*field).to_owned());
        let entries = Entries::new(&self, &table, keys.collect());
        visitor
            .visit_map(entries)
            .map_err(|fault| fault.at(&self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        let path = self.path.clone();
        let result = match self.content() {
            None => {
                let first = variants.first().copied().unwrap_or_default();
                visitor.visit_enum(first.into_deserializer() as StrDeserializer<'_, _>)
            }
            Some(Content::String(variant)) => visitor.visit_enum(variant.into_deserializer()),
            Some(Content::Table(table)) => {
                let keys = table.keys().cloned().collect();
                visitor.visit_enum(MapAccessDeserializer::new(Entries::new(
                    &self, &table, keys,
                )))
            }
            Some(other) => self.visit(other, visitor),
        };
        result.map_err(|fault| fault.at(&path))
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'t, 'a, I> {
    items: I,
    path: &'t str,
    session: &'a Session,
}

impl<'t, 'a, 'de, I> SeqAccess<'de> for Items<'t, 'a, I>
where
    I: Iterator<Item = (usize, &'t Node)>,
    'a: 't,
{
    type Error = ReadFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadFault> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let path = format!("{}[{index}]", self.path);
        let reader = Reader {
            node: Some(node),
            path: path.clone(),
            session: self.session,
        };
        seed.deserialize(reader)
            .map(Some)
            .map_err(|fault| fault.at(&path))
    }
}

/// The entries of a table, sound ones first.
struct Entries<'t> {
    table: &'t BTreeMap<String, Node>,
    /// In reverse: the next one is the last.
    keys: Vec<String>,
    path: &'t str,
    session: &'t Session,
}

impl<'t> Entries<'t> {
    fn new(
        parent: &'t Reader<'_>,
        table: &'t BTreeMap<String, Node>,
        mut keys: Vec<String>,
    ) -> Self {
        keys.sort_by_cached_key(|key| {
            std::cmp::Reverse(parent.session.rank(&join(&parent.path, key)))
        });
        Self {
            table,
            keys,
            path: &parent.path,
            session: parent.session,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadFault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadFault> {
        match self.keys.last() {
            Some(key) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadFault> {
        let Some(key) = self.keys.pop() else {
            return Err(ReadFault::other(
                "a value was asked for without its key",
                "",
            ));
        };
        let path = join(self.path, &key);
        let reader = Reader {
            node: self.table.get(&key),
            path: path.clone(),
            session: self.session,
        };
        seed.deserialize(reader).map_err(|fault| fault.at(&path))
    }
}
