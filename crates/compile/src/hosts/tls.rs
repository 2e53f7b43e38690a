//! One host's certificates out of every `tls` entry that names it.

use std::sync::Arc;

use model::{CertificateSet, Suites};
use rustls::SignatureAlgorithm;

use super::Claim;
use crate::certificates::Loaded;
use crate::ingress::key;
use crate::report::Problems;

/// One certificate of each key type: the first Ingress by precedence, and its first entry, win.
/// `problems` has one entry for each claim.
pub(super) fn build(
    host: &str,
    claims: &[Claim],
    former: Option<&Arc<CertificateSet>>,
    problems: &mut [Problems],
) -> Option<Arc<CertificateSet>> {
    let has_rule = claims
        .iter()
        .any(|claim| claim.ingress.parsed.host_index(host).is_some());
    let mut chosen: Vec<(&Arc<Loaded>, &Claim)> = Vec::new();
    for (claim, problems) in claims.iter().zip(problems) {
        for tls in claim.ingress.tls_claims(host) {
            if let Some(index) = tls.listed
                && !has_rule
                && !has_use(claim, host)
            {
                problems.warning(
                    format!("spec.tls[{}].hosts[{index}]", tls.entry),
                    format!("no rule is for {host}"),
                    "a rule for every host of `tls`",
                );
            }
            let Some(loaded) = &tls.certificate else {
                continue;
            };
            match chosen
                .iter()
                .find(|(other, _)| other.algorithm == loaded.algorithm)
            {
                None => chosen.push((loaded, claim)),
                // The same certificate is often copied to several namespaces.
                Some((other, _)) if is_same(other, loaded) => {}
                Some((other, winner)) => problems.warning(
                    format!("spec.tls[{}].secretName", tls.entry),
                    format!(
                        "{host} is served with the certificate in {}, as {} says",
                        other.certificate.source,
                        key(&winner.ingress.parsed.source),
                    ),
                    "one certificate of each key type for a host; the older Ingress's is taken",
                ),
            }
        }
    }
    chosen.sort_by_key(|(loaded, _)| rank(loaded.algorithm));
    if chosen.is_empty() {
        return None;
    }
    // As in ingress-nginx, the first Ingress of the host that says something decides.
    let suites = claims.iter().filter(|claim| has_use(claim, host));
    let suites = suites.filter_map(|claim| claim.ingress.parsed.settings.suites.clone());
    let suites = suites.reduce(|first, second| match first.suites.is_empty() {
        true if !second.suites.is_empty() => Arc::new(Suites {
            suites: second.suites.clone(),
            client_order: first.client_order.or(second.client_order),
        }),
        _ => first,
    });
    if let Some(former) = former
        && former.suites == suites
        && former.certificates.len() == chosen.len()
        && former
            .certificates
            .iter()
            .zip(&chosen)
            .all(|(a, (b, _))| Arc::ptr_eq(a, &b.certificate))
    {
        return Some(Arc::clone(former));
    }
    let certificates = chosen
        .iter()
        .map(|(loaded, _)| Arc::clone(&loaded.certificate))
        .collect();
    Some(Arc::new(CertificateSet {
        certificates,
        used: None,
        suites,
    }))
}

/// The certificates of host `of` that are for another name of it, too; no Ingress has to say so.
pub(super) fn covering(
    name: &str,
    of: &str,
    claims: &[Claim],
    former: Option<&Arc<CertificateSet>>,
) -> Option<Arc<CertificateSet>> {
    let wildcard;
    let name = match name.starts_with('.') {
        true => {
            wildcard = format!("*{name}");
            &*wildcard
        }
        false => name,
    };
    let mut chosen: Vec<&Arc<Loaded>> = Vec::new();
    for tls in claims.iter().flat_map(|claim| claim.ingress.tls_claims(of)) {
        let Some(loaded) = tls
            .certificate
            .as_ref()
            .filter(|loaded| loaded.covers(name))
        else {
            continue;
        };
        if !chosen
            .iter()
            .any(|known| known.algorithm == loaded.algorithm)
        {
            chosen.push(loaded);
        }
    }
    chosen.sort_by_key(|loaded| rank(loaded.algorithm));
    if chosen.is_empty() {
        return None;
    }
    let certificates: Vec<_> = chosen
        .iter()
        .map(|it| Arc::clone(&it.certificate))
        .collect();
    let is_former = |former: &&Arc<CertificateSet>| {
        let mut pairs = former.certificates.iter().zip(&certificates);
        former.certificates.len() == certificates.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    };
    Some(match former.filter(is_former) {
        Some(former) => Arc::clone(former),
        None => Arc::new(CertificateSet {
            certificates: certificates.into(),
            used: None,
            suites: None,
        }),
    })
}

/// Whether the Ingress itself has requests for the host, if not by a rule for just that name.
fn has_use(claim: &Claim, host: &str) -> bool {
    let parsed = &claim.ingress.parsed;
    parsed.rules_cover(host)
        || parsed.rules_within(host)
        || (!parsed.has_rules() && parsed.default_backend.is_some())
}

fn is_same(a: &Arc<Loaded>, b: &Arc<Loaded>) -> bool {
    Arc::ptr_eq(a, b) || a.certificate.key.cert == b.certificate.key.cert
}

/// ECDSA before RSA, because it is cheaper; what few clients know comes last.
fn rank(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::RSA => 1,
        _ => 2,
    }
}
