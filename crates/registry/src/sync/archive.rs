//! Archives, compressed or not: what is compressed is read from a decompressed copy.
//!
//! Blobs are read from the middle of an archive, in any order and possibly again, which a compressed
//! one would have to be decompressed for from its beginning each time. The copy has no name: it is
//! gone with whoever reads it, however that ends.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use flate2::bufread::MultiGzDecoder;

/// How much is decompressed at once, in bytes.
const PIECE: usize = 256 * 1024;

/// How much room is left to others on the disk, in bytes.
const LEFT: u64 = 64 * 1024 * 1024;

/// The largest window of zstd that is taken, as a power of two in bytes: what `zstd` itself takes
/// without being told otherwise. It is in memory.
const WINDOW: u32 = 27;

/// Where the tar file of an archive can be read.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    path: PathBuf,
    /// A decompressed copy that is there as long as this is.
    _copy: Option<Arc<Copy>>,
}

/// A decompressed copy, which is there while this is.
#[derive(Debug)]
struct Copy(File);

/// What an archive was when it was decompressed.
type Identity = (PathBuf, u64, Option<SystemTime>);

/// Copies that somebody reads: a list may name many images of one archive.
static COPIES: Mutex<Option<HashMap<Identity, Weak<Copy>>>> = Mutex::new(None);

impl Archive {
    /// Decompresses what is compressed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        (&mut file).take(6).read_to_end(&mut start)?;
        let unpack: fn(BufReader<File>) -> io::Result<Box<dyn Read>> = match start.as_slice() {
            [0x1f, 0x8b, ..] => |file| Ok(Box::new(MultiGzDecoder::new(file))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => |file| {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(WINDOW)?;
                Ok(Box::new(decoder))
            },
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unknown("xz")),
            [b'B', b'Z', b'h', ..] => return Err(unknown("bzip2")),
            _ => {
                return Ok(Self {
                    path: path.to_owned(),
                    _copy: None,
                });
            }
        };
        file.seek(SeekFrom::Start(0))?;
        let metadata = file.metadata()?;
        let identity = (path.to_owned(), metadata.len(), metadata.modified().ok());
        // Others wait: two that decompress at once may not have room where one after the other has.
        let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = copies.get_or_insert_default();
        copies.retain(|_, copy| copy.strong_count() > 0);
        let copy = match copies.get(&identity).and_then(Weak::upgrade) {
            Some(copy) => copy,
            None => {
                let from = unpack(BufReader::with_capacity(PIECE, file))?;
                let copy = Arc::new(Copy(decompressed(from, path)?));
                copies.insert(identity, Arc::downgrade(&copy));
                copy
            }
        };
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", copy.0.as_raw_fd())),
            _copy: Some(copy),
        })
    }

    /// Where it can be opened while this lives.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn unknown(what: &str) -> io::Error {
    let why = format!("it is compressed by {what}: gzip and zstd are read, or decompress it first");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn decompressed(from: Box<dyn Read>, archive: &Path) -> io::Result<File> {
    let (mut file, folder) = unnamed(archive)?;
    let room = room(&file)?;
    copy(from, &mut file, room).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let why = format!(
                "there is no room to decompress it in {}: name a folder with more by TMPDIR",
                folder.display()
            );
            io::Error::new(error.kind(), why)
        }
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "it is compressed, and ends too early")
        }
        kind => io::Error::new(kind, format!("it cannot be decompressed: {error}")),
    })?;
    Ok(file)
}

/// At most `room` bytes of it.
fn copy(mut from: impl Read, to: &mut impl Write, mut room: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        room = match room.checked_sub(read as u64) {
            Some(less) => less,
            None => return Err(io::ErrorKind::StorageFull.into()),
        };
        to.write_all(&piece[..read])?;
    }
}

/// A file without a name, and where it is: where `TMPDIR` says, else beside the archive, where there
/// is most likely room for what it is of, else where large temporary files are.
fn unnamed(archive: &Path) -> io::Result<(File, PathBuf)> {
    let beside = archive.parent().filter(|it| !it.as_os_str().is_empty());
    let beside = beside.unwrap_or_else(|| Path::new("."));
    let said = std::env::var_os("TMPDIR").filter(|it| !it.is_empty());
    let folders: Vec<&Path> = match &said {
        Some(said) => vec![Path::new::<OsStr>(said)],
        None => vec![beside, Path::new("/var/tmp"), Path::new("/tmp")],
    };
    let mut last = None;
    for folder in folders {
        let name = format!(".narthex-{:x}-{:x}", std::process::id(), fastrand::u64(..));
        let path = folder.join(name);
        let opened = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok((file, folder.to_owned()));
            }
            Err(error) => {
                let why = format!("{} cannot be written: {error}", folder.display());
                last = Some(io::Error::new(error.kind(), why));
            }
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// How much may be written, in bytes.
fn room(file: &File) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free.saturating_sub(LEFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("memory");
        encoder.finish().expect("memory")
    }

    fn archive(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar");
        std::fs::write(&path, content).expect("a file");
        (folder, path)
    }

    #[test]
    fn compressed_archives_are_read_and_their_copies_go() {
        let content = vec![7; 1_000_000];
        // As parallel compressors write it: several members.
        let members = [gzip(&content[..300_000]), gzip(&content[300_000..])].concat();
        let zstd = zstd::encode_all(content.as_slice(), 1).expect("memory");
        for (packed, is_copy) in [(members, true), (zstd, true), (content.clone(), false)] {
            let (folder, path) = archive(&packed);
            let opened = Archive::open(&path).expect("right");
            assert_eq!(opened.path() != path, is_copy);
            assert!(std::fs::read(opened.path()).expect("a file") == content);
            let again = Archive::open(&path).expect("right");
            assert_eq!(again.path(), opened.path());
            assert_eq!(
                std::fs::read_dir(folder.path()).expect("a folder").count(),
                1
            );
        }
    }

    #[test]
    fn what_cannot_be_decompressed_is_told() {
        let packed = gzip(&vec![7; 1_000_000]);
        let told = |content: &[u8]| {
            let (_folder, path) = archive(content);
            Archive::open(&path).expect_err("wrong").to_string()
        };
        let said = told(&packed[..packed.len() / 2]);
        assert!(said.contains("ends too early"), "{said}");
        let said = told(b"\xfd7zXZ\0 and so on");
        assert!(said.contains("xz"), "{said}");
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let mut written = Vec::new();
        assert!(copy(&[1; 100][..], &mut written, 100).is_ok());
        let error = copy(&[1; 101][..], &mut written, 100).expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
