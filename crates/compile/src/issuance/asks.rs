//! What one object asks for.

use std::time::Duration;

use objects::Store;
use objects::kinds::certificates::{Certificate, GROUP};
use objects::kinds::gateway::{Listener, TlsMode};
use objects::kinds::{Kind, ObjectKey, StringMap};

use super::{Asked, IssuerKey, KeyAlgorithm, Terms, Usage};
use crate::ingress::key;
use crate::ingress::parse::Parsed;
use crate::report::{Problems, annotation_field};

const ISSUER: &str = "cert-manager.io/issuer";
const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";
const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
const TLS_ACME: &str = "kubernetes.io/tls-acme";
const OWN_ISSUER: &str = "narthex.dev/issuer";
const PROFILE: &str = "narthex.dev/acme-profile";

const COMMON_NAME: &str = "cert-manager.io/common-name";
const DURATION: &str = "cert-manager.io/duration";
const RENEW_BEFORE: &str = "cert-manager.io/renew-before";
const USAGES: &str = "cert-manager.io/usages";
const ALGORITHM: &str = "cert-manager.io/private-key-algorithm";
const SIZE: &str = "cert-manager.io/private-key-size";

/// Our own annotations of objects that ask.
pub(crate) const OWN: &[&str] = &[OWN_ISSUER, PROFILE];

/// Certificates for one Secret of the object's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) secret: Box<str>,
    pub(super) names: Vec<Box<str>>,
    pub(super) issuer: IssuerKey,
    pub(super) terms: Terms,
    /// Where it says so.
    pub(super) field: Box<str>,
}

/// From whom an object of `namespace` with these annotations has its certificates, if it asks.
pub(crate) fn expected_from(annotations: &StringMap, namespace: &str) -> Option<IssuerKey> {
    let (issuer, _) = issuer(annotations, namespace).ok()??;
    Some(issuer)
}

pub(super) fn of_ingress(parsed: &Parsed) -> Asked {
    let source = &parsed.source;
    let annotations = &source.metadata.annotations;
    let mut problems = Problems::of(key(source));
    let Some((issuer, field, terms)) = read(annotations, parsed.namespace(), &mut problems) else {
        return only(problems);
    };
    let mut asks = Vec::new();
    for entry in &parsed.tls {
        let place = format!("spec.tls[{}]", entry.index);
        let Some(secret) = &entry.secret else {
            let message = "no certificate is obtained for these hosts: there is no Secret for it";
            problems.warning(
                format!("{place}.secretName"),
                message,
                "a name for the Secret",
            );
            continue;
        };
        if entry.hosts.is_empty() {
            let message = format!("no certificate is obtained for Secret {secret}");
            problems.warning(
                format!("{place}.hosts"),
                message,
                "the hosts that it is for",
            );
            continue;
        }
        asks.push(Ask {
            secret: secret.clone(),
            names: entry.hosts.iter().map(|(_, host)| host.clone()).collect(),
            issuer: issuer.clone(),
            terms: terms.clone(),
            field: field.clone(),
        });
    }
    if asks.is_empty() && problems.is_empty() {
        let message = "no certificate is obtained: `tls` names no host and Secret";
        problems.warning(
            &*field,
            message,
            "an entry of `spec.tls` with hosts and secretName",
        );
    }
    Asked {
        asks,
        problems: problems.into_shared(),
    }
}

/// What a Gateway or a ListenerSet asks for.
pub(super) fn of_gateway(store: &Store, object: &ObjectKey) -> Asked {
    let (namespace, name) = (&*object.namespace, &*object.name);
    let mut problems = Problems::of(object.clone());
    let (annotations, listeners): (&StringMap, &[Listener]) = match object.kind {
        Kind::Gateway => match store.gateway(namespace, name) {
            Some(gateway) => (
                &gateway.metadata.annotations,
                gateway.spec.listeners.as_deref().unwrap_or_default(),
            ),
            None => return Asked::default(),
        },
        _ => match store.listener_set(namespace, name) {
            Some(set) => (
                &set.metadata.annotations,
                set.spec.listeners.as_deref().unwrap_or_default(),
            ),
            None => return Asked::default(),
        },
    };
    let Some((issuer, field, terms)) = read(annotations, namespace, &mut problems) else {
        return only(problems);
    };
    let mut asks = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let Some(tls) = listener.tls.as_deref() else {
            continue;
        };
        if *tls.mode() == TlsMode::Passthrough {
            continue;
        }
        let place = format!("spec.listeners[{index}]");
        let hostname = listener.hostname.as_deref().unwrap_or_default();
        if hostname.is_empty() {
            let message = "no certificate is obtained for a listener of every host";
            problems.warning(
                format!("{place}.hostname"),
                message,
                "the host that it is for",
            );
            continue;
        }
        for reference in tls.certificate_refs.iter().flatten() {
            let elsewhere = reference
                .namespace
                .as_deref()
                .is_some_and(|other| other != namespace);
            // A grant to read is none to write.
            if elsewhere {
                let message = "no certificate is obtained for a Secret of another namespace";
                let field = format!("{place}.tls.certificateRefs");
                problems.warning(field, message, "a Secret of the same namespace");
                continue;
            }
            asks.push(Ask {
                secret: (*reference.name).into(),
                names: vec![hostname.to_ascii_lowercase().into()],
                issuer: issuer.clone(),
                terms: terms.clone(),
                field: field.clone(),
            });
        }
    }
    Asked {
        asks,
        problems: problems.into_shared(),
    }
}

