//! Lines of a file of any size, plain or gzip, of which none takes more than so much memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// The longest line in bytes.
const MOST: usize = 64 * 1024;

/// A file's lines.
pub(super) struct Lines {
    from: Box<dyn BufRead>,
    line: Vec<u8>,
}

/// A line.
pub(super) enum Line {
    /// As it is.
    Text(String),
    /// It is longer than is read.
    TooLong,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(MOST, File::open(path)?);
        let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let from: Box<dyn BufRead> = match is_gzip {
            true => Box::new(BufReader::with_capacity(MOST, MultiGzDecoder::new(file))),
            false => Box::new(file),
        };
        Ok(Self {
            from,
            line: Vec::new(),
        })
    }

    /// The next one; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        self.line.clear();
        let limit = u64::try_from(MOST).unwrap_or(u64::MAX);
        (&mut self.from)
            .take(limit)
            .read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.len() == MOST && !self.line.ends_with(b"\n") {
            self.skip()?;
            return Ok(Some(Line::TooLong));
        }
        let text = String::from_utf8_lossy(&self.line).into_owned();
        Ok(Some(Line::Text(text)))
    }

    /// Goes on to the end of a line.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.from.fill_buf()?;
            let (length, ends) = match buffer.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.from.consume(length);
            if ends {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn count(path: &Path) -> (usize, usize) {
        let mut lines = Lines::open(path).expect("opens");
        let (mut short, mut long) = (0, 0);
        while let Some(line) = lines.next().expect("reads") {
            match line {
                Line::Text(_) => short += 1,
                Line::TooLong => long += 1,
            }
        }
        (short, long)
    }

    #[test]
    fn long_lines_are_skipped_and_gzip_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!("a\n{}\nb\nc", "x".repeat(3 * MOST));
        let plain = folder.path().join("plain");
        std::fs::write(&plain, &text).expect("writes");
        assert_eq!(count(&plain), (3, 1));
        let packed = folder.path().join("packed.gz");
        let file = File::create(&packed).expect("creates");
        let mut gzip = GzEncoder::new(file, Compression::fast());
        gzip.write_all(text.as_bytes()).expect("writes");
        gzip.finish().expect("ends");
        assert_eq!(count(&packed), (3, 1));
    }
}
