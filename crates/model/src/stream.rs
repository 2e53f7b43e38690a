//! Connections and datagrams that are passed on as they are.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::ProxyHeader;
use crate::split::Split;

/// Where connections go whose bytes are nobody's business (TCPRoute, UDPRoute, TLSRoute).
#[derive(Debug)]
pub struct Stream {
    /// `namespace/name` of the object that it comes from, as logs show it.
    pub route: Box<str>,
    /// Where in that object, as `spec.rules[0]`, for people.
    pub field: Arc<str>,
    /// Who gets them. None if nobody can: they are closed, or dropped.
    pub split: Option<Arc<Split>>,
    /// To establish a connection; zero is no limit.
    pub connect: Duration,
    /// After so long without a byte in either direction it ends; zero is no limit.
    pub idle: Duration,
    /// How often an endpoint is tried for one connection, at least 1; none is as often as there are
    /// endpoints, within reason.
    pub tries: Option<u8>,
    /// How long another one is tried for; zero is no limit.
    pub within: Duration,
    /// Whether each connection begins with a PROXY protocol header, whoever it comes from.
    pub announced: bool,
    /// What the endpoints expect before each connection, besides what their Service says.
    pub announces: Option<ProxyHeader>,
}
