//! How far a replica has come, in a form that replicas can compare.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Up to which version of the Ingresses everything is served.
///
/// Replicas cannot compare the configurations that each of them counts for itself, but they all
/// watch the same objects: a watch brings changes in the order of their resourceVersions, which
/// compare as numbers (Kubernetes API concepts, "Resource versions"). A replica that watches single namespaces has a
/// position for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<Box<str>, u128>);

impl Position {
    /// What is watched as `scope` was read whole, as it is in `resource_version`; after a restore
    /// of the cluster that may be before what was reached.
    pub(crate) fn set(&mut self, scope: &str, resource_version: &str) {
        self.0.remove(scope);
        self.advance(scope, resource_version);
    }

    /// Everything up to `resource_version` is served of what is watched as `scope`: a namespace,
    /// or the empty string for all. A version that is no number says nothing.
    pub(crate) fn advance(&mut self, scope: &str, resource_version: &str) {
        let Some(version) = parse_version(resource_version) else {
            return;
        };
        match self.0.get_mut(scope) {
            Some(known) => *known = version.max(*known),
            None => {
                self.0.insert(scope.into(), version);
            }
        }
    }

    /// Whether an object of `namespace` is served as it is in `version`. Versions that are no
    /// numbers cannot be compared, and hold nothing up.
    pub(crate) fn reaches(&self, namespace: &str, version: Option<u128>) -> bool {
        let Some(version) = version else {
            return true;
        };
        let known = self.0.get(namespace).or_else(|| self.0.get(""));
        known.is_some_and(|known| *known >= version)
    }
}

/// A resourceVersion as a number, if it is one.
pub(crate) fn parse_version(text: &str) -> Option<u128> {
    text.parse().ok()
}

/// `*=1234`, or `shop=1234,blog=1250`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (scope, version)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            let scope = if scope.is_empty() { "*" } else { scope };
            write!(f, "{scope}={version}")?;
        }
        Ok(())
    }
}

/// A part that cannot be read is left out: a newer replica may say more than we know.
impl FromStr for Position {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut position = Self::default();
        for part in text.split(',') {
            if let Some((scope, version)) = part.split_once('=') {
                position.advance(if scope == "*" { "" } else { scope }, version);
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn a_position_survives_its_text() {
        for text in [
            "",
            "*=12",
            "blog=340282366920938463463374607431768211455,shop=7",
        ] {
            assert_eq!(position(text).to_string(), text);
        }
        assert_eq!(position("*=12,nonsense,x=y,").to_string(), "*=12");
    }

    #[test]
    fn versions_compare_as_numbers_in_their_own_scope() {
        let all = position("*=100");
        assert!(all.reaches("shop", Some(99)));
        assert!(all.reaches("shop", Some(100)));
        assert!(!all.reaches("shop", Some(101)));
        assert!(all.reaches("shop", None));
        let some = position("shop=100");
        assert!(some.reaches("shop", Some(100)));
        assert!(!some.reaches("blog", Some(1)));
        assert!(!Position::default().reaches("shop", Some(1)));
    }

    #[test]
    fn it_never_goes_back() {
        let mut it = position("*=100");
        it.advance("", "99");
        it.advance("", "next");
        assert_eq!(it.to_string(), "*=100");
        it.advance("", "101");
        assert_eq!(it.to_string(), "*=101");
    }
}
