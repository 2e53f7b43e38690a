//! What a ticket is good for: see [Resumption](super#resumption).

use std::sync::Arc;

use model::CertificateSet;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;

use super::Terms;
use super::tickets::Tickets;

const DIGEST: usize = 32;

/// Tickets that are good for one set of certificates only: see [Resumption](super#resumption).
#[derive(Debug)]
pub(super) struct BoundTickets {
    tickets: Arc<Tickets>,
    binding: [u8; DIGEST],
}

impl BoundTickets {
    /// For these certificates, and these terms.
    pub(super) fn new(tickets: &Arc<Tickets>, set: &CertificateSet, terms: &Terms<'_>) -> Self {
        Self {
            tickets: Arc::clone(tickets),
            binding: digest(set, terms),
        }
    }
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&[&self.binding, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.tickets.decrypt(cipher)?;
        if !plain.starts_with(&self.binding) {
            return None;
        }
        plain.drain(..DIGEST);
        Some(plain)
    }
}

/// SHA-256 over all chains and the terms, with lengths, so that no two give the same input.
fn digest(set: &CertificateSet, terms: &Terms<'_>) -> [u8; DIGEST] {
    let mut all = vec![u8::from(terms.http)];
    let mut add = |chain: &[CertificateDer<'_>]| {
        all.extend_from_slice(&(chain.len() as u64).to_be_bytes());
        for der in chain {
            all.extend_from_slice(&(der.len() as u64).to_be_bytes());
            all.extend_from_slice(der);
        }
    };
    for certificate in &set.certificates {
        add(&certificate.key.cert);
    }
    let authorities = match (terms.clients, terms.asked) {
        (Some(clients), _) => &clients.authorities[..],
        (None, Some(asked)) => &asked.authorities,
        (None, None) => &[],
    };
    add(authorities);
    if let Some(clients) = terms.clients {
        all.extend_from_slice(if clients.optional {
            b"optional"
        } else {
            b"required"
        });
    }
    if terms.asked.is_some() {
        all.extend_from_slice(b"asked");
    }
    let mut digest = [0; DIGEST];
    // The suite is one of TLS 1.3 whose hash is SHA-256, of 32 bytes.
    if let Some(suite) = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13() {
        digest.copy_from_slice(suite.common.hash_provider.hash(&all).as_ref());
    }
    digest
}
