//! Issuer, ClusterIssuer, Certificate.

use super::Findings;
use crate::kinds::certificates::{Certificate, IssuerSpec};

pub(super) fn issuer(spec: &IssuerSpec, found: &mut Findings) {
    let kinds = [
        spec.acme.is_some(),
        spec.ca.is_some(),
        spec.self_signed.is_some(),
        spec.vault.is_some(),
        spec.venafi.is_some(),
    ];
    let many = kinds.into_iter().filter(|is| *is).count();
    if many != 1 {
        let message = match many {
            0 => "says of no way how it certifies",
            _ => "says of more than one way how it certifies",
        };
        found.error("spec", message, "one of acme, ca, selfSigned");
    }
    if let Some(acme) = &spec.acme
        && acme.server.is_empty()
    {
        found.error("spec.acme.server", "is missing", "the URL of a directory");
    }
    if let Some(ca) = &spec.ca
        && ca.secret_name.is_empty()
    {
        found.error("spec.ca.secretName", "is missing", "the name of a Secret");
    }
}

pub(super) fn certificate(certificate: &Certificate, found: &mut Findings) {
    let spec = &certificate.spec;
    if spec.secret_name.is_empty() {
        found.error("spec.secretName", "is missing", "the name of a Secret");
    }
    if spec.issuer_ref.name.is_empty() {
        found.error("spec.issuerRef.name", "is missing", "the name of an issuer");
    }
}
