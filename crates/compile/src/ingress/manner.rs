//! How an Ingress's requests are treated besides filters: time limits, sizes, retries. What it does
//! not say, its profile's defaults say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::filter::{Compression, HeaderEdit};
use model::policy::{Affinity, Algorithm, CookieTerms, RetryOn, RouteRetry};
use model::{Extras, Timeouts, Traced};

use super::annotations::Settings;
use super::annotations::affinity::Session;
use super::annotations::attempts::Attempts;
use super::annotations::logs::Logs;
use super::annotations::redirect::Redirect;
use super::annotations::table::Risk;
use super::annotations::tracing::Traces;
use super::answers::AnswerDefaults;
use super::class::Profile;
use super::guard::GuardDefaults;
use super::parse::Parsed;
use crate::config_map::Global;
use crate::options::Options;

/// How requests are treated besides filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) timeouts: Arc<Timeouts>,
    /// In bytes; 0 is no limit.
    pub(crate) max_body: u64,
    pub(crate) retry: Option<Arc<RouteRetry>>,
    pub(crate) affinity: Option<Arc<Affinity>>,
    pub(crate) extras: Option<Arc<Extras>>,
    /// How requests are traced where they are (`opentelemetry-operation-name`,
    /// `opentelemetry-trust-incoming-span`); whether they are, is in `extras`.
    pub(crate) traced: Arc<Traced>,
    /// The most attempts that are made, whatever is said.
    pub(crate) most_tries: u8,
}

/// What holds where an Ingress says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Of it, the ConfigMap's keys change `timeouts` (`proxy-connect-timeout`, `proxy-send-timeout`,
    /// `proxy-read-timeout`), `max_body` (`proxy-body-size`), `retry` (`proxy-next-upstream`,
    /// `proxy-next-upstream-timeout`, `proxy-next-upstream-tries`, `retry-non-idempotent`), and of
    /// `extras` `gather` (`proxy-request-buffering`) and `http10` (`proxy-http-version`).
    pub(crate) manner: Arc<Manner>,
    /// How an endpoint is chosen where neither the Ingress nor the Service says so; none is as the
    /// process does (`load-balance`).
    pub(crate) spread: Option<Arc<Algorithm>>,
    /// Whether endpoints that fail again and again are left out for a while.
    pub(crate) ejects: bool,
    /// Whether requests go to the Service's own address (`service-upstream`).
    pub(crate) service_upstream: bool,
    /// Whether snippets are read (`allow-snippet-annotations`).
    pub(crate) allow_snippets: bool,
    /// The most that annotations may risk (`annotations-risk-level`).
    pub(crate) risk: Risk,
    /// How responses are compressed (`use-gzip`, `enable-brotli`).
    pub(crate) compression: Option<Arc<Compression>>,
    /// Fields that backends are told besides (`proxy-set-headers`).
    pub(crate) request: Option<Arc<HeaderEdit>>,
    /// What is done to all responses (`add-headers`, `hide-headers`).
    pub(crate) response: Option<Arc<HeaderEdit>>,
    /// Who may come in, and how often.
    pub(crate) guard: GuardDefaults,
    /// What holds of answers.
    pub(crate) answers: AnswerDefaults,
    /// How clients are sent elsewhere.
    pub(crate) redirects: Redirects,
    /// Whether paths of Exact and Prefix have nothing in them but letters, digits and `/._-`
    /// (`strict-validate-path-type`).
    pub(crate) strict_paths: bool,
    /// What paths begin with whose clients are never sent to HTTPS (`no-tls-redirect-locations`).
    pub(crate) http_paths: Box<[Box<str>]>,
    /// Words that no annotation's value may have in it (`annotation-value-word-blocklist`).
    pub(crate) words: Box<[Box<str>]>,
    /// Whether objects of other namespaces may be named (`allow-cross-namespace-resources`).
    pub(crate) crosses: bool,
}

impl Defaults {
    /// Whether clients of a path are never sent to HTTPS.
    pub(crate) fn stays_http(&self, path: &str) -> bool {
        self.http_paths
            .iter()
            .any(|start| path.starts_with(&**start))
    }
}

/// How clients are sent elsewhere where an Ingress says nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Redirects {
    /// Whether hosts with TLS send clients to HTTPS (`ssl-redirect`).
    pub(crate) when_tls: bool,
    /// Whether others do, too (`force-ssl-redirect`).
    pub(crate) always: bool,
    /// The status to HTTPS and between hosts with and without `www.` (`http-redirect-code`).
    pub(crate) code: u16,
    /// Whether a slash at the end of the target stays (`preserve-trailing-slash`).
    pub(crate) keeps_slash: bool,
    /// Whether URLs have ports in them (`use-port-in-redirects`).
    pub(crate) names_port: bool,
    /// Whether paths are not made URLs (`relative-redirects`).
    pub(crate) relative: bool,
}

