//! One Service as the store has it now: what its ports mean, and what is wrong with it.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use model::backend::Discovery;
use model::policy::{Asked, Retry};
use model::{HostName, Policy, Transport, Unavailable};
use objects::Store;
use objects::kinds::{EndpointSlice, IntOrString, Kind, ObjectKey, Service, ServicePort};

use super::Traffic;
use super::balance;
use super::endpoints::{Addresses, Found, is_names, weight};
use super::given::{self, Given, canonical};
use super::locality::{Place, Preference};
use super::port::{self, Refused};
use super::transport;
use crate::ingress::annotations::{self, ENDPOINTS, WEIGHT};
use crate::ingress::parse::PortRef;
use crate::name::{Name, NameRef};
use crate::options::EndpointOverride;
use crate::report::{Problems, annotation_field};

/// One Service as the store has it now.
pub(super) struct View<'a> {
    name: NameRef<'a>,
    store: &'a Store,
    service: Option<&'a Service>,
    overrides: &'a [EndpointOverride],
    place: &'a Place,
    default: &'a Arc<Policy>,
    traffic: Option<&'a Arc<Traffic>>,
    /// Whether a name outside may be what it stands for.
    external_names: bool,
}

/// What a reference to a port comes to.
pub(super) struct Plan<'a> {
    pub(super) discovery: Discovery,
    pub(super) transport: Transport,
    source: Source<'a>,
}

/// Where the addresses come from.
enum Source<'a> {
    /// The command line or the annotation.
    Given(Vec<Given>),
    /// EndpointSlices or an Endpoints object.
    Objects(&'a ServicePort),
    /// DNS.
    Name,
    /// DNS, if there were a name.
    BadName,
}

impl<'a> View<'a> {
    pub(super) fn read(
        name: NameRef<'a>,
        store: &'a Store,
        overrides: &'a HashMap<Name, Vec<EndpointOverride>>,
        place: &'a Place,
        default: &'a Arc<Policy>,
    ) -> Self {
        Self {
            name,
            store,
            service: store
                .service(name.namespace, name.name)
                .map(|service| &**service),
            overrides: overrides.get(&name).map(Vec::as_slice).unwrap_or_default(),
            place,
            default,
            traffic: None,
            external_names: true,
        }
    }

    /// The same, where names outside are resolved, or are not.
    pub(super) fn resolving(self, external_names: bool) -> Self {
        Self {
            external_names,
            ..self
        }
    }

    /// The same, with what others than the Service say of its traffic.
    pub(super) fn with(self, traffic: Option<&'a Arc<Traffic>>) -> Self {
        Self { traffic, ..self }
    }

    pub(super) fn is_external(&self) -> bool {
        self.service.is_some_and(is_external)
    }

