//! Host names, and tables keyed by them.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::shards::Shards;

/// The longest name that DNS allows, in bytes (RFC 1035, section 2.3.4).
pub const MAX_LEN: usize = 253;

/// A host name as it is compared: lower case, without port, brackets or trailing dot.
///
/// Lives on the stack, so that a request's host costs no allocation.
#[derive(Clone, Copy)]
pub struct HostName {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Default for HostName {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_LEN],
            len: 0,
        }
    }
}

impl HostName {
    /// Reads the value of a Host header or an `:authority`: a name or an address, and perhaps a
    /// port (RFC 9110, section 7.2). `None` if it is no host: a character outside of host names,
    /// a port that is no number, longer than DNS allows.
    pub fn parse(authority: &[u8]) -> Option<Self> {
        let mut name = Self::default();
        name.read(authority)?;
        Some(name)
    }

    /// The same in the place of this name, which then need not be moved. If it is no host, this
    /// one stays.
    pub fn read(&mut self, authority: &[u8]) -> Option<()> {
        let (host, port) = split_port(authority)?;
        if port.is_some_and(|port| !is_port(port)) {
            return None;
        }
        let host = host.strip_suffix(b".").unwrap_or(host);
        // Of two dots at the end, only one is the root's.
        if host.is_empty() || host.len() > MAX_LEN || host.ends_with(b".") {
            return None;
        }
        if !host.iter().all(|&byte| is_host_byte(byte)) {
            return None;
        }
        let len = u8::try_from(host.len()).ok()?;
        for (to, &from) in self.bytes.iter_mut().zip(host) {
            *to = from.to_ascii_lowercase();
        }
        self.len = len;
        Some(())
    }

    /// The name; empty if none was read.
    pub fn as_str(&self) -> &str {
        // Every byte was found to be ASCII when it was copied.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Splits `host:port` and `[v6]:port`; the brackets are taken off.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if let Some(rest) = authority.strip_prefix(b"[") {
        let end = rest.iter().position(|&byte| byte == b']')?;
        let (host, after) = (&rest[..end], &rest[end + 1..]);
        // Some readers would take `[a.example]` for the name.
        std::str::from_utf8(host).ok()?.parse::<Ipv6Addr>().ok()?;
        return match after {
            [] => Some((host, None)),
            [b':', port @ ..] => Some((host, Some(port))),
            _ => None,
        };
    }
    match authority.iter().position(|&byte| byte == b':') {
        Some(colon) => Some((&authority[..colon], Some(&authority[colon + 1..]))),
        None => Some((authority, None)),
    }
}

fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0u32, |number, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        Some(number * 10 + digit).filter(|&number| number <= u32::from(u16::MAX))
    });
    number.is_some()
}

/// Letters, digits, `-`, `.`, `_` (which names of services have), and `:` of IPv6 addresses.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

/// Values by host: exact names before wildcards (`*.x`, one label; `.x`, any number of labels)
/// before the one for all hosts.
///
/// A clone costs the same however many hosts there are, and what is changed afterwards is copied
/// then, a few dozen hosts at a time.
#[derive(Debug)]
pub struct HostTable<T> {
    exact: Shards<T>,
    /// By what follows `*.`.
    wildcard: Shards<T>,
    /// By what follows `.`.
    suffix: Shards<T>,
    any: Option<Arc<T>>,
}

/// How close a host of a table is to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It is for all hosts.
    Any,
    /// It is what the name ends with, of this length.
    Suffix(usize),
    /// It is the name.
    Exact,
}

impl<T> HostTable<T> {
    /// Sets the value of a host: a name, `*.` and a name, `.` and a name, or the empty text for all
    /// hosts. Names must be lower case.
    pub fn insert(&mut self, host: impl Into<Arc<str>>, value: Arc<T>) {
        let host = host.into();
        if host.is_empty() {
            self.any = Some(value);
        } else if let Some(suffix) = host.strip_prefix("*.") {
            self.wildcard.insert(suffix.into(), value);
        } else if let Some(suffix) = host.strip_prefix('.') {
            self.suffix.insert(suffix.into(), value);
        } else {
            self.exact.insert(host, value);
        }
    }

