//! Lines of access logs, in whichever format.

use std::borrow::Cow;

use serde::Deserialize;

/// What ingress-nginx logs where nothing is said.
const UPSTREAM_INFO: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
    $body_bytes_sent \"$http_referer\" \"$http_user_agent\" $request_length $request_time \
    [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr \
    $upstream_response_length $upstream_response_time $upstream_status $req_id";

/// nginx's own.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
    $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// The Common Log Format.
const COMMON: &str =
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent";

/// A request as a log has it; what the format does not tell is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// In lower case, without port.
    pub(crate) host: String,
    pub(crate) tls: Option<bool>,
    pub(crate) status: Option<u16>,
    /// `namespace-service-port`, of the backend and perhaps its canary.
    pub(crate) upstreams: Vec<String>,
    /// Header fields and cookies that were logged, as fields.
    pub(crate) headers: Vec<(String, String)>,
}

/// How lines are read.
#[derive(Debug)]
pub(crate) struct Formats(Vec<Template>);

/// A format of nginx: literals and variables in turn.
#[derive(Debug)]
struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable(String),
}

impl Formats {
    /// Those that are known, or the one that is given.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn new(given: Option<&str>) -> Result<Self, String> {
        let known = [UPSTREAM_INFO, COMBINED, COMMON];
        let Some(given) = given else {
            return Ok(Self(known.map(Template::parse).into()));
        };
        let template = Template::parse(given);
        let names: Vec<&str> = template.0.iter().filter_map(Piece::variable).collect();
        let path = ["request", "request_uri", "uri"];
        if !path.iter().any(|name| names.contains(name)) {
            return Err("the log's format has no $request, $request_uri or $uri".to_owned());
        }
        Ok(Self(vec![template]))
    }

    /// Reads a line. None if it is no request.
    pub(crate) fn read(&self, line: &str) -> Option<Logged> {
        let line = line.trim_end_matches(['\n', '\r']);
        let as_written = self.0.iter().find_map(|template| template.read(line));
        as_written.or_else(|| own(line))
    }
}

/// A line of our own JSON.
fn own(line: &str) -> Option<Logged> {
    #[derive(Deserialize)]
    struct Own {
        method: String,
        host: String,
        path: String,
        status: Option<u16>,
        #[serde(default)]
        backend: String,
        tls: Option<String>,
    }

    let line = line.get(line.find('{')?..)?;
    let own: Own = serde_json::from_str(line).ok()?;
    let upstream = super::upstream_name(&own.backend);
    Some(Logged {
        tls: Some(own.tls.is_some()),
        upstreams: (!own.backend.is_empty())
            .then_some(upstream)
            .into_iter()
            .collect(),
        method: own.method,
        host: without_port(&own.host),
        target: own.path,
        status: own.status,
        headers: Vec::new(),
    })
}

impl Piece {
    fn variable(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Variable(name) => Some(name),
        }
    }
}

impl Template {
    fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            let (name, left) = match after.strip_prefix('{').and_then(|it| it.split_once('}')) {
                Some((name, left)) => (name, left),
                None => {
                    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                    after.split_at(after.find(is_end).unwrap_or(after.len()))
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Variable(name.to_owned()));
            rest = left;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Self(pieces)
    }

    fn read(&self, line: &str) -> Option<Logged> {
        let mut found = Logged::default();
        let mut rest = line;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Piece::Variable(name) => {
                    let end = match pieces.peek() {
                        // A list of several, as `1.2.3.4:80, 1.2.3.5:80`, has spaces in it.
                        Some(Piece::Literal(next)) => end_of(name, rest, next)?,
                        Some(Piece::Variable(_)) => 0,
                        None => rest.len(),
                    };
                    let (value, left) = rest.split_at(end);
                    found.note(name, &unescaped(value));
                    rest = left;
                }
            }
        }
        (rest.is_empty() && !found.target.is_empty() && !found.method.is_empty()).then_some(found)
    }
}

/// Where a value ends that `next` follows.
fn end_of(name: &str, rest: &str, next: &str) -> Option<usize> {
    let mut end = rest.find(next)?;
    if name.starts_with("upstream_") {
        while rest[..end].ends_with([',', ':']) {
            let from = end + next.len();
            end = from + rest.get(from..)?.find(next)?;
        }
    }
    Some(end)
}

