//! What came of each test, read from what the suite's program says while it runs.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::content::{Content, Level, Test};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// What came of the tests so far, and what they said.
#[derive(Debug, Default)]
pub struct Results {
    outcomes: BTreeMap<String, (Outcome, f64)>,
    logs: BTreeMap<String, String>,
    /// Whose the lines are that come.
    talks: String,
}

/// Before the runner's own lines, so that they are told from tests' output.
const MARK: char = '\u{16}';

/// Tests run below this one.
const ALL: &str = "TestConformance";

impl Results {
    /// Reads one line of Go's test runner with `-test.v=test2json`, which says at once what came of
    /// a part; gives the test that the line ends.
    pub fn line(&mut self, line: &str) -> Option<(&str, Outcome, f64)> {
        let line = line.trim_start_matches(MARK);
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["===", "RUN" | "NAME" | "CONT" | "PAUSE", path @ ..] = &words[..] {
            let path = path.first().copied().unwrap_or_default();
            self.talks = first_below(path).unwrap_or_default().to_owned();
            return None;
        }
        let ended = match words[..] {
            ["---", outcome, path, seconds] => read(outcome, path, seconds),
            _ => None,
        };
        let Some((outcome, path, seconds)) = ended else {
            let log = self.logs.entry(self.talks.clone()).or_default();
            log.push_str(line);
            log.push('\n');
            return None;
        };
        let name = first_below(path)?;
        // A part of a test has a path of its own, and is counted by the test.
        if path.matches('/').count() > 1 {
            let log = self.logs.entry(name.to_owned()).or_default();
            let _ = writeln!(log, "{line}");
            return None;
        }
        self.outcomes.insert(name.to_owned(), (outcome, seconds));
        let (name, &(outcome, seconds)) = self.outcomes.get_key_value(name)?;
        Some((name, outcome, seconds))
    }

    /// What a test said, or with an empty name what was said of none.
    pub fn log(&self, test: &str) -> &str {
        self.logs.get(test).map_or("", String::as_str)
    }

    pub fn of(&self, test: &Test) -> Option<Outcome> {
        self.outcomes.get(&test.name).map(|(outcome, _)| *outcome)
    }

    /// A line for each profile with tests among `wanted`, and one for those of none; where `profiles`
    /// are named, for these alone.
    pub fn summary(&self, content: &Content, wanted: &[&Test], profiles: &[String]) -> String {
        let mut summary = format!("{:<14} {:>28} {:>28}\n", "", "core", "extended");
        let is_named = |name: &String| profiles.is_empty() || profiles.contains(name);
        let shown = content.profiles.iter().filter(|it| is_named(&it.name));
        for profile in shown {
            let count = |level| {
                let of_level = |test: &&&Test| profile.level(test) == Some(level);
                self.count(wanted.iter().filter(of_level).copied())
            };
            let (core, extended) = (count(Level::Core), count(Level::Extended));
            if core.total() + extended.total() > 0 {
                let name = &profile.name;
                let _ = writeln!(summary, "{name:<14} {core:>28} {extended:>28}");
            }
        }
        let of_none = |test: &&&Test| content.profiles.iter().all(|it| it.level(test).is_none());
        let none = self.count(wanted.iter().filter(of_none).copied());
        if none.total() > 0 {
            let _ = writeln!(summary, "{:<14} {none:>28}", "no profile");
        }
        let _ = writeln!(
            summary,
            "{:<14} {:>28}",
            "all",
            self.count(wanted.iter().copied())
        );
        summary
    }

    pub fn count<'a>(&self, tests: impl Iterator<Item = &'a Test>) -> Count {
        let mut count = Count::default();
        for test in tests {
            match self.of(test) {
                Some(Outcome::Passed) => count.passed += 1,
                Some(Outcome::Failed) => count.failed += 1,
                Some(Outcome::Skipped) => count.skipped += 1,
                None => count.not_run += 1,
            }
        }
        count
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub not_run: usize,
}

impl Count {
    fn total(self) -> usize {
        self.passed + self.failed + self.skipped + self.not_run
    }

    pub fn is_complete(self) -> bool {
        self.passed == self.total()
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{} of {} passed", self.passed, self.total());
        for (count, what) in [
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (self.not_run, "not run"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        f.pad(&text)
    }
}

fn read<'a>(outcome: &str, path: &'a str, seconds: &str) -> Option<(Outcome, &'a str, f64)> {
    let outcome = match outcome {
        "PASS:" => Outcome::Passed,
        "FAIL:" => Outcome::Failed,
        "SKIP:" => Outcome::Skipped,
        _ => return None,
    };
    let seconds = seconds.strip_prefix('(')?.strip_suffix("s)")?;
    Some((outcome, path, seconds.parse().ok()?))
}

/// The test that a path is of: `A` of `TestConformance/A/part`.
fn first_below(path: &str) -> Option<&str> {
    let below = path.strip_prefix(ALL)?.strip_prefix('/')?;
    below.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::content;
    use super::{Outcome, Results};

    const SAID: &str = "\
\u{16}=== RUN   TestConformance
    suite.go:1: set up
\u{16}=== RUN   TestConformance/A
    helpers.go:2: of A
\u{16}=== RUN   TestConformance/A/part
    helpers.go:3: of a part of A
\u{16}=== NAME  TestConformance/B
    helpers.go:4: of B
\u{16}--- FAIL: TestConformance/B (1.50s)
\u{16}--- PASS: TestConformance/A/part (0.10s)
\u{16}=== NAME  TestConformance/A
\u{16}--- PASS: TestConformance/A (0.20s)
\u{16}--- SKIP: TestConformance/C (0.00s)
\u{16}=== NAME  
    suite.go:5: the end
\u{16}--- FAIL: TestConformance (2.00s)
";

    #[test]
    fn of_profiles_that_are_named_the_others_have_no_line() {
        let content = content();
        let wanted: Vec<_> = content.of_gateways().take(2).collect();
        let summary = |profiles: &[&str]| {
            let profiles: Vec<_> = profiles.iter().map(|it| (*it).to_owned()).collect();
            Results::default().summary(&content, &wanted, &profiles)
        };
        let both = summary(&[]);
        assert!(
            both.contains("GATEWAY-HTTP") && both.contains("GATEWAY-TLS"),
            "{both}"
        );
        let one = summary(&["GATEWAY-TLS"]);
        assert!(
            !one.contains("GATEWAY-HTTP") && one.contains("GATEWAY-TLS"),
            "{one}"
        );
    }

    #[test]
    fn outcomes_and_logs_are_read_while_tests_run_beside_each_other() {
        let mut results = Results::default();
        let ended: Vec<_> = SAID
            .lines()
            .filter_map(|line| {
                results
                    .line(line)
                    .map(|(name, it, _)| (name.to_owned(), it))
            })
            .collect();
        let expected = [
            ("B".to_owned(), Outcome::Failed),
            ("A".to_owned(), Outcome::Passed),
            ("C".to_owned(), Outcome::Skipped),
        ];
        assert_eq!(ended, expected);
        assert_eq!(results.log("B"), "    helpers.go:4: of B\n");
        assert!(results.log("A").contains("of A\n") && results.log("A").contains("a part of A"));
        let of_none = "    suite.go:1: set up\n    suite.go:5: the end\n";
        assert!(
            results.log("").starts_with(of_none),
            "{:?}",
            results.log("")
        );
    }
}
