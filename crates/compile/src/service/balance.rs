//! How a Service's requests are spread over its endpoints: the annotations that say so.

use std::sync::Arc;
use std::time::Duration;

use model::Policy;
use model::policy::{
    Affinity, Algorithm, Asked, Check, EjectOn, Ejection, HashKey, Probe, ProxyHeader, Retry,
};
use objects::kinds::Service;

use crate::ingress::annotations::ENDPOINTS;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

const BALANCE: &str = "narthex.dev/balance";
const HASH_BY: &str = "narthex.dev/hash-by";
const AFFINITY: &str = "narthex.dev/affinity";
const AFFINITY_MAX_AGE: &str = "narthex.dev/affinity-max-age";
const MAX_REQUESTS: &str = "narthex.dev/max-requests";
const SLOW_START: &str = "narthex.dev/slow-start";
const EJECT_AFTER: &str = "narthex.dev/eject-after";
const EJECT_FOR: &str = "narthex.dev/eject-for";
const EJECT_ON: &str = "narthex.dev/eject-on";
const HEALTH_CHECK: &str = "narthex.dev/health-check";
const HEALTH_CHECK_INTERVAL: &str = "narthex.dev/health-check-interval";
const HEALTH_CHECK_TIMEOUT: &str = "narthex.dev/health-check-timeout";
const ATTEMPTS: &str = "narthex.dev/max-attempts";
const TRY_TIMEOUT: &str = "narthex.dev/try-timeout";
const RETRY_BUDGET: &str = "narthex.dev/retry-budget";
pub(super) const PROXY_PROTOCOL: &str = "narthex.dev/proxy-protocol";

/// Every annotation of a Service that means something to us.
pub(crate) const KNOWN: &[&str] = &[
    ENDPOINTS,
    BALANCE,
    HASH_BY,
    AFFINITY,
    AFFINITY_MAX_AGE,
    MAX_REQUESTS,
    SLOW_START,
    EJECT_AFTER,
    EJECT_FOR,
    EJECT_ON,
    HEALTH_CHECK,
    HEALTH_CHECK_INTERVAL,
    HEALTH_CHECK_TIMEOUT,
    ATTEMPTS,
    TRY_TIMEOUT,
    RETRY_BUDGET,
    PROXY_PROTOCOL,
];

const DEFAULT_COOKIE: &str = "NARTHEX_AFFINITY";
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the Service's annotations. What they do not say, or what cannot be read, is as in
/// `default`; the latter is said if somebody listens.
pub(super) fn read(
    service: &Service,
    default: &Arc<Policy>,
    problems: Option<&mut Problems>,
) -> Arc<Policy> {
    let mut annotations = Annotations { service, problems };
    let any = |name: &&str| annotations.text(name).is_some();
    if !KNOWN[1..].iter().any(any) {
        return Arc::clone(default);
    }
    let whole = "a whole number; 0 is none";
    let proxy_header = annotations.proxy_header();
    Arc::new(Policy {
        algorithm: annotations.algorithm(),
        affinity: annotations.affinity(),
        max_requests: annotations
            .get(MAX_REQUESTS, whole, |text| text.parse().ok())
            .unwrap_or(default.max_requests),
        slow_start: annotations
            .get(SLOW_START, DURATION, duration)
            .unwrap_or(default.slow_start),
        ejection: annotations.ejection(default.ejection),
        check: annotations.check(proxy_header),
        retry: annotations.retry(default.retry),
        proxy_header,
    })
}

/// Whether a Service says how its endpoints are chosen from.
pub(super) fn says_how_to_spread(service: &Service) -> bool {
    let annotations = &service.metadata.annotations;
    [BALANCE, HASH_BY]
        .iter()
        .any(|name| annotations.contains_key(name))
}

struct Annotations<'a, 'p> {
    service: &'a Service,
    problems: Option<&'p mut Problems>,
}

