//! Which images are wanted: lists of them in the forms that people have, and what manifests need.
//!
//! [`ImageList::of_file`] reads our own `kind: ImageList`, skopeo's and regsync's YAML, zot's
//! configuration, and lines with an image each; which of them it is, the content says.

mod formats;
#[cfg(test)]
mod fuzz;
mod needs;
mod platform;
mod range;
mod registries;
mod select;
mod source;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use needs::{Need, Needs, WORKLOADS};
pub use platform::Platform;
pub use range::Range;
pub use registries::{Login, Password, Registry};
pub use select::{Names, Pattern, Tags};
pub use source::Source;

/// The largest list, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Images that are wanted, and how registries are spoken to.
#[derive(Debug, Clone, Default)]
pub struct ImageList {
    /// What is wanted, in the list's order.
    pub images: Vec<Image>,
    /// By host, as `quay.io` or `localhost:5000`.
    pub registries: BTreeMap<String, Registry>,
}

/// One entry: images of one source.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where the list has it.
    pub place: Place,
    /// Where it comes from.
    pub source: Source,
    /// Where it goes, below what `--to` says: a repository; that of the source if none.
    pub repository: Option<String>,
    /// What it is called there, if it is one image and is to be called otherwise.
    pub tag: Option<String>,
    /// Which tags are wanted.
    pub tags: Tags,
    /// Which platforms are wanted; all if none is named.
    pub platforms: Vec<Platform>,
    /// What becomes of an index of which not all platforms are wanted.
    pub index: Index,
    /// Whether signatures and whatever else refers to an image come with it.
    pub referrers: bool,
}

/// What becomes of an index of which not all platforms are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Index {
    /// It stays as it is, with its digest, and not all that it names is there.
    #[default]
    Sparse,
    /// A new one names what is there; its digest is another.
    Filtered,
    /// The first wanted platform's image takes its place.
    Single,
}

/// Where a list has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; 0 where there are none.
    pub line: u32,
    /// The field, as `spec.images[2].tags`; empty for lines.
    pub field: String,
}

/// What is wrong with a list, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl ImageList {
    /// Reads a list.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn of_file(file: &Path) -> Result<Self, Vec<Problem>> {
        let failed = |message: String| {
            // Of the file, and of no line.
            let place = Place {
                line: 0,
                ..Place::top(file)
            };
            vec![Problem { place, message }]
        };
        let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        if size.len() > MAX_FILE {
            return Err(failed(format!("larger than {MAX_FILE} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let environment = |name: &str| std::env::var(name).ok();
        Self::of_text(&text, file, &environment)
    }

    /// Reads several, as one.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn of_files(files: &[PathBuf]) -> Result<Self, Vec<Problem>> {
        let mut all = Self::default();
        let mut problems = Vec::new();
        for file in files {
            match Self::of_file(file) {
                Ok(list) => all.extend(list),
                Err(some) => problems.extend(some),
            }
        }
        match problems.is_empty() {
            true => Ok(all),
            false => Err(problems),
        }
    }

    /// Reads a list's text. Paths in it begin at the file's folder; `environment` is asked for
    /// variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn of_text(
        text: &str,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        formats::read(text, file, environment)
    }

    /// Reads an object of a cluster, as the API server has it; `name` is what it is called. Who may
    /// write such objects must not get at what this process may read: what names files or variables
    /// is wrong in it, and there are limits to what it may cost.
    ///
    /// # Errors
    /// Everything that is wrong with it. Places have no line.
    pub fn of_object(object: &serde_json::Value, name: &str) -> Result<Self, Vec<Problem>> {
        formats::read_object(object, Path::new(name))
    }

    /// Those of several lists together. Of two settings of one registry the later counts.
    pub fn extend(&mut self, other: Self) {
        self.images.extend(other.images);
        self.registries.extend(other.registries);
    }
}

impl Place {
    fn top(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            field: String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        match self.field.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.field),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
