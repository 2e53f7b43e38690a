//! The annotations of an Ingress. One file a group.

pub(crate) mod access_lists;
pub(crate) mod affinity;
pub(crate) mod aliases;
pub(crate) mod attempts;
pub(crate) mod backend;
pub(crate) mod basic_auth;
mod bodies;
pub(crate) mod canary;
pub(crate) mod client_auth;
mod connection;
pub(crate) mod cors;
pub(crate) mod errors;
pub(crate) mod external_auth;
pub(crate) mod fastcgi;
pub(crate) mod load_balancing;
pub(crate) mod logs;
pub(crate) mod mirror;
mod modsecurity;
pub(crate) mod passthrough;
pub(crate) mod rate_limit;
pub(crate) mod redirect;
pub(crate) mod response_headers;
pub(crate) mod response_rewrite;
pub(crate) mod rewrite;
mod satisfy;
mod service_upstream;
pub(crate) mod snippets;
mod suites;
pub(crate) mod table;
mod tls;
mod tls_redirect;
pub(crate) mod tracing;
pub(crate) mod upstream_host;
mod values;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use model::{ConnectionHeader, Suites};
use objects::kinds::Ingress;

use crate::ingress::class::{DEFAULTS, PATH_SEMANTICS, PathSemantics, Profile};
use crate::ingress::manner::Defaults;
use crate::issuance::OWN as ISSUANCE;
use crate::options::Options;
use crate::report::{Problems, annotation_field};
use crate::service::KNOWN as SERVICES;
use crate::suggest::nearest;

use access_lists::AccessLists;
use affinity::Session;
use aliases::Aliases;
use attempts::Attempts;
use backend::Backend;
use basic_auth::BasicAuth;
use bodies::Bodies;
use canary::Canary;
use client_auth::ClientAuth;
use cors::Cors;
use errors::Errors;
use external_auth::ExternalAuth;
use fastcgi::FastCgiSettings;
use load_balancing::Balancing;
use logs::Logs;
use mirror::Mirror;
use rate_limit::RateLimit;
use redirect::Redirect;
use response_rewrite::ResponseRewrite;
use rewrite::Rewrite;
use snippets::Snippets;
pub(crate) use suites::listed as listed_suites;
use table::{Annotation, Fate, Risk};
pub(crate) use tls_redirect::TlsRedirect;
use tracing::Traces;
use upstream_host::UpstreamHost;
use values::{BadValue, Consequence};

/// What our own annotations begin with.
pub(crate) const OWN_PREFIX: &str = "narthex.dev/";

/// The annotation that gives a Service its endpoints.
pub(crate) const ENDPOINTS: &str = "narthex.dev/endpoints";

/// The annotation that gives an EndpointSlice's endpoints their weight.
pub(crate) const WEIGHT: &str = "narthex.dev/weight";

/// What an Ingress's annotations say. Most say nothing, and weigh nothing for all that others say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) tls_redirect: TlsRedirect,
    /// All else.
    rare: Option<Box<Said>>,
}

impl Deref for Settings {
    type Target = Said;

