//! What is said besides filters and backends: time limits, retries, sessions.

use std::sync::Arc;
use std::time::Duration;

use model::policy::Affinity;
use model::{Backend, Rule};
use serde_json::{Value, json};

use super::{Around, Made};

/// What is said besides filters and backends.
pub(super) fn manner(
    rule: &Rule,
    around: Around<'_>,
    to: &mut serde_json::Map<String, Value>,
    made: &mut Made,
) {
    let mut lose = |what: &str, why: &str| made.lost.push((what.to_owned(), why.to_owned()));
    let (own, usual) = (&rule.timeouts, around.timeouts);
    let mut limits = json!({});
    for (name, own, usual) in [
        ("request", own.total, usual.total),
        ("backendRequest", own.attempt, usual.attempt),
    ] {
        if own != usual {
            limits[name] = duration(own).into();
        }
    }
    if limits != json!({}) {
        to.insert("timeouts".to_owned(), limits);
    }
    for (name, own, usual) in [
        ("proxy-connect-timeout", own.connect, usual.connect),
        ("proxy-send-timeout", own.send, usual.send),
        ("proxy-read-timeout", own.read, usual.read),
    ] {
        if own != usual {
            lose(
                name,
                &format!(
                    "{own:?} here and {usual:?} of a route: Gateway API limits a whole request or \
                     attempt alone (timeouts.request, timeouts.backendRequest)"
                ),
            );
        }
    }
    if let Some(retry) = &rule.retry
        && (retry.attempts.saturating_add(1) != around.tries || !retry.codes.is_empty())
    {
        let codes: Vec<u16> = retry
            .codes
            .iter()
            .copied()
            .filter(|code| *code >= 400)
            .collect();
        let mut value = json!({"attempts": retry.attempts});
        if !codes.is_empty() {
            value["codes"] = json!(codes);
        }
        to.insert("retry".to_owned(), value);
        if !retry.on.non_idempotent {
            lose(
                "proxy-next-upstream",
                "a retry of Gateway API is for every method, POST and PATCH, too",
            );
        }
    }
    if let Some(affinity) = &rule.affinity {
        to.insert(
            "sessionPersistence".to_owned(),
            session(affinity, &mut lose),
        );
    }
}

fn session(affinity: &Affinity, lose: &mut impl FnMut(&str, &str)) -> Value {
    let mut session = json!({
        "sessionName": affinity.cookie,
        "type": if affinity.header { "Header" } else { "Cookie" },
    });
    let Some(terms) = &affinity.cookie_terms else {
        return session;
    };
    if let Some(age) = terms.max_age.filter(|age| *age > 0) {
        let age = Duration::from_secs(age.unsigned_abs());
        session["absoluteTimeout"] = duration(age).into();
        session["cookieConfig"] = json!({"lifetimeType": "Permanent"});
        lose(
            "session-cookie-max-age",
            "a session of Gateway API ends then, too, and not its cookie alone",
        );
    }
    let said = [
        ("session-cookie-path", terms.path.is_some()),
        ("session-cookie-domain", terms.domain.is_some()),
        ("session-cookie-expires", terms.expires.is_some()),
        ("session-cookie-samesite", terms.same_site.is_some()),
        ("session-cookie-secure", terms.secure),
    ];
    for (name, _) in said.iter().filter(|(_, said)| *said) {
        lose(
            name,
            "Gateway API's sessionPersistence does not say this of its cookie",
        );
    }
    session
}

/// As Gateway API writes it: at most five digits of each unit (GEP-2257).
fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1000 % 60, "s"),
        (millis % 1000, "ms"),
    ];
    let units = units.iter().filter(|(count, _)| *count > 0);
    let text: String = units
        .map(|(count, unit)| format!("{}{unit}", (*count).min(99_999)))
        .collect();
    match text.is_empty() {
        true => "0s".to_owned(),
        false => text,
    }
}

/// What a backend's endpoints speak, as far as routes say it.
pub(super) fn speak(backend: &Arc<Backend>, made: &mut Made) {
    let transport = &backend.transport;
    if transport.fastcgi.is_some() {
        made.lost.push((
            "backend-protocol".to_owned(),
            "Gateway API knows no FastCGI".to_owned(),
        ));
    }
    if transport.tls.is_some() {
        made.over_tls.push(Arc::clone(backend));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_five_digits_of_a_unit() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(of(172_800), "48h");
        assert_eq!(of(3_725), "1h2m5s");
        assert_eq!(of(0), "0s");
        assert_eq!(duration(Duration::from_millis(250)), "250ms");
        assert_eq!(of(u64::MAX), "99999h15s");
    }
}
