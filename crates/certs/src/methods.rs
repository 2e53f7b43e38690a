//! Which names are shown to be ours in which way: cert-manager's solvers and their selectors.

use crate::acme::Method;
use crate::dns::{Dns, Watch};

/// The ways that there are, and for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods {
    /// The most specific one for a name comes first; of those that are alike, the first one.
    pub entries: Vec<Entry>,
    /// How long to wait until records are seen, and who is asked.
    pub watch: Watch,
}

/// A way, and the names that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Only for these names, as they are ordered: `*.example.org` is one of its own. Any if none.
    pub names: Vec<String>,
    /// Only for names in these zones, with or without a wildcard. Any if none.
    pub zones: Vec<String>,
    /// How.
    pub way: Way,
}

/// A way to show that a name is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// See [`Method::Http01`].
    Http01,
    /// See [`Method::TlsAlpn01`].
    TlsAlpn01,
    /// See [`Method::Dns01`].
    Dns01(Dns),
    /// See [`Method::DnsPersist01`]. Without somebody who sets it, the record is to be there.
    DnsPersist01(Option<Dns>),
}

impl Way {
    /// Its method.
    pub fn method(&self) -> Method {
        match self {
            Self::Http01 => Method::Http01,
            Self::TlsAlpn01 => Method::TlsAlpn01,
            Self::Dns01(_) => Method::Dns01,
            Self::DnsPersist01(_) => Method::DnsPersist01,
        }
    }
}

impl From<Way> for Entry {
    /// For every name.
    fn from(way: Way) -> Self {
        Self {
            names: Vec::new(),
            zones: Vec::new(),
            way,
        }
    }
}

impl Default for Methods {
    /// What needs nothing but the proxy: HTTP-01 and TLS-ALPN-01, for every name.
    fn default() -> Self {
        Self::from(vec![Way::Http01.into(), Way::TlsAlpn01.into()])
    }
}

impl From<Vec<Entry>> for Methods {
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            watch: Watch::default(),
        }
    }
}

impl Methods {
    /// Who sets records for a name by a method; none if nobody does.
    pub(crate) fn provider(&self, name: &str, method: Method) -> Option<&Dns> {
        self.of(name).into_iter().find_map(|way| match way {
            Way::Dns01(dns) if method == Method::Dns01 => Some(dns),
            Way::DnsPersist01(dns) if method == Method::DnsPersist01 => dns.as_ref(),
            _ => None,
        })
    }

    /// The ways for a name, with its `*.` if it has one, the most specific one first: one that
    /// names it, then the longest zone, then those for any name.
    pub fn of(&self, name: &str) -> Vec<&Way> {
        let name = name.to_ascii_lowercase();
        let all = self.entries.iter();
        let fitting = all.filter_map(|entry| Some((entry.rank(&name)?, &entry.way)));
        let mut fitting: Vec<_> = fitting.collect();
        // Stable: of those that are alike the first one stays first.
        fitting.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        fitting.into_iter().map(|(_, way)| way).collect()
    }
}

impl Entry {
    /// How well it fits a name, in lower case; none if it does not.
    fn rank(&self, name: &str) -> Option<(bool, usize)> {
        let is_named = self.names.iter().any(|it| same(it, name));
        let zone = self.zones.iter().filter_map(|zone| depth(zone, name)).max();
        let fits = (self.names.is_empty() || is_named) && (self.zones.is_empty() || zone.is_some());
        fits.then_some((is_named, zone.unwrap_or(0)))
    }
}

fn same(one: &str, name: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(name)
}

/// How many labels a zone has that a name is in.
fn depth(zone: &str, name: &str) -> Option<usize> {
    let zone = zone.trim_matches('.').to_ascii_lowercase();
    let name = name.strip_prefix("*.").unwrap_or(name);
    let above = name.strip_suffix(&zone)?;
    (above.is_empty() || above.ends_with('.')).then(|| zone.split('.').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(names: &[&str], zones: &[&str], program: &str) -> Entry {
        let owned = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect();
        Entry {
            names: owned(names),
            zones: owned(zones),
            way: Way::Dns01(Dns::Exec {
                program: program.into(),
            }),
        }
    }

    #[test]
    fn the_most_specific_way_comes_first() {
        let methods = Methods::from(vec![
            entry(&[], &[], "any"),
            entry(&[], &["example.org"], "zone"),
            entry(&[], &["a.example.org.", "b.example.org"], "deep"),
            entry(&["web.a.example.org"], &[], "named"),
            entry(&["*.a.example.org"], &["a.example.org"], "star"),
            entry(&["web.a.example.org"], &["example.net"], "never"),
            Way::Http01.into(),
        ]);
        let ways = |name: &str| -> Vec<String> {
            let program = |way: &&Way| match way {
                Way::Dns01(Dns::Exec { program }) => program.display().to_string(),
                way => format!("{way:?}"),
            };
            methods.of(name).iter().map(program).collect()
        };
        assert_eq!(ways("other.test"), ["any", "Http01"]);
        assert_eq!(ways("notexample.org"), ["any", "Http01"]);
        assert_eq!(ways("example.org"), ["zone", "any", "Http01"]);
        assert_eq!(ways("*.Example.org"), ["zone", "any", "Http01"]);
        let named = ["named", "deep", "zone", "any", "Http01"];
        assert_eq!(ways("web.A.example.org"), named);
        let star = ["star", "deep", "zone", "any", "Http01"];
        assert_eq!(ways("*.a.example.org"), star);
    }
}
