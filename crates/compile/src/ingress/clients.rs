//! What clients of an Ingress's hosts have to show (`auth-tls-secret`).

use std::sync::Arc;

use model::ClientPolicy;
use model::clients::Demand;
use objects::Store;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::annotations::client_auth::{ClientAuth, SECRET, pattern};
use super::parse::Parsed;
use super::resolve::World;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

const AUTHORITIES: &str = "ca.crt";
const REVOCATIONS: &str = "ca.crl";

/// The Secret that an Ingress names for this, if it is one of its namespace.
pub(crate) fn secret(parsed: &Parsed) -> Option<NameRef<'_>> {
    let written = parsed.settings.client_auth.as_ref()?.secret.as_deref()?;
    let own = parsed.namespace();
    let (namespace, name) = written.split_once('/').unwrap_or((own, written));
    (namespace == own && !name.is_empty()).then_some(NameRef { namespace, name })
}

/// What clients have to show; none if nobody asks. Where what is written cannot be read, nobody gets
/// in: the host is not to be open because of a typing error.
pub(super) fn resolve(
    parsed: &Parsed,
    world: &World<'_>,
    problems: &mut Problems,
) -> Option<Arc<ClientPolicy>> {
    let settings = parsed.settings.client_auth.as_deref()?;
    let prefix = &world.options.annotations_prefix;
    let field = annotation_field(&format!("{prefix}/{SECRET}"));
    let Some(written) = &settings.secret else {
        let message = "is missing, without which the other auth-tls annotations have no effect";
        problems.warning(field, message, "the name of a Secret with ca.crt");
        return None;
    };
    let demand = settings.demand?;
    let read = match secret(parsed) {
        Some(name) => read(name, world.store),
        None => Err(format!(
            "{written:?} is no Secret of namespace {}",
            parsed.namespace()
        )),
    };
    let (authorities, revocations, demand) = match read {
        Ok((authorities, revocations)) => (authorities, revocations, demand),
        Err(message) => {
            let hint = "a Secret of the same namespace with ca.crt, and perhaps ca.crl, in PEM";
            problems.error(field, format!("{message}; its hosts answer 403"), hint);
            (Vec::new(), Vec::new(), Demand::Nothing)
        }
    };
    Some(Arc::new(ClientPolicy {
        authorities: authorities.into(),
        revocations: revocations.into(),
        demand,
        depth: settings.depth,
        subject: subject(settings),
        error_page: settings.error_page.clone(),
        pass: settings.pass,
    }))
}

/// The pattern of subjects; one that nobody has if what is written is none.
fn subject(settings: &ClientAuth) -> Option<model::Pattern> {
    let text = settings.subject.as_deref()?;
    // A subject begins with the name of an attribute.
    pattern(text).or_else(|| model::Pattern::whole("[^\\x00-\\x{10FFFF}]").ok())
}

type Lists = (
    Vec<CertificateDer<'static>>,
    Vec<CertificateRevocationListDer<'static>>,
);

fn read(name: NameRef<'_>, store: &Store) -> Result<Lists, String> {
    let secret = store
        .secret(name.namespace, name.name)
        .ok_or_else(|| format!("there is no Secret {name}"))?;
    let text = secret
        .data
        .get(AUTHORITIES)
        .ok_or_else(|| format!("Secret {name} has no {AUTHORITIES}"))?;
    let wrong = |key: &str, why: String| format!("{key} of Secret {name} cannot be read: {why}");
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(AUTHORITIES, error.to_string()))?;
    if authorities.is_empty() {
        let why = "it has no CERTIFICATE in PEM".to_owned();
        return Err(wrong(AUTHORITIES, why));
    }
    for authority in &authorities {
        RootCertStore::empty()
            .add(authority.clone())
            .map_err(|error| wrong(AUTHORITIES, error.to_string()))?;
    }
    let Some(text) = secret.data.get(REVOCATIONS) else {
        return Ok((authorities, Vec::new()));
    };
    let revocations: Vec<_> = CertificateRevocationListDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(REVOCATIONS, error.to_string()))?;
    if revocations.is_empty() {
        let why = "it has no X509 CRL in PEM".to_owned();
        return Err(wrong(REVOCATIONS, why));
    }
    for list in &revocations {
        CertificateRevocationList::from_der(list)
            .map_err(|error| wrong(REVOCATIONS, error.to_string()))?;
    }
    Ok((authorities, revocations))
}