impl Logged {
    fn note(&mut self, name: &str, value: &str) {
        let is_set = !value.is_empty() && value != "-";
        match name {
            "request" => {
                let mut parts = value.split(' ');
                if let (Some(method), Some(target)) = (parts.next(), parts.next()) {
                    self.method = method.to_owned();
                    self.target = target.to_owned();
                }
            }
            "request_method" => self.method = value.to_owned(),
            "request_uri" => self.target = value.to_owned(),
            // What was asked for comes before what has become of it.
            "uri" | "document_uri" if self.target.is_empty() => self.target = value.to_owned(),
            "args" | "query_string" if is_set && !self.target.contains('?') => {
                self.target = format!("{}?{value}", self.target);
            }
            "host" | "http_host" | "best_http_host" | "server_name" if is_set => {
                self.host = without_port(value);
            }
            "scheme" | "pass_access_scheme" => self.tls = Some(value == "https"),
            "ssl_protocol" => self.tls = Some(is_set),
            "status" => self.status = value.parse().ok(),
            "proxy_upstream_name" | "proxy_alternative_upstream_name" if is_set => {
                let name = value.strip_prefix("upstream-").unwrap_or(value);
                self.upstreams.push(name.to_owned());
            }
            name if is_set => {
                if let Some(field) = name.strip_prefix("http_") {
                    self.headers
                        .push((field.replace('_', "-"), value.to_owned()));
                } else if let Some(cookie) = name.strip_prefix("cookie_") {
                    self.headers
                        .push(("cookie".to_owned(), format!("{cookie}={value}")));
                }
            }
            _ => {}
        }
    }
}

fn without_port(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// Undoes nginx's escapes, and JSON's.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        (rest, ()) = match (first, after) {
            (b'\\', [b'x', high, low, left @ ..]) if hex(&[*high, *low]).is_some() => {
                (left, out.extend(hex(&[*high, *low])))
            }
            (b'\\', [b'u', b'0', b'0', high, low, left @ ..]) if hex(&[*high, *low]).is_some() => {
                (left, out.extend(hex(&[*high, *low])))
            }
            (b'\\', [c @ (b'"' | b'\\' | b'/'), left @ ..]) => (left, out.push(*c)),
            (byte, left) => (left, out.push(*byte)),
        };
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "10.0.0.1 - - [31/Jan/2026:12:00:00 +0000] \"GET /a?b=\\x22c HTTP/1.1\" 200 12 \
        \"-\" \"curl/8 [x]\" 90 0.004 [shop-web-80] [] 10.1.0.1:80, 10.1.0.2:80 0, 12 0.001, 0.003 \
        502, 200 0123456789abcdef";

    #[test]
    fn ingress_nginxs_lines_are_read() {
        let formats = Formats::new(None).expect("known");
        let read = formats.read(LINE).expect("a request");
        assert_eq!((read.method.as_str(), read.status), ("GET", Some(200)));
        assert_eq!(read.target, "/a?b=\"c");
        assert_eq!(read.upstreams, ["shop-web-80"]);
        assert_eq!(read.host, "");
        let fields = [("user-agent".to_owned(), "curl/8 [x]".to_owned())];
        assert_eq!(read.headers, fields);
    }

    #[test]
    fn combined_our_own_and_custom_formats_are_read() {
        let formats = Formats::new(None).expect("known");
        let combined = "::1 - bob [x] \"POST / HTTP/2.0\" 404 0 \"-\" \"-\"";
        assert_eq!(formats.read(combined).expect("read").status, Some(404));
        let own = "{\"time\":\"x\",\"method\":\"GET\",\"host\":\"A.example:8080\",\"path\":\"/b\",\
            \"status\":200,\"backend\":\"default/web:80\",\"tls\":\"TLSv1.3\"}";
        let read = formats.read(own).expect("read");
        assert_eq!((read.host.as_str(), read.tls), ("a.example", Some(true)));
        assert_eq!(read.upstreams, ["default-web-80"]);
        let custom = "{\"h\": \"$host\", \"u\": \"$request_uri\", \"m\": \"$request_method\", \"s\": $status}";
        let formats = Formats::new(Some(custom)).expect("right");
        let line = "{\"h\": \"b.example\", \"u\": \"/c?d\", \"m\": \"PUT\", \"s\": 201}";
        let read = formats.read(line).expect("read");
        assert_eq!(
            (read.host.as_str(), read.target.as_str()),
            ("b.example", "/c?d")
        );
        Formats::new(Some("$status")).expect_err("no path");
    }

    #[test]
    fn what_is_no_request_is_none() {
        let formats = Formats::new(None).expect("known");
        for line in [
            "",
            "I0131 12:00:00 7 main.go:1] Started",
            "{}",
            "a \"",
            "\\x",
        ] {
            assert_eq!(formats.read(line), None, "{line}");
        }
        let bad = LINE.replace("GET /a?b=\\x22c HTTP/1.1", "\\x16\\x03\\x01");
        assert_eq!(formats.read(&bad), None);
    }
}