    fn deref(&self) -> &Said {
        static NOTHING: LazyLock<Said> = LazyLock::new(Said::default);
        self.rare.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut Said {
        self.rare.get_or_insert_default()
    }
}

/// What annotations can say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether TLS goes on to the backend as it is.
    pub(crate) passthrough: bool,
    /// What clients have to show.
    pub(crate) client_auth: Option<Box<ClientAuth>>,
    /// What is spoken to backends.
    pub(crate) backend: Option<Box<Backend>>,
    /// Who may come in, and how often.
    pub(crate) guard: Option<Box<GuardSettings>>,
    /// What scripts of other origins are told.
    pub(crate) cors: Option<Box<Cors>>,
    /// Who answers in the place of a backend that fails.
    pub(crate) errors: Option<Box<Errors>>,
    /// The ConfigMap with fields that responses get, as it is written.
    pub(crate) custom_headers: Option<Box<str>>,
    /// What responses say of where things are.
    pub(crate) response_rewrite: Option<Box<ResponseRewrite>>,
    /// Where copies of requests go.
    pub(crate) mirror: Option<Box<Mirror>>,
    /// What is logged.
    pub(crate) logs: Logs,
    /// What is traced.
    pub(crate) traces: Option<Box<Traces>>,
    /// Text of nginx's configuration.
    pub(crate) snippets: Option<Box<Snippets>>,
    /// Time limits towards backends, and what is sent again.
    pub(crate) attempts: Option<Box<Attempts>>,
    /// How large bodies are, and who waits for them.
    pub(crate) bodies: Option<Box<Bodies>>,
    /// What backends are told of the connection.
    pub(crate) connection: Option<ConnectionHeader>,
    /// What keeps clients with an endpoint.
    pub(crate) affinity: Option<Box<Session>>,
    /// Which endpoint a request goes to.
    pub(crate) spread: Option<Box<Balancing>>,
    /// What is negotiated with clients.
    pub(crate) suites: Option<Arc<Suites>>,
    /// What FastCGI servers are told.
    pub(crate) fastcgi: Option<Box<FastCgiSettings>>,
    /// Whether requests go to the Service's own address.
    pub(crate) service_upstream: Option<bool>,
    /// Other paths and hosts, which few Ingresses ask for.
    routing: Option<Box<Routing>>,
    /// How its paths are read, where it says so itself.
    pub(crate) paths: Option<PathSemantics>,
    /// What follows from values that could not be read.
    pub(crate) standing: Standing,
    /// Whether values are read that ingress-nginx's validation would refuse.
    unchecked: bool,
}

/// What few Ingresses say of paths and hosts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Routing {
    rewrite: Option<Rewrite>,
    redirect: Option<Redirect>,
    aliases: Option<Aliases>,
    upstream_host: Option<UpstreamHost>,
    canary: Option<Canary>,
}

/// Who may come in, and how often, as far as an Ingress says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GuardSettings {
    /// From which addresses clients may come.
    pub(crate) access_lists: AccessLists,
    /// How much one client may ask for.
    pub(crate) rate_limit: RateLimit,
    /// Names and passwords.
    pub(crate) basic_auth: Option<BasicAuth>,
    /// Who decides whether a request may pass.
    pub(crate) external_auth: Option<ExternalAuth>,
    /// Whether one of several ways in is enough.
    pub(crate) satisfy_any: bool,
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
    /// Whether text of nginx's configuration is read (`allow-snippet-annotations`).
    pub(crate) snippets: bool,
    /// Words that no value may have in it (`annotation-value-word-blocklist`).
    pub(crate) words: &'a [Box<str>],
    /// Whether objects of other namespaces may be named (`allow-cross-namespace-resources`).
    pub(crate) crosses: bool,
    /// How paths are read, where the class says so.
    pub(crate) paths: Option<PathSemantics>,
}

impl<'a> Reading<'a> {
    /// As the command line says.
    pub(crate) fn of(options: &'a Options, defaults: &'a Defaults) -> Self {
        Self {
            prefix: &options.annotations_prefix,
            validates: options.validates_annotations,
            risk: defaults.risk,
            snippets: options.allow_snippets || defaults.allow_snippets,
            words: &defaults.words,
            crosses: defaults.crosses,
            paths: None,
        }
    }

    /// The same for an Ingress of a class that says how paths are read.
    pub(crate) fn with_paths(self, paths: Option<PathSemantics>) -> Self {
        Self { paths, ..self }
    }
}

