//! Texts that a pattern matches.

use regex_syntax::hir::{Class, Hir, HirKind};

/// No pattern gives more than so many.
const MOST: usize = 12;

/// Some texts that a regular expression matches: each of its alternatives, what may be left out
/// there and left out. None if it cannot be read.
pub(crate) fn of(pattern: &str) -> Vec<String> {
    let mut parser = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(64)
        .build();
    let Ok(hir) = parser.parse(pattern) else {
        return Vec::new();
    };
    let mut texts: Vec<String> = some(&hir, 0)
        .into_iter()
        .filter_map(|bytes| String::from_utf8(bytes).ok())
        .collect();
    texts.dedup();
    texts
}

fn some(hir: &Hir, depth: usize) -> Vec<Vec<u8>> {
    // `nest_limit` is about what was written; this about what comes of it.
    if depth > 128 {
        return vec![Vec::new()];
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Class(class) => vec![vec![one_of(class)]],
        HirKind::Capture(capture) => some(&capture.sub, depth + 1),
        HirKind::Repetition(repetition) => {
            let inner = some(&repetition.sub, depth + 1);
            // One more than there has to be, if there may be.
            let least = repetition.min.min(8) as usize;
            let most = repetition.max.map_or(least + 1, |max| max.min(8) as usize);
            let times = |one: &Vec<u8>, count: usize| one.repeat(count);
            let mut all: Vec<Vec<u8>> = inner
                .iter()
                .map(|one| times(one, most.min(least + 1).max(least)))
                .collect();
            all.extend(inner.first().map(|one| times(one, least)));
            capped(all)
        }
        HirKind::Concat(parts) => parts.iter().fold(vec![Vec::new()], |before, part| {
            let next = some(part, depth + 1);
            let joined = before
                .iter()
                .flat_map(|before| next.iter().map(move |next| [&**before, next].concat()));
            capped(joined.take(MOST).collect())
        }),
        HirKind::Alternation(parts) => capped(
            parts
                .iter()
                .flat_map(|part| some(part, depth + 1).into_iter().take(3))
                .collect(),
        ),
    }
}

fn capped(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.truncate(MOST);
    all
}

/// A letter, else a digit, else whatever is first.
fn one_of(class: &Class) -> u8 {
    let has = |byte: u8| match class {
        Class::Bytes(class) => class
            .ranges()
            .iter()
            .any(|range| range.start() <= byte && byte <= range.end()),
        Class::Unicode(class) => {
            let c = char::from(byte);
            let mut ranges = class.ranges().iter();
            ranges.any(|range| range.start() <= c && c <= range.end())
        }
    };
    let wanted = b"xabcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./~";
    let found = wanted.iter().copied().find(|&byte| has(byte));
    found.unwrap_or(b'x')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alternative_is_tried_and_what_may_be_left_out_is() {
        assert_eq!(of("/api(/|$)(.*)"), ["/api/x", "/api/", "/apix", "/api"]);
        assert_eq!(of("/v[0-9]+/a?"), ["/v00/a", "/v00/", "/v0/a", "/v0/"]);
        assert!(of("(").is_empty());
    }

    #[test]
    fn all_of_it_is_bounded() {
        let pattern = "(a|b|c|d){0,8}".repeat(20);
        assert!(of(&pattern).len() <= MOST);
    }
}
