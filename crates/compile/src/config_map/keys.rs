//! Every key of ingress-nginx's ConfigMap.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use hashbrown::HashMap;
use ipnet::IpNet;
use model::text::Text;
use model::{Ratio, Sampler};

use model::filter::Agents;
use model::told::Listed;
use model::{AddressSet, Pattern};

use super::global::{Global, everybody, http_name};
use super::logs;
use super::tls;
use crate::ingress::annotations::table::Risk;
use crate::ingress::snippets::{self, is_understood, one_word, time};
use crate::name::Name;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It does what it does in ingress-nginx.
    Works(Reader),
    /// It says for all Ingresses what an annotation, which is named, says for one.
    Said(&'static str),
    /// There is nothing for it to do: why.
    Idle(&'static str),
}

/// Reads a value into its place, or says what would be right.
pub(super) type Reader = fn(&mut Global, &str) -> Result<(), &'static str>;

impl Key {
    const fn works(name: &'static str, reader: Reader) -> Self {
        let fate = Fate::Works(reader);
        Self { name, fate }
    }

    const fn said(name: &'static str, annotation: &'static str) -> Self {
        let fate = Fate::Said(annotation);
        Self { name, fate }
    }

    const fn idle(name: &'static str, why: &'static str) -> Self {
        let fate = Fate::Idle(why);
        Self { name, fate }
    }
}

/// Every key.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
}

/// The longest that spans wait, in milliseconds.
const LONGEST_DELAY: u64 = 60_000;

/// The most spans that may wait, whatever is said: some hundred MiB.
const MOST_SPANS: u64 = 100_000;

/// The key of a name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Key>> =
        LazyLock::new(|| all().map(|key| (key.name, key)).collect());
    BY_NAME.get(name.trim()).copied()
}

const NGINX: &str = "it tunes nginx: nothing of the kind is allocated here";
const WORKERS: &str = "workers are set by --workers; no worker is replaced by a change";
const LOGS: &str = "the access log goes to standard output, the program's to standard error";
const SNIPPETS: &str = "it is text for nginx's configuration, which there is none of";
const MODSECURITY: &str = "there is no ModSecurity here";
const JAEGER: &str = "nginx speaks no Jaeger any more either";
const KEPT: &str = "connections are kept as --max-idle-upstream and --upstream-idle-timeout say";
const TICKETS: &str = "sessions are resumed by tickets: see --session-ticket-secret";

