//! XBackends: hosts outside of the cluster that routes lead to, by the names that they have in DNS.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use model::backend::Discovery;
use model::{BackendTls, HostName, HttpVersion, Transport};
use objects::kinds::gateway::{BackendTls as TlsSource, XBackend};
use objects::kinds::{Kind, ObjectKey};

use super::listener::certificate;
use super::references::{Reference, object};
use super::tls_policy::{self, Validated};
use super::topology::Look;
use crate::name::{Name, NameRef};
use crate::service::External;
use crate::status::Wrong;

/// Names that are the cluster's own: they are no business of an XBackend (`externalHostname`).
const CLUSTER: &str = "cluster.local";

/// Every XBackend, by name.
#[derive(Debug, Default)]
pub(super) struct XBackends(HashMap<Name, Outside>);

/// One host outside.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) key: ObjectKey,
    pub(super) generation: i64,
    host: Box<str>,
    port: u16,
    protocol: Protocol,
    tls: Option<Arc<BackendTls>>,
    /// Why nothing is sent there.
    pub(super) refused: Option<Wrong>,
    /// What it refers to that is not there.
    pub(super) unresolved: Option<Wrong>,
}

/// `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// What the route speaks.
    Route,
    Tcp,
    Http11,
    /// HTTP/2, with TLS or in clear text.
    Http2,
}

/// Who wants to send something there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    /// The kind of its route.
    pub(super) kind: Kind,
    /// Whether it speaks HTTP/2 and nothing else.
    pub(super) http2: bool,
}

impl XBackends {
    pub(super) fn read(look: &mut Look<'_, '_>) -> Self {
        let sources: Vec<_> = look.world.store.backends().cloned().collect();
        let all = sources.into_iter().map(|source| {
            let name = NameRef::of(&source.metadata).to_owned();
            (name, Outside::read(&source, look))
        });
        Self(all.collect())
    }

    pub(super) fn get(&self, name: NameRef<'_>) -> Option<&Outside> {
        self.0.get(&name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Outside)> {
        self.0.iter()
    }
}

impl Outside {
    fn read(source: &XBackend, look: &mut Look<'_, '_>) -> Self {
        let NameRef { namespace, name } = NameRef::of(&source.metadata);
        let spec = &source.spec;
        let host = spec.external_hostname.as_ref();
        let host = host.map_or("", |host| host.hostname.trim_end_matches('.'));
        let mut outside = Self {
            key: object(Kind::XBackend, namespace, name),
            generation: source.metadata.generation,
            refused: (*spec.type_ != *"ExternalHostname").then(|| {
                let message = format!("the type {} is not supported", &*spec.type_);
                Wrong::new("UnsupportedValue", "spec.type", message, "ExternalHostname")
            }),
            host: host.to_ascii_lowercase().into(),
            port: spec.port.port,
            protocol: Protocol::Route,
            tls: None,
            unresolved: None,
        };
        let protocol = spec.protocol.as_deref();
        outside.read_protocol(protocol);
        if let Some(tls) = spec.tls.as_deref() {
            outside.read_tls(tls, look);
        }
        if protocol == Some("H2C") && outside.tls.is_some() {
            let message = "the protocol H2C is HTTP/2 in clear text, and there is TLS";
            let hint = "HTTP2, or mode None";
            outside.refuse(Wrong::new(
                "UnsupportedProtocol",
                "spec.protocol",
                message,
                hint,
            ));
        }
        outside.check_host();
        outside
    }

    fn refuse(&mut self, wrong: Wrong) {
        self.refused.get_or_insert(wrong);
    }

    fn check_host(&mut self) {
        let name = &*self.host;
        let is_own = name
            .strip_suffix(CLUSTER)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let is_host = HostName::parse(name.as_bytes()).is_some_and(|host| host.as_str() == name);
        if is_own || !is_host || name.parse::<IpAddr>().is_ok() {
            self.refuse(Wrong::new(
                "Invalid",
                "spec.externalHostname.hostname",
                format!(
                    "{:?} is no name of a host outside of the cluster",
                    self.host
                ),
                "a DNS name that does not end with .cluster.local; Services are referred to by \
                 their names",
            ));
        }
        if self.port == 0 {
            let hint = "a number from 1 to 65535";
            self.refuse(Wrong::new(
                "Invalid",
                "spec.port.port",
                "there is no port",
                hint,
            ));
        }
    }

    fn read_protocol(&mut self, protocol: Option<&str>) {
        self.protocol = match protocol {
            // HTTP leaves the version to us and to ALPN, and so does what says nothing.
            None | Some("" | "HTTP") => Protocol::Route,
            Some("TCP") => Protocol::Tcp,
            Some("HTTP11") => Protocol::Http11,
            Some("HTTP2" | "H2C" | "GRPC") => Protocol::Http2,
            Some(other) => {
                let message = format!("the protocol {other} is not supported");
                let hint = "HTTP, HTTP11, HTTP2, H2C, TCP, or none";
                self.refuse(Wrong::new(
                    "UnsupportedProtocol",
                    "spec.protocol",
                    message,
                    hint,
                ));
                Protocol::Route
            }
        };
    }

