//! What can be ordered of the running process: by `narthex certs`, over the admin address.
//!
//! Whoever orders shows a token that only those can read who may read the state folder: an address
//! on loopback is open to every program of the machine.

use std::sync::mpsc as blocking;
use std::time::Duration;

use admin::view::{Order, OrderKind, Refusal};
use certs::acme::RevocationReason;
use certs::ca::Issued;
use tokio::sync::mpsc;

/// How long whoever ordered is kept waiting.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something to do, and whom to tell.
pub(crate) struct Asked {
    pub(super) command: Command,
    pub(super) answer: blocking::SyncSender<Result<String, String>>,
}

/// Something to do about the certificate in a Secret.
pub(crate) enum Command {
    /// A new one, now.
    Renew { id: String },
    /// It is revoked, and replaced.
    Revoke {
        id: String,
        reason: RevocationReason,
    },
    /// One that came otherwise takes its place.
    Import { id: String, issued: Issued },
    /// It is told, with its key.
    Export { id: String },
}

impl Command {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Renew { id }
            | Self::Revoke { id, .. }
            | Self::Import { id, .. }
            | Self::Export { id } => id,
        }
    }
}

/// Has it done. Blocks until it is.
pub(crate) fn run(
    order: &Order,
    given: Option<&str>,
    token: Option<&str>,
    to: &mpsc::Sender<Asked>,
) -> Result<String, Refusal> {
    let forbidden = |why: &str| Err(Refusal::Forbidden(why.to_owned()));
    let Some(token) = token else {
        return forbidden(
            "nothing can be ordered of a process without a state folder: --state-dir",
        );
    };
    if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
        return forbidden("whoever orders shows the token in the state folder: give --state-dir");
    }
    let command = command(order).map_err(Refusal::Failed)?;
    let (answer, answered) = blocking::sync_channel(1);
    let asked = Asked { command, answer };
    if to.try_send(asked).is_err() {
        let why = "no certificates are obtained here, or too much is asked at once";
        return Err(Refusal::Failed(why.to_owned()));
    }
    match answered.recv_timeout(PATIENCE) {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(why)) => Err(Refusal::Failed(why)),
        Err(_) => Err(Refusal::Failed(format!(
            "it is not done after {} s, and goes on: see `narthex certs list`",
            PATIENCE.as_secs()
        ))),
    }
}

/// Looks at all of it, however little is right.
fn same(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn command(order: &Order) -> Result<Command, String> {
    let id = order.secret.clone();
    Ok(match order.kind {
        OrderKind::Renew => Command::Renew { id },
        OrderKind::Export => Command::Export { id },
        OrderKind::Revoke => Command::Revoke {
            id,
            reason: reason(order.reason.as_deref().unwrap_or("unspecified"))?,
        },
        OrderKind::Import => Command::Import {
            id,
            issued: Issued::from_pem(&order.body).map_err(|error| error.to_string())?,
        },
    })
}

/// RFC 5280, section 5.3.1.
fn reason(name: &str) -> Result<RevocationReason, String> {
    Ok(match name {
        "unspecified" => RevocationReason::Unspecified,
        "keyCompromise" => RevocationReason::KeyCompromise,
        "affiliationChanged" => RevocationReason::AffiliationChanged,
        "superseded" => RevocationReason::Superseded,
        "cessationOfOperation" => RevocationReason::CessationOfOperation,
        _ => {
            return Err(format!(
                "{name:?} is no reason: there is unspecified, keyCompromise, affiliationChanged, \
                 superseded and cessationOfOperation"
            ));
        }
    })
}