/// The defaults of each profile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Profiles {
    own: Defaults,
    ingress_nginx: Defaults,
}

/// ingress-nginx's `proxy-body-size`, in bytes.
const NGINX_MAX_BODY: u64 = 1 << 20;

/// What of a request's body is read before it goes to a backend (`proxy-request-buffering`). All of
/// what ingress-nginx lets pass where nothing is said.
const NGINX_GATHER: u32 = 1 << 20;

/// ingress-nginx's `proxy-next-upstream-tries`.
const NGINX_TRIES: u8 = 3;

/// What is sent again where nothing is said but how often.
fn said_by_nobody() -> RouteRetry {
    RouteRetry {
        attempts: 0,
        codes: [].into(),
        backoff: Duration::ZERO,
        on: RetryOn::NGINX,
        within: Duration::ZERO,
    }
}

impl Profiles {
    /// As the command line and the ConfigMap say.
    pub(crate) fn new(options: &Options, global: &Global) -> Self {
        let traced = Arc::new(Traced {
            operation: None,
            trusts: true,
        });
        let own = Manner {
            timeouts: Arc::clone(&options.timeouts),
            max_body: options.max_body,
            retry: None,
            affinity: None,
            extras: options.extras(),
            traced: Arc::clone(&traced),
            most_tries: options.most_tries,
        };
        let extras = Extras {
            hsts: Some(global.hsts().unwrap_or_default()),
            keeps_request_id: true,
            tells_more: true,
            hides_server: !global.tells_server,
            names_server: global.names_server,
            gather: NGINX_GATHER,
            fields: global.field_names(),
            told: global.told().map(Arc::new),
            blocked: global.blocked().map(Arc::new),
            default_type: global.default_type.clone(),
            traced: options.traces.then_some(traced),
            ..Extras::default()
        };
        let given = match options.max_body {
            0 => NGINX_MAX_BODY,
            given => given,
        };
        let timeouts = Timeouts {
            connect: global.connect.unwrap_or(options.timeouts.connect),
            send: global.send.unwrap_or(options.timeouts.send),
            read: global.read.unwrap_or(options.timeouts.read),
            ..*options.timeouts
        };
        let retry = RouteRetry {
            attempts: NGINX_TRIES - 1,
            on: RetryOn {
                non_idempotent: global.retry_non_idempotent,
                ..RetryOn::NGINX
            },
            ..said_by_nobody()
        };
        let ingress_nginx = Manner {
            retry: Some(Arc::new(retry)),
            timeouts: match timeouts == *options.timeouts {
                true => Arc::clone(&options.timeouts),
                false => Arc::new(timeouts),
            },
            max_body: global.max_body.unwrap_or(given),
            extras: Some(Arc::new(extras)),
            ..own.clone()
        };
        let said = &global.said;
        let ingress_nginx = over(said, &ingress_nginx);
        let spread = said.spread.as_ref().and_then(|spread| spread.algorithm());
        Self {
            own: Defaults {
                manner: Arc::new(own),
                spread: None,
                ejects: true,
                service_upstream: false,
                redirects: Redirects {
                    when_tls: options.ssl_redirect,
                    code: 308,
                    ..Redirects::default()
                },
                strict_paths: false,
                http_paths: [].into(),
                words: [].into(),
                crosses: false,
                risk: options.annotations_risk,
                compression: None,
                guard: GuardDefaults::default(),
                answers: AnswerDefaults::default(),
                allow_snippets: false,
                request: None,
                response: None,
            },
            ingress_nginx: Defaults {
                manner: Arc::new(ingress_nginx),
                spread: Some(Arc::new(spread.unwrap_or(Algorithm::RoundRobin))),
                ejects: false,
                service_upstream: said.service_upstream.unwrap_or_default(),
                redirects: Redirects {
                    when_tls: options.ssl_redirect && global.ssl_redirect,
                    always: global.force_ssl_redirect,
                    code: global.redirect_status,
                    keeps_slash: said.tls_redirect.keeps_slash.unwrap_or_default(),
                    names_port: said.tls_redirect.names_port.unwrap_or_default(),
                    relative: said.redirect().is_some_and(Redirect::is_relative),
                },
                strict_paths: global.strict_paths,
                http_paths: global.no_tls_redirect.clone(),
                words: global.words.clone(),
                crosses: global.crosses,
                risk: global.risk.unwrap_or(options.annotations_risk),
                compression: global.compression(),
                guard: GuardDefaults::of(global),
                answers: AnswerDefaults::of(global),
                allow_snippets: global.allow_snippets,
                request: edit(&global.request_fields, &[]),
                response: edit(&global.response_fields, &global.hide_headers),
            },
        }
    }

    /// The same with other defaults of answers.
    #[cfg(test)]
    pub(crate) fn answering(mut self, answers: AnswerDefaults) -> Self {
        self.ingress_nginx.answers = answers;
        self
    }

