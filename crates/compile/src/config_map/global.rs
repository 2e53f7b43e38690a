//! What the ConfigMap says, as typed values; each begins as ingress-nginx's default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::filter::snippet::{RequestEdit, ResponseEdit, Responses};
use model::filter::{Agents, Coding, Compression};
use model::text::Text;
use model::{AddressSet, Blocked, FieldNames, Forwarding, Ratio, Told, Tracing, Tuning};
use objects::Store;

use crate::ingress::annotations::Settings;
use crate::ingress::annotations::snippets::Snippets;
use crate::ingress::annotations::table::Risk;
use crate::name::{Name, NameRef};
use crate::report::Problems;

use super::logs::LogKeys;

/// What the ConfigMap says. The name of each key is in [`keys`](super::keys).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Global {
    /// What annotations would say, if every Ingress had them.
    pub(crate) said: Settings,
    pub(crate) ssl_redirect: bool,
    pub(crate) force_ssl_redirect: bool,
    /// 301, 302, 307 or 308.
    pub(crate) redirect_status: u16,
    pub(crate) hsts: bool,
    /// In seconds.
    pub(crate) hsts_max_age: u64,
    pub(crate) hsts_include_subdomains: bool,
    pub(crate) hsts_preload: bool,
    /// In bytes; 0 is no limit. None is as the command line says, else 1 MiB.
    pub(crate) max_body: Option<u64>,
    /// None are as the command line says.
    pub(crate) connect: Option<Duration>,
    pub(crate) read: Option<Duration>,
    pub(crate) send: Option<Duration>,
    /// None is as the command line says.
    pub(crate) risk: Option<Risk>,
    pub(crate) allow_snippets: bool,
    /// The ConfigMap with fields that all responses get, `namespace/name`.
    pub(crate) add_headers: Option<Name>,
    /// Their names and values.
    pub(crate) response_fields: BTreeMap<Box<str>, Box<str>>,
    /// The ConfigMap with fields that all backends are told.
    pub(crate) set_headers: Option<Name>,
    /// Their names and values.
    pub(crate) request_fields: BTreeMap<Box<str>, Box<str>>,
    /// Those of them whose values have variables in them.
    pub(crate) request_texts: Box<[RequestEdit]>,
    /// The same of `response_fields`.
    pub(crate) response_texts: Box<[ResponseEdit]>,
    /// Fields of backends' responses that clients do not get, in lower case.
    pub(crate) hide_headers: Vec<Box<str>>,
    pub(crate) gzip: Compressor,
    pub(crate) brotli: Compressor,
    pub(crate) zstd: Compressor,
    /// Clients that are sent no gzip.
    pub(crate) not_gzip: Option<Agents>,
    /// The status for who asks too often.
    pub(crate) rate_status: u16,
    /// The same for who asks too much at once.
    pub(crate) at_once_status: u16,
    /// What paths begin with that ask nobody for anything.
    pub(crate) no_auth: Box<[Box<str>]>,
    /// What paths begin with whose clients are never sent to HTTPS.
    pub(crate) no_tls_redirect: Box<[Box<str>]>,
    pub(crate) strict_paths: bool,
    /// Whether clients are told what server a backend is.
    pub(crate) tells_server: bool,
    /// `server-tokens`.
    pub(crate) names_server: bool,
    /// The fields that `custom-headers` may name, as they are written.
    pub(crate) allowed_headers: Vec<Box<str>>,
    /// Whether requests are sent again that may not be served twice.
    pub(crate) retry_non_idempotent: bool,
    pub(crate) forwarding: Forwarded,
    /// What backends are told besides.
    pub(crate) tells: Tells,
    /// Whether underscores may be in the names of fields.
    pub(crate) underscores: bool,
    /// Whether fields are left out for their names.
    pub(crate) leaves_out: bool,
    /// Who may not come in where no list says who may.
    pub(crate) blocked_networks: AddressSet,
    /// Whose requests are not answered.
    pub(crate) blocks: Blocked,
    /// Words that no annotation's value may have in it.
    pub(crate) words: Box<[Box<str>]>,
    /// Whether objects of other namespaces may be named.
    pub(crate) crosses: bool,
    /// What all Ingresses' snippets say besides.
    pub(crate) snippets: Snippets,
    /// None is `text/html`.
    pub(crate) default_type: Option<Box<str>>,
    /// What holds of TCP and UDP.
    pub(crate) streams: Streams,
    pub(crate) logs: LogKeys,
    /// What holds for the process, but for `forwarding` and `logs`.
    pub(crate) tuning: Tuning,
}

