//! Tells browsers what scripts of other origins may do (Fetch standard, CORS protocol; Gateway API:
//! HTTPCORSFilter).

use model::filter::{Cors, OriginMatch};

use super::Answer;
use crate::headers::{Headers, RequestHead, list};
use crate::record::Reason;
use crate::respond::{Given, decimal};

/// The fields of the protocol, which are ours alone where there is this filter.
const FIELDS: [&str; 6] = [
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
];

const ANY: &str = "*";

/// The answer to a question that a browser asks before a request.
pub(super) fn preflight(cors: &Cors, request: &RequestHead) -> Option<Answer> {
    if request.method() != b"OPTIONS" {
        return None;
    }
    let origin = request.headers.joined(b"origin")?;
    let method = request.headers.joined(b"access-control-request-method")?;
    let mut given = Box::new(Given::default());
    let headers = &mut given.headers;
    headers.push(
        b"Vary",
        b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    );
    if !is_allowed(cors, &origin) {
        given.status = 403;
        return Some(Answer::Given(given, Reason::CorsPreflight));
    }
    given.status = 204;
    allow(cors, headers, &origin);
    if any(&cors.methods) {
        // What was asked for, which also holds where credentials forbid the asterisk.
        headers.push(b"Access-Control-Allow-Methods", &method);
    } else if !cors.methods.is_empty() {
        let methods = cors.methods.join(", ");
        headers.push(b"Access-Control-Allow-Methods", methods.as_bytes());
    }
    let asked = request.headers.joined(b"access-control-request-headers");
    if any(&cors.headers) {
        if let Some(asked) = asked {
            headers.push(b"Access-Control-Allow-Headers", &asked);
        }
    } else if !cors.headers.is_empty() {
        let allowed = cors.headers.join(", ");
        headers.push(b"Access-Control-Allow-Headers", allowed.as_bytes());
    }
    expose(cors, headers);
    headers.push(
        b"Access-Control-Max-Age",
        decimal(&mut [0; 20], u64::from(cors.max_age)),
    );
    Some(Answer::Given(given, Reason::CorsPreflight))
}

/// Puts our own fields in the place of the backend's.
pub(super) fn finish(cors: &Cors, headers: &mut Headers, origin: Option<&[u8]>) {
    headers.retain(|_, name| {
        !FIELDS
            .iter()
            .any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
    });
    if let Some(origin) = origin
        && is_allowed(cors, origin)
    {
        allow(cors, headers, origin);
        expose(cors, headers);
    }
    if !is_for_all(cors) {
        vary_by_origin(headers);
    }
}

fn is_allowed(cors: &Cors, origin: &[u8]) -> bool {
    cors.origins.iter().any(|allowed| allowed.matches(origin))
}

/// Whether the answer is the same for every origin.
fn is_for_all(cors: &Cors) -> bool {
    !cors.credentials && cors.origins.contains(&OriginMatch::Any)
}

fn allow(cors: &Cors, headers: &mut Headers, origin: &[u8]) {
    let shared = if is_for_all(cors) { b"*" } else { origin };
    headers.push(b"Access-Control-Allow-Origin", shared);
    if cors.credentials {
        headers.push(b"Access-Control-Allow-Credentials", b"true");
    }
}

fn expose(cors: &Cors, headers: &mut Headers) {
    let names = if any(&cors.expose) && cors.credentials {
        // With credentials the asterisk is a name like any other: the names themselves.
        let names: Vec<&[u8]> = headers.iter().map(|(_, name, _)| name).collect();
        names.join(&b", "[..])
    } else {
        cors.expose.join(", ").into_bytes()
    };
    if !names.is_empty() {
        headers.push(b"Access-Control-Expose-Headers", &names);
    }
}

fn vary_by_origin(headers: &mut Headers) {
    let varies = headers.joined(b"vary").is_some_and(|vary| {
        list(&vary).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    });
    if !varies {
        headers.push(b"Vary", b"Origin");
    }
}