    /// The defaults of a profile.
    pub(crate) fn of(&self, profile: Profile) -> &Defaults {
        match profile {
            Profile::Own => &self.own,
            Profile::IngressNginx => &self.ingress_nginx,
        }
    }
}

/// The edit that puts these fields in place, and takes those names out.
fn edit(fields: &BTreeMap<Box<str>, Box<str>>, hidden: &[Box<str>]) -> Option<Arc<HeaderEdit>> {
    let nothing = fields.is_empty() && hidden.is_empty();
    (!nothing).then(|| {
        Arc::new(HeaderEdit {
            remove: hidden.into(),
            set: fields.clone().into_iter().collect(),
            add: [].into(),
        })
    })
}

/// How an Ingress's requests are treated: the default itself where it says nothing.
pub(super) fn resolve(parsed: &Parsed, defaults: &Defaults) -> Arc<Manner> {
    let settings = &parsed.settings;
    let session = settings
        .affinity
        .as_deref()
        .filter(|session| session.wanted);
    let is_silent = settings.attempts.is_none()
        && settings.bodies.is_none()
        && session.is_none()
        && settings.traces.is_none()
        && settings.connection.is_none()
        && settings.logs == Logs::default();
    if is_silent {
        return Arc::clone(&defaults.manner);
    }
    let mut manner = over(settings, &defaults.manner);
    if let Some(session) = session {
        manner.affinity = Some(Arc::new(affinity(session, parsed)));
    }
    Arc::new(manner)
}

/// What annotations make of a manner, but for affinity.
fn over(settings: &Settings, manner: &Manner) -> Manner {
    let mut manner = manner.clone();
    let attempts = settings.attempts.as_deref();
    let bodies = settings.bodies.as_deref();
    if let Some(attempts) = attempts {
        limit(attempts, &mut manner);
    }
    if let Some(most) = bodies.and_then(|bodies| bodies.most) {
        manner.max_body = most;
    }
    let gathers = bodies.and_then(|bodies| bodies.gathers);
    let http10 = attempts.and_then(|attempts| attempts.http10);
    let (connection, logs) = (settings.connection, settings.logs);
    let traces = settings.traces.as_deref();
    let logged = logs != Logs::default();
    if gathers.is_some() || http10.is_some() || connection.is_some() || logged || traces.is_some() {
        let mut extras = manner.extras.as_deref().cloned().unwrap_or_default();
        match gathers {
            Some(true) => extras.gather = NGINX_GATHER,
            Some(false) => extras.gather = 0,
            None => {}
        }
        extras.http10 = http10.unwrap_or(extras.http10);
        extras.connection = connection.or(extras.connection);
        extras.unlogged |= logs.hides_requests;
        extras.logs_rewrites |= logs.shows_rewrites;
        if let Some(traces) = traces {
            trace(traces, &mut extras, &mut manner.traced);
        }
        manner.extras = Some(Arc::new(extras));
    }
    manner
}

/// Whether and how requests are traced.
fn trace(traces: &Traces, extras: &mut Extras, traced: &mut Arc<Traced>) {
    let operation = traces.operation.as_ref().or(traced.operation.as_ref());
    let said = Traced {
        operation: operation.cloned(),
        trusts: traces.trusts.unwrap_or(traced.trusts),
    };
    if **traced != said {
        *traced = Arc::new(said);
    }
    let on = traces.on.unwrap_or_else(|| extras.traced.is_some());
    extras.traced = on.then(|| Arc::clone(traced));
}

/// Time limits, and what is sent again.
fn limit(attempts: &Attempts, manner: &mut Manner) {
    let former = *manner.timeouts;
    let timeouts = Timeouts {
        connect: attempts.connect.unwrap_or(former.connect),
        send: attempts.send.unwrap_or(former.send),
        read: attempts.read.unwrap_or(former.read),
        ..former
    };
    if timeouts != former {
        manner.timeouts = Arc::new(timeouts);
    }
    if attempts.is_about_retries() {
        let retry = match &manner.retry {
            Some(default) => attempts.retry(default, manner.most_tries),
            None => {
                let default = RouteRetry {
                    attempts: NGINX_TRIES - 1,
                    ..said_by_nobody()
                };
                attempts.retry(&default, manner.most_tries)
            }
        };
        manner.retry = Some(Arc::new(retry));
    }
}

/// What keeps clients with an endpoint.
fn affinity(session: &Session, parsed: &Parsed) -> Affinity {
    let metadata = &parsed.source.metadata;
    let (namespace, name) = (parsed.namespace(), &metadata.name);
    Affinity {
        cookie: session.name().into(),
        header: false,
        max_age: Duration::ZERO,
        absolute: Duration::ZERO,
        // The uid is random, the same for every replica, and nothing that clients see.
        key: format!("{}/{namespace}/{name}", metadata.uid).into(),
        cookie_terms: Some(Box::new(CookieTerms {
            balanced: !session.persistent,
            ..session.terms.clone()
        })),
    }
}
