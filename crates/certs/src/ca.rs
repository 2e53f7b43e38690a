//! An authority of our own: what it certifies, and how it follows itself.
//!
//! [`Issuer`] certifies names and clients: with the keys of [`Authority`], which has a root and
//! an intermediate and renews both, or with those of a Secret that somebody else made. No name
//! constraints: clients differ in how they read them, and the trust bundle is given only to those
//! who are to trust every name.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

mod authority;
mod import;
mod key;

pub use authority::{Authority, Terms};
pub use key::KeyKind;

use crate::random::serial;
use crate::renew::Validity;

/// How long before its making a certificate is valid already, for clocks that are late. A short
/// one a twelfth of its lifetime, lest it begin old.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// The longest common name (RFC 5280, appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// Why there is no certificate, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<rcgen::Error> for Failed {
    fn from(error: rcgen::Error) -> Self {
        Self(format!("no certificate could be made: {error}"))
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Servers' (`id-kp-serverAuth`, RFC 5280, section 4.2.1.12).
    Server,
    /// Clients' (`id-kp-clientAuth`).
    Client,
    /// Parts that call each other.
    Both,
}

/// What is to be certified.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// DNS names, with or without a wildcard, and IP addresses. A client's may be none.
    pub names: &'a [String],
    /// Who a client is; a server's name is in `names`. Longer ones than 64 letters are refused.
    pub common_name: Option<&'a str>,
    /// What it is for.
    pub usage: Usage,
    /// How long it is to be valid. Shorter if its issuer ends sooner.
    pub lifetime: Duration,
    /// A new key for each certificate.
    pub key: KeyKind,
}

/// A chain with its key, as PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate, and the intermediates up to the root, without it.
    pub chain: String,
    /// PKCS #8.
    pub key: String,
    /// Whom to trust to trust this, if its issuer tells: the root, or the highest certificate that
    /// is known of an authority of our own. A Secret's `ca.crt`.
    #[serde(default)]
    pub ca: Option<String>,
}

// The key is nobody's to see in a log.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// Keys that certify.
#[derive(Debug)]
pub struct Issuer {
    signing: rcgen::Issuer<'static, KeyPair>,
    /// Its certificate and those above it, as PEM; without the root.
    chain: String,
    /// The last of them, which may be the root, as PEM.
    top: String,
    validity: Validity,
}

impl Issuer {
    /// Out of a Secret: the authority's certificate first, then what is between it and the root,
    /// and its key. A certificate that signed itself is not sent along: clients have it or do not
    /// trust it.
    ///
    /// # Errors
    /// They cannot be read, do not fit, or are not an authority's; never a word of the key.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, Failed> {
        let key = KeyPair::from_pem(key)
            .map_err(|_| Failed("the authority's key cannot be read".to_owned()))?;
        let mut kept = String::new();
        let mut top = String::new();
        let mut first = None;
        for der in CertificateDer::pem_slice_iter(chain.as_bytes()) {
            let der = der.map_err(|error| unreadable(&error))?;
            let read = Read::of(&der)?;
            top = to_pem(&der);
            if read.subject != read.issuer {
                kept.push_str(&top);
            }
            first.get_or_insert((der, read));
        }
        let Some((der, read)) = first else {
            return Err(Failed("the authority has no certificate".to_owned()));
        };
        if !read.is_authority {
            return Err(Failed(
                "the certificate is not an authority's: it has no CA:TRUE or may not sign \
                 certificates"
                    .to_owned(),
            ));
        }
        if read.public_key != key.public_key_raw() {
            return Err(Failed(
                "the key is not that of the authority's certificate".to_owned(),
            ));
        }
        Ok(Self {
            signing: rcgen::Issuer::from_ca_cert_der(&der, key)?,
            chain: kept,
            top,
            validity: read.validity,
        })
    }

    /// When its certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// A new key, and its certificate.
    ///
    /// # Errors
    /// A name is none, there is nothing to certify, or the authority is over.
    pub fn issue(&self, request: &Request<'_>, now: SystemTime) -> Result<Issued, Failed> {
        if now >= self.validity.not_after {
            return Err(Failed("the authority's certificate is over".to_owned()));
        }
        let key = request.key.generate()?;
        let mut params = leaf(request, now)?;
        let within = |time: SystemTime| {
            let from = time.max(self.validity.not_before);
            from.min(self.validity.not_after)
        };
        set_validity(
            &mut params,
            within(now - backdated(request.lifetime)),
            within(now + request.lifetime),
        );
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.signing)?;
        Ok(Issued {
            chain: certificate.pem() + &self.chain,
            key: key.serialize_pem(),
            ca: Some(self.top.clone()),
        })
    }
}

