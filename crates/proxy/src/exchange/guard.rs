//! Who may come in, and how often, in nginx's order: limits, then addresses, then names and
//! passwords, then those who are asked (ingress-nginx: `limit-rps`, `allowlist-source-range`,
//! `auth-type`, `auth-url`, `satisfy` and their like).

use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Filter;
use model::filter::access::{Access, Password, PasswordScheme};
use model::filter::limit::ClientLimits;

use super::auth_request;
use super::detour::Ended;
use super::parts::{Facts, Parts};
use super::prepare::Pending;
use crate::filters::Answer;
use crate::guard::digest::Worth;
use crate::guard::zones;
use crate::record::Reason;
use crate::respond::Given;
use crate::worker::HeldRule;

/// What one way in says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It lets the request pass.
    Pass,
    /// It has nothing to say.
    Abstain,
    /// It does not.
    Refuse(Refusal),
}

/// Why a request does not pass.
#[derive(Debug)]
pub(super) struct Refusal {
    /// 401 or 403.
    pub(super) status: u16,
    /// Values of WWW-Authenticate.
    pub(super) challenges: Vec<Vec<u8>>,
    pub(super) reason: Reason,
}

impl Refusal {
    fn of(status: u16, reason: Reason) -> Self {
        Self {
            status,
            challenges: Vec::new(),
            reason,
        }
    }
}

/// A rule's filters before its guard, and from there on.
pub(super) fn split(filters: &[Filter]) -> (&[Filter], &[Filter]) {
    let is_guard = |filter: &Filter| matches!(filter, Filter::Limit(_) | Filter::Access(_));
    let guard = filters.iter().position(is_guard);
    filters.split_at(guard.unwrap_or(filters.len()))
}

