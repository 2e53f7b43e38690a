//! Which tags and repositories are wanted.

use std::cell::Cell;

use regex_automata::meta;

use super::range::Range;

/// Names by patterns.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// One of these fits; all names do if there is none.
    pub allow: Vec<Pattern>,
    /// None of these fits.
    pub deny: Vec<Pattern>,
}

/// Tags that are wanted.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    /// These, whatever else is said: tags and digests. They need not be asked for.
    pub exact: Vec<String>,
    /// Those that one of these fits.
    pub regex: Vec<Pattern>,
    /// Versions in one of these ranges.
    pub ranges: Vec<Range>,
    /// Of all those none that one of these fits.
    pub exclude: Vec<Pattern>,
    /// All tags that there are.
    pub all: bool,
    /// Whether a tag has to be fit by a pattern as well as in a range, as regsync has it, and not
    /// just by one of both.
    pub both: bool,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(meta::Regex);

impl Pattern {
    /// An expression that fits if it is found anywhere.
    ///
    /// # Errors
    /// It is none, for people.
    pub fn anywhere(text: &str) -> Result<Self, String> {
        Self::of(text, meta::Config::new().nfa_size_limit(Some(10 << 20)))
    }

    /// The same, if it takes no more than `room` bytes, which it takes from there. It is slower than
    /// others: what makes those quick takes memory, too.
    ///
    /// # Errors
    /// It is none, or too large, for people.
    pub fn within(text: &str, room: &Cell<usize>) -> Result<Self, String> {
        let limits = meta::Config::new()
            .nfa_size_limit(Some(room.get().min(1 << 20)))
            .hybrid(false)
            .dfa(false)
            .onepass(false);
        let pattern = Self::of(text, limits)?;
        let left = room.get().checked_sub(pattern.0.memory_usage());
        let left = left.ok_or_else(|| format!("{text:?} and those before it are too large"))?;
        room.set(left);
        Ok(pattern)
    }

    fn of(text: &str, limits: meta::Config) -> Result<Self, String> {
        let built = meta::Builder::new().configure(limits).build(text);
        built.map(Self).map_err(|error| {
            let why = error.syntax_error().map_or_else(
                || "it is too large".to_owned(),
                |syntax| {
                    syntax
                        .to_string()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .to_owned()
                },
            );
            format!("{text:?} is no regular expression: {why}")
        })
    }

    /// An expression that fits if it is the whole.
    ///
    /// # Errors
    /// It is none, for people.
    pub fn whole(text: &str) -> Result<Self, String> {
        // On its own first: else `a)(b` would be one.
        Self::anywhere(text)?;
        Self::anywhere(&format!("^(?:{text})$"))
    }

    fn fits(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl Names {
    /// Whether a name is wanted.
    pub fn take(&self, name: &str) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|it| it.fits(name)))
            && !self.deny.iter().any(|it| it.fits(name))
    }
}

impl Tags {
    /// Just this one.
    pub fn one(reference: impl Into<String>) -> Self {
        Self {
            exact: vec![reference.into()],
            ..Self::default()
        }
    }

    /// Whether the registry has to be asked which tags there are.
    pub fn need_listing(&self) -> bool {
        self.all || !self.regex.is_empty() || !self.ranges.is_empty()
    }

    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && !self.need_listing()
    }

    /// Those wanted, of all that there are, in order and once.
    pub fn of<'a>(&'a self, there: &'a [String]) -> Vec<&'a str> {
        let listed = there.iter().map(String::as_str).filter(|tag| {
            let fits = self.regex.iter().any(|it| it.fits(tag));
            let within = self.ranges.iter().any(|it| it.takes(tag));
            let both = self.both && !self.regex.is_empty() && !self.ranges.is_empty();
            let wanted = match both {
                true => fits && within,
                false => fits || within,
            };
            (self.all || wanted) && !self.exclude.iter().any(|it| it.fits(tag))
        });
        let mut all: Vec<&str> = self.exact.iter().map(String::as_str).collect();
        all.extend(listed);
        let mut seen = std::collections::HashSet::new();
        all.retain(|tag| seen.insert(*tag));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_selected_by_each_way() {
        let there: Vec<String> = ["1.0", "1.1", "1.1-alpine", "edge", "2.0"]
            .map(str::to_owned)
            .to_vec();
        let pattern = |text| vec![Pattern::anywhere(text).expect("one")];
        let by_regex = Tags {
            regex: pattern("^1"),
            exclude: pattern("-alpine$"),
            ..Tags::default()
        };
        assert_eq!(by_regex.of(&there), ["1.0", "1.1"]);
        let by_range = Tags {
            exact: vec!["edge".to_owned(), "2.0".to_owned()],
            ranges: vec![">=1.1".parse().expect("one")],
            ..Tags::default()
        };
        assert_eq!(by_range.of(&there), ["edge", "2.0", "1.1"]);
        let all = Tags {
            all: true,
            exclude: pattern("edge"),
            ..Tags::default()
        };
        assert_eq!(all.of(&there).len(), 4);
        let both = Tags {
            regex: pattern("^1"),
            ranges: vec![">=1.1".parse().expect("one")],
            both: true,
            ..Tags::default()
        };
        assert_eq!(both.of(&there), ["1.1"]);
    }

    #[test]
    fn a_whole_pattern_is_the_whole() {
        let pattern = Pattern::whole("a|b").expect("one");
        assert!(pattern.fits("a") && pattern.fits("b") && !pattern.fits("ab"));
        assert!(Pattern::whole("a)(b").is_err());
        let error = Pattern::anywhere("a[").expect_err("unclosed");
        assert!(error.contains("unclosed"), "{error}");
    }
}
