//! The documents of a file.
//!
//! As kubectl does, a file is split before anything is parsed, so that a document that is no
//! YAML does not take its neighbours along: a separator is `---` at the start of a line, alone
//! or followed by white space (YAML allows a comment or the document's beginning there), or the
//! document end `...`.

use std::ops::Range;

/// One document's bytes, and where they start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The bytes of the file.
    pub(crate) bytes: Range<usize>,
    /// The 1-based line where `bytes` starts.
    pub(crate) line: u32,
}

/// The documents of a YAML file, without those that hold nothing but comments.
pub(crate) fn yaml(file: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut line = 1;
    let mut at = skip_mark(file);
    let mut start = (at, line);
    while at < file.len() {
        let end = line_end(file, at);
        match marker(&file[at..end]) {
            // The separator's own line belongs to what follows: there may be content on it.
            Some(Marker::Separator) => {
                keep(&mut chunks, file, start.0..at, start.1);
                start = (at, line);
            }
            Some(Marker::End) => {
                keep(&mut chunks, file, start.0..at, start.1);
                start = (end, line + 1);
            }
            None => {}
        }
        at = end;
        line += 1;
    }
    keep(&mut chunks, file, start.0..file.len(), start.1);
    chunks
}

/// The documents of a JSON file, one value after the other; what is no JSON is one document to
/// its end, with the line and the reason.
pub(super) fn json(file: &[u8]) -> (Vec<Chunk>, Option<(u32, String)>) {
    let mut chunks = Vec::new();
    let from = skip_mark(file);
    let mut values =
        serde_json::Deserializer::from_slice(&file[from..]).into_iter::<serde::de::IgnoredAny>();
    let mut at = from;
    while let Some(value) = values.next() {
        if let Err(error) = value {
            let before = count_lines(&file[..from]);
            return (
                chunks,
                Some((before + narrow(error.line()), describe(&error))),
            );
        }
        let end = from + values.byte_offset();
        let blank = file[at..end]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        chunks.push(Chunk {
            bytes: at + blank..end,
            line: 1 + count_lines(&file[..at + blank]),
        });
        at = end;
    }
    (chunks, None)
}

/// The reason without serde_json's own "at line … column …".
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.find(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

enum Marker {
    Separator,
    End,
}

fn marker(line: &[u8]) -> Option<Marker> {
    let (marker, rest) = if let Some(rest) = line.strip_prefix(b"---") {
        (Marker::Separator, rest)
    } else {
        (Marker::End, line.strip_prefix(b"...")?)
    };
    rest.first()
        .is_none_or(u8::is_ascii_whitespace)
        .then_some(marker)
}

fn keep(chunks: &mut Vec<Chunk>, file: &[u8], bytes: Range<usize>, mut line: u32) {
    // Starts at the first line that says something, which is where people look for the document.
    let mut at = bytes.start;
    while at < bytes.end {
        let end = line_end(file, at).min(bytes.end);
        if says_something(&file[at..end]) {
            chunks.push(Chunk {
                bytes: at..bytes.end,
                line,
            });
            return;
        }
        at = end;
        line += 1;
    }
}

/// Neither blank, nor a comment, nor a directive, nor a separator with nothing behind it.
fn says_something(line: &[u8]) -> bool {
    let rest = match marker(line) {
        Some(_) => &line[3..],
        None if line.starts_with(b"%") => return false,
        None => line,
    };
    let text = rest.trim_ascii_start();
    !text.is_empty() && !text.starts_with(b"#")
}

/// The start of the next line.
fn line_end(file: &[u8], at: usize) -> usize {
    file[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(file.len(), |length| at + length + 1)
}

/// The byte order mark that some editors put first.
fn skip_mark(file: &[u8]) -> usize {
    if file.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    }
}

fn count_lines(bytes: &[u8]) -> u32 {
    narrow(bytes.iter().filter(|byte| **byte == b'\n').count())
}

fn narrow(lines: usize) -> u32 {
    u32::try_from(lines).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(file: &str) -> Vec<(u32, &str)> {
        yaml(file.as_bytes())
            .into_iter()
            .map(|chunk| (chunk.line, &file[chunk.bytes]))
            .collect()
    }

    #[test]
    fn documents_are_split_at_separators_and_empty_ones_are_skipped() {
        assert_eq!(
            texts(
                "# top\n---\na: 1\n---\n\n# nothing\n--- # c\nb: 2\n...\n%YAML 1.2\n--- {c: 3}\n"
            ),
            [(3, "a: 1\n"), (8, "b: 2\n"), (11, "--- {c: 3}\n")]
        );
        assert_eq!(texts(""), []);
        assert_eq!(texts("---\n---\n"), []);
        assert_eq!(texts("\u{feff}a: 1"), [(1, "a: 1")]);
        assert_eq!(
            texts("a: 1\r\n---\r\nb: 2\r\n"),
            [(1, "a: 1\r\n"), (3, "b: 2\r\n")]
        );
    }

    #[test]
    fn what_only_looks_like_a_separator_is_none() {
        assert_eq!(texts("a: |\n  ---\n  x\nb: 1\n").len(), 1);
        assert_eq!(texts("---a: 1\n----\n").len(), 1);
    }

    #[test]
    fn json_values_may_follow_each_other() {
        let file = b"{\"a\":1}\n\n{\"b\":\n2}\n";
        let (chunks, error) = json(file);
        assert_eq!(error, None);
        let lines: Vec<u32> = chunks.iter().map(|chunk| chunk.line).collect();
        assert_eq!(lines, [1, 3]);
        let (chunks, error) = json(b"{\"a\":1}\n{\"b\":\n\n,}");
        assert_eq!(chunks.len(), 1);
        assert_eq!(error.map(|(line, _)| line), Some(4));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_split_and_lines_are_true(bytes in "[-.%a#: \n\r]{0,60}") {
            let file = bytes.as_bytes();
            let mut last = 0;
            for chunk in yaml(file) {
                prop_assert!(chunk.bytes.start >= last && chunk.bytes.end <= file.len());
                prop_assert_eq!(chunk.line, 1 + count_lines(&file[..chunk.bytes.start]));
                last = chunk.bytes.end;
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let chunks = yaml(&bytes);
            for chunk in chunks {
                if let Ok(text) = std::str::from_utf8(&bytes[chunk.bytes]) {
                    let _ = crate::tree::Node::parse(text, chunk.line);
                }
            }
            let _ = json(&bytes);
        }
    }
}