/// A way to compress responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compressor {
    pub(crate) on: bool,
    pub(crate) coding: Coding,
}

/// Who is believed of what clients are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// `use-forwarded-headers`.
    pub(crate) headers: bool,
    /// `enable-real-ip`.
    pub(crate) real_ip: bool,
    /// None is everybody.
    pub(crate) trusted: Option<Box<[IpNet]>>,
    /// `compute-full-forwarded-for`.
    pub(crate) full: bool,
    /// `forwarded-for-header`, in lower case; none is X-Forwarded-For.
    pub(crate) header: Option<Box<str>>,
    /// `use-proxy-protocol`.
    pub(crate) proxy_protocol: bool,
}

/// What backends are told besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tells {
    /// `forwarded-for-proxy-protocol-header`.
    pub(crate) announced: Box<str>,
    /// `forwarded-host-header`, in lower case; none is X-Forwarded-Host.
    pub(crate) host: Option<Box<str>>,
    /// `proxy-add-original-uri-header`.
    pub(crate) target: bool,
    /// `generate-request-id`.
    pub(crate) names_requests: bool,
}

impl Default for Tells {
    fn default() -> Self {
        Self {
            announced: "X-Forwarded-For-Proxy-Protocol".into(),
            host: None,
            target: false,
            names_requests: true,
        }
    }
}

/// What holds of the ports of `--tcp-services-configmap` and `--udp-services-configmap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    /// `proxy-stream-timeout`; none is as the command line says.
    pub(crate) idle: Option<Duration>,
    /// `proxy-stream-next-upstream`.
    pub(crate) again: bool,
    /// `proxy-stream-next-upstream-tries`; 0 is no limit.
    pub(crate) tries: u8,
    /// `proxy-stream-next-upstream-timeout`; zero is no limit.
    pub(crate) within: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            idle: None,
            again: true,
            tries: 3,
            within: Duration::from_secs(600),
        }
    }
}

impl Streams {
    /// How many endpoints are tried for a connection; none is as many as there are.
    pub(crate) fn most(&self) -> Option<u8> {
        match (self.again, self.tries) {
            (false, _) => Some(1),
            (true, 0) => None,
            (true, tries) => Some(tries),
        }
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            said: Settings::default(),
            ssl_redirect: true,
            force_ssl_redirect: false,
            redirect_status: 308,
            hsts: true,
            hsts_max_age: 31_536_000,
            hsts_include_subdomains: true,
            hsts_preload: false,
            max_body: None,
            connect: None,
            read: None,
            send: None,
            risk: None,
            allow_snippets: false,
            add_headers: None,
            response_fields: BTreeMap::new(),
            set_headers: None,
            request_fields: BTreeMap::new(),
            request_texts: [].into(),
            response_texts: [].into(),
            hide_headers: Vec::new(),
            gzip: Compressor::new(1, 256),
            brotli: Compressor::new(4, 20),
            zstd: Compressor::new(3, 256),
            not_gzip: None,
            rate_status: 503,
            at_once_status: 503,
            no_auth: [ACME.into()].into(),
            no_tls_redirect: [ACME.into()].into(),
            strict_paths: true,
            tells_server: false,
            names_server: false,
            allowed_headers: Vec::new(),
            retry_non_idempotent: false,
            forwarding: Forwarded::default(),
            tells: Tells::default(),
            underscores: false,
            leaves_out: true,
            blocked_networks: AddressSet::default(),
            blocks: Blocked::default(),
            words: [].into(),
            crosses: false,
            snippets: Snippets::default(),
            default_type: None,
            streams: Streams::default(),
            logs: LogKeys::default(),
            tuning: Tuning::default(),
        }
    }
}

