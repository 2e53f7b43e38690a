//! How a CA is shown that a name is ours.

use std::fmt::{self, Write as _};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{ChallengeType, Identifier, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::ca::{Failed, Issued, alternative_name, random_serial};
use crate::random::hex;

/// A way to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// A file over HTTP on port 80 (RFC 8555, section 8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A TXT record of this order (RFC 8555, section 8.4).
    Dns01,
    /// A TXT record that stays (draft-ietf-acme-dns-persist).
    DnsPersist01,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    pub(super) fn as_type(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
            Self::DnsPersist01 => ChallengeType::Unknown(self.name().to_owned()),
        }
    }

    /// Whether such a name can be shown so: wildcards by DNS alone (RFC 8555, section 8.4; RFC
    /// 8737, section 3), addresses by anything but DNS (RFC 8738, section 7).
    fn fits(self, identifier: &Identifier, is_wildcard: bool) -> bool {
        let is_dns = matches!(self, Self::Dns01 | Self::DnsPersist01);
        match identifier {
            Identifier::Ip(_) => !is_dns,
            _ => is_dns || !is_wildcard,
        }
    }
}

/// The first of `methods` that the CA offers and that fits the name.
pub(super) fn choose<'a>(
    methods: &[Method],
    offered: impl Iterator<Item = &'a ChallengeType> + Clone,
    identifier: &Identifier,
    is_wildcard: bool,
) -> Option<Method> {
    let mut methods = methods.iter().copied();
    methods.find(|method| {
        method.fits(identifier, is_wildcard) && offered.clone().any(|it| *it == method.as_type())
    })
}

/// What is put up for a CA to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `/.well-known/acme-challenge/{token}` over plain HTTP.
    Http {
        /// The name that the CA asks, or an address.
        name: String,
        /// The last part of the path.
        token: String,
        /// The whole body.
        key_authorization: String,
    },
    /// A certificate for handshakes whose only ALPN protocol is `acme-tls/1`.
    TlsAlpn {
        /// The server name of such a handshake; for an address its name in reverse DNS (RFC 8738,
        /// section 6).
        server_name: String,
        /// What the handshake gets. Its critical extension is one that rustls does not know:
        /// `CertifiedKey::new` takes it, `CertifiedKey::from_der` does not.
        certificate: Issued,
    },
    /// A TXT record beside what is there.
    Dns {
        /// The name that it shows to be ours, with its `*.` if it has one.
        of: String,
        /// Where, as `_acme-challenge.example.org`.
        name: String,
        /// Its text.
        value: String,
    },
    /// A TXT record that is there already, if somebody set it; it is not ours to take away.
    DnsPersist {
        /// The name that it shows to be ours, with its `*.` if it has one.
        of: String,
        /// Where, as `_validation-persist.example.org`.
        name: String,
        /// Its text.
        value: String,
    },
}

/// How each name may be shown to be ours, the preferred way first.
#[derive(Clone, Copy)]
pub enum Ways<'a> {
    /// All of them in the same ways.
    All(&'a [Method]),
    /// Each, with its `*.` if it has one, in ways of its own.
    Each(&'a (dyn Fn(&str) -> Vec<Method> + Sync)),
}

impl Ways<'_> {
    pub(super) fn of(&self, name: &str) -> Vec<Method> {
        match self {
            Self::All(methods) => methods.to_vec(),
            Self::Each(methods) => methods(name),
        }
    }
}

impl fmt::Debug for Ways<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(methods) => f.debug_tuple("All").field(methods).finish(),
            Self::Each(_) => f.debug_tuple("Each").finish_non_exhaustive(),
        }
    }
}

/// The key, in what all replicas read, of the answer to an HTTP-01 challenge.
pub fn http_key(token: &str) -> String {
    format!("http.{token}")
}

/// The same of the answer to a TLS-ALPN-01 challenge.
pub fn alpn_key(server_name: &str) -> String {
    format!("alpn.{}", hex(server_name.as_bytes()))
}

