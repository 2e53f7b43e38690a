//! Where certificates come from: an ACME server, or an authority of our own.
//!
//! In: what is wanted (names, lifetime, profile) and the time. Out: chains and keys as PEM, when
//! they are to be renewed, and what the CA said when there are none. Nothing here knows
//! Kubernetes or the proxy: who keeps what is made and who answers challenges is behind traits.
//!
//! - [`renew`]: when a certificate is renewed, and when to try again after a failure
//! - [`ca`]: an authority of our own, root and intermediate, and self-signed certificates
//! - [`acme`]: orders at an ACME server (RFC 8555)
//! - [`vault`]: where certificates are kept, and who orders one
//! - [`keeper`]: does what is due
//! - [`issuer`]: the issuers of a configuration as one source
//! - [`methods`] and [`dns`]: how names are shown to be ours, and who sets records
//! - [`on_demand`]: which names get a certificate at their first handshake
//! - [`ocsp`]: whether a certificate is revoked, as its CA says
//! - [`tickets`]: session tickets' keys

pub mod acme;
pub mod ca;
pub mod dns;
mod https;
pub mod issuer;
pub mod keeper;
pub mod methods;
pub mod ocsp;
pub mod on_demand;
mod random;
pub mod renew;
pub mod tickets;
pub mod vault;
