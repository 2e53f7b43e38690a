//! A document as a tree that remembers its lines.
//!
//! Typed objects are made from this tree, and a field's line is looked up in it. Mappings keep
//! every entry in the order of the text, also a key's second one, so that it can be reported.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use crate::manifests::split;

/// A value and the line where it starts.
#[derive(Debug, Clone)]
pub struct Node {
    /// 1-based line in the file.
    pub line: u32,
    /// What is there.
    pub value: Value,
    /// Which bytes of the document it was written in, up to the second one.
    bytes: (u32, u32),
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, which may have been written otherwise: see [`Node::written`].
    Number(Number),
    /// A text.
    Text(String),
    /// Items.
    List(Vec<Node>),
    /// Entries, in the order of the text.
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its key; of several entries with one key each is here.
    pub key: String,
    /// The line of the key, which is the line that people mean by the field's.
    pub line: u32,
    /// Its value.
    pub node: Node,
}

/// Why a document is no tree.
#[derive(Debug)]
pub struct SyntaxError {
    /// 1-based line in the file.
    pub line: u32,
    /// Never holds anything of the document's text: that may be a Secret's.
    pub message: String,
}

/// The documents of a YAML file, each on its own; those that hold nothing are left out.
pub fn documents(text: &str) -> impl Iterator<Item = Result<Node, SyntaxError>> {
    texts(text).map(|(document, line)| Node::parse(document, line))
}

/// The texts of a YAML file's documents, each with the line of the file that is its first.
pub fn texts(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let chunks = split::yaml(text.as_bytes()).into_iter();
    // Cut where lines begin.
    chunks.map(|chunk| (text.get(chunk.bytes).unwrap_or_default(), chunk.line))
}

impl Node {
    /// Reads one document, whose first line is the file's line `first_line`.
    ///
    /// # Errors
    /// It is neither YAML nor JSON, too deep, or too large once its aliases are expanded.
    pub fn parse(text: &str, first_line: u32) -> Result<Self, SyntaxError> {
        let before = first_line.saturating_sub(1);
        match serde_saphyr::from_str_with_options::<Self>(text, options()) {
            Ok(mut node) => {
                node.move_down(before);
                Ok(node)
            }
            Err(error) => Err(SyntaxError {
                line: error.location().map_or(first_line, |location| {
                    before.saturating_add(narrow(location.line()).max(1))
                }),
                message: describe(error.without_snippet()),
            }),
        }
    }

    /// A plain value as `document`, which it was parsed from, has it: `3.10`, and not 3.1.
    pub fn written<'t>(&self, document: &'t str) -> Option<&'t str> {
        let (start, end) = self.bytes;
        document.get(start as usize..end as usize)
    }

    /// All of it, as deep as the parser let it be; of keys that are repeated the last one.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;

        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Number(number) => number.clone().into(),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let pairs = entries.iter();
                let pairs = pairs.map(|entry| (entry.key.clone(), entry.node.to_json()));
                Json::Object(pairs.collect())
            }
        }
    }

    /// The first entry of a mapping with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value under this key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of the field that `path` names, or else of its deepest ancestor that is there.
    ///
    /// A path is keys joined by dots and `[index]` for lists. A key that has dots of its own may
    /// be written as it is (`data.tls.crt`) or in brackets (`annotations[example.com/a]`): at
    /// every mapping the longest key that fits wins.
    pub fn line_of(&self, path: &str) -> u32 {
        let mut node = self;
        let mut line = self.line;
        let mut rest = path;
        while !rest.is_empty() {
            let step = match &node.value {
                Value::Map(entries) => step_into_map(entries, rest),
                Value::List(items) => step_into_list(items, rest),
                _ => None,
            };
            let Some((next, at, after)) = step else { break };
            (node, line, rest) = (next, at, after);
        }
        line
    }

    fn move_down(&mut self, lines: u32) {
        self.line = self.line.saturating_add(lines);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.line = entry.line.saturating_add(lines);
                    entry.node.move_down(lines);
                }
            }
            _ => {}
        }
    }
}

type Step<'a, 'p> = (&'a Node, u32, &'p str);

fn step_into_map<'a, 'p>(entries: &'a [Entry], path: &'p str) -> Option<Step<'a, 'p>> {
    let (bracket, path) = match path.strip_prefix('[') {
        Some(inner) => (true, inner.strip_prefix('"').unwrap_or(inner)),
        None => (false, path.strip_prefix('.').unwrap_or(path)),
    };
    entries
        .iter()
        .filter_map(|entry| {
            let after = path.strip_prefix(entry.key.as_str())?;
            let after = if bracket {
                after.strip_prefix('"').unwrap_or(after).strip_prefix(']')?
            } else if after.is_empty() || after.starts_with(['.', '[']) {
                after
            } else {
                return None;
            };
            Some((entry, after))
        })
        .max_by_key(|(entry, _)| entry.key.len())
        .map(|(entry, after)| (&entry.node, entry.line, after))
}

fn step_into_list<'a, 'p>(items: &'a [Node], path: &'p str) -> Option<Step<'a, 'p>> {
    let (index, after) = path.strip_prefix('[')?.split_once(']')?;
    let item = items.get(index.parse::<usize>().ok()?)?;
    Some((item, item.line, after))
}

/// One document is at most a file, whose size is bounded; what an alias or a depth can add to
/// that is bounded here.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 8_000_000,
            max_events: 24_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            simple_key_max_lookahead: 4_096,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// What the parser says, unless it might quote the document.
