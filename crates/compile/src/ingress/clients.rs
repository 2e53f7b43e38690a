//! What clients of an Ingress's hosts have to show (`auth-tls-secret`, `client-ca-configmap`).

use std::sync::Arc;

use model::ClientPolicy;
use model::clients::Demand;
use objects::Store;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::annotations::client_auth::{CONFIG_MAP, ClientAuth, SECRET, pattern};
use super::parse::Parsed;
use super::resolve::World;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

const AUTHORITIES: &str = "ca.crt";
const REVOCATIONS: &str = "ca.crl";

/// The Secret that an Ingress names for this, if it is one of its namespace.
pub(crate) fn secret(parsed: &Parsed) -> Option<NameRef<'_>> {
    match source(parsed)? {
        Source::Secret(written) => parsed.named_wholly(written),
        Source::ConfigMap(_) => None,
    }
}

/// The ConfigMap that an Ingress names for this, if it is one of its namespace.
pub(crate) fn config_map(parsed: &Parsed) -> Option<NameRef<'_>> {
    match source(parsed)? {
        Source::ConfigMap(written) => parsed.named(written),
        Source::Secret(_) => None,
    }
}

/// The annotation that says where it stands, if any does.
pub(crate) fn annotation(parsed: &Parsed, prefix: &str) -> Option<String> {
    Some(source(parsed)?.annotation(prefix))
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
    let Some(source) = source(parsed) else {
        let field = annotation_field(&format!("{prefix}/{SECRET}"));
        let message = "is missing, without which the other auth-tls annotations have no effect";
        let hint = format!("the name of a Secret with ca.crt, or {CONFIG_MAP}");
        problems.warning(field, message, hint);
        return None;
    };
    if settings.config_map.is_some() && settings.secret.is_some() {
        let message = format!("has no effect beside {prefix}/{SECRET}");
        let hint = "one of the two";
        problems.warning(annotation_field(CONFIG_MAP), message, hint);
    }
    let demand = settings.demand;
    let read = read(source, parsed, world.store);
    let (authorities, revocations, demand) = match read {
        Ok((authorities, revocations)) => (authorities, revocations, demand),
        Err(message) => {
            let kind = source.kind();
            problems.error(
                annotation_field(&source.annotation(prefix)),
                format!("{message}; its hosts answer 403"),
                format!("a {kind} of the same namespace with ca.crt, and perhaps ca.crl, in PEM"),
            );
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

/// Where it stands who may have issued clients' certificates, as it is written.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Secret(&'a str),
    ConfigMap(&'a str),
}

impl Source<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Secret(_) => "Secret",
            Self::ConfigMap(_) => "ConfigMap",
        }
    }

    fn annotation(self, prefix: &str) -> String {
        match self {
            Self::Secret(_) => format!("{prefix}/{SECRET}"),
            Self::ConfigMap(_) => CONFIG_MAP.to_owned(),
        }
    }
}

fn source(parsed: &Parsed) -> Option<Source<'_>> {
    let settings = parsed.settings.client_auth.as_deref()?;
    let secret = settings.secret.as_deref().map(Source::Secret);
    secret.or_else(|| settings.config_map.as_deref().map(Source::ConfigMap))
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

fn read(source: Source<'_>, parsed: &Parsed, store: &Store) -> Result<Lists, String> {
    let kind = source.kind();
    let (written, name) = match source {
        Source::Secret(written) => (written, parsed.named_wholly(written)),
        Source::ConfigMap(written) => (written, parsed.named(written)),
    };
    let name = name.ok_or_else(|| {
        let namespace = parsed.namespace();
        match written.contains('/') {
            true => format!("{written:?} is no {kind} of namespace {namespace}"),
            false => format!("{written:?} does not name the {kind}'s namespace"),
        }
    })?;
    let missing = || format!("there is no {kind} {name}");
    let (authorities, revocations) = match source {
        Source::Secret(_) => {
            let secret = store.secret(name.namespace, name.name);
            let data = &secret.ok_or_else(missing)?.data;
            let value = |key| data.get(key).map(Vec::as_slice);
            (value(AUTHORITIES), value(REVOCATIONS))
        }
        Source::ConfigMap(_) => {
            let map = store.config_map(name.namespace, name.name);
            let data = &map.ok_or_else(missing)?.data;
            let value = |key| Some(data.as_ref()?.get(key)?.as_bytes());
            (value(AUTHORITIES), value(REVOCATIONS))
        }
    };
    let text = authorities.ok_or_else(|| format!("{kind} {name} has no {AUTHORITIES}"))?;
    let wrong = |key: &str, why: String| format!("{key} of {kind} {name} cannot be read: {why}");
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
    let Some(text) = revocations else {
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