/// In the order of their names.
const KEYS: &[Key] = &[
    Key::idle("access-log-params", LOGS),
    Key::idle("access-log-path", LOGS),
    Key::works("add-headers", |global, value| {
        name(value).map(|name| global.add_headers = name)
    }),
    Key::works("allow-backend-server-header", |global, value| {
        boolean(value).map(|on| global.tells_server = on)
    }),
    Key::works("allow-cross-namespace-resources", |global, value| {
        boolean(value).map(|on| global.crosses = on)
    }),
    Key::works("allow-snippet-annotations", |global, value| {
        boolean(value).map(|on| global.allow_snippets = on)
    }),
    Key::works("annotation-value-word-blocklist", |global, value| {
        words(value).map(|all| global.words = all)
    }),
    Key::works("annotations-risk-level", |global, value| {
        risk(value).map(|risk| global.risk = Some(risk))
    }),
    Key::idle("bind-address", "--bind-address says where is listened"),
    Key::works("block-cidrs", |global, value| {
        blocked_networks(value).map(|all| global.blocked_networks = all)
    }),
    Key::works("block-referers", |global, value| {
        listed(value).map(|all| global.blocks.referers = all)
    }),
    Key::works("block-user-agents", |global, value| {
        listed(value).map(|all| global.blocks.agents = all)
    }),
    Key::works("brotli-level", |global, value| {
        level(value, 11).map(|level| global.brotli.coding.level = level)
    }),
    Key::works("brotli-min-length", |global, value| {
        number(value).map(|bytes| global.brotli.coding.least = bytes)
    }),
    Key::works("brotli-types", |global, value| {
        types(value).map(|all| global.brotli.coding.types = all)
    }),
    Key::said("client-body-buffer-size", "client-body-buffer-size"),
    Key::works("client-body-timeout", |global, value| {
        seconds(value).map(|time| global.tuning.body_timeout = Some(time))
    }),
    Key::idle("client-header-buffer-size", NGINX),
    Key::works("client-header-timeout", |global, value| {
        seconds(value).map(|time| global.tuning.header_timeout = Some(time))
    }),
    Key::works("compute-full-forwarded-for", |global, value| {
        boolean(value).map(|on| global.forwarding.full = on)
    }),
    Key::works("custom-http-errors", |global, value| {
        let (codes, all) = readable(value, |item| status(item).ok());
        global.said.errors.get_or_insert_default().codes = Some(codes.into());
        all.then_some(())
            .ok_or("statuses from 400 to 599, as 404,503")
    }),
    Key::idle("debug-connections", NGINX),
    Key::works("default-type", |global, value| {
        media_type(value).map(|kind| global.default_type = kind)
    }),
    Key::said("denylist-source-range", "denylist-source-range"),
    Key::works("disable-access-log", |global, value| {
        boolean(value).map(|off| global.logs.nothing = off)
    }),
    Key::works("disable-http-access-log", |global, value| {
        boolean(value).map(|off| global.logs.no_requests = off)
    }),
    Key::idle("disable-ipv6", "--bind-address says where is listened"),
    Key::idle("disable-ipv6-dns", "names are resolved as the system says"),
    Key::said(
        "disable-proxy-intercept-errors",
        "disable-proxy-intercept-errors",
    ),
    Key::works("disable-stream-access-log", |global, value| {
        boolean(value).map(|off| global.logs.no_streams = off)
    }),
    Key::works("enable-access-log-for-default-backend", |global, value| {
        boolean(value).map(|on| global.logs.unclaimed = on)
    }),
    Key::idle("enable-aio-write", NGINX),
    Key::works("enable-auth-access-log", |global, value| {
        boolean(value).map(|on| global.logs.questions = on)
    }),
    Key::works("enable-brotli", |global, value| {
        boolean(value).map(|on| global.brotli.on = on)
    }),
    Key::idle("enable-modsecurity", MODSECURITY),
    Key::idle("enable-multi-accept", NGINX),
    Key::works("enable-ocsp", |global, value| {
        boolean(value).map(|on| global.tuning.stapling = Some(on))
    }),
    Key::said("enable-opentelemetry", "enable-opentelemetry"),
    Key::idle("enable-owasp-modsecurity-crs", MODSECURITY),
    Key::works("enable-real-ip", |global, value| {
        boolean(value).map(|on| global.forwarding.real_ip = on)
    }),
    Key::idle("enable-serial-reloads", WORKERS),
    Key::idle("enable-syslog", LOGS),
    Key::works("enable-underscores-in-headers", |global, value| {
        boolean(value).map(|on| global.underscores = on)
    }),
    Key::works("enable-zstd", |global, value| {
        boolean(value).map(|on| global.zstd.on = on)
    }),
    Key::idle("error-log-level", LOGS),
    Key::idle("error-log-path", LOGS),
    Key::works("force-ssl-redirect", |global, value| {
        boolean(value).map(|on| global.force_ssl_redirect = on)
    }),
    Key::works("forwarded-for-header", |global, value| {
        field_name(value).map(|name| global.forwarding.header = name)
    }),
    Key::works("forwarded-for-proxy-protocol-header", |global, value| {
        any_field_name(value).map(|name| global.tells.announced = name)
    }),
    Key::works("forwarded-host-header", |global, value| {
        other_field_name(value, "x-forwarded-host").map(|name| global.tells.host = name)
    }),
    Key::works("generate-request-id", |global, value| {
        boolean(value).map(|on| global.tells.names_requests = on)
    }),
    Key::idle(
        "geoip2-autoreload-in-minutes",
        "a database is read again when its file changes",
    ),
    Key::works("global-allowed-response-headers", |global, value| {
        written_names(value).map(|names| global.allowed_headers = names.map(Box::from).collect())
    }),
    Key::said("global-auth-always-set-cookie", "auth-always-set-cookie"),
    Key::said("global-auth-cache-duration", "auth-cache-duration"),
    Key::said("global-auth-cache-key", "auth-cache-key"),
    Key::said("global-auth-method", "auth-method"),
    Key::said("global-auth-request-redirect", "auth-request-redirect"),
    Key::said("global-auth-response-headers", "auth-response-headers"),
    Key::said("global-auth-signin", "auth-signin"),
    Key::said(
        "global-auth-signin-redirect-param",
        "auth-signin-redirect-param",
    ),
    Key::works("global-auth-snippet", |global, value| {
        snippets::read_question(value)
            .map_err(|_| "the directives and variables that docs/ingress.md names")?;
        let guard = global.said.guard.get_or_insert_default();
        guard.external_auth.get_or_insert_default().snippet = Some(value.into());
        Ok(())
    }),
    Key::said("global-auth-url", "auth-url"),
    Key::idle("grpc-buffer-size-kb", NGINX),
    Key::works("gzip-disable", |global, value| {
        agents(value).map(|some| global.not_gzip = some)
    }),
    Key::works("gzip-level", |global, value| {
        level(value, 9).map(|level| global.gzip.coding.level = level)
    }),
    Key::works("gzip-min-length", |global, value| {
        number(value).map(|bytes| global.gzip.coding.least = bytes)
    }),
    Key::works("gzip-types", |global, value| {
        types(value).map(|all| global.gzip.coding.types = all)
    }),
    Key::works("hide-headers", |global, value| {
        names(value).map(|names| global.hide_headers = names)
    }),
    Key::works("hsts", |global, value| {
        boolean(value).map(|on| global.hsts = on)
    }),
    Key::works("hsts-include-subdomains", |global, value| {
        boolean(value).map(|on| global.hsts_include_subdomains = on)
    }),
    Key::works("hsts-max-age", |global, value| {
        number(value).map(|seconds| global.hsts_max_age = seconds)
    }),
    Key::works("hsts-preload", |global, value| {
        boolean(value).map(|on| global.hsts_preload = on)
    }),
    Key::idle("http-access-log-path", LOGS),
    Key::works("http-redirect-code", |global, value| {
        redirect_status(value).map(|status| global.redirect_status = status)
    }),
    Key::idle("http-snippet", SNIPPETS),
    Key::works("http2-max-concurrent-streams", |global, value| {
        streams(value).map(|most| global.tuning.h2_streams = Some(most))
    }),
    Key::idle("http2-max-field-size", NGINX),
    Key::idle("http2-max-header-size", NGINX),
    Key::idle("http2-max-requests", NGINX),
    Key::works("ignore-invalid-headers", |global, value| {
        boolean(value).map(|on| global.leaves_out = on)
    }),
    Key::idle("jaeger-baggage-header", JAEGER),
    Key::idle("jaeger-collector-host", JAEGER),
    Key::idle("jaeger-collector-port", JAEGER),
    Key::idle("jaeger-debug-header", JAEGER),
    Key::idle("jaeger-endpoint", JAEGER),
    Key::idle("jaeger-propagation-format", JAEGER),
    Key::idle("jaeger-sampler-host", JAEGER),
    Key::idle("jaeger-sampler-param", JAEGER),
    Key::idle("jaeger-sampler-port", JAEGER),
    Key::idle("jaeger-sampler-type", JAEGER),
    Key::idle("jaeger-service-name", JAEGER),
    Key::idle("jaeger-trace-baggage-header-prefix", JAEGER),
    Key::idle("jaeger-trace-context-header-name", JAEGER),
    Key::works("keep-alive", |global, value| {
        seconds(value).map(|time| global.tuning.keep_alive = Some(time))
    }),
    Key::works("keep-alive-requests", |global, value| {
        number(value).map(|most| global.tuning.requests_per_connection = Some(most))
    }),
    Key::works("large-client-header-buffers", |global, value| {
        buffers(value).map(|(each, all)| {
            global.tuning.header_line = Some(each);
            global.tuning.header_bytes = Some(all);
        })
    }),
    Key::works("limit-conn-status-code", |global, value| {
        status(value).map(|code| global.at_once_status = code)
    }),
    Key::idle(
        "limit-conn-zone-variable",
        "connections are counted by the client's address",
    ),
    Key::said("limit-rate", "limit-rate"),
    Key::said("limit-rate-after", "limit-rate-after"),
    Key::works("limit-req-status-code", |global, value| {
        status(value).map(|code| global.rate_status = code)
    }),
    Key::said("load-balance", "load-balance"),
    Key::works("location-snippet", |global, value| {
        snippet(value, false).map(|text| global.snippets.location = text)
    }),
    Key::works("log-format-escape-json", |global, value| {
        boolean(value).map(|on| global.logs.escape_json = on)
    }),
    Key::works("log-format-escape-none", |global, value| {
        boolean(value).map(|on| global.logs.escape_none = on)
    }),
    Key::works("log-format-stream", |global, value| {
        logs::format(value).map(|text| global.logs.streams = text)
    }),
    Key::works("log-format-upstream", |global, value| {
        logs::format(value).map(|text| global.logs.requests = text)
    }),
    Key::idle("lua-shared-dicts", NGINX),
    Key::idle("main-snippet", SNIPPETS),
    Key::idle("map-hash-bucket-size", NGINX),
    Key::idle("max-worker-connections", WORKERS),
    Key::idle("max-worker-open-files", NGINX),
    Key::idle("modsecurity-snippet", MODSECURITY),
    Key::idle(
        "nginx-status-ipv4-whitelist",
        "there is no nginx_status page: see /metrics",
    ),
    Key::idle(
        "nginx-status-ipv6-whitelist",
        "there is no nginx_status page: see /metrics",
    ),
    Key::works("no-auth-locations", |global, value| {
        locations(value).map(|all| global.no_auth = all)
    }),
    Key::works("no-tls-redirect-locations", |global, value| {
        locations(value).map(|all| global.no_tls_redirect = all)
    }),
    Key::idle("opentelemetry-config", "it is a file of nginx's module"),
    Key::works("opentelemetry-operation-name", |global, value| {
        let text = Text::parse(value).map_err(|_| "a text with variables that there are")?;
        global.said.traces.get_or_insert_default().operation = (!value.is_empty()).then_some(text);
        Ok(())
    }),
    Key::said(
        "opentelemetry-trust-incoming-span",
        "opentelemetry-trust-incoming-span",
    ),
    Key::works("otel-max-export-batch-size", |global, value| {
        spans(value).map(|most| global.tracing().batch = Some(most))
    }),
    Key::works("otel-max-queuesize", |global, value| {
        spans(value).map(|most| global.tracing().queue = Some(most))
    }),
    Key::works("otel-sampler", |global, value| {
        global.tracing().sampler = Some(match value.trim() {
            "AlwaysOn" => Sampler::AlwaysOn,
            "AlwaysOff" => Sampler::AlwaysOff,
            "TraceIdRatioBased" => Sampler::TraceIdRatioBased,
            _ => return Err("AlwaysOn, AlwaysOff or TraceIdRatioBased"),
        });
        Ok(())
    }),
    Key::works("otel-sampler-parent-based", |global, value| {
        boolean(value).map(|on| global.tracing().parent_based = Some(on))
    }),
    Key::works("otel-sampler-ratio", |global, value| {
        let part = value.trim().parse().ok().and_then(Ratio::new);
        let part = part.ok_or("a number from 0 to 1, as 0.01")?;
        global.tracing().ratio = Some(part);
        Ok(())
    }),
    Key::works("otel-schedule-delay-millis", |global, value| {
        let delay = number(value)?.min(LONGEST_DELAY);
        global.tracing().delay = Some(Duration::from_millis(delay));
        Ok(())
    }),
    Key::works("otel-service-name", |global, value| {
        let name = value.trim();
        global.tracing().service = (!name.is_empty()).then(|| name.into());
        Ok(())
    }),
    Key::works("otlp-collector-host", |global, value| {
        let host = value.trim();
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if !host.bytes().all(is_right) {
            return Err("a host's name or address, without a scheme");
        }
        global.tracing().host = Some(host.into());
        Ok(())
    }),
    Key::works("otlp-collector-port", |global, value| {
        let port = value.trim().parse().ok().filter(|port| *port > 0);
        global.tracing().port = Some(port.ok_or("a port from 1 to 65535")?);
        Ok(())
    }),
    Key::said("preserve-trailing-slash", "preserve-trailing-slash"),
    Key::works("proxy-add-original-uri-header", |global, value| {
        boolean(value).map(|on| global.tells.target = on)
    }),
    Key::works("proxy-body-size", |global, value| {
        size(value).map(|bytes| global.max_body = Some(bytes))
    }),
    Key::said("proxy-buffer-size", "proxy-buffer-size"),
    Key::said("proxy-buffering", "proxy-buffering"),
    Key::said("proxy-buffers-number", "proxy-buffers-number"),
    Key::said("proxy-busy-buffers-size", "proxy-busy-buffers-size"),
    Key::works("proxy-connect-timeout", |global, value| {
        seconds(value).map(|time| global.connect = Some(time))
    }),
    Key::said("proxy-cookie-domain", "proxy-cookie-domain"),
    Key::said("proxy-cookie-path", "proxy-cookie-path"),
    Key::idle("proxy-headers-hash-bucket-size", NGINX),
    Key::idle("proxy-headers-hash-max-size", NGINX),
    Key::said("proxy-http-version", "proxy-http-version"),
    Key::said("proxy-max-temp-file-size", "proxy-max-temp-file-size"),
    Key::said("proxy-next-upstream", "proxy-next-upstream"),
    Key::said("proxy-next-upstream-timeout", "proxy-next-upstream-timeout"),
    Key::said("proxy-next-upstream-tries", "proxy-next-upstream-tries"),
    Key::works("proxy-protocol-header-timeout", |global, value| {
        duration(value).map(|time| global.tuning.announcement_timeout = Some(time))
    }),
    Key::works("proxy-read-timeout", |global, value| {
        seconds(value).map(|time| global.read = Some(time))
    }),
    Key::works("proxy-real-ip-cidr", |global, value| {
        // Nobody is believed for a slip of the pen.
        let (trusted, all) = readable(value, network);
        global.forwarding.trusted = Some(trusted.into());
        all.then_some(())
            .ok_or("networks between commas, as 10.0.0.0/8, 2001:db8::/32")
    }),
    Key::said("proxy-redirect-from", "proxy-redirect-from"),
    Key::said("proxy-request-buffering", "proxy-request-buffering"),
    Key::works("proxy-send-timeout", |global, value| {
        seconds(value).map(|time| global.send = Some(time))
    }),
    Key::works("proxy-set-headers", |global, value| {
        name(value).map(|name| global.set_headers = name)
    }),
    Key::idle(
        "proxy-ssl-location-only",
        "what is said to a backend is always its own Ingress's",
    ),
    Key::works("proxy-stream-next-upstream", |global, value| {
        boolean(value).map(|on| global.streams.again = on)
    }),
    Key::works("proxy-stream-next-upstream-timeout", |global, value| {
        nginx_time(value).map(|time| global.streams.within = time)
    }),
    Key::works("proxy-stream-next-upstream-tries", |global, value| {
        tries(value).map(|most| global.streams.tries = most)
    }),
    Key::idle("proxy-stream-responses", NGINX),
    Key::works("proxy-stream-timeout", |global, value| {
        nginx_time(value).map(|time| global.streams.idle = Some(time))
    }),
    Key::said("relative-redirects", "relative-redirects"),
    Key::works("retry-non-idempotent", |global, value| {
        boolean(value).map(|on| global.retry_non_idempotent = on)
    }),
    Key::idle("reuse-port", NGINX),
    Key::idle("server-name-hash-bucket-size", NGINX),
    Key::idle("server-name-hash-max-size", NGINX),
    Key::works("server-snippet", |global, value| {
        snippet(value, true).map(|text| global.snippets.server = text)
    }),
    Key::works("server-tokens", |global, value| {
        boolean(value).map(|on| global.names_server = on)
    }),
    Key::said("service-upstream", "service-upstream"),
    Key::works("skip-access-log-urls", |global, value| {
        logs::skipped(value).map(|all| global.logs.skipped = all)
    }),
    Key::idle("ssl-buffer-size", NGINX),
    Key::works("ssl-ciphers", |global, value| {
        tls::suites(value).map(|all| global.tuning.tls.suites = Some(all))
    }),
    Key::idle("ssl-dh-param", NGINX),
    Key::idle(
        "ssl-early-data",
        "no request is taken before the handshake has ended, for it could be sent twice",
    ),
    Key::works("ssl-ecdh-curve", |global, value| {
        tls::groups(value).map(|all| global.tuning.tls.groups = all)
    }),
    Key::works("ssl-protocols", |global, value| {
        tls::versions(value).map(|both| global.tuning.tls.versions = Some(both))
    }),
    Key::works("ssl-redirect", |global, value| {
        boolean(value).map(|on| global.ssl_redirect = on)
    }),
    Key::works("ssl-reject-handshake", |global, value| {
        boolean(value).map(|on| global.tuning.tls.known_hosts_only = Some(on))
    }),
    Key::idle("ssl-session-cache", NGINX),
    Key::idle("ssl-session-cache-size", NGINX),
    Key::idle("ssl-session-ticket-key", TICKETS),
    Key::idle("ssl-session-tickets", TICKETS),
    Key::idle("ssl-session-timeout", TICKETS),
    Key::idle("stream-access-log-path", LOGS),
    Key::idle("stream-snippet", SNIPPETS),
    Key::works("strict-validate-path-type", |global, value| {
        boolean(value).map(|on| global.strict_paths = on)
    }),
    Key::idle("syslog-host", LOGS),
    Key::idle("syslog-port", LOGS),
    Key::idle("upstream-keepalive-connections", KEPT),
    Key::idle("upstream-keepalive-requests", KEPT),
    Key::idle("upstream-keepalive-time", KEPT),
    Key::idle("upstream-keepalive-timeout", KEPT),
    Key::works("use-forwarded-headers", |global, value| {
        boolean(value).map(|on| global.forwarding.headers = on)
    }),
    Key::idle(
        "use-geoip",
        "GeoIP of the first generation has no databases any more",
    ),
    Key::idle(
        "use-geoip2",
        "databases of --geoip2-database are there wherever variables are",
    ),
    Key::works("use-gzip", |global, value| {
        boolean(value).map(|on| global.gzip.on = on)
    }),
    Key::works("use-http2", |global, value| {
        boolean(value).map(|on| global.tuning.tls.http2 = Some(on))
    }),
    Key::works("use-proxy-protocol", |global, value| {
        boolean(value).map(|on| global.forwarding.proxy_protocol = on)
    }),
    Key::idle("variables-hash-bucket-size", NGINX),
    Key::idle("variables-hash-max-size", NGINX),
    Key::said("whitelist-source-range", "whitelist-source-range"),
    Key::idle("worker-cpu-affinity", WORKERS),
    Key::idle("worker-processes", WORKERS),
    Key::idle("worker-shutdown-timeout", WORKERS),
    Key::works("zstd-level", |global, value| {
        level(value, 19).map(|level| global.zstd.coding.level = level)
    }),
    Key::works("zstd-min-length", |global, value| {
        number(value).map(|bytes| global.zstd.coding.least = bytes)
    }),
    Key::works("zstd-types", |global, value| {
        types(value).map(|all| global.zstd.coding.types = all)
    }),
];

