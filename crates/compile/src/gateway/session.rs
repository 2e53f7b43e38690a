//! Session persistence (GEP-1619): what keeps clients with an endpoint, and for how long.

use std::time::Duration;

use model::maglev;
use model::policy::Affinity;
use objects::kinds::gateway::SessionPersistence;

use super::http::{duration, unknown};
use super::rank::Age;
use crate::status::Wrong;

/// Reads what a rule, or a policy of a Service, says.
pub(super) fn read(
    wanted: &SessionPersistence,
    place: &str,
    uid: &str,
    age: &Age,
) -> Result<Affinity, Wrong> {
    let header = match wanted.type_.as_deref().unwrap_or("Cookie") {
        "Cookie" => false,
        "Header" => true,
        other => return Err(unknown(place, "sessionPersistence.type", other)),
    };
    let absolute = wanted.absolute_timeout.as_deref();
    let absolute = absolute.map(|text| duration(text, place, "sessionPersistence.absoluteTimeout"));
    let absolute = absolute.transpose()?.unwrap_or_default();
    let cookie = wanted.cookie_config.as_ref();
    let permanent = match cookie.and_then(|cookie| cookie.lifetime_type.as_deref()) {
        None | Some("Session") => false,
        Some("Permanent") => true,
        Some(other) => {
            let part = "sessionPersistence.cookieConfig.lifetimeType";
            return Err(unknown(place, part, other));
        }
    };
    if permanent && absolute.is_zero() {
        return Err(Wrong::new(
            "UnsupportedValue",
            format!("{place}.sessionPersistence.absoluteTimeout"),
            "a cookie whose lifetimeType is Permanent has no time",
            "absoluteTimeout, as 1h, which is how long browsers keep the cookie",
        ));
    }
    // The uid is random, the same for every replica, and nothing that clients see.
    let key = format!("{uid}/{}/{place}/{}", age.name, age.created);
    Ok(Affinity {
        cookie: match wanted.session_name.as_deref() {
            Some(name) => name.into(),
            None => unique(&key, header),
        },
        header,
        max_age: match permanent {
            true => absolute,
            false => Duration::ZERO,
        },
        absolute,
        key: key.into(),
        cookie_terms: None,
    })
}

/// A name that no other rule's sessions have, lest one end another.
fn unique(key: &str, header: bool) -> Box<str> {
    let hash = maglev::hash(key.as_bytes()) >> 32;
    match header {
        true => format!("Narthex-Session-{hash:08x}").into(),
        false => format!("narthex-session-{hash:08x}").into(),
    }
}
