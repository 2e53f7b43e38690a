//! Texts with nginx's variables in them, as ingress-nginx's annotations have them: parsed once, and
//! put together for each request without being parsed again.

use std::fmt;

/// A text with variables in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Box<[Piece]>);

/// A part of a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Literal(Box<str>),
    /// What the request, or the response, says.
    Variable(Variable),
}

/// A variable of nginx, or one that ingress-nginx sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `$http_name`: a request header field, by its name in lower case with dashes.
    Header(Box<str>),
    /// `$sent_http_name`: a field of the response as it goes to the client.
    SentHeader(Box<str>),
    /// `$upstream_http_name`: a field of the response as the backend sent it.
    UpstreamHeader(Box<str>),
    /// `$cookie_name`: a cookie of the request.
    Cookie(Box<str>),
    /// `$arg_name`: a parameter of the query, not decoded, its name in any case.
    Argument(Box<str>),
    /// `$geoip2_name`: what a database says of the client's address.
    Geo(Box<str>),
    /// `$1` to `$9`: what a pattern has captured; from 10 on, what a snippet has set.
    Capture(u8),
    /// One that has a name of its own.
    Named(Named),
    /// A name that nobody has given a meaning: it never has a value.
    Nothing(Box<str>),
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable(pub Box<str>);

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${} is no variable that Narthex knows", self.0)
    }
}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident = $($text:literal)|+),+ $(,)?) => {
        /// A variable with a name of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Named { $($(#[$doc])* $name),+ }

        impl Named {
            /// Every name that is understood, with what it means.
            pub const ALL: &[(&str, Self)] = &[$($(($text, Self::$name)),+),+];
        }
    };
}

named! {
    /// The host of the request in lower case, without port.
    Host = "host" | "server_name",
    /// The Host field, or what a trusted peer says that it was, with its port.
    BestHost = "best_http_host",
    /// The request target as the client sent it, with its query.
    RequestUri = "request_uri",
    /// The same, so that it can stand in a query.
    EscapedRequestUri = "escaped_request_uri",
    /// The path, normalised and perhaps rewritten.
    Uri = "uri" | "document_uri",
    /// The query without its question mark.
    Args = "args" | "query_string",
    /// A question mark where there is a query.
    IsArgs = "is_args",
    /// `http` or `https`, of the connection.
    Scheme = "scheme",
    /// The same as the client knows it, behind trusted peers.
    PassScheme = "pass_access_scheme",
    /// The method.
    Method = "request_method",
    /// Method, target and version.
    Request = "request",
    /// `HTTP/1.1` or the like.
    Protocol = "server_protocol",
    /// The client's address, behind trusted peers.
    RemoteAddr = "remote_addr" | "the_real_ip",
    /// The connection's other end.
    PeerAddr = "realip_remote_addr" | "proxy_protocol_addr",
    /// What the client was forwarded for, with its own address behind.
    ForwardedFor = "proxy_add_x_forwarded_for",
    /// The connection's port at the other end.
    RemotePort = "remote_port" | "realip_remote_port" | "proxy_protocol_port",
    /// The name that basic authentication was given.
    RemoteUser = "remote_user",
    /// The connection's address at this end.
    ServerAddr = "server_addr",
    /// The connection's port at this end.
    ServerPort = "server_port" | "pass_server_port" | "proxy_protocol_server_port",
    /// The port as the client knows it.
    PassPort = "pass_port",
    /// The request's id.
    RequestId = "request_id" | "req_id",
    /// The length of the request: its head and its body.
    RequestLength = "request_length",
    /// Seconds from the request's first byte, with milliseconds.
    RequestTime = "request_time",
    /// The response's status.
    Status = "status",
    /// Bytes of the response's body.
    BodyBytesSent = "body_bytes_sent",
    /// Bytes of the response.
    BytesSent = "bytes_sent",
    /// Seconds since 1970, with milliseconds.
    Msec = "msec",
    /// The time as `2026-01-31T12:00:00+00:00`.
    TimeIso8601 = "time_iso8601",
    /// The time as `31/Jan/2026:12:00:00 +0000`.
    TimeLocal = "time_local",
    /// The Content-Type field of the request.
    ContentType = "content_type",
    /// The Content-Length field of the request.
    ContentLength = "content_length",
    /// The version of TLS, as `TLSv1.3`.
    SslProtocol = "ssl_protocol",
    /// The suite of TLS.
    SslCipher = "ssl_cipher",
    /// The name that the handshake asked for.
    SslServerName = "ssl_server_name",
    /// What became of the client's certificate.
    SslClientVerify = "ssl_client_verify",
    /// The subject of the client's certificate.
    SslClientSubject = "ssl_client_s_dn",
    /// The issuer of the client's certificate.
    SslClientIssuer = "ssl_client_i_dn",
    /// `namespace-service-port`, of the backend that was chosen.
    UpstreamName = "proxy_upstream_name" | "proxy_host",
    /// The same of a canary, where one was chosen.
    AlternativeUpstreamName = "proxy_alternative_upstream_name",
    /// Address and port of the endpoint.
    UpstreamAddr = "upstream_addr",
    /// The endpoint's status.
    UpstreamStatus = "upstream_status",
    /// Seconds that the endpoint took, with milliseconds.
    UpstreamResponseTime = "upstream_response_time",
    /// Seconds until the endpoint's response began, with milliseconds.
    UpstreamHeaderTime = "upstream_header_time",
    /// Seconds until there was a connection to the endpoint, with milliseconds.
    UpstreamConnectTime = "upstream_connect_time",
    /// Bytes of the endpoint's response.
    UpstreamResponseLength = "upstream_response_length",
    /// The Ingress's namespace.
    Namespace = "namespace",
    /// The Ingress's name.
    IngressName = "ingress_name",
    /// The Service's name.
    ServiceName = "service_name",
    /// The Service's port.
    ServicePort = "service_port",
    /// The path of the Ingress's rule.
    LocationPath = "location_path",
    /// This machine's, or pod's, name.
    Hostname = "hostname",
    /// The process's number.
    Pid = "pid",
    /// The connection's number.
    Connection = "connection",
    /// How many requests the connection has had.
    ConnectionRequests = "connection_requests",
    /// What a connection that is passed on speaks: `TCP` or `UDP`.
    Transport = "protocol",
    /// Bytes that the client of a connection that is passed on has sent.
    BytesReceived = "bytes_received",
    /// Seconds that a connection was passed on, with milliseconds.
    SessionTime = "session_time",
    /// Bytes that an endpoint was sent.
    UpstreamBytesSent = "upstream_bytes_sent",
    /// Bytes that an endpoint has sent.
    UpstreamBytesReceived = "upstream_bytes_received",
    /// `.`, or `p` where another request was there already.
    Pipe = "pipe",
    /// `OK` where the answer went out whole.
    RequestCompletion = "request_completion",
}