fn any(names: &[Box<str>]) -> bool {
    names.iter().any(|name| **name == *ANY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Version;

    fn names(of: &[&str]) -> Box<[Box<str>]> {
        of.iter().map(|&name| name.into()).collect()
    }

    fn cors() -> Cors {
        Cors {
            origins: [
                OriginMatch::Exact("https://www.foo.com".into()),
                OriginMatch::Wildcard {
                    before: "https://".into(),
                    after: ".bar.com".into(),
                },
            ]
            .into(),
            methods: names(&["GET", "OPTIONS"]),
            headers: names(&["x-header-1", "x-header-2"]),
            expose: names(&["x-header-3", "x-header-4"]),
            max_age: 3600,
            credentials: true,
        }
    }

    fn everything(credentials: bool) -> Cors {
        Cors {
            origins: [OriginMatch::Any].into(),
            methods: names(&["*"]),
            headers: names(&["*"]),
            expose: names(&["*"]),
            max_age: 5,
            credentials,
        }
    }

    fn ask(cors: &Cors, method: &str, fields: &[(&str, &str)]) -> Option<(u16, Vec<String>)> {
        let mut request = RequestHead::default();
        request.start(Version::Http11, method.as_bytes(), b"/");
        for (name, value) in fields {
            request.headers.push(name.as_bytes(), value.as_bytes());
        }
        match preflight(cors, &request)? {
            Answer::Given(given, _) => Some((given.status, lines(&given.headers))),
            Answer::Redirect { .. } => None,
        }
    }

    fn lines(headers: &Headers) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = headers.iter();
        let fields = fields.map(|(_, name, value)| {
            let name = text(name).replace("Access-Control-", "");
            format!("{name}: {}", text(value))
        });
        fields
            .filter(|line| !line.starts_with("Vary: Origin,"))
            .collect()
    }

    #[test]
    fn a_browser_is_told_what_it_may_ask_for() {
        let fields = |origin| {
            [
                ("Origin", origin),
                ("Access-Control-Request-Method", "PUT"),
                ("Access-Control-Request-Headers", "x-a, x-b"),
            ]
        };
        for origin in ["https://www.foo.com", "https://x.y.bar.com"] {
            let (status, lines) = ask(&cors(), "OPTIONS", &fields(origin)).expect("an answer");
            assert_eq!(status, 204);
            assert_eq!(
                lines,
                [
                    &*format!("Allow-Origin: {origin}"),
                    "Allow-Credentials: true",
                    "Allow-Methods: GET, OPTIONS",
                    "Allow-Headers: x-header-1, x-header-2",
                    "Expose-Headers: x-header-3, x-header-4",
                    "Max-Age: 3600",
                ]
            );
        }
        let other = ask(&cors(), "OPTIONS", &fields("https://foobar.com"));
        assert_eq!(other, Some((403, vec![])));
        let (_, lines) = ask(&everything(false), "OPTIONS", &fields("https://a")).expect("one");
        assert_eq!(
            lines,
            [
                "Allow-Origin: *",
                "Allow-Methods: PUT",
                "Allow-Headers: x-a, x-b",
                "Expose-Headers: *",
                "Max-Age: 5"
            ]
        );
        let (_, lines) = ask(&everything(true), "OPTIONS", &fields("https://a")).expect("one");
        assert_eq!(
            lines[..2],
            ["Allow-Origin: https://a", "Allow-Credentials: true"]
        );
    }

    #[test]
    fn what_is_no_question_of_a_browsers_goes_to_the_backend() {
        let method = ("Access-Control-Request-Method", "PUT");
        let origin = ("Origin", "https://www.foo.com");
        assert_eq!(ask(&cors(), "GET", &[origin, method]), None);
        assert_eq!(ask(&cors(), "OPTIONS", &[origin]), None);
        assert_eq!(ask(&cors(), "OPTIONS", &[method]), None);
    }

    fn finished(cors: &Cors, origin: Option<&str>) -> Vec<String> {
        let mut headers = Headers::default();
        headers.push(b"access-control-allow-origin", b"https://evil.example");
        headers.push(b"Access-Control-Custom", b"kept");
        headers.push(b"X-A", b"1");
        finish(cors, &mut headers, origin.map(str::as_bytes));
        lines(&headers)
    }

    #[test]
    fn the_backends_own_fields_give_way_to_ours() {
        assert_eq!(
            finished(&cors(), Some("https://www.foo.com")),
            [
                "Custom: kept",
                "X-A: 1",
                "Allow-Origin: https://www.foo.com",
                "Allow-Credentials: true",
                "Expose-Headers: x-header-3, x-header-4",
                "Vary: Origin"
            ]
        );
        for origin in [None, Some("https://foobar.com")] {
            let expected = ["Custom: kept", "X-A: 1", "Vary: Origin"];
            assert_eq!(finished(&cors(), origin), expected);
        }
        assert_eq!(
            finished(&everything(false), Some("https://a")),
            [
                "Custom: kept",
                "X-A: 1",
                "Allow-Origin: *",
                "Expose-Headers: *"
            ]
        );
        let exposed = finished(&everything(true), Some("https://a"));
        assert!(
            exposed
                .iter()
                .any(|line| line.starts_with("Expose-Headers: Access-Control-Custom, X-A")),
            "{exposed:?}"
        );
    }
}