fn boolean(value: &str) -> Result<bool, &'static str> {
    // As Go's `strconv.ParseBool`.
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        // Nothing is no, as in ingress-nginx.
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("\"true\" or \"false\""),
    }
}

fn number(value: &str) -> Result<u64, &'static str> {
    value.trim().parse().map_err(|_| "a whole number")
}

/// A number of seconds, with nothing behind it or an `s`.
fn seconds(value: &str) -> Result<Duration, &'static str> {
    let value = value.trim();
    let number = value.strip_suffix('s').unwrap_or(value).parse::<u32>();
    let number = number.map_err(|_| "a whole number of seconds")?;
    Ok(Duration::from_secs(number.into()))
}

/// A size as nginx writes it, in bytes.
fn size(value: &str) -> Result<u64, &'static str> {
    const HINT: &str = "a size as 8m, 512k or 1g; 0 is no limit";
    let value = value.trim().to_ascii_lowercase();
    let digits = value.trim_end_matches(|last: char| last.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| HINT)?;
    let shift = match &value[digits.len()..] {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(HINT),
    };
    number.checked_mul(1 << shift).ok_or(HINT)
}

/// Networks between commas.
fn networks(value: &str) -> Result<Box<[IpNet]>, &'static str> {
    match readable(value, network) {
        (all, true) => Ok(all.into()),
        (_, false) => Err("networks between commas, as 10.0.0.0/8, 2001:db8::/32"),
    }
}

