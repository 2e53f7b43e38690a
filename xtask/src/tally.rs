//! Counting what cargo's test runner says.

use std::fmt;
use std::ops::AddAssign;

/// Counted tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check that passed or failed as a whole.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: usize::from(passed),
            failed: usize::from(!passed),
            skipped: 0,
        }
    }

    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines
    /// count nothing.
    pub(crate) fn of_line(line: &str) -> Self {
        let Some(rest) = line.strip_prefix("test result: ") else {
            return Self::default();
        };
        let count = |what: &str| {
            let part = rest
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|number| number.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("ignored"),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; \
                    finished in 0.00s";
        assert_eq!(
            Tally::of_line(line),
            Tally {
                passed: 3,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in ["running 5 tests", "test a::b ... ok", "", "5 passed"] {
            assert_eq!(Tally::of_line(line), Tally::default());
        }
    }

    #[test]
    fn the_closing_line_names_skipped_only_if_there_are_any() {
        let none = Tally {
            passed: 1,
            failed: 2,
            skipped: 0,
        };
        assert_eq!(none.to_string(), "1 passed, 2 failed");
        let some = Tally {
            passed: 1,
            failed: 0,
            skipped: 4,
        };
        assert_eq!(some.to_string(), "1 passed, 0 failed, 4 skipped");
    }
}
