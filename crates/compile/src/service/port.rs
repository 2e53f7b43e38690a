//! Which of a Service's ports a reference means.

use objects::kinds::{Service, ServicePort};

use crate::ingress::parse::PortRef;
use crate::name::NameRef;

/// Why a reference to a Service port leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such Service.
    NoService,
    /// The Service has no such port, but these.
    NoPort { others: Vec<String> },
    /// The port is there, but it does not speak TCP.
    NotTcp { protocol: String },
    /// It is a name outside, and such are not served (`--disable-svc-external-name`).
    ExternalName,
}

impl Refused {
    /// The field below `backend.service` that is to blame.
    pub(crate) fn field(&self, port: &PortRef) -> &'static str {
        match (self, port) {
            (Self::NoService | Self::ExternalName, _) => "name",
            (_, PortRef::Name(_)) => "port.name",
            (_, PortRef::Number(_) | PortRef::Udp(_)) => "port.number",
            (_, PortRef::First) => "port",
        }
    }

    pub(crate) fn message(&self, service: NameRef<'_>, port: &PortRef) -> String {
        match (self, port) {
            (Self::NoService, _) => format!("there is no Service {service}"),
            (Self::NoPort { .. }, PortRef::Name(name)) => {
                format!("Service {service} has no port named {name}")
            }
            (Self::NoPort { .. }, PortRef::Number(number)) => {
                format!("Service {service} has no port {number}")
            }
            (Self::NoPort { .. }, PortRef::Udp(number)) => {
                format!("Service {service} has no port {number} that speaks UDP")
            }
            (Self::NoPort { .. }, PortRef::First) => format!("Service {service} has no port"),
            (Self::ExternalName, _) => {
                format!("Service {service} is of type ExternalName, and such are not served")
            }
            (Self::NotTcp { protocol }, port) => {
                format!("port {port} of Service {service} speaks {protocol}; HTTP needs TCP")
            }
        }
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoService => "the name of a Service in the same namespace".to_owned(),
            Self::NoPort { others } if others.is_empty() => {
                "add the port to the Service's spec.ports".to_owned()
            }
            Self::NoPort { others } => format!("it has {}", others.join(", ")),
            Self::ExternalName => {
                "a Service with endpoints, or no --disable-svc-external-name".to_owned()
            }
            Self::NotTcp { .. } => "a port whose protocol is TCP".to_owned(),
        }
    }
}

/// The port of a Service that a reference means.
pub(super) fn find<'a>(service: &'a Service, port: &PortRef) -> Result<&'a ServicePort, Refused> {
    let ports = service.spec.ports.as_deref().unwrap_or_default();
    let is_meant = |known: &&ServicePort| match port {
        PortRef::Name(name) => known.name.as_deref() == Some(&**name),
        PortRef::Number(number) => known.port == *number,
        PortRef::Udp(number) => known.port == *number && is_udp(known),
        PortRef::First => true,
    };
    let mut meant = ports.iter().filter(is_meant).peekable();
    let Some(first) = meant.peek().copied() else {
        let others = ports
            .iter()
            .filter(|port| speaks_tcp(port))
            .map(describe)
            .collect();
        return Err(Refused::NoPort { others });
    };
    if matches!(port, PortRef::Udp(_)) {
        return Ok(first);
    }
    // One number may be there for TCP and for UDP.
    meant
        .find(|port| speaks_tcp(port))
        .ok_or_else(|| Refused::NotTcp {
            protocol: first.protocol.as_deref().unwrap_or_default().to_owned(),
        })
}

fn speaks_tcp(port: &ServicePort) -> bool {
    protocol(port.protocol.as_deref()) == "TCP"
}

fn is_udp(port: &ServicePort) -> bool {
    protocol(port.protocol.as_deref()) == "UDP"
}

/// TCP is what no protocol means.
pub(super) fn protocol(protocol: Option<&str>) -> &str {
    protocol.filter(|text| !text.is_empty()).unwrap_or("TCP")
}

fn describe(port: &ServicePort) -> String {
    match port.name.as_deref() {
        None | Some("") => format!("number {}", port.port),
        Some(name) => format!("number {} (name {name})", port.port),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::service;

    #[test]
    fn by_number_or_name_and_only_tcp() {
        let service = service(
            "default",
            "dns",
            json!({"spec": {"ports": [
                {"name": "dns-udp", "port": 53, "protocol": "UDP"},
                {"name": "dns", "port": 53, "protocol": "TCP"},
                {"name": "quic", "port": 443, "protocol": "UDP"},
                {"name": "http", "port": 80}
            ]}}),
        );
        let named = |name: &str| PortRef::Name(name.into());
        let found =
            |port: &PortRef| find(&service, port).map(|port| port.name.clone().unwrap_or_default());
        assert_eq!(found(&PortRef::Number(53)).as_deref(), Ok("dns"));
        assert_eq!(found(&named("http")).as_deref(), Ok("http"));
        assert_eq!(found(&PortRef::First).as_deref(), Ok("dns"));
        let not_tcp = Refused::NotTcp {
            protocol: "UDP".to_owned(),
        };
        assert_eq!(found(&PortRef::Number(443)), Err(not_tcp));
        let missing = found(&named("https")).expect_err("no such port");
        assert_eq!(
            missing.hint(),
            "it has number 53 (name dns), number 80 (name http)"
        );
    }
}
