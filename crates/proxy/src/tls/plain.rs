//! Certificates that webpki does not read as the end of a chain, and OpenSSL does: those of X.509's
//! first version, which `openssl x509 -req` makes unless it is told of extensions, and those that say
//! that they are an authority's, which `openssl req -x509` makes.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, RawPublicKeyEntity};
use x509_parser::der_parser::asn1_rs::ToDer;
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::presented::Found;

const UNREADABLE: &str = "certificate cannot be read";

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be let in.
    Client,
    /// To be believed.
    Server,
}

impl Purpose {
    fn suits(self, usage: &ExtendedKeyUsage<'_>) -> bool {
        usage.any
            || match self {
                Self::Client => usage.client_auth,
                Self::Server => usage.server_auth,
            }
    }
}

/// What is found of a certificate that one of the authorities has signed, without anybody in between,
/// or that is one of them itself.
pub(crate) fn find(
    leaf: &CertificateDer<'_>,
    authorities: &[CertificateDer<'_>],
    purpose: Purpose,
    now: UnixTime,
) -> Found {
    let Some(certificate) = read(leaf) else {
        return Found::Invalid(UNREADABLE);
    };
    let has_signed = |known: &CertificateDer<'_>| {
        known == leaf || read(known).is_some_and(|known| is_signed_by(&certificate, &known))
    };
    if !authorities.iter().any(has_signed) {
        return Found::Unknown;
    }
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if at < validity.not_before.timestamp() {
        return Found::Invalid("certificate is not yet valid");
    }
    if at > validity.not_after.timestamp() {
        return Found::Invalid("certificate has expired");
    }
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) if !purpose.suits(usage) => {
                return Found::Invalid("unsuitable certificate purpose");
            }
            ParsedExtension::UnsupportedExtension { .. } if extension.critical => {
                return Found::Invalid("unhandled critical extension");
            }
            ParsedExtension::ParseError { .. } => return Found::Invalid(UNREADABLE),
            _ => {}
        }
    }
    Found::Valid
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    Some(X509Certificate::from_der(der).ok()?.1)
}

/// Whether an authority that is bound to no names has signed a certificate.
fn is_signed_by(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    let is_bound = authority.extensions().iter().any(|extension| {
        let parsed = extension.parsed_extension();
        matches!(parsed, ParsedExtension::NameConstraints(_))
    });
    let named = certificate.issuer().as_raw() == authority.subject().as_raw();
    if is_bound || !named {
        return false;
    }
    let algorithm = &certificate.signature_algorithm;
    let Ok(mut id) = algorithm.algorithm.to_der_vec() else {
        return false;
    };
    if let Some(parameters) = &algorithm.parameters {
        let Ok(parameters) = parameters.to_der_vec() else {
            return false;
        };
        id.extend(parameters);
    }
    let key = SubjectPublicKeyInfoDer::from(authority.public_key().raw);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    let message = certificate.tbs_certificate.as_ref();
    let signature = &*certificate.signature_value.data;
    let all = ALL_VERIFICATION_ALGS.iter();
    all.filter(|known| known.signature_alg_id().as_ref() == id)
        .any(|known| key.verify_signature(*known, message, signature).is_ok())
}

/// Whether whoever shows a certificate has its key (TLS 1.2).
pub(crate) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(key) = key_of_unread(certificate) else {
        return verify_tls12_signature(message, certificate, signed, algorithms);
    };
    let key = SubjectPublicKeyInfoDer::from(key.raw);
    let bad = || Error::from(CertificateError::BadSignature);
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
    let schemes = algorithms.mapping.iter();
    let mut meant = schemes
        .filter(|(scheme, _)| *scheme == signed.scheme)
        .flat_map(|(_, all)| all.iter());
    let signature = signed.signature();
    match meant.any(|one| key.verify_signature(*one, message, signature).is_ok()) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(bad()),
    }
}

/// The same (TLS 1.3).
pub(crate) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match key_of_unread(certificate) {
        Some(key) => {
            let key = SubjectPublicKeyInfoDer::from(key.raw);
            verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
        }
        None => verify_tls13_signature(message, certificate, signed, algorithms),
    }
}

/// The key of a certificate that webpki does not read.
fn key_of_unread<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfo<'a>> {
    EndEntityCert::try_from(certificate)
        .is_err()
        .then_some(())?;
    Some(read(certificate)?.tbs_certificate.subject_pki)
}
