//! What went wrong with a CA, in its own words.

use std::fmt;
use std::time::SystemTime;

use instant_acme::{Error, Problem};

/// Where ACME's error types are registered (RFC 8555, section 6.7).
const TYPES: &str = "urn:ietf:params:acme:error:";

/// The longest text of a CA's that is kept, in bytes, and the most subproblems.
const MAX_TEXT: usize = 1024;
const MAX_SUBPROBLEMS: usize = 100;

/// What kind of trouble it is: what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too much was asked for: wait until [`Trouble::not_before`].
    RateLimited,
    /// The CA does not certify such a name, or the name's CAA record forbids it.
    RejectedIdentifier,
    /// The CA could not see that the name is ours: it does not lead here, or the answer was
    /// another one.
    Unauthorized,
    /// The account is not there, or lacks something: terms to agree with, an external account.
    Account,
    /// The certificate that was to be replaced has been replaced (RFC 9773, section 5).
    AlreadyReplaced,
    /// Refused for another reason.
    Refused,
    /// The CA has trouble of its own, is slow, or answers what makes no sense.
    Server,
    /// The CA cannot be reached.
    Network,
    /// The CA cannot do what was asked for: a profile, a challenge.
    Unsupported,
    /// Here: the challenge could not be put up, a name is none.
    Local,
}

/// Why there is no certificate. Shown, it is one line, with the CA's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What was being done, as `ordering`.
    pub doing: &'static str,
    /// What can be done about it.
    pub kind: Kind,
    /// The CA's problem document (RFC 9457), if it sent one.
    pub words: Option<Box<Words>>,
    /// What is known beside, for people; may be empty if there are `words`.
    pub message: String,
    /// When the CA wants to be asked again (`Retry-After`), if it said so.
    pub not_before: Option<SystemTime>,
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// Its type, without ACME's prefix: `rateLimited`.
    pub r#type: String,
    /// What it says to people.
    pub detail: String,
    /// What it says of single names (RFC 8555, section 6.7.1).
    pub about: Vec<About>,
}

/// What a CA says of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The name, if it says which.
    pub name: Option<String>,
    /// As [`Words::type`].
    pub r#type: String,
    /// As [`Words::detail`].
    pub detail: String,
}

impl Trouble {
    /// Whether only the nonce was refused (RFC 8555, section 6.5).
    pub(super) fn is_bad_nonce(&self) -> bool {
        let words = self.words.as_ref();
        words.is_some_and(|words| words.r#type.ends_with("badNonce"))
    }

    pub(super) fn new(doing: &'static str, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            doing,
            kind,
            words: None,
            message: message.into(),
            not_before: None,
        }
    }

    pub(super) fn of(doing: &'static str, error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::told(doing, Words::from(problem), None, None),
            Error::Other(error) => match error.downcast::<Refused>() {
                Ok(refused) => Self::refused(doing, *refused),
                Err(error) => match error.downcast::<Unreached>() {
                    Ok(unreached) => Self::new(doing, Kind::Network, unreached.0),
                    Err(error) => Self::new(doing, Kind::Server, error.to_string()),
                },
            },
            Error::Unsupported(what) => {
                Self::new(doing, Kind::Unsupported, format!("the CA has no {what}"))
            }
            Error::Crypto | Error::KeyRejected => {
                Self::new(doing, Kind::Local, "the account's key cannot be used")
            }
            Error::Timeout(_) => Self::new(doing, Kind::Server, "the CA takes too long"),
            error => Self::new(
                doing,
                Kind::Server,
                format!("the CA's answer cannot be read: {error}"),
            ),
        }
    }

    fn refused(doing: &'static str, refused: Refused) -> Self {
        if let Some(problem) = refused.problem {
            let status = Some(refused.status);
            return Self::told(doing, Words::from(problem), status, refused.retry_after);
        }
        let kind = by_status(Some(refused.status));
        let message = format!("HTTP status {}: {}", refused.status, cut(&refused.text));
        Self {
            not_before: refused.retry_after,
            ..Self::new(doing, kind, message)
        }
    }

    pub(super) fn told(
        doing: &'static str,
        words: Words,
        status: Option<u16>,
        not_before: Option<SystemTime>,
    ) -> Self {
        let kind = match by_type(&words.r#type) {
            // A problem of several kinds is of the first one's.
            None => {
                let mut about = words.about.iter();
                let of_one = about.find_map(|about| by_type(&about.r#type));
                of_one.unwrap_or_else(|| by_status(status))
            }
            Some(kind) => kind,
        };
        Self {
            doing,
            kind,
            words: Some(Box::new(words)),
            message: String::new(),
            not_before,
        }
    }
}

fn by_type(r#type: &str) -> Option<Kind> {
    Some(match r#type {
        "rateLimited" => Kind::RateLimited,
        "rejectedIdentifier" | "unsupportedIdentifier" | "caa" => Kind::RejectedIdentifier,
        "unauthorized" | "incorrectResponse" | "connection" | "dns" | "tls" => Kind::Unauthorized,
        "accountDoesNotExist"
        | "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact" => Kind::Account,
        "alreadyReplaced" => Kind::AlreadyReplaced,
        "invalidProfile" => Kind::Unsupported,
        "serverInternal" | "badNonce" => Kind::Server,
        _ => return None,
    })
}

fn by_status(status: Option<u16>) -> Kind {
    match status {
        Some(429) => Kind::RateLimited,
        Some(500..) => Kind::Server,
        _ => Kind::Refused,
    }
}

impl From<Problem> for Words {
    fn from(problem: Problem) -> Self {
        let about = problem.subproblems.into_iter().take(MAX_SUBPROBLEMS);
        Self {
            r#type: short(problem.r#type.as_deref()),
            detail: cut(problem.detail.as_deref().unwrap_or_default()),
            about: about
                .map(|about| About {
                    name: about
                        .identifier
                        .map(|name| cut(&name.authorized(false).to_string())),
                    r#type: short(about.r#type.as_deref()),
                    detail: cut(about.detail.as_deref().unwrap_or_default()),
                })
                .collect(),
        }
    }
}

fn short(r#type: Option<&str>) -> String {
    let r#type = r#type.unwrap_or_default();
    cut(r#type.strip_prefix(TYPES).unwrap_or(r#type))
}

/// On one line, and no longer than is of use.
fn cut(text: &str) -> String {
    let text = text.trim();
    let end = (0..=text.len().min(MAX_TEXT))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    let kept = &text[..end.unwrap_or(0)];
    kept.replace(|c: char| c.is_control(), " ")
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.doing)?;
        f.write_str(&self.message)?;
        let Some(words) = &self.words else {
            return Ok(());
        };
        if !self.message.is_empty() {
            f.write_str(": ")?;
        }
        write!(f, "the CA says {:?}: {}", words.r#type, words.detail)?;
        for about in &words.about {
            let name = about.name.as_deref().unwrap_or("one name");
            write!(f, "; of {name}, {:?}: {}", about.r#type, about.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

/// An answer that is an error, as the wire saw it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) problem: Option<Problem>,
    pub(super) text: String,
    pub(super) retry_after: Option<SystemTime>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)
    }
}

impl std::error::Error for Refused {}

/// No answer at all.
#[derive(Debug)]
pub(super) struct Unreached(pub(super) String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreached {}