fn network(item: &str) -> Option<IpNet> {
    let one = || item.parse::<IpAddr>().map(IpNet::from);
    item.parse().or_else(|_| one()).ok()
}

/// What can be read of the items between commas, and whether that is all.
fn readable<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> (Vec<T>, bool) {
    let items = value.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    let count = items.clone().count();
    let read: Vec<T> = items.filter_map(read).collect();
    let all = read.len() == count;
    (read, all)
}

/// Whether of a value of this key that cannot be read the parts count that can, as in
/// ingress-nginx; of others the default stands.
pub(super) fn counts_partly(name: &str) -> bool {
    matches!(name.trim(), "custom-http-errors" | "proxy-real-ip-cidr")
}

/// The name of a header field in lower case; none if it is X-Forwarded-For.
fn field_name(value: &str) -> Result<Option<Box<str>>, &'static str> {
    other_field_name(value, "x-forwarded-for")
}

/// The same of another field.
fn other_field_name(value: &str, usual: &str) -> Result<Option<Box<str>>, &'static str> {
    let name = any_field_name(value)?.to_ascii_lowercase();
    Ok((name != usual).then(|| name.into()))
}

/// The name of a header field as it is written.
fn any_field_name(value: &str) -> Result<Box<str>, &'static str> {
    let name = value.trim();
    http_name(name)
        .then(|| name.into())
        .ok_or("the name of a header field")
}

