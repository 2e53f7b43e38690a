//! The annotations of an Ingress. One file a group.

pub(crate) mod backend;
pub(crate) mod client_auth;
pub(crate) mod passthrough;
pub(crate) mod tls_redirect;
mod values;

use objects::kinds::Ingress;

use crate::issuance::OWN as ISSUANCE;
use crate::report::{Problems, annotation_field};
use crate::service::KNOWN as SERVICES;
use crate::suggest::nearest;

use backend::Backend;
use client_auth::ClientAuth;
pub(crate) use tls_redirect::TlsRedirect;
use values::BadValue;

/// What our own annotations begin with.
pub(crate) const OWN_PREFIX: &str = "narthex.dev/";

/// The annotation that gives a Service its endpoints.
pub(crate) const ENDPOINTS: &str = "narthex.dev/endpoints";

/// The annotation that gives an EndpointSlice's endpoints their weight.
pub(crate) const WEIGHT: &str = "narthex.dev/weight";

/// What an Ingress's annotations say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) tls_redirect: TlsRedirect,
    /// Whether TLS goes on to the backend as it is.
    pub(crate) passthrough: bool,
    /// What clients have to show.
    pub(crate) client_auth: Option<Box<ClientAuth>>,
    /// What is spoken to backends.
    pub(crate) backend: Option<Box<Backend>>,
}

/// Reads the annotations that begin with `prefix`, and finds those that have no effect.
pub(super) fn read(ingress: &Ingress, prefix: &str, problems: &mut Problems) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in ingress.metadata.annotations.iter() {
        let ours = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some(suffix) = ours {
            if let Some(read) = settings.read(suffix, value) {
                values::check(read, name, value, problems);
            } else {
                let known = [
                    tls_redirect::NAMES,
                    passthrough::NAMES,
                    client_auth::NAMES,
                    backend::NAMES,
                ]
                .concat();
                let hint = match nearest(suffix, &known) {
                    Some(meant) => format!("perhaps `{prefix}/{meant}`"),
                    None => String::new(),
                };
                let message = "is not yet understood and has no effect";
                problems.warning(annotation_field(name), message, hint);
            }
        } else if SERVICES.contains(&name) {
            let message = "has no effect on an Ingress";
            problems.warning(
                annotation_field(name),
                message,
                "the same annotation on the Service",
            );
        } else if name == client_auth::CONFIG_MAP {
            let client_auth = settings.client_auth.get_or_insert_default();
            client_auth.config_map = Some(value.trim().into());
        } else {
            let known = [ISSUANCE, &[client_auth::CONFIG_MAP]].concat();
            unknown_own(name, &known, problems);
        }
    }
    settings
}

impl Settings {
    /// Reads one annotation, if it is of any group.
    fn read(&mut self, name: &str, value: &str) -> Option<Result<(), BadValue>> {
        let redirect = self.tls_redirect.read(name, value);
        let read = redirect.or_else(|| passthrough::read(&mut self.passthrough, name, value));
        let read = read.or_else(|| {
            if !client_auth::NAMES.contains(&name) {
                return None;
            }
            self.client_auth.get_or_insert_default().read(name, value)
        });
        read.or_else(|| {
            if !backend::NAMES.contains(&name) {
                return None;
            }
            self.backend.get_or_insert_default().read(name, value)
        })
    }
}

/// Warns of an annotation that looks like one of ours and is none of `known`.
pub(crate) fn unknown_own(name: &str, known: &[&str], problems: &mut Problems) {
    if !name.starts_with(OWN_PREFIX) || known.contains(&name) {
        return;
    }
    let hint = match nearest(name, known) {
        Some(meant) => format!("perhaps `{meant}`"),
        None => String::new(),
    };
    problems.warning(
        annotation_field(name),
        "is no annotation that Narthex knows",
        hint,
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ingress::key;
    use crate::testing::ingress;

    #[test]
    fn what_has_no_effect_is_named_once() {
        let ingress = ingress(
            "default",
            "web",
            json!({"metadata": {"annotations": {
                "nginx.ingress.kubernetes.io/ssl-redirect": "false",
                "nginx.ingress.kubernetes.io/force-ssl-redirect": "yes",
                "nginx.ingress.kubernetes.io/ssl-redirct": "true",
                "nginx.ingress.kubernetes.io/rewrite-target": "/",
                "nginx.ingress.kubernetes.iox/a": "not ours",
                "narthex.dev/endpoints": "127.0.0.1:80",
                "narthex.dev/balance": "random",
                "narthex.dev/colour": "red",
                "example.com/a": "not ours"
            }}}),
        );
        let mut problems = Problems::of(key(&ingress));
        let settings = read(&ingress, "nginx.ingress.kubernetes.io", &mut problems);
        assert_eq!(
            settings.tls_redirect,
            TlsRedirect {
                when_tls: Some(false),
                always: false
            }
        );
        let report = problems.into_report(true);
        let found: Vec<_> = report
            .problems()
            .map(|p| (p.field.as_str(), p.hint.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "metadata.annotations[narthex.dev/balance]",
                    "the same annotation on the Service"
                ),
                ("metadata.annotations[narthex.dev/colour]", ""),
                (
                    "metadata.annotations[narthex.dev/endpoints]",
                    "the same annotation on the Service"
                ),
                (
                    "metadata.annotations[nginx.ingress.kubernetes.io/force-ssl-redirect]",
                    "\"true\" or \"false\""
                ),
                (
                    "metadata.annotations[nginx.ingress.kubernetes.io/rewrite-target]",
                    ""
                ),
                (
                    "metadata.annotations[nginx.ingress.kubernetes.io/ssl-redirct]",
                    "perhaps `nginx.ingress.kubernetes.io/ssl-redirect`"
                ),
            ]
        );
    }
}