fn describe(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;

    match error {
        Error::AliasError { .. } => "an alias (`*name`) cannot be expanded".to_owned(),
        // The scanner's own words; they never quote more than one character.
        Error::ExternalMessage { msg, .. } => msg.clone(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => {
            "too deep, or grows too large when its aliases are expanded".to_owned()
        }
        Error::Eof { .. } => "ends too early".to_owned(),
        _ => "cannot be read as YAML".to_owned(),
    }
}

fn narrow(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let start = span.byte_offset().unwrap_or_default();
        let end = start.saturating_add(span.byte_len().unwrap_or_default());
        Ok(Self {
            line: narrow(spanned.referenced.line()).max(1),
            value: spanned.value,
            bytes: (narrow(start), narrow(end)),
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

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(from_float(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(from_float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(from_float(value))
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
            entries.push(Entry {
                key: key.value,
                line: narrow(key.referenced.line()).max(1),
                node: map.next_value()?,
            });
        }
        Ok(Value::Map(entries))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Value, E> {
        Err(E::custom("binary values are not supported"))
    }
}

fn from_float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
# comment
kind: Secret
data:
  tls.crt: eA==
  tls: x
items:
  - a: 1
    b:
      - c
  - z: yes
text: >
  folded
  text
";

    #[test]
    fn a_field_has_the_line_of_its_key() {
        let node = Node::parse(DOCUMENT, 1).expect("valid");
        assert_eq!(node.line_of("data.tls.crt"), 4);
        assert_eq!(node.line_of("data.tls"), 5);
        assert_eq!(node.line_of("data[tls.crt]"), 4);
        assert_eq!(node.line_of("data[\"tls.crt\"]"), 4);
        assert_eq!(node.line_of("items[0].b[0]"), 9);
        assert_eq!(node.line_of("items[1].z"), 10);
        assert_eq!(node.line_of("text"), 11);
    }

    #[test]
    fn a_missing_field_has_the_line_of_its_nearest_ancestor() {
        let node = Node::parse(DOCUMENT, 1).expect("valid");
        assert_eq!(node.line_of("items[0].nothing.at[7].all"), 7);
        assert_eq!(node.line_of("items[9].x"), 6);
        assert_eq!(node.line_of("data.tls.key"), 5);
        assert_eq!(node.line_of("spec.rules"), 2);
    }

    #[test]
    fn lines_count_from_the_top_of_the_file() {
        let node = Node::parse("a: 1\nb: [x,\n  y]\n", 100).expect("valid");
        assert_eq!(node.line_of("b"), 101);
        assert_eq!(node.line_of("b[1]"), 102);
        let error = Node::parse("a: 1\nb: [x,\n  y\nc: d\n", 100).expect_err("unclosed");
        assert!((101..=104).contains(&error.line), "{error:?}");
    }

    #[test]
    fn numbers_are_also_had_as_they_were_written() {
        for (text, expected) in [
            ("# ü\na: 3.10\n", "3.10"),
            ("{\"ä\": {}, \"a\": 1.50}", "1.50"),
            ("a:   0x1F # ß\n", "0x1F"),
            ("x: &ten 1e1\nö: y\na: *ten\n", "1e1"),
        ] {
            let node = Node::parse(text, 7).expect("valid");
            let number = node.get("a").expect("there");
            assert!(matches!(number.value, Value::Number(_)), "{text}");
            assert_eq!(number.written(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn documents_are_read_each_on_its_own() {
        let read: Vec<_> = documents("a: 1\n---\nb: [\n---\n# nothing\n---\nc: ü\n").collect();
        let [Ok(first), Err(broken), Ok(last)] = read.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(first.line_of("a"), 1);
        assert!((2..=4).contains(&broken.line), "{broken:?}");
        assert_eq!(last.line_of("c"), 7);
    }

    #[test]
    fn a_second_entry_of_a_key_is_kept() {
        let node = Node::parse("a: 1\na: 2\n8080: x\n", 1).expect("valid");
        let Value::Map(entries) = node.value else {
            panic!("a mapping")
        };
        let keys: Vec<(&str, u32)> = entries.iter().map(|e| (e.key.as_str(), e.line)).collect();
        assert_eq!(keys, [("a", 1), ("a", 2), ("8080", 3)]);
    }

    #[test]
    fn aliases_and_merges_are_expanded_and_bombs_are_not() {
        let node = Node::parse(
            "base: &base {a: 1}\nuse: *base\nmerged:\n  <<: *base\n  b: 2\n",
            1,
        )
        .expect("valid");
        assert!(node.get("use").and_then(|n| n.get("a")).is_some());
        assert!(node.get("merged").and_then(|n| n.get("a")).is_some());

        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(Node::parse(&bomb, 1).is_err());
        assert!(Node::parse(&"[".repeat(100_000), 1).is_err());
        assert!(Node::parse(&"- ".repeat(100_000), 1).is_err());
    }

    #[test]
    fn json_with_tabs_surrogates_and_escaped_slashes_is_read() {
        let node = Node::parse("{\n\t\"a\\/b\": \"\\ud83d\\ude00\",\n\t\"c\":[1,2]\n}", 1);
        let node = node.expect("valid");
        assert_eq!(node.get("a/b").and_then(Node::text), Some("😀"));
    }

    #[test]
    fn a_syntax_error_quotes_nothing() {
        for text in [
            "data:\n  password: \"geheim",
            "data:\n  password: geheim: geheim",
            "data: {password: geheim",
            "data:\n  password: !!int geheim",
            "data:\n  password: !!binary geheim!",
            "data:\n  password: *geheim",
            "data:\n geheim\n  password: %geheim",
            "? {geheim: 1}\n: x",
        ] {
            if let Err(error) = Node::parse(text, 1) {
                assert!(!error.message.contains("geheim"), "{error:?}");
            }
        }
    }
}
