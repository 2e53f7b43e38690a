//! Tells browsers what scripts of other origins may do, in ingress-nginx's way: whatever the backend
//! says of it is replaced, in answers of every status, and a question is answered here (`enable-cors`).

use std::borrow::Cow;

use model::filter::IngressCors;

use super::Answer;
use crate::headers::{Headers, Name, RequestHead};
use crate::record::Reason;
use crate::respond::{Given, decimal};

/// The answer to OPTIONS from an origin that may come, whatever is asked; others' go further.
pub(super) fn preflight(cors: &IngressCors, request: &RequestHead) -> Option<Answer> {
    if request.method() != b"OPTIONS" {
        return None;
    }
    let origin = request.headers.joined(b"origin");
    cors.allowed(origin.as_deref())?;
    let mut given = Given {
        status: 204,
        ..Given::default()
    };
    let headers = &mut given.headers;
    finish(cors, headers, origin.as_deref());
    headers.push(b"Content-Length", b"0");
    Some(Answer::Given(Box::new(given), Reason::CorsPreflight))
}

/// Puts our fields in the place of the backend's, if scripts of the request's origin may come.
pub(super) fn finish(cors: &IngressCors, headers: &mut Headers, origin: Option<&[u8]>) {
    let Some(allowed) = cors.allowed(origin) else {
        return;
    };
    let mut digits = [0; 20];
    let max_age = match u64::try_from(cors.max_age) {
        Ok(seconds) => Cow::Borrowed(decimal(&mut digits, seconds)),
        Err(_) => Cow::Owned(cors.max_age.to_string().into_bytes()),
    };
    let credentials = if cors.credentials { "true" } else { "" };
    let ours: [(&str, &[u8]); 6] = [
        ("Access-Control-Allow-Origin", allowed),
        ("Access-Control-Allow-Credentials", credentials.as_bytes()),
        ("Access-Control-Allow-Methods", cors.methods.as_bytes()),
        ("Access-Control-Allow-Headers", cors.headers.as_bytes()),
        ("Access-Control-Expose-Headers", cors.expose.as_bytes()),
        ("Access-Control-Max-Age", &max_age),
    ];
    let ours = ours.iter().filter(|(_, value)| !value.is_empty());
    headers.retain(|token, name| {
        let is = |ours: &str| ours.as_bytes().eq_ignore_ascii_case(name);
        token != Name::Other || !ours.clone().any(|(ours, _)| is(ours))
    });
    for (name, value) in ours {
        headers.push_known(Name::Other, name.as_bytes(), value);
    }
}

#[cfg(test)]
mod tests {
    use model::filter::ingress_cors::{Origin, Origins};

    use super::*;
    use crate::record::Version;

    fn cors(origins: &[&str]) -> IngressCors {
        let origins = origins.iter().map(|origin| Origin::new(origin)).collect();
        IngressCors {
            origins: Origins::These(origins),
            methods: "GET, PUT".into(),
            headers: "DNT".into(),
            expose: "".into(),
            max_age: 7,
            credentials: false,
        }
    }

    #[test]
    fn every_question_of_an_origin_that_may_come_is_answered() {
        let ask = |method: &[u8], origin: &[u8]| {
            let mut request = RequestHead::default();
            request.start(Version::Http11, method, b"/");
            request.headers.push(b"Origin", origin);
            preflight(&cors(&["http://a"]), &request).is_some()
        };
        assert!(ask(b"OPTIONS", b"http://a"));
        assert!(!ask(b"OPTIONS", b"http://b"));
        assert!(!ask(b"GET", b"http://a"));
    }

    #[test]
    fn the_backends_fields_stay_where_we_say_nothing() {
        let told = |origin: &[u8]| {
            let mut headers = Headers::default();
            headers.push(b"access-control-allow-origin", b"theirs");
            headers.push(b"Access-Control-Allow-Credentials", b"theirs");
            finish(&cors(&["http://a"]), &mut headers, Some(origin));
            let fields = headers
                .iter()
                .map(|(_, name, value)| [name, value].concat());
            fields
                .map(|field| String::from_utf8_lossy(&field).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told(b"http://a"),
            [
                "Access-Control-Allow-Credentialstheirs",
                "Access-Control-Allow-Originhttp://a",
                "Access-Control-Allow-MethodsGET, PUT",
                "Access-Control-Allow-HeadersDNT",
                "Access-Control-Max-Age7"
            ]
        );
        assert_eq!(told(b"http://b").len(), 2);
    }
}
