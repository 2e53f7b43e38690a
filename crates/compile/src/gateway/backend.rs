//! What routes send requests to: Services, of this namespace or by grant of another's.

use std::sync::Arc;

use model::{Backend, BackendTls};
use objects::kinds::{Kind, ObjectKey};

use super::grants::{From, To};
use super::listener::not_permitted;
use super::references::Reference;
use super::tls_policy::Policies;
use super::topology::Topology;
use crate::certificates::Loaded;
use crate::ingress::parse::PortRef;
use crate::ingress::resolve::World;
use crate::name::{Name, NameRef};
use crate::service::{Refused, Spoken};
use crate::status::Wrong;

/// A Service port that was acquired, to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acquired {
    pub(super) service: Name,
    pub(super) port: PortRef,
    pub(super) spoken: Spoken,
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
        if (reference.group, reference.kind) != ("", "Service") {
            return Err(Wrong::new(
                "InvalidKind",
                field,
                format!(
                    "a {} of group {:?} is no backend",
                    reference.kind, reference.group
                ),
                "a Service, which is of the group \"\"",
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
        let from = From {
            kind: self.owner.kind,
            namespace: &self.owner.namespace,
        };
        if !self.topology.grants.permit(from, to) {
            return Err(not_permitted(field, self.owner.kind, to));
        }
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
        let tls = match tls {
            Some(Err(message)) => {
                return Err(Wrong::new(
                    "BackendNotFound",
                    field,
                    message,
                    "a valid BackendTLSPolicy",
                ));
            }
            Some(Ok(tls)) => Some(tls),
            None => None,
        };
        let spoken = Spoken {
            tls,
            http2,
            stream: self.stream,
        };
        let world = &mut *self.world;
        let (backend, refused) = world
            .services
            .acquire_with(name, &port, &spoken, world.store);
        self.acquired.push(Acquired {
            service: name.to_owned(),
            port: port.clone(),
            spoken,
        });
        match refused {
            None => Ok(backend),
            Some(refused) => {
                let reason = match refused {
                    Refused::NotTcp { .. } => "UnsupportedProtocol",
                    Refused::NoService | Refused::NoPort { .. } => "BackendNotFound",
                };
                let message = refused.message(name, &port);
                Err(Wrong::new(reason, field, message, "a port of a Service"))
            }
        }
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