/// Words between commas, which keep their blanks as in ingress-nginx. Of none, which is in every
/// value, nobody can mean anything.
fn words(value: &str) -> Result<Box<[Box<str>]>, &'static str> {
    let words = value.trim().split(',').filter(|word| !word.is_empty());
    Ok(words.map(Into::into).collect())
}

/// Networks between commas, or `all`.
fn blocked_networks(value: &str) -> Result<AddressSet, &'static str> {
    let items = value.split(',').map(str::trim);
    if items.clone().any(|item| item == "all") {
        return Ok(everybody().iter().copied().collect());
    }
    networks(value).map(|all| all.iter().copied().collect())
}

/// The values of a map of nginx's, between commas: as they are, or behind `~` and `~*` patterns.
fn listed(value: &str) -> Result<Box<[Listed]>, &'static str> {
    const HINT: &str = "values between commas; behind ~ a pattern, behind ~* one in any case";
    let items = value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    let items = items.map(|item| {
        let word = one_word(item)?;
        let pattern = match (word.strip_prefix("~*"), word.strip_prefix('~')) {
            (Some(pattern), _) => format!("(?i){pattern}"),
            (None, Some(pattern)) => pattern.to_owned(),
            // A backslash before what would mean something else.
            (None, None) => return Some(Listed::Text(word.trim_start_matches('\\').into())),
        };
        Pattern::anywhere(&pattern).ok().map(Listed::Pattern)
    });
    items.collect::<Option<_>>().ok_or(HINT)
}

