//! YAML as people write manifests.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// An object as a document of YAML.
pub(super) struct Yaml<'a>(pub(super) &'a Value);

impl fmt::Display for Yaml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        block(f, self.0, 0, false)
    }
}

/// A value at a depth; `inline` says that its first line has begun already.
fn block(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize, inline: bool) -> fmt::Result {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 || !inline {
                    indent(f, depth)?;
                }
                write!(f, "{}:", Scalar(name))?;
                nested(f, value, depth)?;
            }
            Ok(())
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(f, depth)?;
                f.write_str("- ")?;
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        block(f, item, depth + 1, true)?;
                    }
                    other => writeln!(f, "{}", Plain(other))?,
                }
            }
            Ok(())
        }
        other => writeln!(f, "{}", Plain(other)),
    }
}

fn nested(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            f.write_char('\n')?;
            block(f, value, depth + 1, false)
        }
        Value::Array(items) if !items.is_empty() => {
            f.write_char('\n')?;
            block(f, value, depth, false)
        }
        other => writeln!(f, " {}", Plain(other)),
    }
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}

/// What fits on the line: texts, numbers, and what is empty.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => Scalar(text).fmt(f),
            other => other.fmt(f),
        }
    }
}

/// A text, in quotes where it could be read as anything else. JSON's are YAML's.
struct Scalar<'a>(&'a str);

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
        let is_word = words.contains(&text.to_ascii_lowercase().as_str());
        match begins && text.chars().all(is_plain) && !is_word {
            true => f.write_str(text),
            false => Value::from(text).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_blocks_and_doubtful_texts_are_quoted() {
        let value = json!({
            "kind": "HTTPRoute",
            "spec": {
                "hostnames": ["a.example", "*.b.example"],
                "rules": [{"matches": [{"path": {"type": "Exact", "value": "/yes"}}], "n": 1}, {}],
                "none": [],
                "word": "no",
            },
        });
        let expected = "kind: HTTPRoute\nspec:\n  hostnames:\n  - a.example\n  - \"*.b.example\"\n  \
            none: []\n  rules:\n  - matches:\n    - path:\n        type: Exact\n        value: /yes\n    \
            \"n\": 1\n  - {}\n  word: \"no\"\n";
        assert_eq!(Yaml(&value).to_string(), expected);
    }
}
