//! Ranges of versions, in the notation of skopeo's and regsync's files: `>= 1.2, < 2 || 3.x`.

use std::str::FromStr;

use semver::{Comparator, Op, Prerelease, Version, VersionReq};

/// Versions that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range(Vec<Alternative>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Alternative {
    all_of: Vec<Comparator>,
    none_of: Vec<Comparator>,
}

impl Range {
    /// Whether a tag is a version in the range: `1.2`, `v1.2.3`, `1.2.3-rc1+build`. Versions before
    /// a release are in it only if one of its bounds is one, too.
    pub fn takes(&self, tag: &str) -> bool {
        let Some(version) = version(tag) else {
            return false;
        };
        self.0.iter().any(|it| it.takes(&version))
    }
}

impl Alternative {
    fn takes(&self, version: &Version) -> bool {
        let early = !version.pre.is_empty();
        if early && !self.all_of.iter().any(|it| !it.pre.is_empty()) {
            return false;
        }
        let is = |comparator: &Comparator| matches(comparator, version);
        self.all_of.iter().all(is) && !self.none_of.iter().any(is)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alternatives = text.split("||").map(alternative);
        let alternatives: Result<Vec<_>, ()> = alternatives.collect();
        alternatives.map(Self).map_err(|()| {
            format!("{text:?} is no range of versions: write it as \">= 1.2, < 2 || 3.x\"")
        })
    }
}

/// `semver` has early versions fit only next to their own release; here order alone counts.
fn matches(comparator: &Comparator, version: &Version) -> bool {
    if version.pre.is_empty() {
        return comparator.matches(version);
    }
    let bound = Version {
        major: comparator.major,
        minor: comparator.minor.unwrap_or(0),
        patch: comparator.patch.unwrap_or(0),
        pre: comparator.pre.clone(),
        build: semver::BuildMetadata::EMPTY,
    };
    let order = version.cmp_precedence(&bound);
    let release = Version {
        pre: Prerelease::EMPTY,
        ..version.clone()
    };
    match comparator.op {
        Op::Greater => order.is_gt(),
        Op::GreaterEq => order.is_ge(),
        Op::Less => order.is_lt(),
        Op::LessEq => order.is_le(),
        Op::Exact => order.is_eq(),
        // Above the bound, and of the same release line.
        _ => {
            let line = Comparator {
                pre: Prerelease::EMPTY,
                ..comparator.clone()
            };
            order.is_ge() && line.matches(&release)
        }
    }
}

fn alternative(text: &str) -> Result<Alternative, ()> {
    let mut found = Alternative {
        all_of: Vec::new(),
        none_of: Vec::new(),
    };
    let words = words(text);
    if words.is_empty() {
        return Err(());
    }
    let mut at = 0;
    while at < words.len() {
        // `1.2 - 1.4`
        if let [low, dash, high, ..] = &words[at..]
            && dash == "-"
        {
            found.all_of.extend(comparators(&format!(">={low}"))?);
            found.all_of.extend(comparators(&format!("<={high}"))?);
            at += 3;
            continue;
        }
        match words[at].strip_prefix("!=") {
            Some(version) => found.none_of.extend(comparators(&format!("={version}"))?),
            None => found.all_of.extend(comparators(&words[at])?),
        }
        at += 1;
    }
    Ok(found)
}

/// Comparators, each with its operator before it and no blank between.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split([',', ' ', '\t']).filter(|it| !it.is_empty()) {
        match words.last_mut() {
            Some(last) if !last.is_empty() && last.chars().all(|it| "<>=!~^".contains(it)) => {
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn comparators(word: &str) -> Result<Vec<Comparator>, ()> {
    let digits = word.trim_start_matches(['<', '>', '=', '~', '^']);
    let operator = &word[..word.len() - digits.len()];
    let digits = digits.strip_prefix('v').unwrap_or(digits);
    let operator = match operator {
        "" | "=" | "==" => "=",
        "=>" => ">=",
        "=<" => "<=",
        "~>" => "~",
        other => other,
    };
    if matches!(digits, "*" | "x" | "X") {
        return match operator {
            "=" | ">=" => Ok(Vec::new()),
            _ => Err(()),
        };
    }
    // `semver` has wildcards without an operator alone. `1.0.0-rc.x` has none.
    let numbers = digits.split(['-', '+']).next().unwrap_or_default();
    let wild = numbers.split('.').any(|it| matches!(it, "x" | "X" | "*"));
    let text = match (wild, operator) {
        (true, "=") => digits.replace(['x', 'X'], "*"),
        (true, _) => {
            let parts = digits.split('.').take_while(|it| it.parse::<u64>().is_ok());
            format!("{operator}{}", parts.collect::<Vec<_>>().join("."))
        }
        (false, _) => format!("{operator}{digits}"),
    };
    VersionReq::parse(&text)
        .map(|it| it.comparators)
        .map_err(|_| ())
}

/// A tag as a version: one to three numbers, and what follows them.
pub(super) fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts = numbers.split('.').map(|it| it.parse::<u64>().ok());
    let major = parts.next()??;
    let minor = parts.next().unwrap_or(Some(0))?;
    let patch = parts.next().unwrap_or(Some(0))?;
    match parts.next() {
        Some(_) => None,
        None => Version::parse(&format!("{major}.{minor}.{patch}{rest}")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken<'a>(range: &str, tags: &[&'a str]) -> Vec<&'a str> {
        let range: Range = range.parse().expect("a range");
        let tags = tags.iter().copied();
        tags.filter(|tag| range.takes(tag)).collect()
    }

    #[test]
    fn ranges_are_read_as_their_users_write_them() {
        let tags = [
            "1.2",
            "v1.2.9",
            "1.3.0-rc1",
            "2.0.0",
            "3",
            "latest",
            "1.2.3.4",
        ];
        assert_eq!(taken(">= 1.2", &tags), ["1.2", "v1.2.9", "2.0.0", "3"]);
        assert_eq!(taken(">=1.2 <2", &tags), ["1.2", "v1.2.9"]);
        assert_eq!(taken(">= 1.2, < 2 || 3.x", &tags), ["1.2", "v1.2.9", "3"]);
        assert_eq!(taken("1.2.x", &tags), ["1.2", "v1.2.9"]);
        assert_eq!(taken("1.2.9", &tags), ["v1.2.9"]);
        assert_eq!(taken("~1.2", &tags), ["1.2", "v1.2.9"]);
        assert_eq!(taken("^1", &tags), ["1.2", "v1.2.9"]);
        assert_eq!(taken("1.2 - 2.0", &tags), ["1.2", "v1.2.9", "2.0.0"]);
        assert_eq!(taken(">=1, != 2.0.0", &tags), ["1.2", "v1.2.9", "3"]);
        assert_eq!(taken("*", &tags), ["1.2", "v1.2.9", "2.0.0", "3"]);
        assert_eq!(taken(">=1.3.0-0 <2", &tags), ["1.3.0-rc1"]);
        for wrong in ["", "||", "latest", ">= 1.2 <", "1.2.3.4", ">< 1"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn order_alone_counts(a in 0u64..9, b in 0u64..9, c in 0u64..9, d in 0u64..9) {
            let range: Range = format!(">={a}.{b}").parse().expect("a range");
            prop_assert_eq!(range.takes(&format!("v{c}.{d}.0")), (c, d) >= (a, b));
        }

        #[test]
        fn nothing_is_too_strange(range in "[ -~]{0,30}", tag in "[ -~]{0,20}") {
            if let Ok(range) = range.parse::<Range>() {
                range.takes(&tag);
            }
        }
    }
}