/// Lets a request in or answers it. It counts as its client's for as long as the result is held.
pub(super) async fn enter(
    parts: &mut Parts<'_>,
    facts: &Facts,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Result<Option<zones::Busy>, Ended> {
    let mut busy = None;
    for filter in &held.rule().filters {
        match filter {
            Filter::Limit(limits) => busy = count(limits, parts, pending)?,
            Filter::Access(access) => admit(access, parts, facts, held, pending).await?,
            _ => {}
        }
    }
    Ok(busy)
}

/// Counts a request, unless there are too many.
fn count(
    limits: &ClientLimits,
    parts: &Parts<'_>,
    pending: &Pending,
) -> Result<Option<zones::Busy>, Ended> {
    let client = pending.client.address;
    if limits.exempt.contains(client) {
        return Ok(None);
    }
    let zone = parts.worker.admission.guards.zones.zone(&limits.zone);
    let by_rate = limits.per_second.is_some() || limits.per_minute.is_some();
    if by_rate && !zone.ask(client, limits) {
        return Err(page(limits.rate_status, Reason::RequestLimit, Vec::new()));
    }
    if limits.at_once == 0 {
        return Ok(None);
    }
    let busy = zone.begin(client, limits.at_once);
    let refused = || page(limits.at_once_status, Reason::ConnectionLimit, Vec::new());
    busy.map(Some).ok_or_else(refused)
}

/// Asks one way in after the other: all of them have to let the request pass, or one.
async fn admit(
    access: &Access,
    parts: &mut Parts<'_>,
    facts: &Facts,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Result<(), Ended> {
    let admitted = ways_in(access, parts, facts, held, pending).await;
    if access.password.is_some() {
        // It was for us.
        parts.request.headers.remove_named(b"authorization");
    }
    let Some(refusal) = admitted? else {
        return Ok(());
    };
    let signin = access.external.as_ref();
    let signin = signin.and_then(|external| external.signin.as_ref());
    match signin.filter(|_| refusal.status == 401) {
        Some(signin) => {
            let location = auth_request::signin(signin, parts, held, pending);
            // It is told of the refusal and nothing else, as ingress-nginx has it.
            facts.secure.set(false);
            let mut given = Given::page(302);
            for challenge in refusal.challenges {
                given.headers.push(b"WWW-Authenticate", &challenge);
            }
            given.headers.push(b"Location", &location);
            Err(Ended::Answer(Answer::Given(
                Box::new(given),
                refusal.reason,
            )))
        }
        None => Err(page(refusal.status, refusal.reason, refusal.challenges)),
    }
}

/// The refusal that stands in the end, if one does.
async fn ways_in(
    access: &Access,
    parts: &mut Parts<'_>,
    facts: &Facts,
    held: &Rc<HeldRule>,
    pending: &Pending,
) -> Result<Option<Refusal>, Ended> {
    let mut refused: Option<Refusal> = None;
    for way in [Way::Address, Way::Password, Way::Asking] {
        let verdict = match way {
            Way::Address => by_address(access, pending),
            Way::Password => match &access.password {
                Some(password) => by_password(password, parts).await?,
                None => Verdict::Abstain,
            },
            Way::Asking => match &access.external {
                Some(auth) => auth_request::ask(auth, parts, facts, held, pending).await?,
                None => Verdict::Abstain,
            },
        };
        match verdict {
            Verdict::Pass if access.any => return Ok(None),
            Verdict::Pass | Verdict::Abstain => {}
            Verdict::Refuse(refusal) if access.any => {
                refused = Some(match refused {
                    // Who could come in with a password is told so.
                    Some(mut former) if former.status == 401 => {
                        former.challenges.extend(refusal.challenges);
                        former
                    }
                    _ => refusal,
                });
            }
            Verdict::Refuse(refusal) => return Ok(Some(refusal)),
        }
    }
    Ok(refused)
}

/// A way in, in nginx's order.
#[derive(Debug, Clone, Copy)]
enum Way {
    Address,
    Password,
    Asking,
}

fn by_address(access: &Access, pending: &Pending) -> Verdict {
    let client = pending.client.address;
    let denied = || Verdict::Refuse(Refusal::of(403, Reason::AddressDenied));
    if access.deny.contains(client) {
        return denied();
    }
    match &access.allow {
        Some(allow) if allow.contains(client) => Verdict::Pass,
        Some(_) => denied(),
        None => Verdict::Abstain,
    }
}

async fn by_password(password: &Password, parts: &Parts<'_>) -> Result<Verdict, Ended> {
    let guards = &parts.worker.admission.guards;
    let request = &*parts.request;
    let given = request.headers.joined(b"authorization");
    let given = given.as_deref().unwrap_or_default();
    let refuse = |challenge: String| {
        let mut refusal = Refusal::of(401, Reason::PasswordRequired);
        refusal.challenges.push(challenge.into_bytes());
        Ok(Verdict::Refuse(refusal))
    };
    let realm = &password.realm;
    match password.scheme {
        PasswordScheme::Basic => {
            let is_right = match credentials(given) {
                Some((name, secret)) => match password.users.secret(&name) {
                    Some(hash) => guards.passwords.verify(hash, &secret).await,
                    None => Ok(false),
                },
                None => Ok(false),
            };
            match is_right {
                Ok(true) => Ok(Verdict::Pass),
                Ok(false) => refuse(format!("Basic realm=\"{realm}\"")),
                Err(_) => Err(Ended::Reason(Reason::Unguarded)),
            }
        }
        PasswordScheme::Digest => {
            let (method, target) = (request.method(), request.target());
            match guards.nonces.verify(given, method, target, password) {
                Worth::Right => Ok(Verdict::Pass),
                worth => refuse(guards.nonces.challenge(realm, worth == Worth::Stale)),
            }
        }
    }
}

/// Name and password of `Authorization: Basic` (RFC 7617, section 2).
fn credentials(authorization: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut name = BASE64_STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = name.iter().position(|&byte| byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((name, password))
}

/// An answer of our own that is no reason's usual one.
pub(super) fn page(status: u16, reason: Reason, challenges: Vec<Vec<u8>>) -> Ended {
    let mut given = Given::page(status);
    for challenge in challenges {
        given.headers.push(b"WWW-Authenticate", &challenge);
    }
    Ended::Answer(Answer::Given(Box::new(given), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_colons_and_a_name_may_not() {
        let of = |text: &str| credentials(text.as_bytes());
        // "foo:bar:baz", "foo:", "foo"
        assert_eq!(
            of("Basic Zm9vOmJhcjpiYXo="),
            Some((b"foo".to_vec(), b"bar:baz".to_vec()))
        );
        assert_eq!(of("bAsIc  Zm9vOg=="), Some((b"foo".to_vec(), Vec::new())));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic Zm9v",
            "Basic ???",
            "Bearer Zm9vOg==",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
