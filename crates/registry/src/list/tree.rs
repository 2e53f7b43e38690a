//! Reading a YAML or JSON document field by field.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use objects::tree::{Node, Value};

use super::{Place, Problem};

/// How many faults of one document are told: whoever mends them sees the others then.
const MOST_PROBLEMS: usize = 1000;

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
    text: &'a str,
    pub(super) problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    /// `text` is what is in the file.
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
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
        let mut problems = self.problems.borrow_mut();
        if problems.len() >= MOST_PROBLEMS {
            return;
        }
        problems.push(Problem {
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
        // Of a key that is repeated, the last one counts.
        let mut seen = HashSet::new();
        let last = entries.iter().rev();
        let last = last.filter(|entry| seen.insert(entry.key.as_str()));
        let mut fields: Vec<_> = last
            .map(|entry| {
                let key = entry.key.as_str();
                let path = match (self.path.is_empty(), key.contains(['.', '/', ':'])) {
                    (true, _) => key.to_owned(),
                    (false, false) => format!("{}.{key}", self.path),
                    (false, true) => format!("{}[{key}]", self.path),
                };
                (key, self.at(&entry.node, path))
            })
            .collect();
        fields.reverse();
        fields
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
        let text = self.as_text();
        if text.is_none() {
            self.fault("a text is expected");
        }
        text
    }

    /// The text, without a fault if it is none. A number is the text that was written: 3.10 is a
    /// tag, and another one than 3.1.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            Value::Number(_) => self.node.written(self.reader.text),
            _ => None,
        }
    }

    /// The texts of a list, or one alone.
    pub(super) fn texts(&self) -> Vec<(&'a str, Self)> {
        let all = match self.as_text() {
            Some(_) => vec![self.clone()],
            None => self.list(),
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
        let number = self.as_text().and_then(|text| text.parse().ok());
        let number = number.filter(|it: &f64| it.is_finite() && *it > 0.0);
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
