//! Patterns of repositories' names.

/// A pattern of repositories' names: `*` is any text within one component of the path, `**` any
/// text at all, all else itself. `team/**` has everything below `team`, and not `team` itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// `*`
    Some,
    /// `**`
    Any,
}

/// The longest pattern in bytes: no repository's name is longer.
const LONGEST: usize = 255;

/// The most stars: what a match costs grows with them.
const MOST_STARS: usize = 16;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a pattern has 1 to {LONGEST} characters"));
        }
        if let Some(wrong) = text.chars().find(|&it| !is_allowed(it)) {
            return Err(format!(
                "`{wrong}` is in no repository's name: a pattern has lower-case letters, digits, \
                 `.`, `_`, `-`, `/`, and `*` and `**`"
            ));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let stars = rest.len() - rest.trim_start_matches('*').len();
            let length = match stars {
                0 => rest.find('*').unwrap_or(rest.len()),
                _ => stars,
            };
            let (piece, after) = rest.split_at(length);
            pieces.push(match stars {
                0 => Piece::Text(piece.into()),
                1 => Piece::Some,
                2 => Piece::Any,
                _ => return Err("write `*` or `**`, not more".to_owned()),
            });
            rest = after;
        }
        let stars = pieces.iter().filter(|it| !matches!(it, Piece::Text(_)));
        if stars.count() > MOST_STARS {
            return Err(format!("a pattern has at most {MOST_STARS} stars"));
        }
        Ok(Self(pieces))
    }

    /// Whether every name is of it: `**`.
    pub(crate) fn is_everything(&self) -> bool {
        self.0 == [Piece::Any]
    }

    /// Whether a repository's name is of this pattern.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // Which beginnings of the name the pieces so far may end at.
        let mut ends = vec![false; name.len() + 1];
        ends[0] = true;
        for piece in &self.0 {
            ends = step(piece, name, &ends);
        }
        ends[name.len()]
    }
}

fn is_allowed(it: char) -> bool {
    it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '.' | '_' | '-' | '/' | '*')
}

fn step(piece: &Piece, name: &[u8], ends: &[bool]) -> Vec<bool> {
    let mut next = vec![false; ends.len()];
    match piece {
        Piece::Text(text) => {
            let text = text.as_bytes();
            for start in (0..ends.len()).filter(|&at| ends[at]) {
                if name[start..].starts_with(text) {
                    next[start + text.len()] = true;
                }
            }
        }
        Piece::Some | Piece::Any => {
            let mut is_open = false;
            for at in 0..ends.len() {
                let crosses = at > 0 && name[at - 1] == b'/' && *piece == Piece::Some;
                is_open = (is_open && !crosses) || ends[at];
                next[at] = is_open;
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).expect("a pattern").matches(name)
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_do_not() {
        assert!(matches("team/*", "team/app"));
        assert!(!matches("team/*", "team/app/web"));
        assert!(!matches("team/*", "team"));
        assert!(matches("team/**", "team/app/web"));
        assert!(!matches("team/**", "team"));
        assert!(!matches("team/**", "teams/app"));
        assert!(matches("**", "a/b/c"));
        assert!(matches("*", "a"));
        assert!(!matches("*", "a/b"));
        assert!(matches("**/web", "team/app/web"));
        assert!(matches("app-*-v*", "app-x-v1"));
        assert!(!matches("app-*-v*", "app-x-1"));
        assert!(matches("plain", "plain"));
        assert!(!matches("plain", "plainer"));
    }

    #[test]
    fn what_no_name_has_is_no_pattern() {
        for wrong in ["", "Team/*", "a b", "a***", "a?", "[ab]"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_stars_cost_little() {
        let pattern = "*a".repeat(MOST_STARS);
        assert!(!matches(&pattern, &"a".repeat(254).replace('a', "b")));
        assert!(Pattern::parse(&"*a".repeat(MOST_STARS + 1)).is_err());
    }
}
