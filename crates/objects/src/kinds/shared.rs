//! Texts that many objects have in common: namespaces, nodes, zones, classes, names of ports.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A text that is in memory once, however many objects have it.
///
/// For what many objects say alike; what is each object's own is smaller as a `Box<str>`. Equal
/// ones are the same `Arc` (unless one was made while the table forgot it), which is not relied on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shared(Arc<str>);

/// Those that are in use, and those that were when this was last swept.
struct Table {
    texts: HashSet<Arc<str>>,
    /// When there are this many, what is not used any more goes.
    sweep_at: usize,
}

/// Below it, a sweep is not worth its while.
const FEW: usize = 1_024;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| {
    Mutex::new(Table {
        texts: HashSet::new(),
        sweep_at: FEW,
    })
});

impl Table {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= self.sweep_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            // Half of them at least were new since: the next sweep pays for itself too.
            self.sweep_at = FEW.max(2 * self.texts.len());
        }
        let made: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&made));
        made
    }
}

impl Shared {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        // Whoever panicked while holding it left a set of texts, whole as ever.
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(table.get(text))
    }
}

impl From<String> for Shared {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Shared> for Arc<str> {
    fn from(text: Shared) -> Self {
        text.0
    }
}

impl Default for Shared {
    fn default() -> Self {
        static EMPTY: LazyLock<Shared> = LazyLock::new(|| Shared::from(""));
        EMPTY.clone()
    }
}

impl Deref for Shared {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Shared {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Shared {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Shared {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Shared {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Shared;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Shared, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_in_memory_once() {
        let (a, b) = (
            Shared::from("eu-west-1a"),
            Shared::from("eu-west-1a".to_owned()),
        );
        assert!(Arc::ptr_eq(&a.0, &b.0));
        let read: Shared = serde_json::from_str(r#""eu-west-1\u0061""#).expect("a string");
        assert!(Arc::ptr_eq(&a.0, &read.0));
    }

    #[test]
    fn what_nobody_uses_any_more_goes() {
        let mut table = Table {
            texts: HashSet::new(),
            sweep_at: FEW,
        };
        let kept: Vec<_> = (0..100)
            .map(|name| table.get(&format!("kept-{name}")))
            .collect();
        for name in 0..100_000 {
            table.get(&format!("gone-{name}"));
            assert!(table.texts.len() <= FEW, "{}", table.texts.len());
        }
        for (name, kept) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(&table.get(&format!("kept-{name}")), kept));
        }
    }
}