impl Answer {
    /// Under which key replicas find it, and as what; none if it is not for them, but for DNS.
    ///
    /// # Errors
    /// The CA's token is none (RFC 8555, section 8.3), for people.
    pub fn entry(&self) -> Result<Option<(String, String)>, String> {
        match self {
            Self::Http {
                token,
                key_authorization,
                ..
            } if is_token(token) => Ok(Some((http_key(token), key_authorization.clone()))),
            Self::Http { token, .. } => Err(format!("the CA's token {token:?} is not base64url")),
            Self::TlsAlpn {
                server_name,
                certificate,
            } => {
                let value = serde_json::json!({
                    "name": server_name,
                    "chain": certificate.chain,
                    "key": certificate.key,
                });
                Ok(Some((alpn_key(server_name), value.to_string())))
            }
            Self::Dns { .. } | Self::DnsPersist { .. } => Ok(None),
        }
    }
}

/// Whether a token is one, so that it may be in a key.
fn is_token(token: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
    (1..=240).contains(&token.len()) && token.bytes().all(is_letter)
}

/// Who puts up answers where the CA looks for them.
pub trait Solver: Send + Sync {
    /// Puts up all of them: done when every replica, or the name's DNS servers, answer so.
    ///
    /// # Errors
    /// Why it could not be done, for people.
    fn present(&self, answers: &[Answer]) -> impl Future<Output = Result<(), String>> + Send;

    /// Takes them away again, also those that were put up only in part. An order that is dropped
    /// half-way does not come to this: answers should go by themselves after some hours.
    fn withdraw(&self, answers: &[Answer]) -> impl Future<Output = ()> + Send;
}

impl<T: Solver> Solver for Arc<T> {
    fn present(&self, answers: &[Answer]) -> impl Future<Output = Result<(), String>> + Send {
        T::present(self, answers)
    }

    fn withdraw(&self, answers: &[Answer]) -> impl Future<Output = ()> + Send {
        T::withdraw(self, answers)
    }
}

/// What a DNS-PERSIST-01 record says of us.
pub(super) struct Persist<'a> {
    /// The CA's own name, as in CAA records.
    pub(super) ca: &'a str,
    /// The account's URL.
    pub(super) account: &'a str,
}

pub(super) fn answer(
    method: Method,
    (identifier, is_wildcard): (&Identifier, bool),
    token: &str,
    key: &KeyAuthorization,
    persist: &Persist<'_>,
    now: SystemTime,
) -> Result<Answer, Failed> {
    let name = identifier.authorized(false).to_string();
    Ok(match method {
        Method::Http01 => Answer::Http {
            name,
            token: token.to_owned(),
            key_authorization: key.as_str().to_owned(),
        },
        Method::TlsAlpn01 => Answer::TlsAlpn {
            certificate: alpn_certificate(&name, key.digest().as_ref(), now)?,
            server_name: match identifier {
                Identifier::Ip(address) => reverse(*address),
                _ => name,
            },
        },
        Method::Dns01 => Answer::Dns {
            of: written(&name, is_wildcard),
            name: format!("_acme-challenge.{name}"),
            value: key.dns_value(),
        },
        Method::DnsPersist01 => Answer::DnsPersist {
            of: written(&name, is_wildcard),
            name: format!("_validation-persist.{name}"),
            value: persist_value(persist, is_wildcard),
        },
    })
}

/// A name as it is ordered.
pub(super) fn written(name: &str, is_wildcard: bool) -> String {
    match is_wildcard {
        true => format!("*.{name}"),
        false => name.to_owned(),
    }
}

/// The text of a record that stays.
fn persist_value(persist: &Persist<'_>, is_wildcard: bool) -> String {
    let mut value = format!("{}; accounturi={}", persist.ca, persist.account);
    if is_wildcard {
        value.push_str("; policy=wildcard");
    }
    value
}

