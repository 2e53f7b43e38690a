//! What goes wrong between us and an API server, by what is to be done about it.

use std::fmt;
use std::time::Duration;

use crate::client::chain;

/// What goes wrong between us and an API server, by what is to be done about it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// 410: the version is too old, all is to be read again.
    Outdated,
    /// 401 or 403: somebody has to give us rights.
    Refused { code: u16, said: String },
    /// 404: the API server has no such kind, or not the object.
    NotThere,
    /// 400 or 422: the API server does not understand the question.
    NotUnderstood(String),
    /// No answer at all.
    Unreachable(String),
    /// An answer that says to come again later, and when if it says so.
    Later {
        said: String,
        after: Option<Duration>,
    },
    /// A stream that ended before its time.
    Cut(Duration),
    /// The request could not even be made.
    Impossible(String),
}

impl Trouble {
    /// It took too long.
    pub(crate) fn late() -> Self {
        Self::Unreachable("no answer in time".to_owned())
    }

    /// An answer that is none. Not quoted: it might hold Secrets.
    pub(crate) fn nonsense() -> Self {
        Self::Later {
            said: "an answer that is not what the Kubernetes API says".to_owned(),
            after: None,
        }
    }

    /// How long the other side has asked us to stay away.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            // Rights are not given by asking often.
            Self::Refused { .. } | Self::NotThere => Some(Duration::from_secs(5)),
            Self::Later { after, .. } => *after,
            _ => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outdated => f.write_str("the version is too old, everything is read again"),
            Self::Refused { code, said } => write!(f, "refused ({code}): {said}"),
            Self::NotThere => f.write_str("the API server does not know this (404)"),
            Self::NotUnderstood(said) => {
                write!(f, "the API server does not understand: {said}")
            }
            Self::Unreachable(why) => write!(f, "the API server does not answer: {why}"),
            Self::Later { said, .. } => write!(f, "the API server cannot answer: {said}"),
            Self::Cut(after) => write!(f, "the stream ended after {after:.1?}"),
            Self::Impossible(why) => f.write_str(why),
        }
    }
}

/// What an error of kube's client means.
pub(crate) fn request_error(error: kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) => match status.code {
            410 => Trouble::Outdated,
            401 | 403 => Trouble::Refused {
                code: status.code,
                said: status.message,
            },
            404 => Trouble::NotThere,
            400 | 422 => Trouble::NotUnderstood(shortened(&status.message)),
            code => Trouble::Later {
                after: status
                    .details
                    .map(|details| details.retry_after_seconds)
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| Duration::from_secs(seconds.into())),
                said: format!("{} ({code})", shortened(&status.message)),
            },
        },
        kube::Error::SerdeError(_) => Trouble::nonsense(),
        kube::Error::BuildRequest(error) => error.into(),
        error => Trouble::Unreachable(shortened(&chain(&error))),
    }
}

impl From<kube::core::request::Error> for Trouble {
    fn from(error: kube::core::request::Error) -> Self {
        Self::Impossible(chain(&error))
    }
}

/// What a proxy in between answers may be a whole page.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}
