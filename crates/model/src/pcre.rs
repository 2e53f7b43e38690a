//! PCRE's syntax in the syntax of patterns that have a bound in time: what both have, and write
//! differently. What only PCRE has is an error of whoever compiles the result.

use std::fmt::Write as _;

/// A regular expression as nginx reads it.
pub(crate) fn read(text: &str) -> String {
    translate(text, false)
}

/// The same about paths, in which clients encode spaces and everything beyond ASCII.
pub(crate) fn read_path(text: &str) -> String {
    translate(text, true)
}

fn translate(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '\\' => {
                let escaped = after.chars().next().map_or(0, char::len_utf8);
                out.push(first);
                out.push_str(&after[..escaped]);
                &after[escaped..]
            }
            '[' => class(after, &mut out),
            '{' if !is_quantifier(after) => {
                out.push_str("\\{");
                after
            }
            // A quantifier that never gives back has no counterpart, and would be read as another.
            '+' if matches!(out.chars().next_back(), Some('*' | '+' | '?' | '}'))
                && !ends_escaped(&out) =>
            {
                out.push_str("(?possessive)");
                after
            }
            ' ' | '\u{80}'.. if path => {
                out.push_str("(?:");
                for byte in first.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "%{byte:02X}");
                }
                out.push(')');
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    out
}

/// Whether the last character is there for itself.
fn ends_escaped(out: &str) -> bool {
    let before = out.trim_end_matches(['*', '+', '?', '}']);
    let backslashes = before.len() - before.trim_end_matches('\\').len();
    out.len() - before.len() == 1 && backslashes % 2 == 1
}

/// `2}`, `2,}` or `2,3}`.
fn is_quantifier(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else {
        return false;
    };
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

/// Copies a class in brackets, in which a bracket, `&&`, `--` and `~~` have no meaning of their own.
/// Returns what follows it.
fn class<'a>(text: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = text;
    for start in ["^", "]"] {
        if let Some(after) = rest.strip_prefix(start) {
            out.push_str(start);
            rest = after;
        }
    }
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            ']' => {
                out.push(']');
                return &rest[1..];
            }
            '\\' => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..taken]);
            }
            '[' if rest.starts_with("[:") => match rest.find(":]") {
                Some(end) => {
                    taken = end + 2;
                    out.push_str(&rest[..taken]);
                }
                None => out.push_str("\\["),
            },
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(first);
            }
            '-' if rest.starts_with("--") => out.push_str("\\-"),
            other => out.push(other),
        }
        rest = &rest[taken..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_is_rewritten_and_the_rest_stays() {
        for (text, expected) in [
            ("/foo(/|$)(.*)", "/foo(/|$)(.*)"),
            ("/a{2,3}b{c}", "/a{2,3}b\\{c}"),
            ("[[:alnum:]_[]x[]a]", "[[:alnum:]_\\[]x[]a]"),
            ("[^]a&&b~]", "[^]a\\&\\&b\\~]"),
            ("\\[a b\\", "\\[a b\\"),
            ("/a++", "/a+(?possessive)"),
            ("/a\\++", "/a\\++"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(read_path("/\u{e4} b"), "/(?:%C3%A4)(?:%20)b");
    }
}