/// Clients by their User-Agent (nginx: `gzip_disable`).
fn agents(value: &str) -> Result<Option<Agents>, &'static str> {
    match value {
        "" => Ok(None),
        "msie6" => Ok(Some(Agents::OldExplorers)),
        pattern => Pattern::anywhere(&format!("(?i){pattern}"))
            .map(|pattern| Some(Agents::Matching(pattern)))
            .map_err(|_| "msie6, or a pattern of what User-Agent says"),
    }
}

/// Text of nginx's configuration, of a host or of its paths.
fn snippet(value: &str, of_host: bool) -> Result<Option<Box<str>>, &'static str> {
    match (value.trim().is_empty(), is_understood(value, of_host)) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(value.into())),
        (false, false) => Err("the directives that docs/ingress.md names"),
    }
}

/// The type of a text, as `text/plain; charset=utf-8`; none is the usual one.
fn media_type(value: &str) -> Result<Option<Box<str>>, &'static str> {
    let value = one_word(value.trim()).ok_or("a type, as text/plain")?;
    let is_right = value.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    match is_right && value.contains('/') {
        true => Ok((value != "text/html").then(|| value.into())),
        false => Err("a type, as text/plain"),
    }
}

/// A time as nginx writes it.
fn nginx_time(value: &str) -> Result<Duration, &'static str> {
    time(value.trim()).ok_or("a time as 600s, 10m or 500ms")
}

