//! What an ACME server is to be shown: kept in one Secret, so that every replica can.
//!
//! `http.TOKEN` has the key authorization of a token (RFC 8555, section 8.3), `alpn.NUMBER` as JSON
//! a name with the certificate for it (RFC 8737).

use std::sync::Arc;

use model::Challenges;
use objects::Store;
use objects::kinds::{Kind, ObjectKey, Secret};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Deserialize;

use crate::options::Options;

/// How many are read at the most.
const MOST: usize = 10_000;

/// The challenges as they were last read.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    read: Option<Arc<Secret>>,
    answers: Arc<Challenges>,
}

#[derive(Deserialize)]
struct Alpn {
    name: String,
    chain: String,
    key: String,
}

/// Where they are.
pub(super) fn reference(options: &Options) -> Option<ObjectKey> {
    let (namespace, name) = options.certificates.challenges.as_ref()?;
    Some(ObjectKey::new(Kind::Secret, namespace, name))
}

impl Answers {
    /// The challenges that there are; the same `Arc` as last time if they are the same.
    pub(crate) fn update(&mut self, store: &Store, options: &Options) -> Arc<Challenges> {
        let place = options.certificates.challenges.as_ref();
        let secret = place.and_then(|(namespace, name)| store.secret(namespace, name));
        let same = match (&self.read, secret) {
            (Some(read), Some(secret)) => Arc::ptr_eq(read, secret),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.read = secret.cloned();
            self.answers = Arc::new(secret.map(|secret| read(secret)).unwrap_or_default());
        }
        Arc::clone(&self.answers)
    }
}

/// We wrote it ourselves: what cannot be read is left out.
fn read(secret: &Secret) -> Challenges {
    let mut challenges = Challenges::default();
    for (key, value) in secret.data.iter().take(MOST) {
        if let Some(token) = key.strip_prefix("http.") {
            if let Ok(answer) = std::str::from_utf8(value) {
                challenges.http.insert(token.into(), answer.into());
            }
        } else if key.starts_with("alpn.")
            && let Ok(alpn) = serde_json::from_slice::<Alpn>(value)
            && let Some(certificate) = certificate(&alpn)
        {
            let name = alpn.name.to_ascii_lowercase().into();
            challenges.alpn.insert(name, Arc::new(certificate));
        }
    }
    challenges
}

fn certificate(alpn: &Alpn) -> Option<CertifiedKey> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(alpn.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(alpn.key.as_bytes()).ok()?;
    Some(CertifiedKey::new(
        chain.ok()?,
        any_supported_type(&key).ok()?,
    ))
}
