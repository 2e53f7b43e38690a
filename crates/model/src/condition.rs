//! What a request has to be like besides its path: method, header fields, query parameters.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::Input;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

use crate::pcre;

/// What conditions look at. The data plane's requests are one, a question on the command line is
/// another.
pub trait RequestView {
    /// The method, as `GET`.
    fn method(&self) -> &[u8];

    /// The value of a header field by its name in lower case. A field that came more than once is
    /// one with a comma between the values (RFC 9110, section 5.3).
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// The query with its question mark, or nothing.
    fn query(&self) -> &[u8];
}

/// What a request has to be like besides its path (Gateway API: the rest of an HTTPRouteMatch).
/// All of it has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The method.
    pub method: Option<Box<str>>,
    /// Header fields by name in lower case.
    pub headers: Box<[FieldMatch]>,
    /// Query parameters by name; of one that came more than once, the first.
    pub query: Box<[FieldMatch]>,
}

/// One header field or query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub value: ValueMatch,
}

/// What a value has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// Byte for byte.
    Exact(Box<str>),
    /// As a whole, what the pattern says.
    Pattern(Pattern),
}

impl Conditions {
    /// Whether a request meets all of them.
    pub fn hold(&self, request: &impl RequestView) -> bool {
        if let Some(method) = &self.method
            && method.as_bytes() != request.method()
        {
            return false;
        }
        let header = |field: &FieldMatch| {
            let value = request.header(&field.name);
            value.is_some_and(|value| field.value.holds(&value))
        };
        let parameter = |field: &FieldMatch| {
            let value = parameter(request.query(), field.name.as_bytes());
            value.is_some_and(|value| field.value.holds(&value))
        };
        self.headers.iter().all(header) && self.query.iter().all(parameter)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.method.is_none() && self.headers.is_empty() && self.query.is_empty()
    }
}

impl ValueMatch {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

/// The first value of a query parameter, decoded (WHATWG URL, application/x-www-form-urlencoded).
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    query.split(|&byte| byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=');
        let (key, value) = match at {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        (!pair.is_empty() && *decoded(key) == *name).then(|| decoded(value))
    })
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| {
        text.get(at)
            .and_then(|&byte| char::from(byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

/// A regular expression that a value has to match, in time linear in the value's length.
///
/// Two are equal if their texts are, and are read alike.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    dialect: Dialect,
    regex: Regex,
}

/// What is compared, and how the text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Dialect {
    /// The whole value.
    Whole,
    /// The value's beginning.
    Beginning,
    /// As nginx's `location ~* "^text"`.
    Location,
    /// As nginx's `rewrite "(?i)text"`.
    Rewrite,
    /// As nginx's `ngx.re.match`.
    Anywhere,
}

/// What a pattern has captured of a value: the whole, then up to nine groups; nothing for a group
/// that took no part.
pub type Captures<'a> = [&'a [u8]; 10];

impl Pattern {
    /// The most memory that one compiled pattern may take, in bytes.
    pub const MOST_MEMORY: usize = 256 * 1024;

    /// The longest pattern, in bytes (the Gateway API's limit is 4,096 for header values).
    pub const MOST_TEXT: usize = 4096;

    /// Compiles a pattern that is compared with whole values. RE2's syntax, without back
    /// references and look-around, which have no bound in time.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn whole(text: &str) -> Result<Self, String> {
        Self::compile(text, &format!("^(?:{text})$"), Dialect::Whole)
    }

