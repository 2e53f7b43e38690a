//! Tables as kubectl prints them.

use std::fmt::Write as _;

/// Lines of cells under a heading, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self {
            lines: vec![heading.iter().map(ToString::to_string).collect()],
        }
    }

    /// As many cells as the heading has.
    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| plain(&cell));
        self.lines.push(cells.collect());
    }

    pub(super) fn text(&self) -> String {
        let columns = self.lines.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut row = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                // Writing to a String does not fail.
                let _ = write!(row, "{cell:<width$}   ");
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What somebody else wrote, without what drives a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another_and_nothing_drives_the_terminal() {
        let mut table = Table::new(&["HOST", "PATH"]);
        table.line(["a.example".to_owned(), "/\u{1b}[31m".to_owned()]);
        table.line([String::new(), "/b".to_owned()]);
        let expected = "HOST        PATH\na.example   /\\u{1b}[31m\n-           /b\n";
        assert_eq!(table.text(), expected);
    }
}
