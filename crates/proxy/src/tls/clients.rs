//! Certificates that clients show (Gateway API: `tls.frontend`).

use std::sync::Arc;

use model::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::plain;

/// Whom a policy lets in.
pub(super) fn verifier(
    clients: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let roots = roots(&clients.authorities);
    let hints = roots.subjects();
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    match builder.build() {
        Ok(strict) if !clients.optional => strict,
        _ => Arc::new(Lenient {
            hints,
            optional: clients.optional,
            provider: Arc::clone(provider),
        }),
    }
}

/// Asks for a certificate of these authorities, and takes any, or none: what was shown is judged
/// afterwards.
pub(super) fn asking(
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    Arc::new(Lenient {
        hints: roots(authorities).subjects(),
        optional: true,
        provider: Arc::clone(provider),
    })
}

fn roots(authorities: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    roots
}

/// Lets in everybody, where that is what the policy says; or nobody, where it names no authority.
#[derive(Debug)]
struct Lenient {
    /// Whose certificates are asked for.
    hints: Vec<DistinguishedName>,
    optional: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.optional {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    // Whoever shows a certificate has to have its key, even where it is nobody's that we know.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        plain::verify_tls12(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        plain::verify_tls13(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
