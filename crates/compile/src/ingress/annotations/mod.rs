//! The annotations of an Ingress. One file a group.

mod access_lists;
mod affinity;
mod aliases;
mod attempts;
pub(crate) mod backend;
mod basic_auth;
mod bodies;
mod canary;
pub(crate) mod client_auth;
mod connection;
mod cors;
mod errors;
mod external_auth;
mod fastcgi;
mod load_balancing;
mod logs;
mod mirror;
mod modsecurity;
pub(crate) mod passthrough;
mod rate_limit;
mod redirect;
mod response_headers;
mod response_rewrite;
mod rewrite;
mod satisfy;
mod service_upstream;
mod snippets;
pub(crate) mod table;
mod tls;
mod tls_redirect;
mod tracing;
mod upstream_host;
mod values;

use objects::kinds::Ingress;

use crate::ingress::manner::Defaults;
use crate::issuance::OWN as ISSUANCE;
use crate::options::Options;
use crate::report::{Problems, annotation_field};
use crate::service::KNOWN as SERVICES;
use crate::suggest::nearest;

use backend::Backend;
use client_auth::ClientAuth;
use table::{Annotation, Fate, Risk};
pub(crate) use tls_redirect::TlsRedirect;
use values::{BadValue, Consequence};

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
    /// What follows from values that could not be read.
    pub(crate) standing: Standing,
}

/// What becomes of an Ingress whose annotations may be wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It is served.
    #[default]
    Served,
    /// Every path of it answers 503.
    Denied,
    /// It is left out.
    LeftOut,
}

/// How annotations are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// What they begin with, without the slash (`--annotations-prefix`).
    pub(crate) prefix: &'a str,
    /// Whether values are validated before they are read (`--enable-annotation-validation`).
    pub(crate) validates: bool,
    /// The most that they may risk (`annotations-risk-level`).
    pub(crate) risk: Risk,
}

impl<'a> Reading<'a> {
    /// As the command line says.
    pub(crate) fn of(options: &'a Options, defaults: &Defaults) -> Self {
        Self {
            prefix: &options.annotations_prefix,
            validates: options.validates_annotations,
            risk: defaults.risk,
        }
    }
}

/// Reads an Ingress's annotations, and finds those that have no effect.
pub(crate) fn read(ingress: &Ingress, reading: Reading<'_>, problems: &mut Problems) -> Settings {
    let mut settings = Settings::default();
    let annotations = &ingress.metadata.annotations;
    for (name, value) in annotations.iter() {
        let ours = name
            .strip_prefix(reading.prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some(suffix) = ours {
            let Some(annotation) = table::find(suffix) else {
                unknown(name, suffix, reading.prefix, problems);
                continue;
            };
            let is_said = |name: &str| {
                let said = annotations.get(&format!("{}/{name}", reading.prefix));
                said.is_some_and(|value| !value.is_empty())
            };
            if !annotation.alias_of.is_some_and(is_said) {
                settings.take(annotation, name, value, reading, problems);
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
    /// Reads one annotation.
    fn take(
        &mut self,
        annotation: &Annotation,
        name: &str,
        value: &str,
        reading: Reading<'_>,
        problems: &mut Problems,
    ) {
        let field = annotation_field(name);
        if annotation.risk > reading.risk {
            let (risk, most) = (annotation.risk, reading.risk);
            let message = format!("risks more than is allowed ({risk}); the Ingress is left out");
            let hint = format!("annotations-risk-level, which is {most}");
            self.standing = Standing::LeftOut;
            return problems.error(field, message, hint);
        }
        match annotation.fate {
            Fate::Works | Fate::Idle(_) => {}
            Fate::Refused(instead) => {
                return problems.error(field, "has no effect here", instead);
            }
            Fate::Later => {
                return problems.warning(field, "is not yet understood and has no effect", "");
            }
        }
        // ingress-nginx takes an empty value for none.
        let Some(read) = annotation.read.filter(|_| !value.is_empty()) else {
            return;
        };
        let Err(BadValue { hint, consequence }) = read(self, value) else {
            return;
        };
        let (standing, follows) = match consequence {
            Consequence::LeftOut if reading.validates => {
                (Standing::LeftOut, "the Ingress is left out")
            }
            Consequence::Denied => (Standing::Denied, "its paths answer 503"),
            Consequence::LeftOut | Consequence::Default => {
                let message = format!("{value:?} cannot be read; the default stands");
                return problems.warning(field, message, hint);
            }
        };
        self.standing = self.standing.max(standing);
        problems.error(field, format!("{value:?} cannot be read; {follows}"), hint);
    }
}

/// Warns of an annotation that nobody knows.
fn unknown(name: &str, suffix: &str, prefix: &str, problems: &mut Problems) {
    let known: Vec<&str> = table::all().map(|it| it.name).collect();
    let hint = match nearest(suffix, &known) {
        Some(meant) => format!("perhaps `{prefix}/{meant}`"),
        None => String::new(),
    };
    let message = "is no annotation of ingress-nginx and has no effect";
    problems.warning(annotation_field(name), message, hint);
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
                "nginx.ingress.kubernetes.io/enable-modsecurity": "true",
                "nginx.ingress.kubernetes.iox/a": "not ours",
                "narthex.dev/endpoints": "127.0.0.1:80",
                "narthex.dev/balance": "random",
                "narthex.dev/colour": "red",
                "example.com/a": "not ours"
            }}}),
        );
        let mut problems = Problems::of(key(&ingress));
        let reading = Reading {
            prefix: "nginx.ingress.kubernetes.io",
            validates: true,
            risk: Risk::High,
        };
        let settings = read(&ingress, reading, &mut problems);
        assert_eq!(
            settings.tls_redirect,
            TlsRedirect {
                when_tls: Some(false),
                always: false
            }
        );
        assert_eq!(settings.standing, Standing::LeftOut);
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
                    "metadata.annotations[nginx.ingress.kubernetes.io/enable-modsecurity]",
                    modsecurity::INSTEAD
                ),
                (
                    "metadata.annotations[nginx.ingress.kubernetes.io/force-ssl-redirect]",
                    "\"true\" or \"false\""
                ),
                (
                    "metadata.annotations[nginx.ingress.kubernetes.io/ssl-redirct]",
                    "perhaps `nginx.ingress.kubernetes.io/ssl-redirect`"
                ),
            ]
        );
    }
}
