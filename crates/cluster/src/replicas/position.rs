//! How far a replica has come, in a form that replicas can compare.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use objects::kinds::{Kind, ObjectKey};

/// Up to which version of the Ingresses, and of the objects of Gateway API, everything is served.
///
/// Replicas cannot compare the configurations that each of them counts for itself, but they all
/// watch the same objects: a watch brings changes in the order of their resourceVersions, which
/// compare as numbers (Kubernetes API concepts, "Resource versions"). Each kind is a watch of its
/// own; a replica that watches single namespaces has a position for each. One object may count by
/// itself, as `Secret/namespace/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<Kind, BTreeMap<Box<str>, u128>>);

impl Position {
    /// Whether it is told of a kind at all.
    pub(crate) fn counts(kind: Kind) -> bool {
        kind == Kind::Ingress || kind.is_of_gateway_api()
    }

    /// What is watched of `kind` as `scope` was read whole, as it is in `resource_version`; after a
    /// restore of the cluster that may be before what was reached.
    pub(crate) fn set(&mut self, kind: Kind, scope: &str, resource_version: &str) {
        if let Some(scopes) = self.0.get_mut(&kind) {
            scopes.remove(scope);
        }
        self.advance(kind, scope, resource_version);
    }

    /// Everything up to `resource_version` is served of what is watched of `kind` as `scope`: a
    /// namespace, or the empty string for all. A version that is no number says nothing.
    pub(crate) fn advance(&mut self, kind: Kind, scope: &str, resource_version: &str) {
        let Some(version) = parse_version(resource_version) else {
            return;
        };
        let scopes = self.0.entry(kind).or_default();
        match scopes.get_mut(scope) {
            Some(known) => *known = version.max(*known),
            None => drop(scopes.insert(scope.into(), version)),
        }
    }

    /// An object that counts by itself is served as it is in `resource_version`.
    pub(crate) fn advance_object(&mut self, key: &ObjectKey, resource_version: &str) {
        let scope = format!("{}/{}", key.namespace, key.name);
        self.advance(key.kind, &scope, resource_version);
    }

    /// Whether an object that counts by itself is served as it is in `version`, or newer.
    pub(crate) fn reaches_object(&self, key: &ObjectKey, version: Option<u128>) -> bool {
        let scope = format!("{}/{}", key.namespace, key.name);
        let known = self.0.get(&key.kind).and_then(|scopes| scopes.get(&*scope));
        version.is_none() || known.copied() >= version
    }

    /// Whether anything of a kind was read.
    pub(crate) fn knows(&self, kind: Kind) -> bool {
        self.0.get(&kind).is_some_and(|scopes| !scopes.is_empty())
    }

    /// Whether an object of `kind` and `namespace` is served as it is in `version`. Versions that
    /// are no numbers cannot be compared, and hold nothing up.
    pub(crate) fn reaches(&self, kind: Kind, namespace: &str, version: Option<u128>) -> bool {
        let Some(version) = version else {
            return true;
        };
        let Some(scopes) = self.0.get(&kind) else {
            return false;
        };
        let known = scopes.get(namespace).or_else(|| scopes.get(""));
        known.is_some_and(|known| *known >= version)
    }
}

/// A resourceVersion as a number, if it is one.
pub(crate) fn parse_version(text: &str) -> Option<u128> {
    text.parse().ok()
}

/// `*=1234`, or `shop=1234,blog=1250`; of other kinds than Ingress `HTTPRoute/*=1234`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.iter().flat_map(|(kind, scopes)| {
            let scopes = scopes.iter();
            scopes.map(move |(scope, version)| (*kind, scope, version))
        });
        for (index, (kind, scope, version)) in all.enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            if kind != Kind::Ingress {
                write!(f, "{kind}/")?;
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
            let Some((scope, version)) = part.split_once('=') else {
                continue;
            };
            let (kind, scope) = match scope.split_once('/') {
                Some((kind, scope)) => (Kind::from_name(kind), scope),
                None => (Some(Kind::Ingress), scope),
            };
            if let Some(kind) = kind {
                position.advance(kind, if scope == "*" { "" } else { scope }, version);
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
            "HTTPRoute/shop=3,*=12",
        ] {
            assert_eq!(position(text).to_string(), text);
        }
        assert_eq!(
            position("*=12,nonsense,x=y,Unknown/*=3,").to_string(),
            "*=12"
        );
    }

    #[test]
    fn versions_compare_as_numbers_in_their_own_scope() {
        let all = position("*=100");
        assert!(all.reaches(Kind::Ingress, "shop", Some(99)));
        assert!(all.reaches(Kind::Ingress, "shop", Some(100)));
        assert!(!all.reaches(Kind::Ingress, "shop", Some(101)));
        assert!(all.reaches(Kind::Ingress, "shop", None));
        let some = position("shop=100");
        assert!(some.reaches(Kind::Ingress, "shop", Some(100)));
        assert!(!some.reaches(Kind::Ingress, "blog", Some(1)));
        let routes = position("*=100,HTTPRoute/*=7");
        assert!(!routes.reaches(Kind::HttpRoute, "shop", Some(8)));
        assert!(routes.reaches(Kind::HttpRoute, "shop", Some(7)));
        assert!(!routes.reaches(Kind::GrpcRoute, "shop", Some(7)));
        assert!(routes.knows(Kind::HttpRoute) && !routes.knows(Kind::GrpcRoute));
        assert!(!Position::default().reaches(Kind::Ingress, "shop", Some(1)));
    }

    #[test]
    fn an_object_that_counts_by_itself_is_told_from_others() {
        let key = ObjectKey::new(Kind::Secret, "own", "challenges");
        let mut it = position("*=100");
        assert!(!it.reaches_object(&key, Some(1)));
        assert!(it.reaches_object(&key, None));
        it.advance_object(&key, "7");
        assert_eq!(it.to_string(), "*=100,Secret/own/challenges=7");
        let told = position(&it.to_string());
        assert!(told.reaches_object(&key, Some(7)) && !told.reaches_object(&key, Some(8)));
        let other = ObjectKey::new(Kind::Secret, "own", "other");
        assert!(!told.reaches_object(&other, Some(1)));
    }

    #[test]
    fn it_never_goes_back() {
        let mut it = position("*=100");
        it.advance(Kind::Ingress, "", "99");
        it.advance(Kind::Ingress, "", "next");
        assert_eq!(it.to_string(), "*=100");
        it.advance(Kind::Ingress, "", "101");
        assert_eq!(it.to_string(), "*=101");
    }
}
