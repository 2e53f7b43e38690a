//! Why a command could not do what it was asked to do.

use std::io;
use std::process::ExitCode;

use crate::config::Invalid;

/// Why a command could not do what it was asked to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong: exit code 2, as for what clap finds.
    Invalid(String),
    /// Something else is: exit code 1.
    Failed(String),
    /// Whoever read our output has seen enough: nothing to say.
    Unread,
}

impl Failure {
    /// A failure with its reason.
    pub(crate) fn new(reason: impl ToString) -> Self {
        Self::Failed(reason.to_string())
    }

    /// Why, for people.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Invalid(reason) | Self::Failed(reason) => reason,
            Self::Unread => "nobody reads the output",
        }
    }

    /// Says why, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        use io::Write as _;

        let (message, code) = match self {
            Self::Invalid(message) => (format!("{message}\n\nFor more, try --help."), 2),
            Self::Failed(message) => (message, 1),
            Self::Unread => return ExitCode::SUCCESS,
        };
        // Where nobody can be told, the exit code has to do.
        let _ = writeln!(io::stderr(), "error: {message}");
        ExitCode::from(code)
    }
}

impl From<Invalid> for Failure {
    fn from(Invalid(message): Invalid) -> Self {
        Self::Invalid(message)
    }
}

/// Of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unread
        } else {
            Self::Failed(format!("cannot write the output: {error}"))
        }
    }
}
