//! Certificates made for one test.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use rustls::pki_types::CertificateDer;

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

    fn issue(&self, names: &[&str], key: &KeyPair) -> Certificate {
        let made = parameters(names)
            .signed_by(key, &self.issuer)
            .expect("signable");
        Certificate {
            chain_pem: made.pem() + &self.pem,
            key_pem: key.serialize_pem(),
            der: made.der().clone(),
        }
    }
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
