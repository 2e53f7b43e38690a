//! Labels and annotations, as small as their text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Texts by name, sorted by name, each name once: labels and annotations.
///
/// Read often, changed never, and held for every object: so it is one text and the ends of its
/// parts, and nothing at all if it is empty. (A `BTreeMap` of one label takes 600 bytes.)
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StringMap(Option<Box<Parts>>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    /// Every name, each with its value behind it.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
}

impl StringMap {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Few names: a search that jumps would not be faster.
        let found = self.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Whether there is a value of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every name with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let count = self.len();
        (0..count).map(|index| (self.part(2 * index), self.part(2 * index + 1)))
    }

    /// Every name.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| parts.ends.len() / 2)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Keeps the names that `wanted` says. Whether any went.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        if self.keys().all(&wanted) {
            return false;
        }
        *self = self.iter().filter(|(name, _)| wanted(name)).collect();
        true
    }

    fn part(&self, index: usize) -> &str {
        let Some(parts) = &self.0 else {
            return "";
        };
        let end = |index: usize| parts.ends[index] as usize;
        let start = index.checked_sub(1).map_or(0, end);
        &parts.text[start..end(index)]
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for StringMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        // Stable: of two with one name the last one counts, as in JSON.
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut text = String::new();
        let mut ends = Vec::new();
        let mut pairs = pairs.iter().peekable();
        while let Some((name, value)) = pairs.next() {
            if pairs
                .peek()
                .is_some_and(|(next, _)| next.as_ref() == name.as_ref())
            {
                continue;
            }
            for part in [name.as_ref(), value.as_ref()] {
                text.push_str(part);
                // No object is as large as 4 GiB: neither API servers nor files let it be.
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Self((!ends.is_empty()).then(|| {
            Box::new(Parts {
                text: text.into(),
                ends: ends.into(),
            })
        }))
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> From<[(K, V); N]> for StringMap {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl From<std::collections::BTreeMap<String, String>> for StringMap {
    fn from(pairs: std::collections::BTreeMap<String, String>) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for StringMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for StringMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_a_map() {
        let map = StringMap::from([("b", "2"), ("a", ""), ("b", "3"), ("\u{e4}", "\0x")]);
        let pairs: Vec<_> = map.iter().collect();
        assert_eq!(pairs, [("a", ""), ("b", "3"), ("\u{e4}", "\0x")]);
        assert_eq!(
            (map.get("b"), map.get("c"), map.len()),
            (Some("3"), None, 3)
        );
        let read: StringMap =
            serde_json::from_str(r#"{"b": "3", "a": "", "ä": "\u0000x"}"#).expect("a map of texts");
        assert_eq!(read, map);
        let mut fewer = map;
        assert!(fewer.retain(|name| name == "a"));
        assert!(!fewer.retain(|name| name == "a"));
        assert_eq!(fewer.iter().collect::<Vec<_>>(), [("a", "")]);
        fewer.retain(|_| false);
        assert_eq!(fewer, StringMap::default());
        assert!(fewer.is_empty());
    }
}
