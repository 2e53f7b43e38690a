//! `backend-protocol` and `proxy-ssl-…`: what is spoken to backends, and whom they have to be.

use model::HostName;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

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
            let (grpc, tls) = protocol(value.trim())?;
            let backend = of(settings);
            (backend.grpc, backend.tls) = (grpc, tls);
            Ok(())
        })
        .default("HTTP")
        .test("ingress_backend_tls"),
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
        Annotation::later("proxy-ssl-ciphers", Risk::Medium),
        Annotation::later("proxy-ssl-protocols", Risk::Low),
        Annotation::later("proxy-ssl-verify-depth", Risk::Low),
    ],
};

/// What is spoken to an Ingress's backends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Backend {
    /// HTTP/2 and nothing else.
    pub(crate) grpc: bool,
    pub(crate) tls: bool,
    /// As it is written: `namespace/name`, or a name.
    pub(crate) secret: Option<Box<str>>,
    /// Whether certificates are verified.
    pub(crate) verify: bool,
    /// The name that certificates have to have.
    pub(crate) name: Option<Box<str>>,
    /// Whether the name is told in the handshake.
    pub(crate) tells_name: bool,
    /// Whether anything is said that has no meaning without TLS.
    pub(crate) about_tls: bool,
}

fn of(settings: &mut Settings) -> &mut Backend {
    settings.backend.get_or_insert_default()
}

fn about_tls(settings: &mut Settings) -> &mut Backend {
    let backend = of(settings);
    backend.about_tls = true;
    backend
}

/// Whether it is gRPC, and whether it is inside TLS.
fn protocol(value: &str) -> Result<(bool, bool), BadValue> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => Ok((false, false)),
        "HTTPS" => Ok((false, true)),
        "GRPC" => Ok((true, false)),
        "GRPCS" => Ok((true, true)),
        _ => Err(BadValue::invalid("HTTP, HTTPS, GRPC or GRPCS")),
    }
}

fn on(value: &str) -> Result<bool, BadValue> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => boolean(other).map_err(|_| BadValue::invalid("\"on\" or \"off\"")),
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
        assert_eq!(protocol("https"), Ok((false, true)));
        assert_eq!(protocol("GRPCS"), Ok((true, true)));
        assert_eq!(protocol("Grpc"), Ok((true, false)));
        for wrong in ["", "FCGI", "AUTO_HTTP", "tcp"] {
            assert!(protocol(wrong).is_err(), "{wrong}");
        }
    }
}
