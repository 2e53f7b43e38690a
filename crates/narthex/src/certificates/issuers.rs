//! Issuers as `compile` found them, as `certs` wants them.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use certs::acme::{External, Settings, Wire};
use certs::ca::Usage;
use certs::dns::{self, Dns};
use certs::issuer::{Acme, Issuer};
use certs::keeper::Wish;
use certs::methods::{self, Entry, Methods};
use certs::renew::Schedule;
use compile::{
    AcmeIssuer, CertificateWish, DnsProvider, IssuerPlan, KeyAlgorithm, SolverPlan, Way,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A wish as it is kept and renewed.
pub(super) fn wish(wish: &CertificateWish) -> Wish {
    let terms = &wish.terms;
    Wish {
        id: super::id(&wish.namespace, &wish.secret),
        names: wish.names.iter().map(|name| (**name).to_owned()).collect(),
        issuer: wish.issuer.to_string(),
        schedule: match terms.renew_before {
            Some(before) => Schedule::Before(before),
            None => Schedule::TwoThirds,
        },
        key: match terms.key {
            KeyAlgorithm::EcdsaP256 => certs::acme::KeyKind::EcdsaP256,
            KeyAlgorithm::EcdsaP384 => certs::acme::KeyKind::EcdsaP384,
            KeyAlgorithm::Rsa2048 => certs::acme::KeyKind::Rsa2048,
        },
        lifetime: terms.lifetime,
        usage: match terms.usage {
            compile::Usage::Server => Usage::Server,
            compile::Usage::Client => Usage::Client,
            compile::Usage::Both => Usage::Both,
        },
        common_name: terms.common_name.as_deref().map(str::to_owned),
        profile: terms.profile.as_deref().map(str::to_owned),
    }
}

/// An issuer, or why it cannot be asked.
pub(super) fn issuer(plan: &IssuerPlan) -> Result<Arc<Issuer>, String> {
    let issuer = match plan {
        IssuerPlan::Acme(plan) => Issuer::Acme(Box::new(acme(plan)?)),
        IssuerPlan::Authority { chain, key } => Issuer::Authority {
            chain: chain.clone(),
            key: key.clone(),
        },
        IssuerPlan::Internal => Issuer::Internal,
        IssuerPlan::SelfSigned => Issuer::SelfSigned,
    };
    Ok(Arc::new(issuer))
}

fn acme(plan: &AcmeIssuer) -> Result<Acme, String> {
    let (namespace, name) = &plan.account;
    Ok(Acme {
        settings: Settings {
            directory: plan.directory.clone(),
            emails: plan.email.clone().into_iter().collect(),
            terms_agreed: plan.terms_agreed,
            external: plan
                .external
                .clone()
                .map(|(key_id, hmac)| External { key_id, hmac }),
        },
        wire: Wire::https(roots(plan.roots.as_deref())?)?,
        account: super::id(namespace, name),
        profile: plan.profile.clone(),
        preferred_chain: plan.preferred_chain.clone(),
        methods: methods(&plan.solvers)?,
    })
}

fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err(
                "this system trusts nobody: it has no certificates of authorities \
                (Debian's package ca-certificates); give --acme-ca-file"
                    .to_owned(),
            );
        }
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.map_err(|error| error.to_string());
        let added = added.and_then(|it| roots.add(it).map_err(|error| error.to_string()));
        added.map_err(|error| format!("whom to trust cannot be read: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("whom to trust has no certificate in PEM".to_owned()),
        false => Ok(roots),
    }
}

fn methods(solvers: &[SolverPlan]) -> Result<Methods, String> {
    if solvers.is_empty() {
        return Ok(Methods::default());
    }
    let mut entries = Vec::new();
    for solver in solvers {
        let way = match &solver.way {
            Way::Http => methods::Way::Http01,
            Way::TlsAlpn => methods::Way::TlsAlpn01,
            Way::Dns(provider) => methods::Way::Dns01(dns(provider)?),
            Way::DnsPersist => methods::Way::DnsPersist01(None),
        };
        entries.push(Entry {
            names: solver.dns_names.clone(),
            zones: solver.dns_zones.clone(),
            way,
        });
    }
    Ok(Methods::from(entries))
}

fn dns(provider: &DnsProvider) -> Result<Dns, String> {
    Ok(match provider {
        DnsProvider::Rfc2136 { server, tsig } => Dns::Rfc2136 {
            server: server.clone(),
            zone: None,
            tsig: match tsig {
                Some(tsig) => {
                    let key = base64::prelude::BASE64_STANDARD.decode(tsig.secret.trim());
                    Some(dns::Tsig {
                        name: tsig.name.clone(),
                        algorithm: tsig.algorithm.clone(),
                        key: key.map_err(|_| "the TSIG key is no base64".to_owned())?,
                    })
                }
                None => None,
            },
        },
        DnsProvider::Exec { program } => Dns::Exec {
            program: PathBuf::from(program),
        },
        DnsProvider::Webhook { url } => Dns::Webhook {
            url: url.clone(),
            login: None,
        },
    })
}
