//! The list of ingress-nginx's own end-to-end tests (v1.15, `docs/e2e-tests.md`), each with ours.
//!
//! `tests/program/e2e/*.tsv` has a line for each, of four columns: where it is asserted
//! (`directory/file:line` below ingress-nginx's `test/e2e/`), what is asserted in our words, our
//! tests (`file::test` of `tests/program/tests`, or `path/of/file.rs::test` from the repository's
//! root; several are separated by spaces), and a remark. A line without a test has a remark that
//! says why. Lines that begin with `#` are comments.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How many tests the retired project lists, by directory.
pub const LISTED: [(&str, usize); 20] = [
    ("admission", 13),
    ("annotations", 208),
    ("cgroups", 2),
    ("dbg", 3),
    ("defaultbackend", 6),
    ("disableleaderelection", 1),
    ("endpointslices", 2),
    ("gracefulshutdown", 3),
    ("ingress", 11),
    ("leaks", 1),
    ("loadbalance", 3),
    ("lua", 12),
    ("metrics", 4),
    ("nginx", 3),
    ("security", 1),
    ("servicebackend", 11),
    ("settings", 148),
    ("ssl", 3),
    ("status", 1),
    ("tcpudp", 3),
];

/// One of ingress-nginx's tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `directory/file:line` below `test/e2e/`.
    pub place: String,
    /// What is asserted, in our words.
    pub what: String,
    /// Ours, as the file has them.
    pub tests: Vec<String>,
    /// Why there is none, or what is different.
    pub remark: String,
}

impl Row {
    /// The folder in which ingress-nginx has it.
    pub fn directory(&self) -> &str {
        self.place.split('/').next().unwrap_or_default()
    }

    /// The folder and the file, without the line.
    pub fn section(&self) -> &str {
        self.place.split(':').next().unwrap_or_default()
    }

    fn line(&self) -> u32 {
        let (_, line) = self.place.split_once(':').unwrap_or_default();
        line.parse().unwrap_or_default()
    }
}

/// All lines of all files, by place.
///
/// # Panics
/// On a line that is none.
pub fn rows() -> Vec<Row> {
    let folder = root().join("tests/program/e2e");
    let mut rows = Vec::new();
    for entry in folder.read_dir().expect("the folder of the lists") {
        let path = entry.expect("a file of the folder").path();
        if path.extension().is_some_and(|it| it == "tsv") {
            let text = std::fs::read_to_string(&path).expect("a list");
            let lines = text
                .lines()
                .filter(|it| !it.is_empty() && !it.starts_with('#'));
            rows.extend(lines.map(row));
        }
    }
    rows.sort_by_cached_key(|it: &Row| (it.section().to_owned(), it.line(), it.place.clone()));
    rows
}

fn row(line: &str) -> Row {
    let columns: Vec<_> = line.split('\t').collect();
    let [place, what, tests, remark] = columns[..] else {
        panic!("four columns, not {}: {line}", columns.len());
    };
    Row {
        place: place.to_owned(),
        what: what.to_owned(),
        tests: tests
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        remark: remark.to_owned(),
    }
}

/// The book's page: `docs/ingress-nginx/e2e.md`.
pub fn page() -> String {
    let rows = rows();
    let tested = rows.iter().filter(|it| !it.tests.is_empty()).count();
    let of: usize = LISTED.iter().map(|(_, count)| count).sum();
    let mut out = format!(
        "# ingress-nginx's own tests, and ours\n\n\
         ingress-nginx v1.15 lists {of} end-to-end tests. {} of them are gone through here: {tested} have a test of ours that\n\
         asserts the same through the front door, {} do not, for the reason that is given. Test names are `file::test` of\n\
         `tests/program/tests`. The table is written by `cargo run -p program-tests --example e2e > docs/ingress-nginx/e2e.md`\n\
         from `tests/program/e2e/`, and a test sees to it that every test named here exists.\n",
        rows.len(),
        rows.len() - tested,
    );
    let mut section = "";
    for row in &rows {
        if row.section() != section {
            section = row.section();
            let _ = write!(
                out,
                "\n## {section}\n\n| Line | What is asserted | Here |\n| --- | --- | --- |\n"
            );
        }
        let mut here: Vec<_> = row.tests.iter().map(|it| format!("`{it}`")).collect();
        if !row.remark.is_empty() {
            here.push(row.remark.clone());
        }
        let here = here.join("<br>");
        let _ = writeln!(out, "| {} | {} | {here} |", row.line(), row.what);
    }
    out
}

/// Whether a test is in the sources, and is one.
pub fn exists(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else {
        return false;
    };
    let path = match file.contains('/') {
        true => root().join(file),
        false => root().join(format!("tests/program/tests/{file}.rs")),
    };
    let Ok(source) = std::fs::read_to_string(path) else {
        return false;
    };
    let mut is_test = false;
    source.lines().map(str::trim).any(|line| {
        let marks = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let is_fn = line.trim_start_matches("async ").starts_with("fn ");
        let found = is_test
            && line
                .trim_start_matches("async ")
                .starts_with(&format!("fn {name}("));
        is_test = marks || (is_test && !is_fn);
        found
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_books_page_is_this_one() {
        let path = root().join("docs/ingress-nginx/e2e.md");
        let text = std::fs::read_to_string(path).expect("the page");
        let command = "cargo run -p program-tests --example e2e > docs/ingress-nginx/e2e.md";
        assert!(text == page(), "{command}");
    }

    #[test]
    fn every_test_that_is_named_exists() {
        let rows = rows();
        let named = rows.iter().flat_map(|it| &it.tests);
        let missing: BTreeSet<_> = named.filter(|it| !exists(it)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
        assert!(!exists("routing::no_such_test") && !exists("no_such_file::it"));
    }

    #[test]
    fn every_line_has_a_test_or_says_why_not() {
        for row in rows() {
            assert!(!row.what.is_empty(), "{row:?}");
            assert!(!row.tests.is_empty() || !row.remark.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn what_is_listed_is_here_once() {
        let rows = rows();
        let places: BTreeSet<_> = rows.iter().map(|it| &it.place).collect();
        assert_eq!(places.len(), rows.len(), "a place is there twice");
        for (directory, count) in LISTED {
            let here = rows.iter().filter(|it| it.directory() == directory).count();
            // A directory is listed whole or not yet.
            assert!(here == count || here == 0, "{directory}: {here} of {count}");
        }
        let unknown = rows
            .iter()
            .find(|row| LISTED.iter().all(|(it, _)| *it != row.directory()));
        assert_eq!(unknown, None);
    }
}
