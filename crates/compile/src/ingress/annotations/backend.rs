//! `backend-protocol` and `proxy-ssl-…`: what is spoken to backends, and whom they have to be.

use model::HostName;
use model::transport::Versions;
use rustls::SupportedCipherSuite;

use super::Settings;
use super::suites;
use super::table::{Annotation, Group, Risk};
use super::values::BadValue;

/// Without their prefix.
pub(crate) const PROTOCOL: &str = "backend-protocol";
pub(crate) const SECRET: &str = "proxy-ssl-secret";
pub(crate) const VERIFY: &str = "proxy-ssl-verify";
const NAME: &str = "proxy-ssl-name";
const SERVER_NAME: &str = "proxy-ssl-server-name";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "What backends speak",
    annotations: &[
        Annotation::works(PROTOCOL, Risk::Low, |settings, value| {
            of(settings).protocol = protocol(value.trim())?;
            Ok(())
        })
        .default("HTTP")
        .test("ingress_backend_tls, fastcgi"),
        Annotation::works(SECRET, Risk::Medium, |settings, value| {
            about_tls(settings).secret = Some(value.trim().into());
            Ok(())
        })
        .test("ingress_backend_tls"),
        Annotation::works(VERIFY, Risk::Low, |settings, value| {
            on(value.trim()).map(|on| about_tls(settings).verify = on)
        })
        .default("off")
        .test("ingress_backend_tls"),
        Annotation::works(NAME, Risk::High, |settings, value| {
            host(value.trim()).map(|name| about_tls(settings).name = Some(name))
        })
        .default("the Service's name")
        .test("ingress_backend_tls"),
        Annotation::works(SERVER_NAME, Risk::Low, |settings, value| {
            on(value.trim()).map(|on| about_tls(settings).tells_name = on)
        })
        .default("off")
        .test("ingress_backend_tls"),
        Annotation::works("proxy-ssl-protocols", Risk::Low, |settings, value| {
            about_tls(settings).versions = versions(value)?;
            Ok(())
        })
        .default("TLSv1.2 TLSv1.3")
        .differs("there it is `TLSv1.2` alone where nothing is said")
        .test("ingress_backend_tls"),
        Annotation::works("proxy-ssl-ciphers", Risk::Medium, |settings, value| {
            const HINT: &str = "suites by OpenSSL's names, as ECDHE-RSA-AES128-GCM-SHA256";
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+:_-! ".contains(&byte);
            if !value.bytes().all(allowed) {
                return Err(BadValue::unused(HINT));
            }
            let suites = suites::listed(value);
            if suites.is_empty() && !value.trim().eq_ignore_ascii_case("DEFAULT") {
                return Err(BadValue::unused(HINT));
            }
            about_tls(settings).suites = value.into();
            Ok(())
        })
        .default("all that are safe")
        .differs("suites are named one by one: of OpenSSL's other words `DEFAULT`, `HIGH` and `ALL` are all that there are; those of TLS 1.3 stay")
        .test("ingress_backend_tls"),
        Annotation::idle(
            "proxy-ssl-verify-depth",
            Risk::Low,
            "a chain may have as many links as it has, up to six",
            |_, value| super::values::whole(value).map(drop),
        )
        .default("1")
        .differs("no chain is refused for its length"),
    ],
};

/// What is spoken to an Ingress's backends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) protocol: Protocol,
    /// As it is written: `namespace/name`, or a name.
    pub(crate) secret: Option<Box<str>>,
    /// Whether certificates are verified.
    pub(crate) verify: bool,
    /// The name that certificates have to have.
    pub(crate) name: Option<Box<str>>,
    /// Whether the name is told in the handshake.
    pub(crate) tells_name: bool,
    /// The versions of TLS.
    pub(crate) versions: Versions,
    /// Its suites as OpenSSL lists them; none is all.
    suites: Box<str>,
    /// Whether anything is said that has no meaning without TLS.
    pub(crate) about_tls: bool,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    #[default]
    Http,
    Https,
    /// The one or the other, as the client does.
    AutoHttp,
    /// HTTP/2 and nothing else.
    Grpc,
    /// The same inside TLS.
    Grpcs,
    FastCgi,
}

impl Backend {
    /// The suites of TLS; none is all.
    pub(crate) fn suites(&self) -> Box<[SupportedCipherSuite]> {
        suites::listed(&self.suites).into()
    }
}

impl Protocol {
    /// Whether it is HTTP/2 and nothing else.
    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// Whether it is inside TLS, at least for some clients.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Https | Self::AutoHttp | Self::Grpcs)
    }
}

fn of(settings: &mut Settings) -> &mut Backend {
    settings.backend.get_or_insert_default()
}

fn about_tls(settings: &mut Settings) -> &mut Backend {
    let backend = of(settings);
    backend.about_tls = true;
    backend
}

/// As ingress-nginx: of what it does not know, HTTP stands.
fn protocol(value: &str) -> Result<Protocol, BadValue> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "AUTO_HTTP" => Ok(Protocol::AutoHttp),
        "GRPC" => Ok(Protocol::Grpc),
        "GRPCS" => Ok(Protocol::Grpcs),
        "FCGI" => Ok(Protocol::FastCgi),
        _ => Err(BadValue::unused(
            "HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS or FCGI",
        )),
    }
}

/// `TLSv1.2`, `TLSv1.3` or both; of nothing, ingress-nginx makes its default.
fn versions(value: &str) -> Result<Versions, BadValue> {
    let mut versions = Versions {
        tls12: false,
        tls13: false,
    };
    for word in value.split_ascii_whitespace() {
        match word {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            _ => return Err(BadValue::unused("TLSv1.2, TLSv1.3 or both")),
        }
    }
    match versions.tls12 || versions.tls13 {
        true => Ok(versions),
        false => Err(BadValue::unused("TLSv1.2, TLSv1.3 or both")),
    }
}

fn on(value: &str) -> Result<bool, BadValue> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(BadValue::unused("\"on\" or \"off\"")),
    }
}

fn host(value: &str) -> Result<Box<str>, BadValue> {
    if let Ok(address) = value.parse::<std::net::IpAddr>() {
        return Ok(address.to_string().into());
    }
    let host = Some(value).filter(|value| !value.contains(':'));
    let host = host.and_then(|value| HostName::parse(value.as_bytes()));
    host.map(|host| host.as_str().into())
        .ok_or(BadValue::invalid("a DNS name or an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_ingress_nginxs_in_any_case() {
        assert_eq!(protocol("https"), Ok(Protocol::Https));
        assert_eq!(protocol("GRPCS"), Ok(Protocol::Grpcs));
        assert_eq!(protocol("Auto_Http"), Ok(Protocol::AutoHttp));
        assert_eq!(protocol("fcgi"), Ok(Protocol::FastCgi));
        for wrong in ["", "tcp", "h2c"] {
            assert!(protocol(wrong).is_err(), "{wrong}");
        }
    }
}
