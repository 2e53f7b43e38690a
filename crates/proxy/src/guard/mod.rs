//! What the workers know together of clients that are counted or asked who they are.
//!
//! Process-wide, because a client may come by any worker. Everything here is bounded, is touched
//! only by requests whose rules ask for it, and no lock is held while anything is waited for.

pub(crate) mod answers;
pub(crate) mod digest;
mod generations;
pub(crate) mod htpasswd;
pub(crate) mod passwords;
pub(crate) mod zones;

use answers::Answers;
use digest::Nonces;
use passwords::Passwords;
use zones::Zones;

/// What the workers know together of clients.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    pub(crate) zones: Zones,
    pub(crate) passwords: Passwords,
    pub(crate) nonces: Nonces,
    pub(crate) answers: Answers,
}
