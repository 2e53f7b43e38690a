//! What databases say of clients' addresses: the variables `$geoip2_…` of ingress-nginx.
//!
//! Databases are MaxMind's, or others in their format (MaxMind DB 2.0). They are read whole into
//! memory, and anew when their file is another one; whoever looks meanwhile sees the old one.

mod variables;

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use maxminddb::Reader;

use variables::{Kind, Place};

/// Databases about addresses.
pub struct Databases(Box<[Database]>);

struct Database {
    path: PathBuf,
    /// When the file that was read last had been written.
    written: Mutex<Option<SystemTime>>,
    content: ArcSwap<Content>,
}

struct Content {
    kind: Kind,
    reader: Reader<Vec<u8>>,
}

/// Why a database cannot be used.
#[derive(Debug)]
pub struct BadDatabase {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, for people.
    pub message: String,
}

impl fmt::Display for BadDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for BadDatabase {}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.0.iter().map(|database| &database.path);
        f.debug_list().entries(paths).finish()
    }
}

impl Databases {
    /// Reads them.
    ///
    /// # Errors
    /// A file cannot be read, is no database, or is one of which no variable tells.
    pub fn open(paths: &[PathBuf]) -> Result<Self, BadDatabase> {
        let databases = paths.iter().map(|path| Database::open(path));
        Ok(Self(databases.collect::<Result<_, _>>()?))
    }

    /// Reads those that are of use, and tells why the others are not.
    pub fn open_usable(paths: &[PathBuf]) -> (Self, Vec<BadDatabase>) {
        let (mut usable, mut bad) = (Vec::new(), Vec::new());
        for path in paths {
            match Database::open(path) {
                Ok(database) => usable.push(database),
                Err(why) => bad.push(why),
            }
        }
        (Self(usable.into()), bad)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads those anew whose file is another one by now. One that cannot be read stays as it was.
    /// Gives what became of each that was tried.
    pub fn refresh(&self) -> Vec<(&Path, Result<(), BadDatabase>)> {
        let all = self.0.iter();
        all.filter_map(|it| Some((&*it.path, it.refresh()?)))
            .collect()
    }

    /// Appends what `$geoip2_name` stands for, if one of them says it of the address.
    pub(crate) fn write(&self, name: &str, address: IpAddr, out: &mut Vec<u8>) -> Option<()> {
        for place in variables::places(name) {
            for database in &self.0 {
                let content = database.content.load();
                if content.kind == place.kind {
                    return content.write(place, address, out);
                }
            }
        }
        None
    }
}

impl Database {
    fn open(path: &Path) -> Result<Self, BadDatabase> {
        let (content, written) = Content::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            written: Mutex::new(written),
            content: ArcSwap::from_pointee(content),
        })
    }

    fn refresh(&self) -> Option<Result<(), BadDatabase>> {
        let now = modified(&self.path);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if now.is_none() || now == *written {
            return None;
        }
        // Tried once, whatever comes of it: a file that is being written changes again.
        *written = now;
        Some(Content::read(&self.path).map(|(content, _)| self.content.store(Arc::new(content))))
    }
}

impl Content {
    fn read(path: &Path) -> Result<(Self, Option<SystemTime>), BadDatabase> {
        let bad = |message: String| BadDatabase {
            path: path.to_owned(),
            message,
        };
        let written = modified(path);
        let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let reader = Reader::from_source(bytes)
            .map_err(|error| bad(format!("is no MaxMind database: {error}")))?;
        let named = &reader.metadata().database_type;
        let kind = Kind::of(named)
            .ok_or_else(|| bad(format!("is a database of {named:?}; {}", Kind::KNOWN)))?;
        Ok((Self { kind, reader }, written))
    }

    fn write(&self, place: &Place, address: IpAddr, out: &mut Vec<u8>) -> Option<()> {
        let found = self.reader.lookup(address).ok();
        let value = found.and_then(|found| place.value(&found));
        match (value, place.otherwise) {
            (Some(value), _) => value.write(out),
            (None, Some(otherwise)) => out.extend_from_slice(otherwise.as_bytes()),
            (None, None) => return None,
        }
        Some(())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}