/// The certificate of a TLS-ALPN-01 challenge: self-signed, for the name alone, with the digest in
/// a critical extension (RFC 8737, section 3).
fn alpn_certificate(name: &str, digest: &[u8], now: SystemTime) -> Result<Issued, Failed> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![alternative_name(name)?];
    params.serial_number = Some(random_serial()?);
    params.not_before = (now - DAY).into();
    params.not_after = (now + 7 * DAY).into();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    Ok(Issued {
        chain: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
        ca: None,
    })
}

/// An address in reverse DNS (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse(address: IpAddr) -> String {
    let mut name = String::new();
    match address {
        IpAddr::V4(address) => {
            for byte in address.octets().iter().rev() {
                // Writing to a String cannot fail.
                let _ = write!(name, "{byte}.");
            }
            name + "in-addr.arpa"
        }
        IpAddr::V6(address) => {
            for byte in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns() -> Identifier {
        Identifier::Dns("web.test".to_owned())
    }

    #[test]
    fn the_first_method_that_fits_is_chosen() {
        use Method::{Dns01, DnsPersist01, Http01, TlsAlpn01};
        let offered = [
            ChallengeType::Dns01,
            ChallengeType::Http01,
            ChallengeType::TlsAlpn01,
            ChallengeType::Unknown("dns-persist-01".to_owned()),
        ];
        let by = |methods: &[Method], name: &Identifier, is_wildcard| {
            choose(methods, offered.iter(), name, is_wildcard)
        };
        assert_eq!(by(&[TlsAlpn01, Http01], &dns(), false), Some(TlsAlpn01));
        assert_eq!(
            by(&[Http01, DnsPersist01], &dns(), true),
            Some(DnsPersist01)
        );
        assert_eq!(by(&[Http01, TlsAlpn01], &dns(), true), None);
        let address = Identifier::Ip([10, 0, 0, 1].into());
        assert_eq!(by(&[Dns01, Http01], &address, false), Some(Http01));
        assert_eq!(by(&[Dns01, DnsPersist01], &address, false), None);
        assert_eq!(choose(&[Http01], offered[..1].iter(), &dns(), false), None);
    }

    #[test]
    fn an_address_is_asked_for_by_its_name_in_reverse_dns() {
        assert_eq!(reverse([192, 0, 2, 1].into()), "1.2.0.192.in-addr.arpa");
        let v6 = reverse("2001:db8::1".parse().expect("an address"));
        assert!(
            v6.starts_with("1.0.0.0.") && v6.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"),
            "{v6}"
        );
    }

    #[test]
    fn a_record_that_stays_names_ca_and_account_and_allows_wildcards() {
        let persist = Persist {
            ca: "ca.test",
            account: "https://ca.test/acct/1",
        };
        assert_eq!(
            persist_value(&persist, true),
            "ca.test; accounturi=https://ca.test/acct/1; policy=wildcard"
        );
        assert!(!persist_value(&persist, false).contains("policy"));
    }

    #[test]
    fn a_tls_alpn_certificate_has_the_digest_in_a_critical_extension() {
        use rustls::pki_types::pem::PemObject;
        let made = alpn_certificate("web.test", &[7; 32], SystemTime::now()).expect("made");
        let der = rustls::pki_types::CertificateDer::from_pem_slice(made.chain.as_bytes());
        let der = der.expect("PEM");
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("reads");
        let names = parsed
            .subject_alternative_name()
            .expect("reads")
            .expect("has names");
        assert_eq!(names.value.general_names.len(), 1);
        // id-pe-acmeIdentifier (RFC 8737, section 6.1).
        let mut all = parsed.extensions().iter();
        let extension = all.find(|it| it.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.expect("has it");
        assert!(extension.critical);
        assert_eq!(extension.value[..2], [4, 32]);
        assert_eq!(extension.value[2..], [7; 32]);
    }
}