    /// Compiles a pattern that is compared with the beginning of paths.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn beginning(text: &str) -> Result<Self, String> {
        Self::compile(text, &format!("^(?:{text})"), Dialect::Beginning)
    }

    /// Compiles the path of an nginx location, which is compared with the beginning of normalised
    /// paths in any case (`~* "^text"`).
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn location(text: &str) -> Result<Self, String> {
        // Without a group, as there: of alternatives, only the first is bound to the beginning.
        let read = format!("^{}", pcre::read_path(text));
        Self::compile(text, &read, Dialect::Location)
    }

    /// Compiles what nginx searches for in paths before it rewrites them (`(?i)text`).
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn rewrite(text: &str) -> Result<Self, String> {
        Self::compile(text, &pcre::read_path(text), Dialect::Rewrite)
    }

    /// Compiles what is searched for anywhere in a value, in PCRE's syntax as far as it has a bound
    /// in time.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn anywhere(text: &str) -> Result<Self, String> {
        Self::compile(text, &pcre::read(text), Dialect::Anywhere)
    }

    fn compile(text: &str, anchored: &str, dialect: Dialect) -> Result<Self, String> {
        if text.len() > Self::MOST_TEXT {
            return Err(format!("is longer than {} bytes", Self::MOST_TEXT));
        }
        // By itself first, lest a parenthesis in it end the group around it.
        let mut syntax = syntax::Config::new().utf8(false);
        match dialect {
            Dialect::Whole | Dialect::Beginning => {
                syntax::parse_with(text, &syntax).map_err(|error| error.to_string())?;
            }
            // nginx's are about bytes.
            Dialect::Anywhere => syntax = syntax.unicode(false),
            Dialect::Location | Dialect::Rewrite => {
                syntax = syntax.unicode(false).case_insensitive(true);
            }
        }
        let config = Config::new()
            .nfa_size_limit(Some(Self::MOST_MEMORY))
            .hybrid_cache_capacity(Self::MOST_MEMORY)
            .utf8_empty(false);
        let mut builder = Regex::builder();
        let builder = builder.configure(config).syntax(syntax);
        let regex = builder
            .build(anchored)
            .map_err(|error| match error.size_limit() {
                Some(limit) => format!("takes more than {limit} bytes when compiled"),
                None => error.to_string(),
            })?;
        let text = text.into();
        Ok(Self(Arc::new(Compiled {
            text,
            dialect,
            regex,
        })))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether a value matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.regex.is_match(value)
    }

    /// What is captured of a value, if it matches.
    pub fn captures<'a>(&self, value: &'a [u8]) -> Option<Captures<'a>> {
        let mut slots = [None; 20];
        self.0.regex.search_slots(&Input::new(value), &mut slots)?;
        let mut captures: Captures<'a> = [&[]; 10];
        for (capture, ends) in captures.iter_mut().zip(slots.chunks_exact(2)) {
            if let [Some(start), Some(end)] = ends {
                *capture = &value[start.get()..end.get()];
            }
        }
        Some(captures)
    }

    /// Whether it is an nginx location's.
    pub fn is_location(&self) -> bool {
        self.0.dialect == Dialect::Location
    }

    fn identity(&self) -> (&str, Dialect) {
        (&self.0.text, self.0.dialect)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Asked {
        headers: Vec<(&'static str, &'static str)>,
        query: &'static str,
    }

    impl RequestView for Asked {
        fn method(&self) -> &[u8] {
            b"GET"
        }

        fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            let found = self.headers.iter().find(|(known, _)| *known == name)?;
            Some(Cow::Borrowed(found.1.as_bytes()))
        }

        fn query(&self) -> &[u8] {
            self.query.as_bytes()
        }
    }

    fn field(name: &str, value: ValueMatch) -> Box<[FieldMatch]> {
        let name = name.into();
        [FieldMatch { name, value }].into()
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let asked = Asked {
            headers: vec![("version", "two")],
            query: "?animal=whale&animal=dolphin&empty&plus=a+b%21",
        };
        let exact = |value: &str| ValueMatch::Exact(value.into());
        let pattern = |value: &str| ValueMatch::Pattern(Pattern::whole(value).expect("a pattern"));
        let mut conditions = Conditions {
            method: Some("GET".into()),
            headers: field("version", pattern("t.o|three")),
            query: field("animal", exact("whale")),
        };
        assert!(conditions.hold(&asked));
        for (name, value, holds) in [
            ("animal", exact("dolphin"), false),
            ("empty", exact(""), true),
            ("plus", exact("a b!"), true),
            ("none", pattern(".*"), false),
            ("animal", pattern("hal"), false),
        ] {
            conditions.query = field(name, value);
            assert_eq!(conditions.hold(&asked), holds, "{name}");
        }
        conditions.query = [].into();
        conditions.method = Some("get".into());
        assert!(!conditions.hold(&asked));
    }

    #[test]
    fn patterns_are_bounded_and_closed_in_themselves() {
        for bad in ["(", "a)|(b", "(?=a)", r"(a)\1", "(?:.{1000}){1000}"] {
            assert!(Pattern::whole(bad).is_err(), "{bad}");
        }
        assert!(Pattern::whole(&"a".repeat(5000)).is_err());
        let pattern = Pattern::beginning("/v[0-9]+").expect("a pattern");
        assert!(pattern.is_match(b"/v12/x"));
        assert!(!pattern.is_match(b"/x/v12"));
    }

    #[test]
    fn locations_are_nginxs() {
        for (text, path, matches) in [
            ("/foo", "/foobar", true),
            ("/foo", "/FOO", true),
            ("/foo", "/x/foo", false),
            ("/id/[0-9]+$", "/id/12", true),
            ("/id/[0-9]+$", "/id/12a", false),
            (r"/v\d\.\w+", "/v1.x", true),
            ("/a{b", "/a{b", true),
            ("/a[[]b", "/a[b", true),
            ("/x[a&&b]", "/x&", true),
            ("/\u{e4} (.*)", "/%C3%A4%20x", true),
            ("/a|/b", "/x/b", true),
            ("/a", "/b/a", false),
            (r"/a\/b", "/a/b", true),
        ] {
            let pattern = Pattern::location(text).expect("a pattern");
            assert_eq!(pattern.is_match(path.as_bytes()), matches, "{text} {path}");
        }
        for bad in ["/(?=a)", r"/(a)\1", "/(?<!x)a", "/(", "/a++", "/(?>a)"] {
            assert!(Pattern::location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_captured_and_those_that_took_no_part_are_empty() {
        let pattern = Pattern::rewrite("/foo(/|$)(x)?(.*)").expect("a pattern");
        let captures = pattern.captures(b"/Foo/bar/baz").expect("a match");
        let expected: [&[u8]; 4] = [b"/Foo/bar/baz", b"/", b"", b"bar/baz"];
        assert_eq!(captures[..4], expected);
        assert!(pattern.captures(b"/bar").is_none());
        let twelve = Pattern::rewrite("/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)").expect("a pattern");
        assert_eq!(twelve.captures(b"/abcdefghijkl").expect("a match")[9], b"i");
        assert_ne!(Pattern::rewrite("/a"), Pattern::location("/a"));
    }
}
