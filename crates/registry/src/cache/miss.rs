//! Why something is neither kept nor got.

use std::sync::Arc;

use super::metrics::Outcome;
use crate::client::{Error, Kind};
use crate::store::{self, NotAccepted, Refused};

/// Why something is neither kept nor got; texts are for people.
#[derive(Debug, Clone)]
pub(crate) enum Miss {
    /// Upstream does not have it.
    Unknown(String),
    /// Upstream does not give it to us.
    Denied(String),
    /// Upstream does not answer, or not now.
    Away(String),
    /// What upstream sends is not what it should be, or not what we keep.
    Broken(String),
    /// So much is being fetched that it would take too long.
    Busy,
    /// The storage failed.
    Failed(Arc<store::Error>),
}

impl Miss {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown(_) | Self::Denied(_) => Outcome::Refused,
            Self::Away(_) | Self::Broken(_) | Self::Busy | Self::Failed(_) => Outcome::Failed,
        }
    }
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::NotFound => Self::Unknown(error.message),
            Kind::Denied => Self::Denied(error.message),
            Kind::Unreachable | Kind::Refused => Self::Away(error.message),
            Kind::Broken | Kind::Invalid => Self::Broken(error.message),
        }
    }
}

impl From<store::Error> for Miss {
    fn from(error: store::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

impl From<NotAccepted> for Miss {
    fn from(not: NotAccepted) -> Self {
        match not {
            NotAccepted::Failed(error) => error.into(),
            // They need nothing here.
            NotAccepted::Needs(_) => Self::Broken("it needs blobs that are not there".to_owned()),
        }
    }
}

impl From<Refused> for Miss {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failed(error) => error.into(),
            other => Self::Broken(format!("it is not kept: {other:?}")),
        }
    }
}
