//! Certificates that came otherwise.

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Failed, Issued, Read, to_pem, unreadable};

impl Issued {
    /// A chain and its key out of PEM, in any order; the certificate itself is the first one.
    ///
    /// # Errors
    /// They cannot be read, or do not fit; never a word of the key.
    pub fn from_pem(text: &str) -> Result<Self, Failed> {
        let mut chain = String::new();
        let mut first = None;
        for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let der = der.map_err(|error| unreadable(&error))?;
            chain.push_str(&to_pem(&der));
            first.get_or_insert(der);
        }
        let Some(first) = first else {
            return Err(Failed("there is no certificate in it".to_owned()));
        };
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| Failed("there is no private key in it".to_owned()))?;
        let key = KeyPair::try_from(&key)
            .map_err(|_| Failed("its private key cannot be read".to_owned()))?;
        if Read::of(&first)?.public_key != key.der_bytes() {
            return Err(Failed(
                "the private key is not that of the first certificate".to_owned(),
            ));
        }
        Ok(Self {
            chain,
            key: key.serialize_pem(),
            ca: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::{KeyKind, Request, Usage, self_signed};
    use super::*;

    fn made(key: KeyKind) -> Issued {
        let request = Request {
            names: &["a.test".to_owned()],
            common_name: None,
            usage: Usage::Server,
            lifetime: Duration::from_secs(3600),
            key,
        };
        self_signed(&request, SystemTime::now()).expect("made")
    }

    #[test]
    fn chain_and_key_come_in_any_order_and_must_fit() {
        for kind in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
            let one = made(kind);
            let read = Issued::from_pem(&format!("{}\n{}", one.key, one.chain));
            assert_eq!(read.as_ref().map(|it| &it.chain), Ok(&one.chain));
            let other = made(kind);
            for wrong in [
                format!("{}{}", one.chain, other.key),
                one.chain.clone(),
                one.key.clone(),
                String::new(),
            ] {
                assert!(Issued::from_pem(&wrong).is_err());
            }
        }
    }
}
