//! The keys of session tickets, which all replicas share.

use std::fmt;

/// How many bytes a secret has.
pub const SECRET_LEN: usize = 48;

/// The keys of session tickets (RFC 8446, section 4.6.1; RFC 5077), the newest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TicketKeys {
    /// At most a few; no two begin at the same time.
    pub keys: Box<[TicketKey]>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    /// From when on it encrypts, in seconds since 1970; it decrypts before that, too, since other
    /// replicas' clocks may be ahead.
    pub from: u64,
    /// Random.
    pub secret: [u8; SECRET_LEN],
}

// By hand, so that no key can reach a log.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