    /// Takes a host out, spelt as it was put in. Whether it was there.
    pub fn remove(&mut self, host: &str) -> bool {
        if host.is_empty() {
            self.any.take().is_some()
        } else if let Some(suffix) = host.strip_prefix("*.") {
            self.wildcard.remove(suffix)
        } else if let Some(suffix) = host.strip_prefix('.') {
            self.suffix.remove(suffix)
        } else {
            self.exact.remove(host)
        }
    }

    /// The value of a host, spelt as it was put in: `*.x` is the wildcard itself.
    pub fn get(&self, host: &str) -> Option<&Arc<T>> {
        if host.is_empty() {
            self.any.as_ref()
        } else if let Some(suffix) = host.strip_prefix("*.") {
            self.wildcard.get(suffix)
        } else if let Some(suffix) = host.strip_prefix('.') {
            self.suffix.get(suffix)
        } else {
            self.exact.get(host)
        }
    }

    /// The value for a request's host.
    pub fn find(&self, host: &str) -> Option<&Arc<T>> {
        self.find_named(host).or(self.any.as_ref())
    }

    /// The value for a host, unless it is only the one for all hosts.
    pub fn find_named(&self, host: &str) -> Option<&Arc<T>> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        self.find_below(host).map(|(_, value)| value)
    }

    /// The value of a wildcard that stands for a host, and what follows the asterisk.
    fn find_below<'a>(&self, host: &'a str) -> Option<(&'a str, &Arc<T>)> {
        if self.wildcard.len() == 0 && self.suffix.len() == 0 {
            return None;
        }
        let (label, mut rest) = host.split_once('.')?;
        if label.is_empty() {
            return None;
        }
        if let Some(value) = self.wildcard.get(rest) {
            return Some((rest, value));
        }
        if self.suffix.len() == 0 {
            return None;
        }
        // A name has at most 127 labels.
        loop {
            if let Some(value) = self.suffix.get(rest) {
                return Some((rest, value));
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// Asks every value that stands for a host, the closest one first, until one answers.
    pub fn find_map<'a, R>(
        &'a self,
        host: &str,
        mut ask: impl FnMut(&'a Arc<T>) -> Option<R>,
    ) -> Option<R> {
        if let Some(value) = self.exact.get(host)
            && let Some(answer) = ask(value)
        {
            return Some(answer);
        }
        if (self.wildcard.len() > 0 || self.suffix.len() > 0)
            && let Some((label, rest)) = host.split_once('.')
            && !label.is_empty()
        {
            if let Some(value) = self.wildcard.get(rest)
                && let Some(answer) = ask(value)
            {
                return Some(answer);
            }
            let mut rest = (self.suffix.len() > 0).then_some(rest);
            while let Some(suffix) = rest {
                if let Some(value) = self.suffix.get(suffix)
                    && let Some(answer) = ask(value)
                {
                    return Some(answer);
                }
                rest = suffix.split_once('.').map(|(_, shorter)| shorter);
            }
        }
        self.any.as_ref().and_then(ask)
    }

    /// How close what [`Self::find`] finds is to a host.
    pub fn rank(&self, host: &str) -> Option<Rank> {
        if self.exact.get(host).is_some() {
            return Some(Rank::Exact);
        }
        match self.find_below(host) {
            Some((suffix, _)) => Some(Rank::Suffix(suffix.len())),
            None => self.any.as_ref().map(|_| Rank::Any),
        }
    }

    /// The value for all hosts.
    pub fn any(&self) -> Option<&Arc<T>> {
        self.any.as_ref()
    }

    /// Every value with its host (`*.x` and `.x` for wildcards, empty for all hosts), in no order.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Arc<T>)> {
        let exact = self
            .exact
            .iter()
            .map(|(host, value)| (host.to_string(), value));
        let wildcard = self
            .wildcard
            .iter()
            .map(|(host, value)| (format!("*.{host}"), value));
        let suffix = self
            .suffix
            .iter()
            .map(|(host, value)| (format!(".{host}"), value));
        let any = self.any.iter().map(|value| (String::new(), value));
        exact.chain(wildcard).chain(suffix).chain(any)
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        let tables = [&self.exact, &self.wildcard, &self.suffix];
        let values = tables.into_iter().flat_map(Shards::iter);
        values.map(|(_, value)| value).chain(&self.any)
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len() + self.suffix.len() + usize::from(self.any.is_some())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// By hand, because derived ones would ask the same of `T`.
impl<T> Clone for HostTable<T> {
    fn clone(&self) -> Self {
        Self {
            exact: self.exact.clone(),
            wildcard: self.wildcard.clone(),
            suffix: self.suffix.clone(),
            any: self.any.clone(),
        }
    }
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self {
            exact: Shards::default(),
            wildcard: Shards::default(),
            suffix: Shards::default(),
            any: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(authority: &str) -> Option<String> {
        HostName::parse(authority.as_bytes()).map(|host| host.as_str().to_owned())
    }

    #[test]
    fn hosts_are_compared_without_case_port_and_trailing_dot() {
        assert_eq!(parse("Example.COM").as_deref(), Some("example.com"));
        assert_eq!(parse("example.com:8443").as_deref(), Some("example.com"));
        assert_eq!(parse("example.com.:80").as_deref(), Some("example.com"));
        assert_eq!(parse("[::1]:8080").as_deref(), Some("::1"));
        assert_eq!(parse("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(parse("example.com:").as_deref(), Some("example.com"));
    }

    #[test]
    fn a_host_that_is_read_takes_the_place_of_the_one_before() {
        let mut host = HostName::default();
        assert_eq!(host.as_str(), "");
        assert!(host.read(b"Much.Longer.Example:80").is_some());
        assert!(host.read(b"Short.example").is_some());
        assert_eq!(host.as_str(), "short.example");
        assert!(host.read(b"no host").is_none());
        assert_eq!(host.as_str(), "short.example");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            ".",
            ":80",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:123456",
            "[::1",
            "[::1]x",
            "[a.example]",
            "[127.0.0.1]",
            "[::1%25eth0]",
            "[]",
            "ex\u{e4}mple",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse(&"a".repeat(254)), None);
    }

    #[test]
    fn exact_before_wildcard_before_all() {
        let mut table = HostTable::default();
        for host in ["a.example", "*.example", ""] {
            table.insert(host, Arc::new(host));
        }
        let find = |host| table.find(host).map(|value| **value);
        assert_eq!(find("a.example"), Some("a.example"));
        assert_eq!(find("b.example"), Some("*.example"));
        assert_eq!(
            find("c.b.example"),
            Some(""),
            "a wildcard stands for one label"
        );
        assert_eq!(find(".example"), Some(""), "an empty label is no label");
        assert_eq!(find("example"), Some(""));
    }

    #[test]
    fn a_suffix_stands_for_any_number_of_labels_and_the_longest_is_found() {
        let mut table = HostTable::default();
        for host in ["a.example", ".example", ".b.example"] {
            table.insert(host, Arc::new(host));
        }
        let find = |host| (table.find(host).map(|value| **value), table.rank(host));
        assert_eq!(find("a.example"), (Some("a.example"), Some(Rank::Exact)));
        assert_eq!(find("c.example"), (Some(".example"), Some(Rank::Suffix(7))));
        assert_eq!(find("x.c.example").0, Some(".example"));
        assert_eq!(find("x.y.b.example").0, Some(".b.example"));
        assert_eq!(find("b.example").0, Some(".example"));
        assert_eq!(find("example"), (None, None));
        let mut asked = Vec::new();
        let none: Option<()> = table.find_map("x.b.example", |value| {
            asked.push(**value);
            None
        });
        assert_eq!(none, None);
        assert_eq!(asked, [".b.example", ".example"]);
    }
}