/// A time as Go writes it (`time.ParseDuration`).
fn duration(value: &str) -> Result<Duration, &'static str> {
    const HINT: &str = "a time with its unit, as 5s, 1m30s or 500ms";
    let value = value.trim();
    match value {
        "0" => Ok(Duration::ZERO),
        _ if value.ends_with(|last: char| last.is_ascii_digit()) => Err(HINT),
        _ if value.contains(['d', 'w', 'M', 'y']) => Err(HINT),
        _ => time(value).ok_or(HINT),
    }
}

fn tries(value: &str) -> Result<u8, &'static str> {
    value.trim().parse().map_err(|_| "a whole number below 256")
}

/// As `4 8k`: how many, and of which size each. In bytes all in all.
/// The size of each of some buffers, and of all.
fn buffers(value: &str) -> Result<(usize, usize), &'static str> {
    const HINT: &str = "a number and a size, as 4 8k";
    let (count, each) = value.trim().split_once(' ').ok_or(HINT)?;
    let count: u64 = count.parse().map_err(|_| HINT)?;
    let each = size(each.trim())?;
    let bytes = each.checked_mul(count).ok_or(HINT)?;
    let bytes = usize::try_from(bytes).map_err(|_| HINT)?;
    let each = usize::try_from(each).map_err(|_| HINT)?;
    // As much as one connection may hold at the most, as the flag for it has it.
    Some(bytes)
        .filter(|bytes| (1024..=16 << 20).contains(bytes))
        .map(|all| (each, all))
        .ok_or(HINT)
}

