//! Where a responder is, as a certificate says it. Whoever writes a Secret chooses this, so it says
//! no more than a responder needs.

use std::fmt;

use http::Uri;
use http::uri::Scheme;

/// The longest that a URL may be.
const LONGEST: usize = 1024;

/// Below this, there is but one port that is HTTP's.
const UNPRIVILEGED: u16 = 1024;

/// A responder's URL: plain HTTP, since the answer is signed and a TLS of its own would have to be
/// asked about in turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Responder {
    url: Box<str>,
    host: Box<str>,
    port: u16,
    path: Box<str>,
}

/// Why a URL is none that a responder is asked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoUrl {
    /// It is `https`, or something else that is not `http`.
    NotHttp,
    /// Its port is another service's.
    Port(u16),
    /// It is no URL at all.
    Malformed,
}

impl fmt::Display for NoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("its URL is not of http://, by which answers come"),
            Self::Port(port) => write!(
                f,
                "its port, {port}, is neither 80 nor one from {UNPRIVILEGED} on"
            ),
            Self::Malformed => f.write_str("its URL cannot be read"),
        }
    }
}

impl Responder {
    /// Reads a URL.
    ///
    /// # Errors
    /// Why nobody is asked there.
    pub fn parse(text: &str) -> Result<Self, NoUrl> {
        if text.len() > LONGEST {
            return Err(NoUrl::Malformed);
        }
        let url: Uri = text.parse().map_err(|_| NoUrl::Malformed)?;
        match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(_) => return Err(NoUrl::NotHttp),
            None => return Err(NoUrl::Malformed),
        }
        let authority = url.authority().ok_or(NoUrl::Malformed)?;
        let has_port = authority.host().len() < authority.as_str().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            // A number that is none is not 80 either.
            None if has_port => return Err(NoUrl::Malformed),
            None => 80,
        };
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(NoUrl::Malformed);
        }
        if port != 80 && port < UNPRIVILEGED {
            return Err(NoUrl::Port(port));
        }
        let path = url.path_and_query().map(|path| path.as_str());
        Ok(Self {
            url: text.into(),
            host: authority.host().into(),
            port,
            path: path.unwrap_or("/").into(),
        })
    }

    /// A name or an address, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands in the request's first line.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What stands in the request's Host.
    pub(super) fn authority(&self) -> String {
        match self.port {
            80 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responders_are_asked_over_plain_http_at_ports_of_http() {
        let parts = |text: &str| {
            let url = Responder::parse(text).expect(text);
            (url.authority(), url.port(), url.path().to_owned())
        };
        let expected = |authority: &str, port, path: &str| (authority.into(), port, path.into());
        assert_eq!(
            parts("http://ocsp.example"),
            expected("ocsp.example", 80, "/")
        );
        assert_eq!(
            parts("http://ocsp.example:2560/ca?x"),
            expected("ocsp.example:2560", 2560, "/ca?x")
        );
        assert_eq!(
            parts("http://[2001:db8::1]:80/"),
            expected("[2001:db8::1]", 80, "/")
        );
        for (wrong, why) in [
            ("https://ocsp.example/", NoUrl::NotHttp),
            ("ldap://ocsp.example/", NoUrl::NotHttp),
            ("http://ocsp.example:22/", NoUrl::Port(22)),
            ("http://ocsp.example:443/", NoUrl::Port(443)),
            ("http://ocsp.example:0/", NoUrl::Port(0)),
            ("http://ocsp.example:99999/", NoUrl::Malformed),
            ("http://user@ocsp.example/", NoUrl::Malformed),
            ("http://a b/", NoUrl::Malformed),
            ("http://a/\r\nX: 1", NoUrl::Malformed),
            ("/ocsp", NoUrl::Malformed),
            ("ocsp.example", NoUrl::Malformed),
            ("", NoUrl::Malformed),
        ] {
            assert_eq!(Responder::parse(wrong), Err(why), "{wrong}");
        }
    }
}