/// What a Certificate says, where there is no cert-manager.
pub(super) fn of_certificate(certificate: &Certificate, object: ObjectKey) -> Asked {
    let spec = &certificate.spec;
    let namespace = object.namespace.clone();
    let mut problems = Problems::of(object);
    let issuer = reference(
        &spec.issuer_ref.name,
        spec.issuer_ref.kind.as_deref(),
        spec.issuer_ref.group.as_deref(),
        &namespace,
    );
    let issuer = match issuer {
        Ok(issuer) => issuer,
        Err((message, hint)) => {
            problems.error("spec.issuerRef", message, hint);
            return only(problems);
        }
    };
    let mut terms = Terms::default();
    let mut say = |field: &str, wrong: (String, &'static str)| {
        problems.warning(format!("spec.{field}"), wrong.0, wrong.1);
    };
    if let Some(text) = &spec.duration {
        set(&mut terms.lifetime, duration(text), |wrong| {
            say("duration", wrong)
        });
    }
    if let Some(text) = &spec.renew_before {
        set(&mut terms.renew_before, duration(text), |wrong| {
            say("renewBefore", wrong)
        });
    }
    if let Some(key) = &spec.private_key {
        let size = key.size.map(|size| size.to_string());
        match algorithm(key.algorithm.as_deref().unwrap_or("RSA"), size.as_deref()) {
            Ok(algorithm) => terms.key = algorithm,
            Err(wrong) => say("privateKey", wrong),
        }
    }
    if let Some(usages) = &spec.usages {
        terms.usage = usage(usages.iter().map(String::as_str));
    }
    terms.common_name = spec.common_name.as_deref().map(Into::into);
    let names = spec.dns_names.iter().chain(&spec.ip_addresses).flatten();
    let mut names: Vec<Box<str>> = names.map(|name| name.to_ascii_lowercase().into()).collect();
    if names.is_empty()
        && terms.usage != Usage::Client
        && let Some(name) = &spec.common_name
    {
        names.push(name.to_ascii_lowercase().into());
    }
    Asked {
        asks: vec![Ask {
            secret: spec.secret_name.as_str().into(),
            names,
            issuer,
            terms,
            field: "spec.issuerRef".into(),
        }],
        problems: problems.into_shared(),
    }
}

fn only(problems: Problems) -> Asked {
    Asked {
        asks: Vec::new(),
        problems: problems.into_shared(),
    }
}

/// From whom, where it says so, and on what terms.
fn read(
    annotations: &StringMap,
    namespace: &str,
    problems: &mut Problems,
) -> Option<(IssuerKey, Box<str>, Terms)> {
    let (issuer, annotation) = match issuer(annotations, namespace) {
        Ok(found) => found?,
        Err((annotation, (message, hint))) => {
            problems.error(annotation_field(annotation), message, hint);
            return None;
        }
    };
    let terms = terms(annotations, problems);
    Some((issuer, annotation_field(annotation).into(), terms))
}

