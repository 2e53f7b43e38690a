//! Checks a document's tree against its kind's [`Shape`] and turns it into plain values.
//!
//! What does not fit is reported, all of it, and left out of the values, so that the rest can
//! still be looked at. No value of a Secret gets into a message.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::schema::{Field, Shape};
use crate::problem::{Problem, Severity};
use crate::tree::{Entry, Node, Value};
use crate::validate::quote;

/// How many errors, and how many warnings, are told of one object.
const MAX_PROBLEMS: usize = 100;

/// Reads one object.
#[derive(Debug)]
pub(super) struct Reader {
    /// What was wrong and on which line, in the order of the document; `object` is not filled in.
    pub(super) problems: Vec<(Problem, u32)>,
    /// Whether values must stay out of messages.
    secret: bool,
}

impl Reader {
    /// `secret`: whether no value may get into a message.
    pub(super) fn new(secret: bool) -> Self {
        Self {
            problems: Vec::new(),
            secret,
        }
    }

    /// The values of the mapping `node` under the names in `fields`.
    pub(super) fn fields(&mut self, node: &Node, fields: &[Field], path: &str) -> Json {
        let line = node.line;
        let Value::Map(entries) = &node.value else {
            self.mismatch(node, line, path, "a mapping", "");
            return Json::Null;
        };
        let mut object = serde_json::Map::new();
        let mut seen = HashMap::new();
        for entry in entries {
            let path = join(path, &entry.key);
            if self.is_repeated(entry, &mut seen, &path) {
                continue;
            }
            let Some((name, shape)) = fields.iter().find(|(name, _)| *name == entry.key) else {
                self.unknown(entry, fields, path);
                continue;
            };
            if let Some(value) = self.value(&entry.node, entry.line, shape, &path) {
                object.insert((*name).to_owned(), value);
            }
        }
        Json::Object(object)
    }

    /// The value of `node`; `None` for null, which means absent, and for what does not fit.
    fn value(&mut self, node: &Node, line: u32, shape: &Shape, path: &str) -> Option<Json> {
        if matches!(node.value, Value::Null) {
            return None;
        }
        match (shape, &node.value) {
            (Shape::Any, _) => None,
            (Shape::Whole, _) => Some(node.to_json()),
            (Shape::Text, Value::Text(text)) => Some(Json::from(text.as_str())),
            (Shape::OneOf(words), Value::Text(text)) => self.one_of(words, text, line, path),
            (Shape::Flag, Value::Bool(flag)) => Some(Json::from(*flag)),
            (Shape::Int, Value::Number(number)) if number.is_i64() => Some(number.clone().into()),
            (Shape::Port | Shape::PortOrName, Value::Number(_)) => self.port(node, line, path),
            (Shape::PortOrName, Value::Text(text)) => Some(Json::from(text.as_str())),
            (Shape::Texts, Value::Map(entries)) => Some(self.texts(entries, path)),
            (Shape::List(shape), Value::List(items)) => Some(self.list(items, shape, path)),
            (Shape::Fields(fields), Value::Map(_)) => Some(self.fields(node, fields, path)),
            _ => {
                self.mismatch(node, line, path, wanted(shape), &self.remedy(shape, node));
                None
            }
        }
    }

