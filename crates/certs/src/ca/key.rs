//! The keys of certificates.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::public_key::PublicKey;

use super::Failed;

/// The key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// ECDSA on P-256: quick, and read by everything of the last ten years.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA of 2048 bits, for clients that are older.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits: seconds of a core for one key.
    Rsa4096,
}

impl KeyKind {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(crate) fn generate(self) -> Result<KeyPair, Failed> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        Ok(match self {
            Self::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Self::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            Self::Rsa2048 => rsa(RsaKeySize::_2048)?,
            Self::Rsa3072 => rsa(RsaKeySize::_3072)?,
            Self::Rsa4096 => rsa(RsaKeySize::_4096)?,
        })
    }

    /// That of the first certificate of a chain; none if it is of another kind.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(chain: &str) -> Result<Option<Self>, Failed> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Failed(format!("a certificate cannot be read: {error}"))
        };
        let der = CertificateDer::from_pem_slice(chain.as_bytes());
        let der = der.map_err(|error| unreadable(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| unreadable(&error))?;
        let key = parsed.public_key().parsed();
        Ok(match key.map_err(|error| unreadable(&error))? {
            PublicKey::EC(point) if point.key_size() == 256 => Some(Self::EcdsaP256),
            PublicKey::EC(point) if point.key_size() == 384 => Some(Self::EcdsaP384),
            PublicKey::RSA(key) => match key.key_size() {
                2048 => Some(Self::Rsa2048),
                3072 => Some(Self::Rsa3072),
                4096 => Some(Self::Rsa4096),
                _ => None,
            },
            _ => None,
        })
    }
}
