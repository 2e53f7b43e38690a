//! `backend-protocol` and `proxy-ssl-…`: what is spoken to backends, and whom they have to be.

use model::HostName;

use super::values::{BadValue, boolean};

/// Without their prefix.
pub(crate) const PROTOCOL: &str = "backend-protocol";
pub(crate) const SECRET: &str = "proxy-ssl-secret";
pub(crate) const VERIFY: &str = "proxy-ssl-verify";
const NAME: &str = "proxy-ssl-name";
const SERVER_NAME: &str = "proxy-ssl-server-name";

/// The names that this group reads.
pub(super) const NAMES: &[&str] = &[PROTOCOL, SECRET, VERIFY, NAME, SERVER_NAME];

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

impl Backend {
    /// Reads one annotation, if it is of this group.
    pub(super) fn read(&mut self, name: &str, value: &str) -> Option<Result<(), BadValue>> {
        self.about_tls |= name != PROTOCOL;
        let value = value.trim();
        Some(match name {
            PROTOCOL => protocol(value).map(|(grpc, tls)| (self.grpc, self.tls) = (grpc, tls)),
            SECRET => {
                self.secret = Some(value.into());
                Ok(())
            }
            VERIFY => on(value).map(|on| self.verify = on),
            NAME => host(value).map(|name| self.name = Some(name)),
            SERVER_NAME => on(value).map(|on| self.tells_name = on),
            _ => return None,
        })
    }
}

/// Whether it is gRPC, and whether it is inside TLS.
fn protocol(value: &str) -> Result<(bool, bool), BadValue> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => Ok((false, false)),
        "HTTPS" => Ok((false, true)),
        "GRPC" => Ok((true, false)),
        "GRPCS" => Ok((true, true)),
        _ => Err(BadValue {
            hint: "HTTP, HTTPS, GRPC or GRPCS",
        }),
    }
}

fn on(value: &str) -> Result<bool, BadValue> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => boolean(other).map_err(|_| BadValue {
            hint: "\"on\" or \"off\"",
        }),
    }
}

fn host(value: &str) -> Result<Box<str>, BadValue> {
    if let Ok(address) = value.parse::<std::net::IpAddr>() {
        return Ok(address.to_string().into());
    }
    let host = Some(value).filter(|value| !value.contains(':'));
    let host = host.and_then(|value| HostName::parse(value.as_bytes()));
    host.map(|host| host.as_str().into()).ok_or(BadValue {
        hint: "a DNS name or an IP address",
    })
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
