//! Where files lie in a tar file, so that they can be read from there. Ustar, pax and GNU names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const BLOCK: u64 = 512;

/// Entries, and links that are followed.
const MAX_ENTRIES: usize = 200_000;

/// The longest text of a header that is stored as a file, in bytes.
const MAX_HEADER: u64 = 1 << 20;

/// All names and what links lead to, in bytes: they are in memory.
const MAX_NAMES: usize = 64 << 20;

/// Names to where their content is.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) files: HashMap<String, (u64, u64)>,
    pub(super) links: HashMap<String, String>,
}

/// What pax and GNU headers say of the entry after them.
#[derive(Default)]
struct Said {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Index {
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let mut tar = io::BufReader::new(File::open(file)?);
        let length = tar.get_ref().metadata()?.len();
        Self::read(&mut tar, length)
    }

    /// Where a file begins, and how long it is; links are followed.
    pub(super) fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = normal(name);
        for _ in 0..8 {
            if let Some(found) = self.files.get(&name) {
                return Some(*found);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    pub(super) fn read(tar: &mut (impl Read + Seek), length: u64) -> io::Result<Self> {
        let mut index = Self::default();
        let mut said = Said::default();
        let mut at = 0_u64;
        let mut names = 0;
        for _ in 0..MAX_ENTRIES {
            let mut header = [0; BLOCK as usize];
            if at + BLOCK > length {
                return match at {
                    0 => Err(wrong("it is shorter than a tar file's first header")),
                    _ => Ok(index),
                };
            }
            tar.seek(SeekFrom::Start(at))?;
            tar.read_exact(&mut header)?;
            if header.iter().all(|it| *it == 0) {
                return Ok(index);
            }
            if !is_header(&header) {
                return Err(wrong("it is no tar file, or a damaged one"));
            }
            let start = at + BLOCK;
            let size = match header[156] {
                b'x' | b'g' | b'L' | b'K' => number(&header[124..136]),
                _ => said.size.or_else(|| number(&header[124..136])),
            };
            let size = size.ok_or_else(|| wrong("a size in it is no number"))?;
            let end = start.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| wrong("it ends before its last file does"))?;
            match header[156] {
                b'x' | b'L' | b'K' if size > MAX_HEADER => {
                    return Err(wrong("a header in it is too long"));
                }
                kind @ (b'x' | b'L' | b'K') => {
                    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
                    tar.read_exact(&mut content)?;
                    said.take(kind, &content);
                }
                // Of all entries; nothing that matters here.
                b'g' => {}
                kind => {
                    let Said { name, link, .. } = std::mem::take(&mut said);
                    let name = normal(&name.unwrap_or_else(|| full_name(&header)));
                    names += name.len() + link.as_ref().map_or(0, String::len);
                    if names > MAX_NAMES {
                        return Err(wrong("its files' names are too long"));
                    }
                    match kind {
                        b'0' | 0 | b'7' => drop(index.files.insert(name, (start, size))),
                        b'1' | b'2' => {
                            let link = link.unwrap_or_else(|| text(&header[157..257]));
                            let to = match kind {
                                b'1' => normal(&link),
                                _ => beside(&name, &link),
                            };
                            index.links.insert(name, to);
                        }
                        _ => {}
                    }
                }
            }
            at = end.div_ceil(BLOCK) * BLOCK;
        }
        Err(wrong("it has too many files"))
    }
}

impl Said {
    fn take(&mut self, kind: u8, content: &[u8]) {
        match kind {
            b'L' => self.name = Some(text(content)),
            b'K' => self.link = Some(text(content)),
            _ => {
                let mut rest = content;
                while let Some((key, value, after)) = record(rest) {
                    match key {
                        b"path" => self.name = Some(text(value)),
                        b"linkpath" => self.link = Some(text(value)),
                        b"size" => self.size = text(value).parse().ok(),
                        _ => {}
                    }
                    rest = after;
                }
            }
        }
    }
}

/// `LENGTH KEY=VALUE\n`
fn record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = content.iter().position(|it| *it == b' ')?;
    let length: usize = std::str::from_utf8(&content[..blank]).ok()?.parse().ok()?;
    let line = content.get(blank + 1..length)?;
    let line = line.strip_suffix(b"\n")?;
    let equals = line.iter().position(|it| *it == b'=')?;
    Some((&line[..equals], &line[equals + 1..], &content[length..]))
}