/// Reads an Ingress's annotations, and finds those that have no effect.
pub(crate) fn read(ingress: &Ingress, reading: Reading<'_>, problems: &mut Problems) -> Settings {
    let mut settings = match reading.validates {
        true => Settings::default(),
        false => Settings::unchecked(),
    };
    let annotations = &ingress.metadata.annotations;
    for (name, value) in annotations.iter() {
        let ours = name
            .strip_prefix(reading.prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some(suffix) = ours {
            settings.refuse_words(name, value, reading, problems);
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
        } else if name == PATH_SEMANTICS {
            settings.paths = PathSemantics::read(name, value, problems);
        } else if name == DEFAULTS {
            // Whoever says whose the Ingress is has read it already.
            let _ = Profile::read(name, value, problems);
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
    /// Of values that are read as they are, without validation.
    fn unchecked() -> Self {
        let said = Said {
            unchecked: true,
            ..Said::default()
        };
        Self {
            rare: Some(Box::new(said)),
            ..Self::default()
        }
    }

    /// Other paths for backends, and how paths are read.
    pub(crate) fn rewrite(&self) -> Option<&Rewrite> {
        self.routing.as_ref()?.rewrite.as_ref()
    }

    /// Where clients are sent instead.
    pub(crate) fn redirect(&self) -> Option<&Redirect> {
        self.routing.as_ref()?.redirect.as_ref()
    }

    /// More names of its hosts.
    pub(crate) fn aliases(&self) -> Option<&Aliases> {
        self.routing.as_ref()?.aliases.as_ref()
    }

    /// What backends are told of host and path.
    pub(crate) fn upstream_host(&self) -> Option<&UpstreamHost> {
        self.routing.as_ref()?.upstream_host.as_ref()
    }

    /// Which of another Ingress's requests are its own.
    pub(crate) fn canary(&self) -> Option<&Canary> {
        self.routing.as_ref()?.canary.as_ref()
    }

    fn routing_mut(&mut self) -> &mut Routing {
        self.routing.get_or_insert_default()
    }

    /// Leaves the Ingress out if a value has a word in it that none may have.
    fn refuse_words(
        &mut self,
        name: &str,
        value: &str,
        reading: Reading<'_>,
        problems: &mut Problems,
    ) {
        let mut words = reading.words.iter();
        let Some(word) = words.find(|word| value.contains(&***word)) else {
            return;
        };
        self.standing = Standing::LeftOut;
        let message = format!("has {word:?} in it; the Ingress is left out");
        let hint = "a value without the words of annotation-value-word-blocklist";
        problems.error(annotation_field(name), message, hint);
    }

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
        // ingress-nginx leaves an Ingress out that has one; here, the rest of it is served.
        if annotation.name.ends_with(snippets::SUFFIX) && !reading.snippets {
            let message = "is not allowed, and has no effect";
            let hint =
                "--allow-snippet-annotations, where everybody who writes Ingresses is trusted";
            return problems.error(field, message, hint);
        }
        if annotation.risk > reading.risk {
            let (risk, most) = (annotation.risk, reading.risk);
            let message = format!("risks more than is allowed ({risk}); the Ingress is left out");
            let hint = format!("annotations-risk-level, which is {most}");
            self.standing = Standing::LeftOut;
            return problems.error(field, message, hint);
        }
        if let Fate::Refused(instead) = annotation.fate {
            return problems.error(field, "has no effect here", instead);
        }
        // ingress-nginx takes most empty values for none.
        let is_said = !value.is_empty() || annotation.even_empty;
        let Some(read) = annotation.read.filter(|_| is_said) else {
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
            Consequence::Partly => {
                let message = format!("{value:?} cannot be read as a whole");
                return problems.warning(field, message, hint);
            }
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
            snippets: false,
            words: &[],
            crosses: false,
            paths: None,
        };
        let settings = read(&ingress, reading, &mut problems);
        assert_eq!(
            settings.tls_redirect,
            TlsRedirect {
                when_tls: Some(false),
                ..TlsRedirect::default()
            }
        );
        assert_eq!(settings.standing, Standing::Served);
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