impl Text {
    /// Reads a text: `$name` and `${name}` are variables, and a dollar sign that no name follows is
    /// one.
    ///
    /// # Errors
    /// A name that is none of nginx's, or that has no meaning here.
    pub fn parse(text: &str) -> Result<Self, UnknownVariable> {
        Self::parse_with(text, |_| None)
    }

    /// The same, with variables of somebody's own, which go before nginx's.
    ///
    /// # Errors
    /// A name that is neither.
    pub fn parse_with(
        text: &str,
        own: impl Fn(&str) -> Option<Variable>,
    ) -> Result<Self, UnknownVariable> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            let (name, left) = name(after);
            if name.is_empty() {
                literal.push('$');
                rest = after;
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            let variable = own(name).or_else(|| Variable::of(name));
            let variable = variable.ok_or_else(|| UnknownVariable(name.into()))?;
            pieces.push(Piece::Variable(variable));
            rest = left;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The same for a text of which everything is to be used that can be: unknown names are
    /// variables without a value. Tells them, each once.
    pub fn parse_known(text: &str) -> (Self, Vec<UnknownVariable>) {
        let nothing = |name: &str| Some(Variable::Nothing(name.into()));
        let any = |name: &str| Variable::of(name).or_else(|| nothing(name));
        // Every name is one of these.
        let parsed = Self::parse_with(text, any).unwrap_or_default();
        let mut unknown: Vec<UnknownVariable> = Vec::new();
        for piece in parsed.pieces() {
            if let Piece::Variable(Variable::Nothing(name)) = piece
                && !unknown.iter().any(|known| known.0 == *name)
            {
                unknown.push(UnknownVariable(name.clone()));
            }
        }
        (parsed, unknown)
    }

    /// A text without variables.
    pub fn literal(text: &str) -> Self {
        let piece = (!text.is_empty()).then(|| Piece::Literal(text.into()));
        Self(piece.into_iter().collect())
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The text itself, if there is no variable in it.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.pieces() {
            match piece {
                Piece::Literal(text) => f.write_str(text)?,
                Piece::Variable(variable) => write!(f, "{variable}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let underscored = |name: &str| name.replace('-', "_");
        match self {
            Self::Header(name) => write!(f, "$http_{}", underscored(name)),
            Self::SentHeader(name) => write!(f, "$sent_http_{}", underscored(name)),
            Self::UpstreamHeader(name) => write!(f, "$upstream_http_{}", underscored(name)),
            Self::Cookie(name) => write!(f, "$cookie_{name}"),
            Self::Argument(name) => write!(f, "$arg_{name}"),
            Self::Geo(name) => write!(f, "$geoip2_{name}"),
            Self::Capture(index) => write!(f, "${index}"),
            Self::Nothing(name) => write!(f, "${name}"),
            Self::Named(named) => {
                let name = Named::ALL.iter().find(|(_, known)| known == named);
                write!(f, "${}", name.map_or("", |(name, _)| name))
            }
        }
    }
}

/// The name at the beginning, and what follows it.
fn name(text: &str) -> (&str, &str) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.split_once('}') {
            Some((name, rest)) if name.bytes().all(is_name_byte) => (name, rest),
            _ => ("", text),
        };
    }
    // A capture's number is one digit.
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.split_at(1);
    }
    let end = text.bytes().position(|byte| !is_name_byte(byte));
    text.split_at(end.unwrap_or(text.len()))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Variable {
    /// The variable of a name without its dollar sign.
    pub fn of(name: &str) -> Option<Self> {
        if let Some((_, named)) = Named::ALL.iter().find(|(known, _)| *known == name) {
            return Some(Self::Named(*named));
        }
        if let [digit @ b'0'..=b'9'] = name.as_bytes() {
            return Some(Self::Capture(digit - b'0'));
        }
        let field = |rest: &str| -> Box<str> { rest.to_ascii_lowercase().replace('_', "-").into() };
        let rest = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(rest) = rest("upstream_http_") {
            Some(Self::UpstreamHeader(field(rest)))
        } else if let Some(rest) = rest("sent_http_") {
            Some(Self::SentHeader(field(rest)))
        } else if let Some(rest) = rest("http_") {
            Some(Self::Header(field(rest)))
        } else if let Some(rest) = rest("cookie_") {
            Some(Self::Cookie(rest.into()))
        } else if let Some(rest) = rest("arg_") {
            Some(Self::Argument(rest.into()))
        } else {
            let known = |name: &&str| GEO.contains(name);
            Some(Self::Geo(rest("geoip2_").filter(known)?.into()))
        }
    }
}

/// What databases of addresses may say, by the names behind `$geoip2_`.
pub const GEO: &[&str] = &[
    "country_code",
    "country_name",
    "country_geoname_id",
    "continent_code",
    "continent_name",
    "continent_geoname_id",
    "city_country_code",
    "city_country_name",
    "city_country_geoname_id",
    "city",
    "city_geoname_id",
    "postal_code",
    "dma_code",
    "latitude",
    "longitude",
    "time_zone",
    "region_code",
    "region_name",
    "region_geoname_id",
    "subregion_code",
    "subregion_name",
    "subregion_geoname_id",
    "city_continent_code",
    "city_continent_name",
    "asn",
    "org",
    "isp",
    "isp_org",
    "connection_type",
    "is_anon",
    "is_anonymous",
    "is_anonymous_vpn",
    "is_hosting_provider",
    "is_public_proxy",
    "is_tor_exit_node",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_with_and_without_braces() {
        let text =
            Text::parse("https://$host/a?rd=${escaped_request_uri}x$http_X_Y$1$").expect("a text");
        let literal = |text: &str| Piece::Literal(text.into());
        let named = |named| Piece::Variable(Variable::Named(named));
        assert_eq!(
            text.pieces(),
            [
                literal("https://"),
                named(Named::Host),
                literal("/a?rd="),
                named(Named::EscapedRequestUri),
                literal("x"),
                Piece::Variable(Variable::Header("x-y".into())),
                Piece::Variable(Variable::Capture(1)),
                literal("$"),
            ]
        );
        assert_eq!(
            text.to_string(),
            "https://$host/a?rd=$escaped_request_urix$http_x_y$1$"
        );
        assert_eq!(Text::parse("a$b c"), Err(UnknownVariable("b".into())));
        assert_eq!(
            Text::parse("a${b").ok().as_ref().and_then(Text::as_literal),
            Some("a${b")
        );
        assert_eq!(
            Text::parse("$geoip2_city $geoip2_typo"),
            Err(UnknownVariable("geoip2_typo".into()))
        );
        for (name, _) in Named::ALL {
            let once = Named::ALL.iter().filter(|(other, _)| other == name).count();
            assert_eq!(once, 1, "{name}");
        }
    }
}