fn is_header(header: &[u8; BLOCK as usize]) -> bool {
    let sum: u64 = header.iter().map(|it| u64::from(*it)).sum();
    let own: u64 = header[148..156].iter().map(|it| u64::from(*it)).sum();
    number(&header[148..156]) == Some(sum - own + 8 * u64::from(b' '))
}

/// Octal digits, or a binary number where the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().checked_sub(8)?);
        // What is larger than that, no file is.
        let fits = high
            .split_first()
            .is_some_and(|(first, rest)| *first == 0x80 && rest.iter().all(|it| *it == 0));
        let low: [u8; 8] = low.try_into().ok()?;
        return fits.then(|| u64::from_be_bytes(low));
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches([' ', '\0']);
    match text.is_empty() {
        true => Some(0),
        false => u64::from_str_radix(text, 8).ok(),
    }
}

fn full_name(header: &[u8; BLOCK as usize]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    match header[257..].starts_with(b"ustar\0") && !prefix.is_empty() {
        true => format!("{prefix}/{name}"),
        false => name,
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Without `.` and with `..` taken at its word, but never above the top.
fn normal(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn beside(name: &str, link: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, _)) => normal(&format!("{folder}/{link}")),
        None => normal(link),
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u64 = header.iter().map(|it| u64::from(*it)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut all = header.to_vec();
        all.extend_from_slice(content);
        all.resize(all.len().div_ceil(512) * 512, 0);
        all
    }

    fn index(tar: &[u8]) -> io::Result<Index> {
        Index::read(&mut Cursor::new(tar), tar.len() as u64)
    }

    #[test]
    fn files_and_links_are_found() {
        let tar = [
            entry("./a.json", b'0', "", b"{}"),
            entry("x", b'x', "", b"29 path=layers/long-name.tar\n"),
            entry("cut", b'0', "", b"layer"),
            entry("d/layer.tar", b'2', "../layers/long-name.tar", b""),
            entry("y", b'L', "", b"gnu/name\0"),
            entry("cut", b'0', "", &[7; 600]),
            vec![0; 1024],
        ]
        .concat();
        let index = index(&tar).expect("right");
        assert_eq!(index.find("a.json"), Some((512, 2)));
        let layer = index.find("layers/long-name.tar");
        assert_eq!(layer.map(|it| it.1), Some(5));
        assert_eq!(index.find("d/layer.tar"), layer);
        assert_eq!(index.find("gnu/name").map(|it| it.1), Some(600));
        assert_eq!(index.find("../gnu/./name").map(|it| it.1), Some(600));
        assert_eq!(index.find("cut"), None);
    }

    #[test]
    fn what_is_no_tar_file_is_named() {
        let error = index(&[0x1f; 1024]).expect_err("no header").to_string();
        assert!(error.contains("no tar file"), "{error}");
        let cut = &entry("a", b'0', "", &[1; 2000])[..1024];
        let error = index(cut).expect_err("cut").to_string();
        assert!(error.contains("ends before"), "{error}");
        let cycle = [entry("a", b'2', "b", b""), entry("b", b'2', "a", b"")].concat();
        assert_eq!(index(&cycle).expect("right").find("a"), None);
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(at in 0usize..1536, with in any::<u8>()) {
            let mut tar = [entry("a", b'x', "", b"10 path=b\n"), entry("c", b'0', "", b"")].concat();
            tar[at] = with;
            let _ = index(&tar);
        }
    }
}