impl<'a> Annotations<'a, '_> {
    fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.service.metadata.annotations.get(name)?;
        Some(text.trim())
    }

    /// The value of an annotation, if it is there and can be read.
    fn get<T>(
        &mut self,
        name: &str,
        hint: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(text);
        if value.is_none() {
            let message = format!("{text:?} cannot be read; the default stands");
            self.error(name, &message, hint);
        }
        value
    }

    fn error(&mut self, name: &str, message: &str, hint: &str) {
        if let Some(problems) = self.problems.as_deref_mut() {
            problems.error(annotation_field(name), message, hint);
        }
    }

    fn algorithm(&mut self) -> Algorithm {
        let by = "header:NAME, cookie:NAME, source or uri";
        let key = self.get(HASH_BY, by, hash_key);
        let known = "p2c, round-robin, least-request, random or hash";
        let algorithm = self.get(BALANCE, known, |text| match text {
            "p2c" => Some(Algorithm::P2c),
            "round-robin" => Some(Algorithm::RoundRobin),
            "least-request" => Some(Algorithm::LeastRequest),
            "random" => Some(Algorithm::Random),
            "hash" => Some(Algorithm::Hash(HashKey::Source)),
            _ => None,
        });
        match (algorithm, key) {
            (None | Some(Algorithm::Hash(_)), Some(key)) => Algorithm::Hash(key),
            (Some(other), Some(_)) => {
                let message = "has no effect: the Service is balanced in another way";
                self.error(HASH_BY, message, "narthex.dev/balance: hash");
                other
            }
            (algorithm, None) => algorithm.unwrap_or(Algorithm::P2c),
        }
    }

    fn affinity(&mut self) -> Option<Affinity> {
        let hint = "cookie, or cookie:NAME";
        let cookie = self.get(AFFINITY, hint, |text| match text.split_once(':') {
            None if text == "cookie" => Some(DEFAULT_COOKIE),
            Some(("cookie", name)) => Some(name).filter(|name| is_token(name)),
            _ => None,
        });
        let max_age = self.get(AFFINITY_MAX_AGE, DURATION, duration);
        let NameRef { namespace, name } = NameRef::of(&self.service.metadata);
        Some(Affinity {
            cookie: cookie?.into(),
            header: false,
            max_age: max_age.unwrap_or(DEFAULT_MAX_AGE),
            absolute: Duration::ZERO,
            // The uid is random, the same for every replica, and nothing that clients see.
            key: format!("{}/{namespace}/{name}", self.service.metadata.uid).into(),
            cookie_terms: None,
        })
    }

    fn ejection(&mut self, default: Ejection) -> Ejection {
        let failures = "a whole number of failures in a row; 0 is never";
        let failures = self.get(EJECT_AFTER, failures, |text| text.parse().ok());
        let base = self.get(EJECT_FOR, DURATION, positive);
        let on = self.get(EJECT_ON, "errors, gateway-errors or 5xx", |text| {
            Some(match text {
                "errors" => EjectOn::Errors,
                "gateway-errors" => EjectOn::GatewayErrors,
                "5xx" => EjectOn::Any5xx,
                _ => return None,
            })
        });
        let base = base.unwrap_or(default.base);
        Ejection {
            failures: failures.unwrap_or(default.failures),
            on: on.unwrap_or(default.on),
            base,
            longest: default.longest.max(base),
        }
    }

    fn retry(&mut self, default: Retry) -> Retry {
        let most = Retry::MOST_ATTEMPTS;
        let attempts = self.get(
            ATTEMPTS,
            &format!("a whole number from 1 to {most}"),
            |text| text.parse().ok().filter(|count| (1..=most).contains(count)),
        );
        let per_try = self.get(TRY_TIMEOUT, DURATION, duration);
        let budget = self.get(RETRY_BUDGET, "a percentage from 0% to 100%", |text| {
            let percent = text.strip_suffix('%')?.trim_end().parse().ok()?;
            (percent <= 100).then_some(percent)
        });
        Retry {
            attempts: attempts.unwrap_or(default.attempts),
            per_try: per_try.unwrap_or(default.per_try),
            budget: budget.unwrap_or(default.budget),
            // Who forbids retries means all of them.
            min_per_second: match budget {
                Some(0) => 0,
                _ => default.min_per_second,
            },
            asked: match budget {
                Some(_) => Asked::Service,
                None => default.asked,
            },
        }
    }

    fn proxy_header(&mut self) -> Option<ProxyHeader> {
        self.get(PROXY_PROTOCOL, "v1 or v2", |text| match text {
            "v1" => Some(ProxyHeader::V1),
            "v2" => Some(ProxyHeader::V2),
            _ => None,
        })
    }

    fn check(&mut self, proxy_header: Option<ProxyHeader>) -> Option<Check> {
        let hint = "http:/PATH, grpc, grpc:SERVICE, tcp or off";
        let probe = self.get(HEALTH_CHECK, hint, |text| match text.split_once(':') {
            None if text == "off" => Some(None),
            None if text == "tcp" => Some(Some(Probe::Tcp)),
            None if text == "grpc" => Some(Some(Probe::Grpc("".into()))),
            Some(("grpc", name)) if is_service(name) => Some(Some(Probe::Grpc(name.into()))),
            Some(("http", path)) if is_path(path) => Some(Some(Probe::Http(path.into()))),
            _ => None,
        });
        let interval = self.get(HEALTH_CHECK_INTERVAL, DURATION, positive);
        let timeout = self.get(HEALTH_CHECK_TIMEOUT, DURATION, positive);
        Some(Check {
            probe: probe??,
            interval: interval.unwrap_or(DEFAULT_INTERVAL),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            proxy_header,
        })
    }
}

