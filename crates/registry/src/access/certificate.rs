//! Client certificates: by which authorities, and which names they have.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What verifies clients' certificates by the authorities in a PEM file. A client that shows none
/// is let in: it is anonymous, or shows a password.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let authorities = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it has no CERTIFICATE in PEM".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map(|it| it as Arc<dyn ClientCertVerifier>)
        .map_err(|error| wrong(error.to_string()))
}

/// The names of a client's certificate, which has been verified: DNS names, e-mail addresses and
/// URIs of its subject alternative names, and its common name.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name)
                | GeneralName::RFC822Name(name)
                | GeneralName::URI(name) => names.push((*name).to_owned()),
                _ => {}
            }
        }
    }
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|it| it.as_str().ok()).map(str::to_owned);
    for name in common {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_has_its_alternative_names_and_its_common_name() {
        let mut params = CertificateParams::new(vec!["edge.example".to_owned()]).expect("a name");
        let uri = "spiffe://cluster/ns/a/sa/b".try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name.push(DnType::CommonName, "edge");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let expected = ["edge.example", "spiffe://cluster/ns/a/sa/b", "edge"];
        assert_eq!(names(certificate.der()), expected);
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").expect("written");
        let wrong = verifier(&file).expect_err("nothing in it");
        assert!(
            wrong.contains("ca.pem") && wrong.contains("no CERTIFICATE"),
            "{wrong}"
        );
    }
}
