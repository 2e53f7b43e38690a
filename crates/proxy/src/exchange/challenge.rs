//! What an ACME server asks over plain HTTP, while it looks whether a name is ours (RFC 8555,
//! section 8.3): answered before routing, at every host, and never sent to HTTPS.

use super::parts::Parts;
use crate::filters::Answer;
use crate::headers::Headers;
use crate::record::Reason;
use crate::respond::Given;

const PREFIX: &[u8] = b"/.well-known/acme-challenge/";

/// The answer, if there is one here; a token that is not ours goes the way of all requests, to
/// whoever else may have asked for it.
pub(super) fn answer(parts: &Parts<'_>) -> Option<Answer> {
    let token = parts.request.path().strip_prefix(PREFIX)?;
    if parts.connection.tls.is_some() || !matches!(parts.request.method(), b"GET" | b"HEAD") {
        return None;
    }
    let view = parts.worker.view();
    let token = std::str::from_utf8(token).ok()?;
    let key = view.snapshot.challenges.http.get(token)?;
    let mut headers = Headers::default();
    headers.push(b"Content-Type", b"application/octet-stream");
    let given = Given {
        status: 200,
        headers,
        body: key.as_bytes().to_vec(),
        page: false,
    };
    Some(Answer::Given(Box::new(given), Reason::AcmeChallenge))
}