    fn read_tls(&mut self, source: &TlsSource, look: &mut Look<'_, '_>) {
        let shows_own = match &*source.mode {
            "None" => return,
            "ServerOnly" => false,
            "ClientAndServer" => true,
            other => {
                let message = format!("the mode {other} is not supported");
                let hint = "None, ServerOnly or ClientAndServer";
                return self.refuse(Wrong::new(
                    "UnsupportedValue",
                    "spec.tls.mode",
                    message,
                    hint,
                ));
            }
        };
        let place = "spec.tls.validation";
        let none = Default::default();
        let validation = source.validation.as_ref().unwrap_or(&none);
        let Validated {
            tls,
            refused,
            unresolved,
        } = tls_policy::validated(&self.key, place, validation, &self.host, look);
        self.unresolved = unresolved;
        if let Some(wrong) = refused {
            self.refuse(wrong);
        }
        let Some(mut tls) = tls else { return };
        if shows_own {
            let field = "spec.tls.clientCertificateRef";
            let own = match &source.client_certificate_ref {
                Some(reference) => {
                    let reference = Reference::of(reference, "Secret");
                    certificate(&self.key, field, reference, look)
                }
                None => Err(Wrong::new(
                    "InvalidCertificateRef",
                    field,
                    "there is no certificate to show",
                    "the name of a Secret of type kubernetes.io/tls, or mode ServerOnly",
                )),
            };
            match own {
                Ok(own) => tls.client = Some(Arc::clone(&own.certificate)),
                Err(wrong) => {
                    self.refuse(Wrong {
                        reason: "Invalid",
                        ..wrong.clone()
                    });
                    self.unresolved = Some(wrong);
                }
            }
        }
        self.tls = Some(Arc::new(tls));
    }

    /// What is connected to, and how.
    pub(super) fn reached_by(&self, field: &str, sender: Sender) -> Result<External, Wrong> {
        if let Some(refused) = &self.refused {
            let reason = match refused.reason {
                reason @ ("UnsupportedProtocol" | "UnsupportedValue") => reason,
                _ => "BackendNotFound",
            };
            let message = format!("{} is not valid: {}", self.key, refused.message);
            return Err(Wrong::new(reason, field, message, refused.hint));
        }
        Ok(External {
            object: self.key.clone(),
            discovery: Discovery::Dns {
                // As a whole name: in the search domains of a pod's, it could be a Service of any
                // namespace, which nobody gave leave to refer to.
                host: format!("{}.", self.host).into(),
                port: self.port,
            },
            transport: self.transport(field, sender)?,
        })
    }

    /// What is spoken there to carry what a route sends.
    fn transport(&self, field: &str, sender: Sender) -> Result<Transport, Wrong> {
        let Sender { kind, http2 } = sender;
        let refuse = |reason, why: &str, hint| {
            let message = format!("{} {why}", self.key);
            Err(Wrong::new(reason, field, message, hint))
        };
        let protocol = |why| {
            refuse(
                "UnsupportedProtocol",
                why,
                "another protocol of the XBackend",
            )
        };
        let http = match (kind, self.protocol) {
            (Kind::UdpRoute, _) => {
                let hint = "a Service's port for UDP";
                return refuse("UnsupportedProtocol", "does not speak UDP", hint);
            }
            (Kind::TcpRoute | Kind::TlsRoute, _) if self.tls.is_some() => {
                let why = "asks for TLS (spec.tls), and the bytes of the route go on as they are";
                return refuse("UnsupportedValue", why, "mode None");
            }
            (Kind::TcpRoute | Kind::TlsRoute, _) => HttpVersion::Http1,
            (_, Protocol::Tcp) => return protocol("speaks TCP and no HTTP"),
            (_, Protocol::Http11) if http2 => {
                return protocol("speaks HTTP/1.1, and gRPC does not");
            }
            (_, Protocol::Http11) => HttpVersion::Http1,
            (_, Protocol::Http2) => HttpVersion::Http2,
            (_, Protocol::Route) if http2 => HttpVersion::Http2,
            (_, Protocol::Route) if self.tls.is_some() => HttpVersion::Negotiated,
            (_, Protocol::Route) => HttpVersion::Http1,
        };
        Ok(Transport {
            http,
            tls: self.tls.clone(),
            ..Transport::default()
        })
    }

    /// The port, where a reference names another one.
    pub(super) fn other_port(&self, wanted: Option<u16>) -> Option<u16> {
        wanted
            .is_some_and(|wanted| wanted != self.port)
            .then_some(self.port)
    }
}
