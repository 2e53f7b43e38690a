//! What somebody has signed: certificates, and answers.

use rustls::crypto::aws_lc_rs::default_provider;
use x509_parser::prelude::X509Certificate;

use super::der::{BIT_STRING, Malformed, Reader, SEQUENCE, Value, whole_bytes};

/// The form that certificates and answers have in common (RFC 5280, section 4.1.1; RFC 6960,
/// section 4.2.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// What is signed.
    pub(super) what: Value<'a>,
    /// The contents of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads the three parts; what follows them is the caller's.
    pub(super) fn read(parts: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            what: parts.expect(SEQUENCE)?,
            algorithm: parts.expect(SEQUENCE)?.contents,
            signature: whole_bytes(parts.expect(BIT_STRING)?.contents)?,
        })
    }

    /// Whether the key of a certificate has signed it, by an algorithm that TLS would take, too:
    /// none with SHA-1, and no short RSA.
    pub(super) fn is_by(&self, signer: &X509Certificate<'_>) -> bool {
        self.verify(signer.public_key().raw).unwrap_or(false)
    }

    fn verify(&self, key: &[u8]) -> Result<bool, Malformed> {
        let mut key = Reader::new(key).enter(SEQUENCE)?;
        let kind = key.expect(SEQUENCE)?.contents;
        let key = whole_bytes(key.expect(BIT_STRING)?.contents)?;
        let known = default_provider().signature_verification_algorithms.all;
        let mut fitting = known.iter().filter(|known| {
            known.signature_alg_id().as_ref() == self.algorithm
                && known.public_key_alg_id().as_ref() == kind
        });
        Ok(fitting.any(|known| {
            let verified = known.verify_signature(key, self.what.whole, self.signature);
            verified.is_ok()
        }))
    }
}

/// Whether one certificate was issued by another, by its name and its signature. Whether the
/// other may issue any is not asked: it is in the chain that we serve, and clients judge that.
pub(super) fn has_issued(
    issuer: &X509Certificate<'_>,
    der: &[u8],
    certificate: &X509Certificate<'_>,
) -> bool {
    if issuer.subject().as_raw() != certificate.issuer().as_raw() {
        return false;
    }
    let signed = Reader::new(der)
        .enter(SEQUENCE)
        .and_then(|mut parts| Signed::read(&mut parts));
    signed.is_ok_and(|signed| signed.is_by(issuer))
}
