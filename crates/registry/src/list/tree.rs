//! A YAML or JSON document that remembers its lines, and reading it field by field.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{Place, Problem};

/// A value and its line.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

/// What a node holds. Numbers are their text.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, u32, Node)>),
}

/// A node with its path, whose faults are collected.
#[derive(Clone)]
pub(super) struct Field<'a> {
    node: &'a Node,
    path: String,
    reader: &'a Reader<'a>,
}

/// What collects them.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Path,
    pub(super) problems: RefCell<Vec<Problem>>,
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Node, (u32, String)> {
    serde_saphyr::from_str_with_options::<Node>(text, options()).map_err(|it| described(&it))
}

/// All documents of a text, without their lines; those that are empty are left out.
///
/// # Errors
/// It is neither YAML nor JSON: the line, and why.
pub fn documents(text: &str) -> Result<Vec<serde_json::Value>, (u32, String)> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|it| described(&it))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 4_000_000,
            max_events: 12_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 1_000_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    }
}

fn described(error: &serde_saphyr::Error) -> (u32, String) {
    let line = error.location().map_or(1, |it| narrow(it.line()).max(1));
    let message = match error.without_snippet() {
        // The scanner's words quote a character at most; others may quote a password.
        serde_saphyr::Error::ExternalMessage { msg, .. } => msg.clone(),
        _ => "neither YAML nor JSON, or it is nested too deeply".to_owned(),
    };
    (line, message)
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self {
            file,
            problems: RefCell::default(),
        }
    }

    pub(super) fn root<'n>(&'n self, node: &'n Node) -> Field<'n> {
        Field {
            node,
            path: String::new(),
            reader: self,
        }
    }

    pub(super) fn fault(&self, line: u32, field: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            place: Place {
                file: self.file.to_owned(),
                line,
                field: field.to_owned(),
            },
            message: message.into(),
        });
    }
}

impl<'a> Field<'a> {
    pub(super) fn place(&self) -> Place {
        Place {
            file: self.reader.file.to_owned(),
            line: self.node.line,
            field: self.path.clone(),
        }
    }

    /// Says what is wrong here.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.reader.fault(self.node.line, &self.path, message);
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A field of a mapping, if it is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let found = self.entries().into_iter().find(|(name, _)| *name == key)?.1;
        (!matches!(found.node.value, Value::Null)).then_some(found)
    }

    /// The fields of a mapping; of anything else none.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Value::Map(entries) = &self.node.value else {
            return Vec::new();
        };
        let entries = entries.iter();
        entries
            .map(|(key, _, node)| {
                let path = match (self.path.is_empty(), key.contains(['.', '/', ':'])) {
                    (true, _) => key.clone(),
                    (false, false) => format!("{}.{key}", self.path),
                    (false, true) => format!("{}[{key}]", self.path),
                };
                (key.as_str(), self.at(node, path))
            })
            .collect()
    }

    /// The entries of a list; a fault if it is none.
    pub(super) fn list(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Null => Vec::new(),
            Value::List(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, node)| self.at(node, format!("{}[{index}]", self.path)))
                    .collect()
            }
            _ => {
                self.fault("a list is expected");
                Vec::new()
            }
        }
    }

    /// The text; a fault if it is none.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.fault("a text is expected");
                None
            }
        }
    }

    /// The text, without a fault if it is none.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a list, or one alone.
    pub(super) fn texts(&self) -> Vec<(&'a str, Self)> {
        let all = match &self.node.value {
            Value::Text(_) => vec![self.clone()],
            _ => self.list(),
        };
        let all = all.into_iter();
        all.filter_map(|it| it.text().map(|text| (text, it)))
            .collect()
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            _ => {
                self.fault("write true or false");
                None
            }
        }
    }

    /// A number above nothing.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match &self.node.value {
            Value::Text(text) => text
                .parse()
                .ok()
                .filter(|it: &f64| it.is_finite() && *it > 0.0),
            _ => None,
        };
        if number.is_none() {
            self.fault("a number above 0 is expected");
        }
        number
    }

    /// Names fields that there are none of.
    pub(super) fn only(&self, known: &[&str]) {
        if !self.is_map() {
            self.fault("fields are expected");
        }
        for (key, field) in self.entries() {
            if !known.contains(&key) && !key.starts_with("x-") {
                field.fault(format!(
                    "there is no such field; there are {}",
                    known.join(", ")
                ));
            }
        }
    }

    fn at<'b>(&self, node: &'b Node, path: String) -> Field<'b>
    where
        'a: 'b,
    {
        Field {
            node,
            path,
            reader: self.reader,
        }
    }
}

fn narrow(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: narrow(spanned.referenced.line()).max(1),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = narrow(key.referenced.line()).max(1);
            entries.push((key.value, line, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}
