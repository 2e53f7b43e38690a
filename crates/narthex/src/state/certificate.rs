//! The self-signed certificate, for names that have no other.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Certificate, Staple};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::State;

/// How long before its end a certificate is replaced.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// How long a new certificate is valid.
const VALIDITY: Duration = Duration::from_secs(365 * DAY);

/// How long before its making it is valid already, for clients whose clock is late.
const BACKDATE: Duration = Duration::from_secs(DAY);

const NAME: &str = "Narthex default certificate";

/// Certificate and key in one file, so that they cannot part.
const FILE: &str = "default-certificate.pem";

/// The certificate that is kept in `state`, or a new one, which is then kept.
///
/// # Errors
/// Why none could be made, for people.
pub(crate) fn default_certificate(
    state: &State,
    now: SystemTime,
) -> Result<Arc<Certificate>, String> {
    match state.read(FILE) {
        Ok(None) => {}
        Ok(Some(pem)) => match parse(&pem) {
            Ok(certificate) if is_fresh(&certificate, now) => return Ok(Arc::new(certificate)),
            Ok(_) => tracing::info!("the self-signed certificate ends soon: a new one is made"),
            Err(reason) => {
                tracing::warn!(file = FILE, %reason, "the self-signed certificate that was kept \
                    cannot be used: a new one is made");
            }
        },
        Err(error) => tracing::warn!(file = FILE, %error, "the self-signed certificate that was \
            kept cannot be read: a new one is made"),
    }
    let pem = make(now).map_err(|error| format!("no self-signed certificate: {error}"))?;
    let certificate = parse(&pem)?;
    if let Err(error) = state.write(FILE, &pem) {
        tracing::warn!(file = FILE, %error, "the self-signed certificate cannot be kept");
    }
    Ok(Arc::new(certificate))
}

/// Whether a certificate need not be replaced yet.
pub(crate) fn is_fresh(certificate: &Certificate, now: SystemTime) -> bool {
    let renew = seconds(now + RENEW_WITHIN);
    certificate.not_after > renew
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A new key and certificate, as PEM.
fn make(now: SystemTime) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, NAME);
    params.distinguished_name = name;
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + VALIDITY).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

fn parse(pem: &str) -> Result<Certificate, String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("no certificate in it: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("no private key in it: {error}"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|error| format!("the certificate is broken: {error}"))?;
    let not_after = parsed.validity().not_after.timestamp();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(vec![certificate], key, &provider)
        .map_err(|error| format!("certificate and key do not fit: {error}"))?;
    Ok(Certificate {
        key: Arc::new(key),
        source: "self-signed".into(),
        not_after,
        staple: Staple::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(certificate: &Certificate) -> Vec<u8> {
        certificate.key.cert[0].to_vec()
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::Folder(folder.path().to_owned());
        let now = SystemTime::now();
        let first = default_certificate(&state, now).expect("made");
        let again = default_certificate(&state, now).expect("kept");
        assert_eq!(serial(&first), serial(&again));
        assert!(first.not_after > seconds(now + VALIDITY) - 60);
    }

    #[test]
    fn it_is_renewed_in_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::Folder(folder.path().to_owned());
        let now = SystemTime::now();
        let first = default_certificate(&state, now).expect("made");
        let later = default_certificate(&state, now + VALIDITY - RENEW_WITHIN).expect("renewed");
        assert_ne!(serial(&first), serial(&later));
        let kept = default_certificate(&state, now).expect("kept");
        assert_eq!(serial(&later), serial(&kept));
    }

    #[test]
    fn what_is_broken_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::Folder(folder.path().to_owned());
        let now = SystemTime::now();
        default_certificate(&state, now).expect("made");
        let good = state.read(FILE).expect("reads").expect("there");
        for broken in ["", "nonsense", &good[..good.len() / 2]] {
            state.write(FILE, broken).expect("writes");
            let new = default_certificate(&state, now).expect("made anew");
            let kept = default_certificate(&state, now).expect("kept");
            assert_eq!(serial(&new), serial(&kept));
        }
    }

    #[test]
    fn certificate_and_key_must_fit() {
        let now = SystemTime::now();
        let (one, other) = (make(now).expect("made"), make(now).expect("made"));
        let key = |pem: &str| pem.find("-----BEGIN PRIVATE KEY").expect("a key");
        let mixed = format!("{}{}", &one[..key(&one)], &other[key(&other)..]);
        assert!(parse(&mixed).is_err());
    }
}
