//! Backends whose certificates OpenSSL takes, and webpki does not: those that say whose they are by
//! their subject's common name alone, those of X.509's first version, and those that are an
//! authority's own (ingress-nginx: `proxy-ssl-verify`).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::tls::{Found, plain};

/// Verifies as webpki does, and looks again at what that refuses.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) authorities: Arc<[CertificateDer<'static>]>,
    pub(super) chain: Arc<WebPkiServerVerifier>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Common {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        status: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let strict = &self.chain;
        let error = match strict.verify_server_cert(certificate, issuers, server_name, status, now)
        {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        // The name is looked at last: whatever else is wrong is found before.
        let is_chained = is_of_name(&error) || {
            let purpose = plain::Purpose::Server;
            plain::find(certificate, &self.authorities, purpose, now) == Found::Valid
        };
        if !is_chained {
            return Err(error);
        }
        match is_for(certificate, &server_name.to_str()) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        plain::verify_tls12(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        plain::verify_tls13(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn is_of_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// Whether a certificate is for a name: by the hosts that it names, or, where it names none, by its
/// subject's common name (RFC 6125, section 6.4.4).
fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(alternatives) = parsed.subject_alternative_name() else {
        return false;
    };
    let alternatives = alternatives.map_or(&[][..], |names| &names.value.general_names);
    let mut hosts = alternatives
        .iter()
        .filter_map(|alternative| match alternative {
            GeneralName::DNSName(host) => Some(*host),
            _ => None,
        })
        .peekable();
    if hosts.peek().is_some() {
        return hosts.any(|host| covers(host, name));
    }
    let mut common = parsed.subject().iter_common_name();
    common.any(|common| common.as_str().is_ok_and(|common| covers(common, name)))
}

/// Whether what a certificate says is a name, or has it under its wildcard: one label, the first.
fn covers(said: &str, name: &str) -> bool {
    let Some(parent) = said.strip_prefix("*.") else {
        return said.eq_ignore_ascii_case(name);
    };
    let Some((first, rest)) = name.split_once('.') else {
        return false;
    };
    !first.is_empty() && parent.contains('.') && rest.eq_ignore_ascii_case(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label_of_a_domain() {
        for (said, name, expected) in [
            ("web.example", "WEB.example", true),
            ("web.example", "b.web.example", false),
            ("*.web.example", "b.web.example", true),
            ("*.web.example", "a.b.web.example", false),
            ("*.web.example", "web.example", false),
            ("*.example", "web.example", false),
            ("*", "web", false),
            ("", "web", false),
        ] {
            assert_eq!(covers(said, name), expected, "{said} {name}");
        }
    }
}
