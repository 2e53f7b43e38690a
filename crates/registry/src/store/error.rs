//! Why the storage could not do what it was asked to do.

use std::error::Error as StdError;
use std::{fmt, io};

/// Why the storage could not do what it was asked to do.
#[derive(Debug)]
pub enum Error {
    /// There is no room left.
    Full(String),
    /// It may be read and not written.
    ReadOnly(String),
    /// What was to be there is not.
    Missing(String),
    /// Anything else.
    Failed(String),
}

/// How much is told of what the storage says, in characters.
const LONGEST: usize = 500;

/// What the storage answers.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(said) => write!(f, "the storage is full: {said}"),
            Self::ReadOnly(said) => write!(f, "the storage may not be written: {said}"),
            Self::Missing(said) => write!(f, "the storage has no {said}"),
            Self::Failed(said) => write!(f, "the storage failed: {said}"),
        }
    }
}

impl StdError for Error {}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { path, .. } => Self::Missing(path),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::ReadOnly(error.to_string())
            }
            _ => Self::of(&error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}

impl Error {
    /// The kind is that of the operating system's error below, if there is one.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut said = error.to_string();
        // Of a bucket it may quote whole documents.
        if let Some((end, _)) = said.char_indices().nth(LONGEST) {
            said.truncate(end);
            said.push('…');
        }
        let mut below = Some(error);
        while let Some(error) = below {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                match error.kind() {
                    io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge => return Self::Full(said),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                        return Self::ReadOnly(said);
                    }
                    _ => {}
                }
            }
            below = error.source();
        }
        Self::Failed(said)
    }
}

/// Makes what is not there a `None`.
pub(super) fn found<T>(result: object_store::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_one_that_may_not_be_written() {
        let of = |kind| {
            Error::from(object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(io::Error::from(kind)),
            })
        };
        assert!(matches!(of(io::ErrorKind::StorageFull), Error::Full(_)));
        assert!(matches!(of(io::ErrorKind::FileTooLarge), Error::Full(_)));
        assert!(matches!(
            of(io::ErrorKind::ReadOnlyFilesystem),
            Error::ReadOnly(_)
        ));
        assert!(matches!(of(io::ErrorKind::Other), Error::Failed(_)));
    }
}