    /// What a reference to a port comes to.
    pub(super) fn plan(&self, port: &PortRef) -> Result<Plan<'a>, Refused> {
        let service = self.service.ok_or(Refused::NoService)?;
        let found = port::find(service, port);
        let given = self.given(service, found.as_ref().ok().copied(), port);
        let spoken = found.as_ref().ok().copied();
        let transport = |discovery: &Discovery| transport::read(service, spoken, discovery);
        if !is_external(service) {
            let found = found?;
            let source = if given.is_empty() {
                Source::Objects(found)
            } else {
                Source::Given(given)
            };
            return Ok(Plan {
                transport: transport(&Discovery::Listed),
                discovery: Discovery::Listed,
                source,
            });
        }
        if !given.is_empty() {
            return Ok(Plan {
                transport: transport(&Discovery::Listed),
                discovery: Discovery::Listed,
                source: Source::Given(given),
            });
        }
        if !self.external_names {
            return Err(Refused::ExternalName);
        }
        // A Service of type ExternalName need not list the ports of the host that it stands for.
        let port = match (found, port) {
            (Ok(found), _) => external_port(found),
            (Err(Refused::NoPort { .. }), PortRef::Number(number)) => *number,
            (Err(refused), _) => return Err(refused),
        };
        let (discovery, source) = match external_host(service) {
            Some(host) => (Discovery::Dns { host, port }, Source::Name),
            None => (Discovery::Listed, Source::BadName),
        };
        Ok(Plan {
            transport: transport(&discovery),
            discovery,
            source,
        })
    }

    /// Where the requests for a port go.
    pub(super) fn addresses(&self, port: &PortRef, cluster_ip: bool) -> Addresses {
        match self.plan(port) {
            Ok(Plan {
                source: Source::Objects(port),
                ..
            }) if cluster_ip && let Some(address) = self.cluster_address(port) => {
                Addresses::given(&[Given::new(address)])
            }
            Ok(Plan {
                source: Source::Given(addresses),
                ..
            }) => Addresses::given(&addresses),
            Ok(Plan {
                source: Source::Objects(port),
                ..
            }) => self.found(port).choose(self.preference()),
            Ok(Plan {
                source: Source::Name | Source::BadName,
                ..
            }) => Addresses::none(Unavailable::Unresolved),
            Err(Refused::NoService | Refused::ExternalName) => {
                Addresses::none(Unavailable::NoService)
            }
            Err(Refused::NoPort { .. } | Refused::NotTcp { .. }) => {
                Addresses::none(Unavailable::NoPort)
            }
        }
    }

    /// The Service's own address.
    fn cluster_address(&self, port: &ServicePort) -> Option<SocketAddr> {
        let ip = self.service?.spec.cluster_ip.as_deref()?;
        Some(canonical(ip.parse().ok()?, port.port))
    }

    /// Whether the Service says itself how its endpoints are chosen from.
    pub(super) fn says_how_to_spread(&self) -> bool {
        self.service.is_some_and(balance::says_how_to_spread)
    }

    fn preference(&self) -> Preference {
        self.service
            .map(|service| Preference::read(service, None))
            .unwrap_or_default()
    }

    /// How requests are spread over the endpoints.
    pub(super) fn policy(&self) -> Arc<Policy> {
        let policy = match self.service {
            Some(service) => balance::read(service, self.default, None),
            None => Arc::clone(self.default),
        };
        let Some(traffic) = self.traffic else {
            return policy;
        };
        let retry = match traffic.retry {
            Some((budget, min_per_second)) => Retry {
                budget,
                min_per_second,
                asked: Asked::Constraint,
                ..policy.retry
            },
            None => policy.retry,
        };
        Arc::new(Policy {
            retry,
            affinity: traffic.affinity.clone().or_else(|| policy.affinity.clone()),
            ..Policy::clone(&policy)
        })
    }

    /// What is wrong with the Service and its slices, as far as these ports go.
    pub(super) fn problems(&self, used: &[&PortRef]) -> Vec<Problems> {
        let Some(service) = self.service else {
            return Vec::new(); // Said where the reference is.
        };
        let NameRef { namespace, name } = self.name;
        let mut problems = Problems::of(ObjectKey::new(Kind::Service, namespace, name));
        for name in service.metadata.annotations.keys() {
            if !transport::KNOWN.contains(&name) {
                annotations::unknown_own(name, balance::KNOWN, &mut problems);
            }
        }
        let ports: Vec<_> = used
            .iter()
            .filter_map(|port| port::find(service, port).ok())
            .collect();
        transport::problems(service, &ports, &mut problems);
        balance::read(service, self.default, Some(&mut problems));
        Preference::read(service, Some(&mut problems));
        given::annotated(service, Some(&mut problems));
        let plans: Vec<_> = used
            .iter()
            .filter_map(|port| self.plan(port).ok())
            .collect();
        if plans
            .iter()
            .any(|plan| matches!(plan.source, Source::BadName))
        {
            problems.error(
                "spec.externalName",
                "is no host name: there is nothing to resolve",
                "the DNS name of the host that the Service stands for",
            );
        }
        let mut listed: Vec<_> = plans
            .iter()
            .filter_map(|plan| match plan.source {
                Source::Objects(port) => Some(port),
                _ => None,
            })
            .collect();
        // One port may be referred to by name and by number.
        listed.sort_by_key(|port| (port.port, port.name.as_deref()));
        listed.dedup_by(|a, b| std::ptr::eq(*a, *b));
        if listed.is_empty() {
            return vec![problems];
        }
        self.endpoint_problems(&listed, &mut problems);
        let mut all: Vec<_> = self.slices().filter_map(slice_problems).collect();
        all.push(problems);
        all
    }

    fn endpoint_problems(&self, ports: &[&ServicePort], problems: &mut Problems) {
        if !self.has_endpoint_objects() {
            let name = self.name;
            problems.warning(
                "",
                "has no EndpointSlice and no Endpoints: requests are answered with 503",
                format!(
                    "--endpoint {name}=HOST:PORT, or the annotation {ENDPOINTS}: \"ADDRESS:PORT\""
                ),
            );
            return;
        }
        for port in ports {
            let found = self.found(port);
            if found.any && !found.has_port {
                let message = match port.name.as_deref() {
                    None | Some("") => "no EndpointSlice has a port without name".to_owned(),
                    Some(name) => format!("no EndpointSlice has a port named {name}"),
                };
                let message = format!("{message}, as port {} needs: it answers 503", port.port);
                problems.warning("spec.ports", message, "the same port name in both objects");
            }
        }
    }

    fn given(&self, service: &Service, found: Option<&ServicePort>, port: &PortRef) -> Vec<Given> {
        let is_meant = |wanted: &str| {
            found.is_some_and(|found| {
                found.name.as_deref() == Some(wanted) || found.port.to_string() == wanted
            }) || matches!(port, PortRef::Number(number) if number.to_string() == wanted)
        };
        let on_command_line: Vec<_> = self
            .overrides
            .iter()
            .filter(|given| given.port.as_deref().is_none_or(is_meant))
            .flat_map(|given| given.addresses.iter().copied().map(Given::new))
            .collect();
        if on_command_line.is_empty() {
            return given::annotated(service, None);
        }
        on_command_line
    }

    fn slices(&self) -> impl Iterator<Item = &'a EndpointSlice> {
        let NameRef { namespace, name } = self.name;
        self.store
            .endpoint_slices(namespace, name)
            .map(|slice| &**slice)
    }

    fn has_endpoint_objects(&self) -> bool {
        let NameRef { namespace, name } = self.name;
        self.slices().next().is_some() || self.store.endpoints(namespace, name).is_some()
    }

    fn found(&self, port: &ServicePort) -> Found {
        let mut found = Found::default();
        let mut slices = self.slices().peekable();
        // In a cluster an Endpoints object is only a copy of the slices.
        if slices.peek().is_none() {
            let NameRef { namespace, name } = self.name;
            if let Some(endpoints) = self.store.endpoints(namespace, name) {
                found.add_endpoints(endpoints, port);
            }
        }
        slices.for_each(|slice| found.add_slice(slice, port, self.place));
        found
    }
}

