//! Whether a certificate is revoked, as its CA says (OCSP, RFC 6960, in the form that RFC 5019 gives
//! it): what is asked, whom, and what an answer is worth.
//!
//! In: a chain as it is served. Out: an answer that was checked, to be shown in handshakes (RFC
//! 6066, section 8). Who looks up a responder's address, and when it is asked, is the caller's.

mod ask;
mod der;
mod response;
mod signed;
mod url;

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

pub use ask::{LARGEST, ask};
pub use response::{Answer, Refused, Status};
pub use url::{NoUrl, Responder};

use der::{INTEGER, NULL, OCTET_STRING, OID, SEQUENCE, write};

/// The contents of SHA-1's OID, 1.3.14.3.2.26. It names certificates here and secures nothing:
/// responders answer from lists that are made with it (RFC 5019, section 2.1.1).
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// A certificate that can be asked about, and whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    id: CertId,
    /// Who answers for it, or has certified who does.
    issuer: CertificateDer<'static>,
    responder: Responder,
}

/// Why a certificate cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAsked {
    /// It names no responder, as those of CAs that have given OCSP up.
    NoResponder,
    /// It names only responders that are not asked; why not the first.
    Unfit(NoUrl),
    /// Its issuer is not in the chain.
    NoIssuer,
    /// It cannot be read.
    Unreadable,
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponder => f.write_str("the certificate names no OCSP responder"),
            Self::Unfit(why) => write!(f, "the certificate's OCSP responder is not asked: {why}"),
            Self::NoIssuer => f.write_str("the certificate's issuer is not in the chain"),
            Self::Unreadable => f.write_str("the certificate cannot be read"),
        }
    }
}

impl Subject {
    /// The first certificate of a chain, if one of the others has issued it.
    ///
    /// # Errors
    /// Why it cannot be asked about.
    pub fn of(chain: &[CertificateDer<'_>]) -> Result<Self, NotAsked> {
        let (leaf, others) = chain.split_first().ok_or(NotAsked::Unreadable)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| NotAsked::Unreadable)?;
        let responder = responder(&parsed)?;
        let issued = |other: &&CertificateDer<'_>| {
            X509Certificate::from_der(other)
                .is_ok_and(|(_, other)| signed::has_issued(&other, leaf, &parsed))
        };
        let issuer = others.iter().find(issued).ok_or(NotAsked::NoIssuer)?;
        let (_, by) = X509Certificate::from_der(issuer).map_err(|_| NotAsked::Unreadable)?;
        Ok(Self {
            id: CertId {
                name_hash: sha1(parsed.issuer().as_raw()),
                key_hash: key_hash(&by),
                serial: parsed.raw_serial().into(),
            },
            issuer: issuer.clone().into_owned(),
            responder,
        })
    }

    /// Whom to ask.
    pub fn responder(&self) -> &Responder {
        &self.responder
    }

    /// The question (RFC 6960, section 4.1.1), without a nonce: responders answer many with one
    /// answer (RFC 5019, section 2.1).
    pub fn request(&self) -> Vec<u8> {
        let request = write(SEQUENCE, &[&self.id.der()]);
        let list = write(SEQUENCE, &[&request]);
        let to_be_signed = write(SEQUENCE, &[&list]);
        write(SEQUENCE, &[&to_be_signed])
    }
}

/// What an answer is about (CertID).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CertId {
    name_hash: [u8; 20],
    key_hash: [u8; 20],
    serial: Box<[u8]>,
}

impl CertId {
    fn der(&self) -> Vec<u8> {
        let algorithm = write(SEQUENCE, &[&write(OID, &[SHA1]), &write(NULL, &[])]);
        let names = [
            write(OCTET_STRING, &[&self.name_hash]),
            write(OCTET_STRING, &[&self.key_hash]),
            write(INTEGER, &[&self.serial]),
        ];
        write(SEQUENCE, &[&algorithm, &names[0], &names[1], &names[2]])
    }
}

fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hash = [0; 20];
    hash.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    hash
}

/// Of the bits of the public key, without what says of which kind it is.
fn key_hash(certificate: &X509Certificate<'_>) -> [u8; 20] {
    sha1(&certificate.public_key().subject_public_key.data)
}

/// The first responder that a certificate names and that can be asked.
fn responder(certificate: &X509Certificate<'_>) -> Result<Responder, NotAsked> {
    let mut unfit = None;
    for extension in certificate.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            continue;
        };
        for description in &access.accessdescs {
            let GeneralName::URI(url) = description.access_location else {
                continue;
            };
            if description.access_method != OID_PKIX_ACCESS_DESCRIPTOR_OCSP {
                continue;
            }
            match Responder::parse(url) {
                Ok(responder) => return Ok(responder),
                Err(why) => unfit = unfit.or(Some(why)),
            }
        }
    }
    Err(unfit.map_or(NotAsked::NoResponder, NotAsked::Unfit))
}

#[cfg(test)]
mod tests;
