//! Certificates that clients of one host show: whether they are valid, and what backends are told
//! of them (ingress-nginx: `auth-tls-secret`).
//!
//! The handshake takes any certificate whose key the client has, and a request is answered by what
//! was found of it, so that people see why. What was found is found anew for each connection, one
//! with a resumed session as well: whoever was revoked meanwhile does not get in by a ticket.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::ClientPolicy;
use model::clients::Demand;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};
use x509_parser::der_parser::asn1_rs::{Any, ToDer};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::plain;

/// What a client has shown for a host.
#[derive(Debug)]
pub(crate) struct Presented {
    /// What it was asked for.
    pub(crate) policy: Arc<ClientPolicy>,
    /// What was found.
    pub(crate) found: Found,
    /// What it has shown.
    pub(crate) shown: Option<Shown>,
}

/// What was found of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is none.
    None,
    /// It is valid.
    Valid,
    /// It is of somebody who is not known.
    Unknown,
    /// It is not valid, as OpenSSL words it.
    Invalid(&'static str),
}

/// A certificate in the words that backends are told.
#[derive(Debug)]
pub(crate) struct Shown {
    /// As RFC 2253 writes it.
    pub(crate) subject: Box<str>,
    /// The same.
    pub(crate) issuer: Box<str>,
    /// PEM, in which all that is not unreserved in a URI is escaped.
    pub(crate) escaped: Box<str>,
}

const UNKNOWN: &str = "unable to get local issuer certificate";

impl Found {
    /// As nginx's `$ssl_client_verify`.
    pub(crate) fn for_backends(self) -> String {
        match self {
            Self::None => "NONE".to_owned(),
            Self::Valid => "SUCCESS".to_owned(),
            Self::Unknown => format!("FAILED:{UNKNOWN}"),
            Self::Invalid(why) => format!("FAILED:{why}"),
        }
    }

    /// Whether it is enough.
    pub(crate) fn satisfies(self, demand: Demand) -> bool {
        match self {
            _ if demand == Demand::Nothing => false,
            _ if demand == Demand::Unasked => true,
            Self::Valid => true,
            Self::None => demand != Demand::Required,
            Self::Unknown => demand == Demand::Any,
            Self::Invalid(_) => false,
        }
    }
}

/// One policy, made ready.
#[derive(Debug)]
pub(super) struct Judge {
    policy: Arc<ClientPolicy>,
    anchors: Vec<TrustAnchor<'static>>,
    revocations: Vec<CertRevocationList<'static>>,
}

impl Judge {
    /// Reads what the policy names. What cannot be read trusts nobody: lists that cannot be read
    /// are as good as a list that nobody is in the scope of.
    pub(super) fn new(policy: &Arc<ClientPolicy>) -> Self {
        let anchors = policy.authorities.iter();
        let anchors =
            anchors.filter_map(|der| Some(anchor_from_trusted_cert(der).ok()?.to_owned()));
        let lists = policy.revocations.iter();
        let lists = lists.filter_map(|der| OwnedCertRevocationList::from_der(der).ok());
        Self {
            policy: Arc::clone(policy),
            anchors: anchors.collect(),
            revocations: lists.map(Into::into).collect(),
        }
    }

    /// What is to be said of a chain, the client's own certificate first.
    pub(super) fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> Presented {
        let (leaf, others) = match chain.and_then(<[_]>::split_first) {
            Some((leaf, others)) => (Some(leaf), others),
            None => (None, &[][..]),
        };
        let shown = leaf.and_then(shown);
        let found = match (leaf, &shown) {
            (None, _) => Found::None,
            (Some(_), None) => Found::Invalid("certificate cannot be read"),
            (Some(leaf), Some(_)) => match self.verify(leaf, others) {
                Ok(()) => Found::Valid,
                // The latter of who has the name of one that is known.
                Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                    Found::Unknown
                }
                Err(webpki::Error::CaUsedAsEndEntity | webpki::Error::UnsupportedCertVersion) => {
                    self.find_plainly(leaf)
                }
                Err(error) => Found::Invalid(words(&error)),
            },
        };
        Presented {
            policy: Arc::clone(&self.policy),
            found,
            shown,
        }
    }

    /// What is found of a certificate that webpki has nothing to say of.
    fn find_plainly(&self, leaf: &CertificateDer<'_>) -> Found {
        match self.policy.revocations.is_empty() {
            true => {
                let authorities = &self.policy.authorities;
                plain::find(leaf, authorities, plain::Purpose::Client, UnixTime::now())
            }
            // Nobody looks into the lists for it.
            false => Found::Invalid(words(&webpki::Error::UnknownRevocationStatus)),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.revocations.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        if revocation.is_none() && !self.policy.revocations.is_empty() {
            return Err(webpki::Error::UnknownRevocationStatus);
        }
        let leaf = EndEntityCert::try_from(leaf)?;
        let path = leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.anchors,
            others,
            UnixTime::now(),
            KeyUsage::client_auth(),
            revocation,
            None,
        )?;
        match path.intermediate_certificates().count() > usize::from(self.policy.depth) {
            true => Err(webpki::Error::MaximumPathDepthExceeded),
            false => Ok(()),
        }
    }
}