fn is_external(service: &Service) -> bool {
    service.spec.type_.as_deref() == Some("ExternalName")
}

/// The port of the host that a Service of type ExternalName stands for.
fn external_port(port: &ServicePort) -> u16 {
    match port.target_port {
        Some(IntOrString::Int(number)) if number > 0 => number,
        _ => port.port,
    }
}

fn external_host(service: &Service) -> Option<Box<str>> {
    let written = service.spec.external_name.as_deref()?;
    if let Ok(ip) = written.parse::<std::net::IpAddr>() {
        return Some(ip.to_string().into());
    }
    if written.contains(':') {
        return None;
    }
    HostName::parse(written.as_bytes()).map(|host| host.as_str().into())
}

fn slice_problems(slice: &EndpointSlice) -> Option<Problems> {
    let name = NameRef::of(&slice.metadata);
    let key = ObjectKey::new(Kind::EndpointSlice, name.namespace, name.name);
    let mut problems = Problems::of(key);
    if weight(slice).is_none() {
        let message = "cannot be read; the endpoints' weight is 1";
        let hint = "a whole number from 1 to 65535";
        problems.error(annotation_field(WEIGHT), message, hint);
    }
    if is_names(slice) {
        let message = "lists DNS names, which are not resolved; the slice is left out";
        problems.warning(
            "addressType",
            message,
            "IPv4 or IPv6, or a Service of type ExternalName",
        );
    } else {
        for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
            let address = endpoint
                .addresses
                .first()
                .map(|address| &**address)
                .unwrap_or_default();
            if address.parse::<std::net::IpAddr>().is_err() {
                let field = format!("endpoints[{index}].addresses[0]");
                let message = format!("{address:?} is no IP address; the endpoint is left out");
                problems.warning(field, message, "an IPv4 or IPv6 address");
            }
        }
    }
    (!problems.is_empty()).then_some(problems)
}
