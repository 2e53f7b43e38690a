//! `proxy-…-timeout` and `proxy-next-upstream`: time limits towards backends, and what is sent again.
//!
//! What ingress-nginx's validation refuses here does not leave the Ingress out: its default stands.

use std::time::Duration;

use model::policy::{RetryOn, RouteRetry};

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, whole};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Time limits and attempts",
    annotations: &[
        Annotation::works("proxy-connect-timeout", Risk::Low, |settings, value| {
            seconds(value).map(|limit| of(settings).connect = Some(limit))
        })
        .default("5 (seconds); of our own classes `--connect-timeout`")
        .test("nginx_timeouts"),
        Annotation::works("proxy-read-timeout", Risk::Low, |settings, value| {
            seconds(value).map(|limit| of(settings).read = Some(limit))
        })
        .default("60; of our own classes `--read-timeout`")
        .test("nginx_timeouts"),
        Annotation::works("proxy-send-timeout", Risk::Low, |settings, value| {
            seconds(value).map(|limit| of(settings).send = Some(limit))
        })
        .default("60; of our own classes `--send-timeout`")
        .test("nginx_timeouts"),
        Annotation::works("proxy-http-version", Risk::Low, |settings, value| {
            let http10 = match value.trim() {
                "1.0" => true,
                "1.1" => false,
                _ => return Err(BadValue::unused("1.0 or 1.1")),
            };
            of(settings).http10 = Some(http10);
            Ok(())
        })
        .default("1.1")
        .differs("WebSockets, gRPC, and bodies over 1 MiB whose length is not told keep theirs")
        .test("nginx_bodies"),
        Annotation::works("proxy-next-upstream", Risk::Medium, |settings, value| {
            next_upstream(value).map(|next| of(settings).next = Some(next))
        })
        .default("`error timeout`; of our own classes what Services say")
        .test("nginx_retries"),
        Annotation::works(
            "proxy-next-upstream-timeout",
            Risk::Low,
            |settings, value| whole(value).map(|limit| of(settings).within = Some(limit)),
        )
        .default("0: no limit")
        .test("nginx_retries"),
        Annotation::works("proxy-next-upstream-tries", Risk::Low, |settings, value| {
            whole(value).map(|tries| of(settings).tries = Some(tries))
        })
        .default("3")
        .differs("`--max-next-upstream-tries` at most, which is also what 0 means")
        .test("nginx_retries"),
    ],
};

/// What is said of time limits and attempts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// In seconds.
    pub(crate) connect: Option<Duration>,
    pub(crate) send: Option<Duration>,
    pub(crate) read: Option<Duration>,
    pub(crate) http10: Option<bool>,
    next: Option<Next>,
    tries: Option<u32>,
    /// In seconds; 0 is no limit.
    within: Option<u32>,
}

/// What is followed by another attempt.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    on: RetryOn,
    codes: Box<[u16]>,
}

impl Attempts {
    /// Whether anything is said of what is sent again.
    pub(crate) fn is_about_retries(&self) -> bool {
        self.next.is_some() || self.tries.is_some() || self.within.is_some()
    }

    /// What is sent again; `default` where nothing is said of it. There are `most` attempts at the
    /// most.
    pub(crate) fn retry(&self, default: &RouteRetry, most: u8) -> RouteRetry {
        let mut retry = default.clone();
        if let Some(next) = &self.next {
            let non_idempotent = default.on.non_idempotent || next.on.non_idempotent;
            retry.on = RetryOn {
                non_idempotent,
                ..next.on
            };
            retry.codes.clone_from(&next.codes);
            if next.is_off() {
                retry.attempts = 0;
            }
        }
        if let Some(tries) = self.tries
            && !self.next.as_ref().is_some_and(Next::is_off)
        {
            let tries = match u8::try_from(tries) {
                Ok(tries) if tries > 0 => tries.min(most),
                _ => most,
            };
            retry.attempts = tries.saturating_sub(1);
        }
        if let Some(within) = self.within {
            retry.within = Duration::from_secs(within.into());
        }
        retry
    }
}

impl Next {
    /// Whether nothing is.
    fn is_off(&self) -> bool {
        !(self.on.error || self.on.timeout || self.on.malformed) && self.codes.is_empty()
    }
}

fn of(settings: &mut Settings) -> &mut Attempts {
    settings.attempts.get_or_insert_default()
}

/// A time limit. None at all is what nginx cannot say: 0 ends everything at once there.
fn seconds(value: &str) -> Result<Duration, BadValue> {
    const HINT: &str = "a whole number of seconds, 1 or more";
    match whole(value) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err(BadValue::unused(HINT)),
    }
}

fn next_upstream(value: &str) -> Result<Next, BadValue> {
    const HINT: &str = "error, timeout, invalid_header, http_500, http_502, http_503, http_504, \
                        http_403, http_404, http_429, non_idempotent or off, separated by spaces";
    let mut on = RetryOn {
        error: false,
        timeout: false,
        malformed: false,
        non_idempotent: false,
        streamed: false,
    };
    let (mut codes, mut off, mut any) = (Vec::new(), false, false);
    for word in value.split_ascii_whitespace() {
        any = true;
        match word {
            "error" => on.error = true,
            "timeout" => on.timeout = true,
            "invalid_header" => on.malformed = true,
            "non_idempotent" => on.non_idempotent = true,
            "off" => off = true,
            word => {
                let code = word
                    .strip_prefix("http_")
                    .and_then(|code| code.parse().ok());
                match code {
                    Some(code @ (403 | 404 | 429 | 500 | 502 | 503 | 504)) => codes.push(code),
                    _ => return Err(BadValue::unused(HINT)),
                }
            }
        }
    }
    if !any {
        return Err(BadValue::unused(HINT));
    }
    if off {
        // Beside anything else it is stronger.
        (on.error, on.timeout, on.malformed) = (false, false, false);
        codes.clear();
    }
    let codes = codes.into();
    Ok(Next { on, codes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_by_another_attempt_is_nginxs_list() {
        let next = next_upstream("error timeout http_503 http_429 non_idempotent").expect("right");
        assert!(next.on.error && next.on.timeout && next.on.non_idempotent);
        assert_eq!(*next.codes, [503, 429]);
        assert!(next_upstream("error off").expect("right").is_off());
        assert!(!next_upstream("http_500").expect("right").on.error);
        for wrong in ["", "http_501", "error,timeout", "http_5xx"] {
            assert!(next_upstream(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tries_are_attempts_and_none_is_as_many_as_we_make() {
        let default = RouteRetry {
            attempts: 2,
            codes: [].into(),
            backoff: Duration::ZERO,
            on: RetryOn::NGINX,
            within: Duration::ZERO,
        };
        for (tries, attempts) in [(0, 31), (1, 0), (3, 2), (20, 19), (888_888, 31)] {
            let settings = Attempts {
                tries: Some(tries),
                ..Attempts::default()
            };
            assert_eq!(settings.retry(&default, 32).attempts, attempts);
        }
        let off = Attempts {
            next: Some(next_upstream("off").expect("right")),
            tries: Some(5),
            ..Attempts::default()
        };
        assert_eq!(off.retry(&default, 32).attempts, 0);
    }
}