type Wrong = (String, &'static str);

/// Whom the annotations name, and by which of them.
fn issuer(
    annotations: &StringMap,
    namespace: &str,
) -> Result<Option<(IssuerKey, &'static str)>, (&'static str, Wrong)> {
    if let Some(name) = annotations.get(OWN_ISSUER) {
        return match own(name.trim()) {
            Some(issuer) => Ok(Some((issuer, OWN_ISSUER))),
            None => Err((
                OWN_ISSUER,
                (
                    format!("{name:?} is no issuer: no certificate is obtained"),
                    "acme, internal or self-signed; Issuers and ClusterIssuers are named by \
                     cert-manager.io/issuer and cert-manager.io/cluster-issuer",
                ),
            )),
        };
    }
    let kind = annotations.get(ISSUER_KIND);
    let group = annotations.get(ISSUER_GROUP);
    if let Some(name) = annotations.get(CLUSTER_ISSUER) {
        let kind = kind.or(Some("ClusterIssuer"));
        let found = reference(name.trim(), kind, group, namespace);
        return match found {
            Ok(issuer) => Ok(Some((issuer, CLUSTER_ISSUER))),
            Err(wrong) => Err((CLUSTER_ISSUER, wrong)),
        };
    }
    if let Some(name) = annotations.get(ISSUER) {
        return match reference(name.trim(), kind, group, namespace) {
            Ok(issuer) => Ok(Some((issuer, ISSUER))),
            Err(wrong) => Err((ISSUER, wrong)),
        };
    }
    match annotations.get(TLS_ACME) {
        Some("true") => Ok(Some((IssuerKey::Acme, TLS_ACME))),
        _ => Ok(None),
    }
}

fn own(name: &str) -> Option<IssuerKey> {
    Some(match name {
        "acme" => IssuerKey::Acme,
        "internal" => IssuerKey::Internal,
        "self-signed" => IssuerKey::SelfSigned,
        _ => return None,
    })
}

fn reference(
    name: &str,
    kind: Option<&str>,
    group: Option<&str>,
    namespace: &str,
) -> Result<IssuerKey, Wrong> {
    let kind = kind.unwrap_or("Issuer");
    match (group.unwrap_or(GROUP), kind) {
        ("narthex.dev", _) => own(name).ok_or_else(|| {
            (
                format!("{name:?} is no issuer of group narthex.dev"),
                "acme, internal or self-signed",
            )
        }),
        (_, _) if name.is_empty() => Err((
            "it names no issuer".to_owned(),
            "the name of an Issuer or ClusterIssuer",
        )),
        (GROUP | "", "Issuer") => Ok(IssuerKey::Issuer {
            namespace: namespace.into(),
            name: name.into(),
        }),
        (GROUP | "", "ClusterIssuer") => Ok(IssuerKey::ClusterIssuer { name: name.into() }),
        (group, kind) => Err((
            format!("a {kind} of group {group:?} cannot be asked: no certificate is obtained"),
            "an Issuer or a ClusterIssuer of group cert-manager.io",
        )),
    }
}

fn terms(annotations: &StringMap, problems: &mut Problems) -> Terms {
    let mut terms = Terms::default();
    let mut say = |name: &str, (message, hint): Wrong| {
        let message = format!("{message}; the default stands");
        problems.warning(annotation_field(name), message, hint);
    };
    if let Some(text) = annotations.get(DURATION) {
        set(&mut terms.lifetime, duration(text), |wrong| {
            say(DURATION, wrong)
        });
    }
    if let Some(text) = annotations.get(RENEW_BEFORE) {
        set(&mut terms.renew_before, duration(text), |wrong| {
            say(RENEW_BEFORE, wrong)
        });
    }
    if let Some(text) = annotations.get(ALGORITHM) {
        match algorithm(text, annotations.get(SIZE)) {
            Ok(key) => terms.key = key,
            Err(wrong) => say(ALGORITHM, wrong),
        }
    }
    if let Some(text) = annotations.get(USAGES) {
        terms.usage = usage(text.split(','));
    }
    terms.common_name = annotations.get(COMMON_NAME).map(Into::into);
    terms.profile = annotations.get(PROFILE).map(Into::into);
    terms
}

fn set<T>(to: &mut Option<T>, read: Result<T, Wrong>, say: impl FnOnce(Wrong)) {
    match read {
        Ok(value) => *to = Some(value),
        Err(wrong) => say(wrong),
    }
}

/// The key of a kind and a size, as cert-manager names them.
fn algorithm(name: &str, size: Option<&str>) -> Result<KeyAlgorithm, Wrong> {
    match (name, size) {
        ("ECDSA", None | Some("256")) => Ok(KeyAlgorithm::EcdsaP256),
        ("ECDSA", Some("384")) => Ok(KeyAlgorithm::EcdsaP384),
        ("RSA", None | Some("2048")) => Ok(KeyAlgorithm::Rsa2048),
        _ => Err((
            format!(
                "a key of {name}{} is not made",
                size.map(|size| format!(" of {size} bits"))
                    .unwrap_or_default()
            ),
            "ECDSA with 256 or 384 bits, RSA with 2048",
        )),
    }
}

fn usage<'a>(usages: impl Iterator<Item = &'a str>) -> Usage {
    let (mut server, mut client) = (false, false);
    for usage in usages {
        match usage.trim() {
            "server auth" => server = true,
            "client auth" => client = true,
            _ => {}
        }
    }
    match (server, client) {
        (true, true) => Usage::Both,
        (false, true) => Usage::Client,
        (_, false) => Usage::Server,
    }
}

/// As Go writes durations: a sum of numbers with `h`, `m` and `s`.
fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || {
        (
            format!("{text:?} is no duration"),
            "hours, minutes and seconds, for example \"2160h\" or \"1h30m\"",
        )
    };
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = match tail.bytes().next() {
            Some(b'h') => 3600,
            Some(b'm') => 60,
            Some(b's') => 1,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(unit).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_secs(part))
            .ok_or_else(wrong)?;
        // The unit is one ASCII letter.
        rest = &tail[1..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let seconds = |text| duration(text).map(|it| it.as_secs()).ok();
        assert_eq!(seconds("2160h"), Some(2160 * 3600));
        assert_eq!(seconds("2160h0m0s"), Some(2160 * 3600));
        assert_eq!(seconds("1h30m"), Some(5400));
        for wrong in ["", "h", "3", "3d", "-1h", "1.5h", "99999999999999999999h"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn usages_of_both_kinds_are_both() {
        assert_eq!(
            usage("digital signature,client auth".split(',')),
            Usage::Client
        );
        assert_eq!(usage("server auth, client auth".split(',')), Usage::Both);
        assert_eq!(usage("digital signature".split(',')), Usage::Server);
    }
}
