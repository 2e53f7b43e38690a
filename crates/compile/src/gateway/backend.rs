//! What routes send requests to: Services and XBackends, of this namespace or by grant of another's.

use std::sync::Arc;

use model::{Backend, BackendTls};
use objects::kinds::gateway::EXPERIMENTAL_GROUP;
use objects::kinds::{Kind, ObjectKey};

use super::grants::To;
use super::references::Reference;
use super::tls_policy::Policies;
use super::topology::Topology;
use super::xbackend::Sender;
use crate::certificates::Loaded;
use crate::ingress::parse::PortRef;
use crate::ingress::resolve::World;
use crate::name::{Name, NameRef};
use crate::service::{External, Refused, Services, Spoken};
use crate::status::Wrong;

/// What was acquired, to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Acquired {
    /// A Service's port.
    Port {
        service: Name,
        port: PortRef,
        spoken: Spoken,
    },
    /// What an XBackend names.
    Outside(External),
}

impl Acquired {
    pub(super) fn release(&self, services: &mut Services) {
        match self {
            Self::Port {
                service,
                port,
                spoken,
            } => services.release_with(service.as_ref(), port, spoken),
            Self::Outside(external) => services.release_external(external),
        }
    }
}

/// What backends of one route are resolved with.
pub(super) struct Backends<'a, 'b> {
    pub(super) owner: &'a ObjectKey,
    pub(super) topology: &'a Topology,
    pub(super) policies: &'a Policies,
    pub(super) world: &'a mut World<'b>,
    /// What TLS backends are shown that ask for a certificate.
    pub(super) client: Option<&'a Arc<Loaded>>,
    pub(super) udp: bool,
    /// Whether bytes or datagrams go on as they are.
    pub(super) stream: bool,
    /// Whether clients' TLS goes on as it is, which ours would only wrap once more.
    pub(super) sealed: bool,
    pub(super) acquired: &'a mut Vec<Acquired>,
    /// The Services that were referred to, there or not.
    pub(super) services: &'a mut Vec<Name>,
    /// The XBackends that were referred to, there or not.
    pub(super) outside: &'a mut Vec<Name>,
}

impl Backends<'_, '_> {
    /// The backend of a reference.
    pub(super) fn find(
        &mut self,
        field: &str,
        reference: Reference<'_>,
        port: Option<u16>,
    ) -> Result<Arc<Backend>, Wrong> {
        self.find_speaking(field, reference, port, false)
    }

    /// The same, which speaks HTTP/2 whatever the Service says, if that is wanted.
    pub(super) fn find_speaking(
        &mut self,
        field: &str,
        reference: Reference<'_>,
        port: Option<u16>,
        http2: bool,
    ) -> Result<Arc<Backend>, Wrong> {
        if (reference.group, reference.kind) == (EXPERIMENTAL_GROUP, "XBackend") {
            return self.find_outside(field, reference, port, http2);
        }
        if (reference.group, reference.kind) != ("", "Service") {
            return Err(Wrong::new(
                "InvalidKind",
                field,
                format!(
                    "a {} of group {:?} is no backend",
                    reference.kind, reference.group
                ),
                "a Service, which is of the group \"\", or an XBackend of the group \
                 gateway.networking.x-k8s.io",
            ));
        }
        let namespace = reference.namespace.unwrap_or(&self.owner.namespace);
        let name = NameRef {
            namespace,
            name: reference.name,
        };
        self.services.push(name.to_owned());
        let to = To {
            kind: Kind::Service,
            namespace,
            name: reference.name,
        };
        self.topology.grants.check(field, self.owner, to)?;
        let Some(port) = port else {
            return Err(Wrong::new(
                "BackendNotFound",
                format!("{field}.port"),
                "no port is named",
                "a port of the Service",
            ));
        };
        let port = match self.udp {
            true => PortRef::Udp(port),
            false => PortRef::Number(port),
        };
        let tls = match self.sealed {
            true => None,
            false => self.tls(name, &port),
        };
        let tls = tls.transpose().map_err(|message| {
            let hint = "a valid BackendTLSPolicy";
            Wrong::new("BackendNotFound", field, message, hint)
        })?;
        let spoken = Spoken {
            tls,
            http2,
            stream: self.stream,
            ..Spoken::default()
        };
        let world = &mut *self.world;
        let (backend, refused) = world
            .services
            .acquire_with(name, &port, &spoken, world.store);
        self.acquired.push(Acquired::Port {
            service: name.to_owned(),
            port: port.clone(),
            spoken,
        });
        match refused {
            None => Ok(backend),
            Some(refused) => {
                let reason = match refused {
                    Refused::NotTcp { .. } => "UnsupportedProtocol",
                    Refused::NoService | Refused::NoPort { .. } | Refused::ExternalName => {
                        "BackendNotFound"
                    }
                };
                let message = refused.message(name, &port);
                Err(Wrong::new(reason, field, message, "a port of a Service"))
            }
        }
    }

    fn find_outside(
        &mut self,
        field: &str,
        reference: Reference<'_>,
        port: Option<u16>,
        http2: bool,
    ) -> Result<Arc<Backend>, Wrong> {
        let namespace = reference.namespace.unwrap_or(&self.owner.namespace);
        let name = NameRef {
            namespace,
            name: reference.name,
        };
        self.outside.push(name.to_owned());
        let to = To {
            kind: Kind::XBackend,
            namespace,
            name: reference.name,
        };
        self.topology.grants.check(field, self.owner, to)?;
        let not_found =
            |field: String, message, hint| Err(Wrong::new("BackendNotFound", field, message, hint));
        let Some(outside) = self.policies.outside.get(name) else {
            let message = format!("there is no XBackend {name}");
            return not_found(field.to_owned(), message, "the name of an XBackend");
        };
        if let Some(port) = outside.other_port(port) {
            let message = format!("the port of XBackend {name} is {port}");
            let hint = "the same port in both, or none here";
            return not_found(format!("{field}.port"), message, hint);
        }
        let sender = Sender {
            kind: self.owner.kind,
            http2: http2 || self.owner.kind == Kind::GrpcRoute,
        };
        let external = outside.reached_by(field, sender)?;
        let backend = self.world.services.acquire_external(&external);
        self.acquired.push(Acquired::Outside(external));
        Ok(backend)
    }

    /// TLS for a Service's port, as a policy says; none if none says anything.
    fn tls(&self, name: NameRef<'_>, port: &PortRef) -> Option<Result<Arc<BackendTls>, String>> {
        let service = self.world.store.service(name.namespace, name.name)?;
        let PortRef::Number(number) = port else {
            return None;
        };
        let ports = service.spec.ports.iter().flatten();
        let mut ports = ports.filter(|port| port.port == *number);
        let port_name = ports.next().and_then(|port| port.name.as_deref());
        let tls = self.policies.find(name, port_name)?;
        let Some(tls) = tls else {
            return Some(Err(format!(
                "the BackendTLSPolicy of Service {name} is not valid"
            )));
        };
        let Some(client) = self.client else {
            return Some(Ok(Arc::clone(tls)));
        };
        Some(Ok(Arc::new(BackendTls {
            client: Some(Arc::clone(&client.certificate)),
            ..BackendTls::clone(tls)
        })))
    }
}
