//! How far a copy is: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use registry::sync::Watch;

/// How far a copy is.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For so many images.
    pub(super) fn of(images: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: None };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {elapsed}",
        );
        // Without one it is plainer.
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(format!("0/{images} images"));
        Self { bar: Some(bar) }
    }

    /// An image is done with, of so many.
    pub(super) fn done(&self, done: usize, images: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{done}/{images} images"));
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) -> std::io::Result<()> {
        let say = || writeln!(std::io::stdout().lock(), "{line}");
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn expect(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc_length(bytes);
        }
    }

    fn sent(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }
}

/// `12.3 MB`
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut number = count as f64 / 1e3;
    let mut unit = 0;
    while number >= 999.95 && unit + 1 < UNITS.len() {
        number /= 1e3;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        let all = [0, 999, 1_000, 999_949, 999_960, 12_345_678, 5_000_000_000];
        let all = all.map(bytes);
        let expected = [
            "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "5.0 GB",
        ];
        assert_eq!(all, expected);
    }
}