/// What the paths of HTTP-01 begin with (RFC 8555, section 8.3).
const ACME: &str = "/.well-known/acme-challenge";

/// What is compressed by default: text in its many forms (`gzip-types`, `brotli-types`).
const TYPES: &[&str] = &[
    "application/atom+xml",
    "application/javascript",
    "application/x-javascript",
    "application/json",
    "application/rss+xml",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "application/x-web-app-manifest+json",
    "application/xhtml+xml",
    "application/xml",
    "font/opentype",
    "image/svg+xml",
    "image/x-icon",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/x-component",
];

impl Compressor {
    fn new(level: u8, least: u64) -> Self {
        let types = TYPES.iter().map(|name| (*name).into()).collect();
        Self {
            on: false,
            coding: Coding {
                level,
                least,
                types,
            },
        }
    }

    fn coding(&self) -> Option<Coding> {
        self.on.then(|| self.coding.clone())
    }
}

/// The most fields of one such ConfigMap.
const MOST_FIELDS: usize = 100;

impl Global {
    /// What `Strict-Transport-Security` says (RFC 6797, section 6.1).
    pub(crate) fn hsts(&self) -> Option<Box<str>> {
        self.hsts.then(|| {
            let mut text = format!("max-age={}", self.hsts_max_age);
            if self.hsts_include_subdomains {
                text += "; includeSubDomains";
            }
            if self.hsts_preload {
                text += "; preload";
            }
            text.into()
        })
    }

    /// How responses are compressed, if they are.
    pub(crate) fn compression(&self) -> Option<Arc<Compression>> {
        let compression = Compression {
            brotli: self.brotli.coding(),
            zstd: self.zstd.coding(),
            gzip: self.gzip.coding(),
            not_gzip: self.not_gzip.clone(),
        };
        let is_used = self.brotli.on || self.zstd.on || self.gzip.on;
        is_used.then(|| Arc::new(compression))
    }

    /// Which fields of requests go on.
    pub(crate) fn field_names(&self) -> FieldNames {
        match (self.leaves_out, self.underscores) {
            (false, _) => FieldNames::Any,
            (true, true) => FieldNames::Underscored,
            (true, false) => FieldNames::Plain,
        }
    }

    /// What backends are told besides, if it is not as by default.
    pub(crate) fn told(&self) -> Option<Told> {
        let both = self.forwarding.headers && self.forwarding.proxy_protocol;
        let told = Told {
            client_field: self.forwarding.header.clone(),
            host_field: self.tells.host.clone(),
            announced_field: both.then(|| self.tells.announced.clone()),
            target: self.tells.target,
            names_requests: self.tells.names_requests,
        };
        (told != Told::default()).then_some(told)
    }

