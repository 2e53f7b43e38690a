//! Certificates made for one test.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RevokedCertParams, SerialNumber,
    SigningKey as _,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ocsp::der;

/// A certificate with its key, as a Secret holds them.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub chain_pem: String,
    pub key_pem: String,
    pub der: CertificateDer<'static>,
}

/// A certificate authority that clients of a test trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    /// An ECDSA certificate that signs itself.
    pub fn of(names: &[&str]) -> Self {
        let key = ecdsa();
        let made = parameters(names).self_signed(&key).expect("signable");
        Self {
            chain_pem: made.pem(),
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
        }
    }

    /// The same, which says that it is an authority's.
    pub fn authority_of(names: &[&str]) -> Self {
        let key = ecdsa();
        let mut parameters = parameters(names);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = parameters.self_signed(&key).expect("signable");
        Self {
            chain_pem: made.pem(),
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
        }
    }

    /// One whose time is over.
    pub fn expired(names: &[&str]) -> Self {
        let key = ecdsa();
        let mut parameters = parameters(names);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let made = parameters.self_signed(&key).expect("signable");
        Self {
            chain_pem: made.pem(),
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = ecdsa();
        let mut parameters = parameters(&[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::CrlSign,
        ];
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Narthex test authority");
        let made = parameters.self_signed(&key).expect("signable");
        let (pem, der) = (made.pem(), made.der().clone());
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
            der,
        }
    }

    /// The ConfigMap by which others trust it, as a manifest.
    pub fn config_map(&self, name: &str) -> String {
        let pem = self.pem.replace('\n', "\n    ");
        format!(
            "apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  ca.crt: |
    {pem}
"
        )
    }

    pub fn ecdsa(&self, names: &[&str]) -> Certificate {
        self.issue(names, &ecdsa())
    }

    pub fn rsa(&self, names: &[&str]) -> Certificate {
        self.issue(
            names,
            &KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key"),
        )
    }

    /// What a client shows, of this common name and organisation.
    pub fn client(&self, name: &str, organization: &str) -> Certificate {
        self.sign(named(Some(organization), name), &ecdsa())
    }

    /// What a client shows that is of X.509's first version, which has no extensions.
    pub fn first_version(&self, name: &str) -> Certificate {
        let made = self.client(name, "First");
        let whole = elements(elements(&made.der)[0].1);
        let fields = elements(whole[0].1);
        let fields = fields.iter().map(|(all, _)| *all);
        let fields: Vec<_> = fields
            .filter(|all| !matches!(all[0], 0xa0 | 0xa3))
            .collect();
        let signed = der(0x30, &fields);
        let signature = der(0x03, &[&[0], &self.signature(&signed)]);
        let whole = der(0x30, &[&signed, whole[1].0, &signature]);
        let pem = BASE64_STANDARD.encode(&whole);
        Certificate {
            chain_pem: format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n"),
            key_pem: made.key_pem,
            der: whole.into(),
        }
    }

    /// Its own certificate, as something that a client shows.
    pub fn itself(&self) -> Certificate {
        Certificate {
            chain_pem: self.pem.clone(),
            key_pem: self.key_pem(),
            der: self.der.clone(),
        }
    }

    /// The same, whose time is over.
    pub fn expired_client(&self, name: &str) -> Certificate {
        let mut parameters = named(None, name);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(parameters, &ecdsa())
    }

    /// One whose CA answers at a URL whether it is revoked.
    pub fn asked_about_at(&self, names: &[&str], url: &str) -> Certificate {
        self.sign(asked_about_at(names, url), &ecdsa())
    }

    /// The same, which clients are to refuse without such an answer (RFC 7633).
    pub fn must_staple(&self, names: &[&str], url: &str) -> Certificate {
        let mut parameters = asked_about_at(names, url);
        let feature = CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 5, 5, 7, 1, 24],
            vec![0x30, 3, 2, 1, 5],
        );
        parameters.custom_extensions.push(feature);
        self.sign(parameters, &ecdsa())
    }

    /// Who may answer in its place whether its certificates are revoked.
    pub fn responder(&self) -> Certificate {
        let mut parameters = named(None, "Responder");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        self.sign(parameters, &ecdsa())
    }

    /// Its signature: ECDSA with SHA-256.
    pub fn signature(&self, bytes: &[u8]) -> Vec<u8> {
        self.issuer.key().sign(bytes).expect("signable")
    }

    /// Another authority that this one has issued; chains have both.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = ecdsa();
        let mut parameters = named(None, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = parameters.signed_by(&key, &self.issuer).expect("signable");
        Self {
            pem: made.pem() + &self.pem,
            der: made.der().clone(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A list of who is revoked, in PEM, to be renewed in so many seconds.
    pub fn revocations(&self, revoked: &[&Certificate], seconds: i64) -> String {
        let now = SystemTime::now();
        let before = now - Duration::from_secs(7200);
        let change = Duration::from_secs(seconds.unsigned_abs());
        let next = match seconds < 0 {
            true => now - change,
            false => now + change,
        };
        let revoked = revoked.iter().map(|certificate| RevokedCertParams {
            serial_number: serial(certificate),
            revocation_time: before.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: before.into(),
            next_update: next.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("signable");
        list.pem().expect("PEM")
    }

    fn sign(&self, parameters: CertificateParams, key: &KeyPair) -> Certificate {
        let made = parameters.signed_by(key, &self.issuer).expect("signable");
        Certificate {
            chain_pem: made.pem() + &self.pem,
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
        }
    }

    /// Its key in PEM, for who is to certify in its name.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    fn issue(&self, names: &[&str], key: &KeyPair) -> Certificate {
        self.sign(parameters(names), key)
    }
}

/// The elements of DER, each as a whole and as what is in it.
fn elements(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut all = Vec::new();
    while let [_, length, ..] = *bytes {
        let more = usize::from(length & 0x7f);
        let (head, length) = match length < 0x80 {
            true => (2, more),
            false => {
                let digits = bytes[2..2 + more].iter();
                let length = digits.fold(0, |all, &byte| all << 8 | usize::from(byte));
                (2 + more, length)
            }
        };
        let (element, rest) = bytes.split_at(head + length);
        all.push((element, &element[head..]));
        bytes = rest;
    }
    all
}

/// With a name of an organisation, if there is one, and a person.
fn named(organization: Option<&str>, name: &str) -> CertificateParams {
    let mut parameters = parameters(&[]);
    let mut whole = DistinguishedName::new();
    if let Some(organization) = organization {
        whole.push(DnType::OrganizationName, organization);
    }
    whole.push(DnType::CommonName, name);
    parameters.distinguished_name = whole;
    parameters
}

fn asked_about_at(names: &[&str], url: &str) -> CertificateParams {
    let mut parameters = parameters(names);
    let ocsp = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
    let at = der(0x30, &[&der(0x06, &[&ocsp]), &der(0x86, &[url.as_bytes()])]);
    let access = der(0x30, &[&at]);
    let access = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
    parameters.custom_extensions.push(access);
    parameters
}

fn serial(certificate: &Certificate) -> SerialNumber {
    let (_, parsed) = X509Certificate::from_der(&certificate.der).expect("a certificate");
    SerialNumber::from_slice(parsed.raw_serial())
}

fn ecdsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("an ECDSA key")
}

fn parameters(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(names).expect("DNS names");
    let now = std::time::SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(3600)).into();
    parameters.not_after = (now + Duration::from_secs(90 * 24 * 3600)).into();
    parameters
}
