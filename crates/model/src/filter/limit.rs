//! How much one client may ask for (ingress-nginx: `limit-rps` and its like).

use crate::address::AddressSet;

/// How often and how much at once one client may ask; by its address, and in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// What is counted together, as `namespace/name` of the object.
    pub zone: Box<str>,
    /// `limit-rps`.
    pub per_second: Option<RequestRate>,
    /// `limit-rpm`.
    pub per_minute: Option<RequestRate>,
    /// The most requests at once (`limit-connections`); 0 is no limit.
    pub at_once: u32,
    /// Who is not counted (`limit-allowlist`).
    pub exempt: AddressSet,
    /// The status for who asks too often (ConfigMap: `limit-req-status-code`).
    pub rate_status: u16,
    /// The status for who asks too much at once (ConfigMap: `limit-conn-status-code`).
    pub at_once_status: u16,
}

/// A leaky bucket (nginx: `limit_req … nodelay`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// So many thousandths of a request leave it each second.
    pub rate: u32,
    /// So many requests besides the first fit into it.
    pub burst: u32,
}

/// How quickly responses go out, each for itself (nginx: `limit_rate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second; not 0.
    pub rate: u64,
    /// So many bytes go out at once (`limit-rate-after`).
    pub after: u64,
}