/// OpenSSL's words for what is wrong, which backends may know.
fn words(error: &webpki::Error) -> &'static str {
    match error {
        webpki::Error::CertExpired { .. } => "certificate has expired",
        webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid",
        webpki::Error::CertRevoked => "certificate revoked",
        webpki::Error::CrlExpired { .. } => "CRL has expired",
        webpki::Error::UnknownRevocationStatus => "unable to get certificate CRL",
        webpki::Error::MaximumPathDepthExceeded => "certificate chain too long",
        webpki::Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose",
        _ => "certificate rejected",
    }
}

fn shown(der: &CertificateDer<'_>) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Shown {
        subject: name(certificate.subject()).into(),
        issuer: name(certificate.issuer()).into(),
        escaped: escaped_pem(der).into(),
    })
}

/// PEM as OpenSSL writes it, escaped as `encodeURIComponent` does.
fn escaped_pem(der: &[u8]) -> String {
    const LINE: usize = 64;

    let body = BASE64_STANDARD.encode(der);
    let mut text = "-----BEGIN%20CERTIFICATE-----%0A".to_owned();
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            text.push_str("%0A");
        }
        match character {
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text.push_str("%0A-----END%20CERTIFICATE-----%0A");
    text
}

/// OpenSSL's short names of attributes.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name as RFC 2253 writes it, and as OpenSSL does: the last part first, ASCII alone.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let attributes = part.iter().map(|attribute| {
            let oid = attribute.attr_type();
            let text = attribute.as_str().ok();
            let id = oid.to_id_string();
            let known = SHORT_NAMES.iter().find(|(known, _)| *known == id);
            match (known, text) {
                (Some((_, name)), Some(text)) => format!("{name}={}", escape(text)),
                (Some((_, name)), None) => format!("{name}={}", hex(attribute.attr_value())),
                (None, _) => format!("{id}={}", hex(attribute.attr_value())),
            }
        });
        attributes.collect::<Vec<_>>().join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

/// RFC 2253, section 2.4; and what is not ASCII in hexadecimal, so that a field can hold it.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let last = text.len().saturating_sub(1);
    for (index, byte) in text.bytes().enumerate() {
        let outer =
            (index == 0 && (byte == b'#' || byte == b' ')) || (index == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e if outer => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            // Text takes everything.
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
    out
}

/// The value's encoding, for what has no name or is no text (RFC 2253, section 2.4).
fn hex(value: &Any<'_>) -> String {
    let mut out = "#".to_owned();
    for byte in value.to_der_vec().unwrap_or_default() {
        let _ = write!(out, "{byte:02X}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_rfc_2253_says() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a, b+c", "a\\, b\\+c"),
            (" both ", "\\ both\\ "),
            ("#1", "\\#1"),
            ("Müller", "M\\C3\\BCller"),
            ("a\r\nX: 1", "a\\0D\\0AX: 1"),
        ] {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn a_certificate_is_escaped_so_that_it_stands_in_one_line() {
        let pem = escaped_pem(&[0xfb; 100]);
        assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A"));
        assert!(pem.ends_with("%0A-----END%20CERTIFICATE-----%0A"));
        let body = pem
            .replace("%2B", "+")
            .replace("%2F", "/")
            .replace("%3D", "=");
        let lines: Vec<_> = body.split("%0A").collect();
        assert_eq!(lines[1].len(), 64);
        assert!(
            pem.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-%".contains(&byte))
        );
    }

    #[test]
    fn who_gets_in_is_what_the_policy_demands() {
        use Demand::{Any, Optional, Required};
        let bad = Found::Invalid("certificate has expired");
        for (found, demands) in [
            (Found::Valid, &[Required, Optional, Any][..]),
            (Found::None, &[Optional, Any]),
            (Found::Unknown, &[Any]),
            (bad, &[]),
        ] {
            for demand in [Required, Optional, Any] {
                let expected = demands.contains(&demand);
                assert_eq!(found.satisfies(demand), expected, "{found:?} {demand:?}");
            }
        }
    }
}