/// A certificate that its own key signed (cert-manager's SelfSigned issuer): clients trust it only
/// if they were given it.
///
/// # Errors
/// A name is none, or there is nothing to certify.
pub fn self_signed(request: &Request<'_>, now: SystemTime) -> Result<Issued, Failed> {
    let key = request.key.generate()?;
    let mut params = leaf(request, now)?;
    // It says that it is no authority, which is otherwise left out.
    params.is_ca = IsCa::ExplicitNoCa;
    let chain = params.self_signed(&key)?.pem();
    Ok(Issued {
        ca: Some(chain.clone()),
        chain,
        key: key.serialize_pem(),
    })
}

/// When the first certificate of a chain is valid.
///
/// # Errors
/// It cannot be read.
pub fn validity(chain: &str) -> Result<Validity, Failed> {
    Ok(Read::first(chain)?.validity)
}

/// The names of the first certificate of a chain, in lower case and sorted.
///
/// # Errors
/// It cannot be read.
pub fn names(chain: &str) -> Result<Vec<String>, Failed> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes());
    let der = der.map_err(|error| unreadable(&error))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| unreadable(&error))?;
    let all = parsed
        .subject_alternative_name()
        .map_err(|error| unreadable(&error))?;
    let all = all.iter().flat_map(|all| &all.value.general_names);
    let mut names: Vec<String> = all.filter_map(text).collect();
    names.sort();
    Ok(names)
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn leaf(request: &Request<'_>, now: SystemTime) -> Result<CertificateParams, Failed> {
    if request.names.is_empty() && request.common_name.is_none() {
        return Err(Failed("there is no name to certify".to_owned()));
    }
    let mut params = CertificateParams::default();
    params.subject_alt_names = request
        .names
        .iter()
        .map(|name| alternative_name(name))
        .collect::<Result<_, _>>()?;
    params.distinguished_name = match request.common_name {
        Some(name) if name.is_empty() || name.chars().count() > MAX_COMMON_NAME => {
            return Err(Failed(format!(
                "the common name {name:?} is empty or longer than {MAX_COMMON_NAME} letters"
            )));
        }
        Some(name) => common_name(name),
        None => DistinguishedName::new(),
    };
    params.serial_number = Some(random_serial()?);
    set_validity(
        &mut params,
        now - backdated(request.lifetime),
        now + request.lifetime,
    );
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match request.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    };
    Ok(params)
}

/// A name as clients look for it (RFC 9525, section 6), in lower case.
pub(crate) fn alternative_name(name: &str) -> Result<SanType, Failed> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = name.to_ascii_lowercase();
    let host = name.strip_prefix("*.").unwrap_or(&name);
    let label = |label: &str| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(letters)
    };
    if name.len() > 253 || !host.split('.').all(label) {
        return Err(Failed(format!(
            "{name:?} is neither a DNS name nor an IP address"
        )));
    }
    let name = name.try_into().map_err(Failed::from)?;
    Ok(SanType::DnsName(name))
}

fn set_validity(params: &mut CertificateParams, from: SystemTime, until: SystemTime) {
    params.not_before = from.into();
    params.not_after = until.into();
}

fn backdated(lifetime: Duration) -> Duration {
    BACKDATE.min(lifetime / 12)
}

pub(crate) fn random_serial() -> Result<SerialNumber, Failed> {
    let bytes = serial().map_err(|_| Failed("the system has no random bytes".to_owned()))?;
    Ok(SerialNumber::from_slice(&bytes))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// What an authority's certificate says of itself: it signs certificates and lists of revoked
/// ones, with `below` authorities under it (RFC 5280, sections 4.2.1.3 and 4.2.1.9).
fn authority_params(
    name: &str,
    below: u8,
    validity: Validity,
) -> Result<CertificateParams, Failed> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(random_serial()?);
    set_validity(&mut params, validity.not_before, validity.not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What is read of a certificate.
struct Read {
    validity: Validity,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    is_authority: bool,
    public_key: Vec<u8>,
}

impl Read {
    fn first(chain: &str) -> Result<Self, Failed> {
        let der = CertificateDer::from_pem_slice(chain.as_bytes());
        Self::of(&der.map_err(|error| unreadable(&error))?)
    }

    fn of(der: &CertificateDer<'_>) -> Result<Self, Failed> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(der).map_err(|error| unreadable(&error))?;
        let may_sign = match parsed.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
            Err(_) => false,
        };
        let time = |seconds: i64| match u64::try_from(seconds) {
            Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            Err(_) => SystemTime::UNIX_EPOCH,
        };
        Ok(Self {
            validity: Validity {
                not_before: time(parsed.validity().not_before.timestamp()),
                not_after: time(parsed.validity().not_after.timestamp()),
            },
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            is_authority: parsed.is_ca() && may_sign,
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
        })
    }
}

fn unreadable(error: &dyn fmt::Display) -> Failed {
    Failed(format!("a certificate cannot be read: {error}"))
}

fn to_pem(der: &CertificateDer<'_>) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every place is between letters.
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests;
