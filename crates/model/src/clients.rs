//! What clients have to show.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::condition::Pattern;

/// Whose certificates clients have to show (Gateway API: `tls.frontend`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Who may have issued them; none at all means that nobody gets in.
    pub authorities: Box<[CertificateDer<'static>]>,
    /// Whether clients with none, or with one that is not valid, get in all the same
    /// (`AllowInsecureFallback`).
    pub optional: bool,
}

/// What clients of one host are asked for, and told by the answer to their requests (ingress-nginx:
/// `auth-tls-secret` and its like). The handshake itself takes whatever they show.
#[derive(Debug)]
pub struct ClientPolicy {
    /// Who may have issued certificates; none at all means that none is valid.
    pub authorities: Box<[CertificateDer<'static>]>,
    /// Who was revoked. If there is any list, each certificate of a chain has to be in the scope of
    /// one that is not out of date.
    pub revocations: Box<[CertificateRevocationListDer<'static>]>,
    /// Who gets in.
    pub demand: Demand,
    /// The most certificates between the client's and an authority's.
    pub depth: u8,
    /// What the subject has to have in it, as RFC 2253 writes it.
    pub subject: Option<Pattern>,
    /// Where who does not get in is sent; a path is served in the place of what was asked for.
    pub error_page: Option<Box<str>>,
    /// Whether backends get the certificate itself.
    pub pass: bool,
}

/// Who gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Who shows a valid certificate.
    Required,
    /// The same, and who shows none.
    Optional,
    /// The same, and who shows one of an authority that is not known.
    Any,
    /// Everybody: nobody is asked.
    Unasked,
    /// Nobody: what was to be asked for cannot be read.
    Nothing,
}

impl PartialEq for ClientPolicy {
    fn eq(&self, other: &Self) -> bool {
        let subject = |policy: &Self| policy.subject.as_ref().map(|it| it.as_str().to_owned());
        self.authorities == other.authorities
            && self.revocations == other.revocations
            && self.demand == other.demand
            && self.depth == other.depth
            && subject(self) == subject(other)
            && self.error_page == other.error_page
            && self.pass == other.pass
    }
}