fn streams(value: &str) -> Result<u32, &'static str> {
    let most = value.trim().parse().ok().filter(|most| *most > 0);
    most.ok_or("a whole number, at least 1")
}

/// How hard a compressor works, from 1 to its most.
fn level(value: &str, most: u8) -> Result<u8, &'static str> {
    let level = value.trim().parse().ok();
    let level = level.filter(|level| (1..=most).contains(level));
    level.ok_or("a whole number from 1 to what the compressor can: 9 gzip, 11 brotli, 19 zstd")
}

/// Types of content between spaces; HTML is always one of them.
fn types(value: &str) -> Result<Box<[Box<str>]>, &'static str> {
    let types = value
        .split_ascii_whitespace()
        .map(|item| item.to_ascii_lowercase().into());
    Ok(types.chain(["text/html".into()]).collect())
}

/// How many spans.
fn spans(value: &str) -> Result<usize, &'static str> {
    let count = number(value)?.clamp(1, MOST_SPANS);
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A status of an error.
fn status(value: &str) -> Result<u16, &'static str> {
    let status = value.trim().parse().ok();
    let status = status.filter(|status| (400..=599).contains(status));
    status.ok_or("a status from 400 to 599")
}

/// What paths begin with, between commas.
fn locations(value: &str) -> Result<Box<[Box<str>]>, &'static str> {
    let paths = value
        .split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty());
    let paths = paths.map(|path| path.starts_with('/').then(|| path.into()));
    paths
        .collect::<Option<_>>()
        .ok_or("paths between commas, as /.well-known/acme-challenge")
}

fn redirect_status(value: &str) -> Result<u16, &'static str> {
    let status = value.trim().parse().ok();
    let status = status.filter(|status| matches!(status, 301 | 302 | 307 | 308));
    status.ok_or("301, 302, 307 or 308")
}

fn risk(value: &str) -> Result<Risk, &'static str> {
    Risk::parse(value).ok_or("Low, Medium, High or Critical")
}

/// `namespace/name`; the empty text is none.
fn name(value: &str) -> Result<Option<Name>, &'static str> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let (namespace, name) = value.split_once('/').ok_or("namespace/name")?;
    Ok(Some(Name::new(namespace, name)))
}

/// Names of header fields between commas, in lower case.
fn names(value: &str) -> Result<Vec<Box<str>>, &'static str> {
    let names = written_names(value)?;
    Ok(names.map(|name| name.to_ascii_lowercase().into()).collect())
}

/// Names of header fields between commas, as they are written.
fn written_names(value: &str) -> Result<impl Iterator<Item = &str>, &'static str> {
    let names = value.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    match names.clone().all(http_name) {
        true => Ok(names),
        false => Err("names of header fields between commas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::annotations::table;

    #[test]
    fn every_key_stands_once_and_in_order() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        assert!(KEYS.len() >= 192, "{}", KEYS.len());
        for key in KEYS {
            if let Fate::Said(annotation) = key.fate {
                let known = table::find(annotation).expect(annotation);
                assert!(known.read.is_some(), "{annotation}");
            }
        }
    }

    #[test]
    fn values_are_read_as_nginx_reads_them() {
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("2K"), Ok(2048));
        assert_eq!(size("0"), Ok(0));
        assert!(size("1x").is_err() && size("").is_err() && size("99999999999999999999g").is_err());
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert!(seconds("5m").is_err());
        assert_eq!(name("a/b"), Ok(Some(Name::new("a", "b"))));
        assert_eq!(name(""), Ok(None));
        assert!(name("a").is_err());
        assert_eq!(
            names("Server, X-A"),
            Ok(vec!["server".into(), "x-a".into()])
        );
        assert!(names("a b").is_err());
        assert!(redirect_status("303").is_err());
    }
}