    /// Whose requests are not answered, if there is anybody.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        (!self.blocks.is_empty()).then(|| self.blocks.clone())
    }

    /// What holds for the process.
    pub(super) fn tuning(&self) -> Tuning {
        let Forwarded {
            headers,
            real_ip,
            trusted,
            full,
            header,
            proxy_protocol,
        } = &self.forwarding;
        let forwarding = (*headers || *real_ip || *proxy_protocol).then(|| Forwarding {
            trusted: trusted.clone().unwrap_or_else(everybody),
            header: header.clone(),
            address_only: !headers,
            announced: *proxy_protocol && !headers,
            alone: !(*headers && *full),
        });
        let mut tuning = Tuning {
            forwarding,
            proxy_protocol: proxy_protocol.then_some(true),
            access_logs: self.logs.access_logs().map(Arc::new),
            ..self.tuning.clone()
        };
        // In nginx, none is none, and not without end.
        if tuning.keep_alive == Some(Duration::ZERO) {
            tuning.keep_alive = None;
            tuning.requests_per_connection = Some(1);
        }
        if tuning.requests_per_connection == Some(0) {
            tuning.requests_per_connection = Some(1);
        }
        tuning
    }

    /// What it says of the collector of traces, and of which are told.
    pub(super) fn tracing(&mut self) -> &mut Tracing {
        self.tuning.tracing.get_or_insert_with(|| {
            Box::new(Tracing {
                // ingress-nginx's defaults, where they are not ours.
                ratio: Ratio::new(0.01),
                service: Some("nginx".into()),
                ..Tracing::default()
            })
        })
    }

    /// The ConfigMaps that it names.
    pub(crate) fn config_maps(&self) -> impl Iterator<Item = NameRef<'_>> {
        let named = [&self.add_headers, &self.set_headers].into_iter().flatten();
        named.map(Name::as_ref)
    }

    /// Reads what it refers to.
    pub(super) fn resolve(&mut self, store: &Store, problems: &mut Problems) {
        let named = self.add_headers.as_ref();
        self.response_fields = fields("add-headers", named, store, problems);
        let found = texts("add-headers", &mut self.response_fields, problems);
        let set = |(name, value)| ResponseEdit::Set {
            name,
            value,
            of: Responses::default(),
        };
        self.response_texts = found.into_iter().map(set).collect();
        let named = self.set_headers.as_ref();
        self.request_fields = fields("proxy-set-headers", named, store, problems);
        let found = texts("proxy-set-headers", &mut self.request_fields, problems);
        let set = |(name, value)| RequestEdit {
            name,
            value,
            if_there: false,
        };
        self.request_texts = found.into_iter().map(set).collect();
        self.logs.check(problems);
    }
}

/// Takes out the fields whose values have variables in them or are empty, which takes fields out.
fn texts(
    key: &str,
    fields: &mut BTreeMap<Box<str>, Box<str>>,
    problems: &mut Problems,
) -> Vec<(Box<str>, Text)> {
    let mut found = Vec::new();
    fields.retain(|name, value| {
        if !value.is_empty() && !value.contains('$') {
            return true;
        }
        match Text::parse(value) {
            Ok(text) => found.push((name.clone(), text)),
            Err(error) => {
                let message = format!("{name} of the ConfigMap: {error}; it is left out");
                problems.error(format!("data[{key}]"), message, "variables of nginx");
            }
        }
        false
    });
    found
}

/// Every network there is (`proxy-real-ip-cidr` by default).
pub(super) fn everybody() -> Box<[IpNet]> {
    [Ipv4Net::default().into(), Ipv6Net::default().into()].into()
}

/// The fields that a ConfigMap lists.
fn fields(
    key: &str,
    named: Option<&Name>,
    store: &Store,
    problems: &mut Problems,
) -> BTreeMap<Box<str>, Box<str>> {
    let field = format!("data[{key}]");
    let mut all = BTreeMap::new();
    let Some(named) = named.map(Name::as_ref) else {
        return all;
    };
    let Some(found) = store.config_map(named.namespace, named.name) else {
        let message = format!("there is no ConfigMap {named}");
        problems.error(
            field,
            message,
            "namespace/name of a ConfigMap of names and values",
        );
        return all;
    };
    for (name, value) in found.data.iter().flatten() {
        let is_name = http_name(name);
        let is_value = value
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
        if !is_name || !is_value || all.len() == MOST_FIELDS {
            let message = format!("{name:?} of the ConfigMap is no header field; it is left out");
            problems.error(
                &*field,
                message,
                "a name, and a value of printable characters",
            );
            continue;
        }
        all.insert(name.as_str().into(), value.as_str().into());
    }
    all
}

/// Whether a text is a header field's name (RFC 9110, section 5.6.2).
pub(super) fn http_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token)
}