fn hash_key(text: &str) -> Option<HashKey> {
    match text.split_once(':') {
        None if text == "source" => Some(HashKey::Source),
        None if text == "uri" => Some(HashKey::Uri),
        Some(("header", name)) if is_token(name) => Some(HashKey::Header(name.into())),
        Some(("cookie", name)) if is_token(name) => Some(HashKey::Cookie(name.into())),
        _ => None,
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

/// A path that can stand in a request line as it is.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The full name of a gRPC service.
fn is_service(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(allowed)
}

const DURATION: &str = "a duration such as 500ms, 10s, 1m30s or 1h";

fn positive(text: &str) -> Option<Duration> {
    duration(text).filter(|duration| !duration.is_zero())
}

fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let milliseconds = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            _ => return None,
        };
        total += Duration::from_millis(u64::from(number) * milliseconds);
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use objects::kinds::{Kind, ObjectKey};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::testing::service;

    fn policy(annotations: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let annotations: Map<String, Value> = annotations
            .iter()
            .map(|(name, value)| (format!("narthex.dev/{name}"), json!(value)))
            .collect();
        let object = json!({"metadata": {"annotations": annotations, "uid": "u"}});
        let service = service("default", "web", object);
        let key = ObjectKey::new(Kind::Service, "default", "web");
        let mut problems = Problems::of(key);
        let policy = read(&service, &Policy::shared_default(), Some(&mut problems));
        let problems = problems.into_shared();
        let hints = problems.iter().map(|problem| problem.hint.clone());
        (Policy::clone(&policy), hints.collect())
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(policy(&[]), (Policy::default(), vec![]));
        assert_eq!(policy(&[("endpoints", "x")]).0, Policy::default());
    }

    #[test]
    fn every_annotation_has_its_meaning() {
        for (value, algorithm) in [
            ("p2c", Algorithm::P2c),
            ("round-robin", Algorithm::RoundRobin),
            ("least-request", Algorithm::LeastRequest),
            (" random ", Algorithm::Random),
            ("hash", Algorithm::Hash(HashKey::Source)),
        ] {
            assert_eq!(policy(&[("balance", value)]).0.algorithm, algorithm);
        }
        for (value, key) in [
            ("header:X-User", HashKey::Header("X-User".into())),
            ("cookie:session", HashKey::Cookie("session".into())),
            ("source", HashKey::Source),
            ("uri", HashKey::Uri),
        ] {
            let found = policy(&[("hash-by", value)]).0;
            assert_eq!(found.algorithm, Algorithm::Hash(key));
        }
        let (found, hints) = policy(&[
            ("affinity", "cookie:at"),
            ("affinity-max-age", "0"),
            ("max-requests", "100"),
            ("slow-start", "30s"),
            ("eject-after", "3"),
            ("eject-for", "10m"),
            ("eject-on", "5xx"),
            ("max-attempts", "2"),
            ("try-timeout", "2s"),
            ("retry-budget", "50%"),
            ("health-check", "http:/healthz?a=b"),
            ("health-check-interval", "1m30s"),
            ("health-check-timeout", "500ms"),
        ]);
        assert!(hints.is_empty(), "{hints:?}");
        let affinity = found.affinity.expect("affinity");
        assert_eq!((&*affinity.cookie, &*affinity.key), ("at", "u/default/web"));
        assert_eq!(affinity.max_age, Duration::ZERO);
        assert_eq!(found.max_requests, 100);
        assert_eq!(found.slow_start, Duration::from_secs(30));
        let ejection = Ejection {
            failures: 3,
            on: EjectOn::Any5xx,
            base: Duration::from_secs(600),
            longest: Duration::from_secs(600),
        };
        assert_eq!(found.ejection, ejection);
        let retry = Retry {
            attempts: 2,
            per_try: Duration::from_secs(2),
            budget: 50,
            asked: Asked::Service,
            ..Retry::default()
        };
        assert_eq!(found.retry, retry);
        let none = policy(&[("retry-budget", "0%")]).0.retry;
        assert_eq!((none.budget, none.min_per_second), (0, 0));
        for (value, service) in [("grpc", ""), ("grpc:shop.v1.Cart", "shop.v1.Cart")] {
            let check = policy(&[("health-check", value)]).0.check.expect("a check");
            assert_eq!(check.probe, Probe::Grpc(service.into()));
        }
        let check = found.check.expect("a check");
        assert_eq!(check.probe, Probe::Http("/healthz?a=b".into()));
        assert_eq!(check.interval, Duration::from_secs(90));
        assert_eq!(check.timeout, Duration::from_millis(500));
        let tcp = policy(&[("health-check", "tcp")]).0.check.expect("a check");
        assert_eq!((tcp.probe, tcp.interval), (Probe::Tcp, DEFAULT_INTERVAL));
        assert_eq!(policy(&[("health-check", "off")]).0.check, None);
        let affinity = policy(&[("affinity", "cookie")]).0.affinity;
        assert_eq!(&*affinity.expect("affinity").cookie, DEFAULT_COOKIE);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_a_hint_and_left_at_its_default() {
        for (name, value) in [
            ("balance", "fair"),
            ("hash-by", "header:"),
            ("hash-by", "header:a b"),
            ("hash-by", "body"),
            ("affinity", "ip"),
            ("affinity", "cookie:a=b"),
            ("affinity-max-age", "-1"),
            ("max-requests", "-1"),
            ("slow-start", "soon"),
            ("eject-after", "some"),
            ("eject-for", "0"),
            ("eject-on", "yes"),
            ("max-attempts", "0"),
            ("max-attempts", "9"),
            ("try-timeout", "soon"),
            ("retry-budget", "20"),
            ("retry-budget", "101%"),
            ("health-check", "grpc:a b"),
            ("health-check", "http:healthz"),
            ("health-check", "http:/a b"),
            ("health-check", "udp"),
            ("health-check-interval", "0"),
            ("health-check-timeout", "5 s"),
        ] {
            let (found, hints) = policy(&[(name, value)]);
            assert_eq!(found, Policy::default(), "{name}: {value}");
            assert!(hints.len() == 1 && !hints[0].is_empty(), "{name}: {value}");
        }
        let (found, hints) = policy(&[("balance", "random"), ("hash-by", "uri")]);
        assert_eq!(found.algorithm, Algorithm::Random);
        assert_eq!(hints, ["narthex.dev/balance: hash"]);
    }
}