    fn one_of(&mut self, words: &[&str], text: &str, line: u32, path: &str) -> Option<Json> {
        if words.contains(&text) {
            return Some(Json::from(text));
        }
        let hint = match nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`? One of {}", words.join(", ")),
            None => format!("one of {}", words.join(", ")),
        };
        let message = format!("{} is no value of this field", self.quote(text));
        self.error(line, path, message, hint);
        None
    }

    fn port(&mut self, node: &Node, line: u32, path: &str) -> Option<Json> {
        let Value::Number(number) = &node.value else {
            return None;
        };
        if let Some(port) = number.as_u64().filter(|port| (1..=65_535).contains(port)) {
            return Some(Json::from(port));
        }
        let message = format!("{number} is no port number");
        self.error(line, path, message, "a number from 1 to 65535".to_owned());
        None
    }

    fn texts(&mut self, entries: &[Entry], path: &str) -> Json {
        let mut object = serde_json::Map::new();
        let mut seen = HashMap::new();
        for entry in entries {
            let path = join(path, &entry.key);
            if self.is_repeated(entry, &mut seen, &path) {
                continue;
            }
            let text = match &entry.node.value {
                Value::Null => Json::from(""),
                Value::Text(text) => Json::from(text.as_str()),
                _ => {
                    let hint = self.remedy(&Shape::Text, &entry.node);
                    self.mismatch(&entry.node, entry.line, &path, "a string", &hint);
                    continue;
                }
            };
            object.insert(entry.key.clone(), text);
        }
        Json::Object(object)
    }

    fn list(&mut self, items: &[Node], shape: &Shape, path: &str) -> Json {
        let values = items.iter().enumerate().map(|(index, item)| {
            // What is left out leaves its place, so that the others' numbers stay true.
            self.value(item, item.line, shape, &format!("{path}[{index}]"))
                .unwrap_or_else(|| placeholder(shape))
        });
        Json::Array(values.collect())
    }

    /// Whether the mapping had the key before; `seen` has the line of each key so far.
    fn is_repeated<'a>(
        &mut self,
        entry: &'a Entry,
        seen: &mut HashMap<&'a str, u32>,
        path: &str,
    ) -> bool {
        let Some(first) = seen.insert(&entry.key, entry.line) else {
            return false;
        };
        // Not the first one's line itself: it counts from the document's beginning.
        let message = match entry.line - first.min(entry.line) {
            0 => "is there twice, both on this line".to_owned(),
            1 => "is there twice, first on the line above".to_owned(),
            lines => format!("is there twice, first {lines} lines above"),
        };
        self.error(
            entry.line,
            path,
            message,
            "keep one of the two; a missing `---` between two documents looks like this too"
                .to_owned(),
        );
        true
    }

    fn unknown(&mut self, entry: &Entry, fields: &[Field], path: String) {
        let known = || fields.iter().map(|(name, _)| *name);
        let hint = match nearest(&entry.key, known()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "the fields here are {}",
                known().collect::<Vec<_>>().join(", ")
            ),
        };
        let problem = Problem {
            severity: Severity::Warning,
            object: None,
            field: path,
            message: "there is no such field; it is ignored".to_owned(),
            hint,
        };
        self.push(entry.line, problem);
    }

    fn mismatch(&mut self, node: &Node, line: u32, path: &str, wanted: &str, hint: &str) {
        let found = match &node.value {
            Value::Null => "empty".to_owned(),
            Value::Bool(_) | Value::Number(_) if self.secret => "no string".to_owned(),
            Value::Bool(flag) => format!("the boolean {flag}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Text(text) => format!("the string {}", self.quote(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        };
        self.error(
            line,
            path,
            format!("must be {wanted}, is {found}"),
            hint.to_owned(),
        );
    }

    /// What to write instead, where that is clear.
    fn remedy(&self, shape: &Shape, node: &Node) -> String {
        match (shape, &node.value) {
            (Shape::Text | Shape::OneOf(_), Value::Bool(_) | Value::Number(_)) if self.secret => {
                "quote the value".to_owned()
            }
            (Shape::Text | Shape::OneOf(_), Value::Bool(flag)) => {
                format!("quote the value: \"{flag}\"")
            }
            (Shape::Text | Shape::OneOf(_), Value::Number(number)) => {
                format!("quote the value: \"{number}\"")
            }
            (Shape::Int | Shape::Port, Value::Text(text))
                if !self.secret && text.parse::<i64>().is_ok() =>
            {
                format!("write it without quotes: {text}")
            }
            (Shape::Flag, Value::Text(text)) if text == "true" || text == "false" => {
                format!("write it without quotes: {text}")
            }
            (Shape::List(_), Value::Map(_)) => "put `- ` before each of the entries".to_owned(),
            (Shape::List(Shape::Text), Value::Text(_)) => {
                "put `- ` before it, on a line of its own".to_owned()
            }
            (Shape::Fields(fields), _) => format!(
                "a mapping with the fields {}",
                fields
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            _ => String::new(),
        }
    }

    fn quote(&self, text: &str) -> String {
        if self.secret {
            "(not shown)".to_owned()
        } else {
            quote(text)
        }
    }

    fn error(&mut self, line: u32, path: &str, message: String, hint: String) {
        let problem = Problem {
            severity: Severity::Error,
            object: None,
            field: path.to_owned(),
            message,
            hint,
        };
        self.push(line, problem);
    }

    fn push(&mut self, line: u32, problem: Problem) {
        // One document can have hundreds of thousands of mistakes; nobody reads them all. Errors
        // and warnings are counted apart, so that no warning can hide that there is an error.
        let same = |(other, _): &&(Problem, u32)| other.severity == problem.severity;
        if self.problems.iter().filter(same).count() < MAX_PROBLEMS {
            self.problems.push((problem, line));
        }
    }
}

/// The word that `text` was probably meant to be.
pub(super) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    words
        .map(|word| (distance(&text, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| *distance <= 2.min(word.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many characters must be added, removed or replaced (Levenshtein); more than 40 characters
/// are nobody's typing error.
fn distance(a: &str, b: &str) -> usize {
    if a.len().max(b.len()) > 40 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn join(path: &str, key: &str) -> String {
    // A path is shown on one line, whatever a mapping has for keys.
    let key = if key.contains(char::is_control) {
        quote(key)
    } else {
        key.to_owned()
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::OneOf(_) => "a string",
        Shape::Flag => "true or false",
        Shape::Int => "a whole number",
        Shape::Port => "a port number",
        Shape::PortOrName => "a port number or a port's name",
        Shape::Texts => "a mapping of strings to strings",
        Shape::List(_) => "a list",
        Shape::Fields(_) => "a mapping",
        Shape::Any | Shape::Whole => "anything",
    }
}

fn placeholder(shape: &Shape) -> Json {
    match shape {
        Shape::Text | Shape::OneOf(_) | Shape::PortOrName => Json::from(""),
        Shape::Flag => Json::from(false),
        Shape::Int | Shape::Port => Json::from(0),
        Shape::Texts | Shape::Fields(_) => Json::Object(serde_json::Map::new()),
        Shape::List(_) => Json::Array(Vec::new()),
        Shape::Any | Shape::Whole => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use crate::manifests::schema;

    fn read(kind: Kind, text: &str) -> (Json, Vec<(String, String, String)>) {
        let node = Node::parse(text, 1).expect("YAML");
        let mut reader = Reader::new(kind == Kind::Secret);
        let json = reader.fields(&node, schema::of(kind), "");
        let problems = reader.problems.into_iter();
        (
            json,
            problems
                .map(|(p, _)| (p.field, p.message, p.hint))
                .collect(),
        )
    }

    #[test]
    fn every_misfit_is_reported_and_the_rest_is_read() {
        let (json, problems) = read(
            Kind::Ingress,
            "
metadata: {name: web, annotations: {a: true, b: 8, c: ok}}
spec:
  ingressClasName: x
  rules:
  - host: a.example
    http:
      paths:
      - {path: /, pathType: prefix, backend: {service: {name: web, port: {number: '80'}}}}
      - {path: 7, pathType: Exact, backend: {service: {name: web, port: {number: 70000}}}}
",
        );
        let fields: Vec<&str> = problems.iter().map(|(field, ..)| field.as_str()).collect();
        let paths = "spec.rules[0].http.paths";
        assert_eq!(
            fields,
            [
                "metadata.annotations.a",
                "metadata.annotations.b",
                "spec.ingressClasName",
                &format!("{paths}[0].pathType"),
                &format!("{paths}[0].backend.service.port.number"),
                &format!("{paths}[1].path"),
                &format!("{paths}[1].backend.service.port.number"),
            ]
        );
        assert_eq!(problems[0].2, "quote the value: \"true\"");
        assert_eq!(problems[2].2, "did you mean `ingressClassName`?");
        assert!(problems[3].2.contains("`Prefix`"));
        assert_eq!(problems[4].2, "write it without quotes: 80");
        assert_eq!(json["spec"]["rules"][0]["host"], "a.example");
        assert_eq!(json["metadata"]["annotations"]["c"], "ok");
    }

    #[test]
    fn a_repeated_key_is_an_error_with_both_lines() {
        let (_, problems) = read(Kind::ConfigMap, "data:\n  a: x\n  a: y\n");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].1, "is there twice, first on the line above");
    }

    #[test]
    fn no_value_of_a_secret_is_told() {
        let (_, problems) = read(
            Kind::Secret,
            "type: [geheim]\ndata: {a: 4711, b: true, c: [geheim]}\nstringData: geheim\n",
        );
        assert_eq!(problems.len(), 5);
        let told = format!("{problems:?}");
        assert!(!told.contains("geheim") && !told.contains("4711") && !told.contains("true"));
    }

    #[test]
    fn the_nearest_word_is_close() {
        let words = ["pathType", "path", "backend"];
        assert_eq!(nearest("pathtype", words.into_iter()), Some("pathType"));
        assert_eq!(nearest("Pathe", words.into_iter()), Some("path"));
        assert_eq!(nearest("beckend", words.into_iter()), Some("backend"));
        assert_eq!(nearest("service", words.into_iter()), None);
    }
}
