//! Whether a request comes from whom its host is for, and what its backend is told of that
//! (ingress-nginx: `auth-tls-secret`).

use std::sync::Arc;

use model::clients::Demand;
use model::{ClientPolicy, VirtualHost};

use crate::client::Connection;
use crate::filters::Answer;
use crate::headers::RequestHead;
use crate::record::Reason;
use crate::respond::Given;
use crate::tls::{Found, Presented};

/// What only we say to backends.
const VERIFY: &[u8] = b"ssl-client-verify";
const SUBJECT: &[u8] = b"ssl-client-subject-dn";
const ISSUER: &[u8] = b"ssl-client-issuer-dn";
const CERTIFICATE: &[u8] = b"ssl-client-cert";

/// Lets a request in, and says who sent it, which nobody else does; or answers it, or has it ask
/// for the page that is for who does not get in.
///
/// # Errors
/// [`Reason::Misdirected`] if the connection's client was asked by other terms than this host's.
pub(super) fn admit(
    host: &VirtualHost,
    connection: &Connection,
    request: &mut RequestHead,
) -> Result<Option<Answer>, Reason> {
    for name in [VERIFY, SUBJECT, ISSUER, CERTIFICATE] {
        request.headers.remove_named(name);
    }
    let Some(policy) = &host.clients else {
        return Ok(None);
    };
    let nothing;
    let presented = match presented(connection, policy)? {
        Some(presented) => presented,
        None => {
            nothing = Presented {
                policy: Arc::clone(policy),
                found: Found::None,
                shown: None,
            };
            &nothing
        }
    };
    if policy.demand == Demand::Nothing {
        return Err(Reason::ClientCertificateDenied);
    }
    // Of what came without TLS nothing can be shown, and nginx asks about the subject all the same.
    let is_denied = !has_subject(policy, presented);
    if is_denied && connection.tls.is_none() {
        return Ok(Some(unauthorized()));
    }
    if let Some(reason) = refusal(policy, presented) {
        let page = policy.error_page.as_deref();
        if let Some(path) = page.filter(|page| page.starts_with('/')) {
            // nginx asks about the subject before it serves anything, this too; and of what came
            // without TLS nothing is served.
            let nameless = policy.subject.as_ref();
            if nameless.is_some_and(|pattern| !pattern.is_match(b"")) {
                return Ok(Some(unauthorized()));
            }
            if connection.tls.is_none() {
                return Err(reason);
            }
            tell(policy, presented, request);
            request.divert(path.as_bytes());
            return Ok(None);
        }
        return match page {
            Some(page) => Ok(Some(Answer::Redirect {
                status: 302,
                location: page.as_bytes().to_vec(),
                reason,
            })),
            None => Err(reason),
        };
    }
    if is_denied {
        return Ok(Some(unauthorized()));
    }
    tell(policy, presented, request);
    Ok(None)
}

/// Whether it is said before anything else, sending clients to HTTPS too: as of nginx, whoever can
/// show nothing that would do.
pub(super) fn is_foremost(admitted: &Result<Option<Answer>, Reason>) -> bool {
    match admitted {
        Ok(answer) => answer
            .as_ref()
            .is_some_and(|answer| answer.reason() == Reason::ClientCertificateDenied),
        Err(reason) => *reason == Reason::ClientCertificateDenied,
    }
}

/// What nginx says to who has another subject.
fn unauthorized() -> Answer {
    let mut given = Given {
        status: 403,
        body: b"client certificate unauthorized".to_vec(),
        ..Given::default()
    };
    given.headers.push(b"Content-Type", b"text/html");
    Answer::Given(Box::new(given), Reason::ClientCertificateDenied)
}

/// What the client has shown by these terms; nothing if it was asked by none.
fn presented<'a>(
    connection: &'a Connection,
    policy: &Arc<ClientPolicy>,
) -> Result<Option<&'a Presented>, Reason> {
    // Nobody can show anything without TLS.
    let Some(tls) = &connection.tls else {
        return Ok(None);
    };
    if policy.demand == Demand::Unasked {
        return Ok(None);
    }
    match tls.presented.as_deref() {
        Some(presented) => {
            let same = Arc::ptr_eq(&presented.policy, policy) || presented.policy == *policy;
            same.then_some(Some(presented)).ok_or(Reason::Misdirected)
        }
        // Who named no host meant no other one: as nginx has it, that is a client without a
        // certificate.
        None if tls.server_name.is_none() => Ok(None),
        None => Err(Reason::Misdirected),
    }
}

fn refusal(policy: &ClientPolicy, presented: &Presented) -> Option<Reason> {
    let is_enough = presented.found.satisfies(policy.demand);
    (!is_enough).then_some(match presented.found {
        Found::None => Reason::ClientCertificateMissing,
        _ => Reason::ClientCertificateInvalid,
    })
}

fn has_subject(policy: &ClientPolicy, presented: &Presented) -> bool {
    let subject = presented.shown.as_ref().map_or("", |shown| &shown.subject);
    let wanted = policy.subject.as_ref();
    wanted.is_none_or(|pattern| pattern.is_match(subject.as_bytes()))
}

fn tell(policy: &ClientPolicy, presented: &Presented, request: &mut RequestHead) {
    let headers = &mut request.headers;
    headers.push(VERIFY, presented.found.for_backends().as_bytes());
    let Some(shown) = &presented.shown else {
        return;
    };
    if policy.pass {
        headers.push(CERTIFICATE, shown.escaped.as_bytes());
    }
    headers.push(SUBJECT, shown.subject.as_bytes());
    headers.push(ISSUER, shown.issuer.as_bytes());
}
