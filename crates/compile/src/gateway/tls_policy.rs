//! BackendTLSPolicies: TLS towards the ports of a Service. And how any backend is verified.

use std::sync::Arc;

use hashbrown::HashMap;
use model::BackendTls;
use model::transport::SubjectName;
use objects::kinds::gateway::{BackendTlsPolicy, BackendTlsValidation};
use objects::kinds::{Kind, ObjectKey};

use super::references::{Reference, object};
use super::topology::{Look, age};
use super::xbackend::XBackends;
use crate::name::{Name, NameRef};
use crate::status::Wrong;

/// Every BackendTLSPolicy, and which one holds for a Service's port.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// The older ones first.
    pub(super) all: Vec<Policy>,
    /// By Service and port name; without one, for all its ports. The index of the one that holds.
    by_target: HashMap<(Name, Option<Box<str>>), usize>,
    /// What is not about Services and their ports.
    pub(super) outside: XBackends,
}

/// One policy about Services.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) key: ObjectKey,
    pub(super) generation: i64,
    /// What is spoken; none if nothing can be, or the policy is about something else.
    pub(super) tls: Option<Arc<BackendTls>>,
    pub(super) refused: Option<Wrong>,
    pub(super) unresolved: Option<Wrong>,
    /// The Services that it is about.
    pub(super) services: Vec<Name>,
}

impl Policies {
    pub(super) fn read(look: &mut Look<'_, '_>) -> Self {
        let mut sources: Vec<_> = look.world.store.backend_tls_policies().cloned().collect();
        sources.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata)));
        let mut policies = Self {
            outside: XBackends::read(look),
            ..Self::default()
        };
        for source in sources {
            let index = policies.all.len();
            let mut policy = Policy::read(&source, look);
            let namespace = policy.key.namespace.clone();
            let targets = source.spec.target_refs.iter().flatten();
            let mut lost = false;
            for target in targets {
                if !target.group.is_empty() || *target.kind != *"Service" {
                    continue;
                }
                let name = Name::new(&namespace, &target.name);
                policy.services.push(name.clone());
                let section = target
                    .section_name
                    .as_deref()
                    .filter(|name| !name.is_empty());
                let target = (name, section.map(Into::into));
                if policies.by_target.contains_key(&target) {
                    lost = true;
                } else {
                    policies.by_target.insert(target, index);
                }
            }
            if lost {
                policy.refused = Some(Wrong::new(
                    "Conflicted",
                    "spec.targetRefs",
                    "an older BackendTLSPolicy is about the same",
                    "one policy for each Service, or for each of its ports",
                ));
            }
            policies.all.push(policy);
        }
        policies
    }

    /// What is spoken to a Service's port: some if a policy is about it, and none inside if that is
    /// not valid.
    pub(super) fn find(
        &self,
        service: NameRef<'_>,
        port: Option<&str>,
    ) -> Option<Option<&Arc<BackendTls>>> {
        if self.by_target.is_empty() {
            return None;
        }
        let service = service.to_owned();
        let of_port = port.and_then(|port| {
            let target = (service.clone(), Some(port.into()));
            self.by_target.get(&target)
        });
        let index = of_port.or_else(|| self.by_target.get(&(service, None)))?;
        Some(self.all[*index].tls.as_ref())
    }
}

impl Policy {
    fn read(source: &BackendTlsPolicy, look: &mut Look<'_, '_>) -> Self {
        let name = NameRef::of(&source.metadata);
        let key = object(Kind::BackendTlsPolicy, name.namespace, name.name);
        let place = "spec.validation";
        let validation = &source.spec.validation;
        let Validated {
            tls,
            mut refused,
            unresolved,
        } = validated(&key, place, validation, &validation.hostname, look);
        let references = validation.ca_certificate_refs.as_deref();
        if references.unwrap_or_default().is_empty()
            && validation.well_known_ca_certificates.is_none()
        {
            refused = Some(no_authority(place));
        }
        let tls = tls.filter(|_| refused.is_none()).map(Arc::new);
        Self {
            key,
            tls,
            refused,
            unresolved,
            services: Vec::new(),
            generation: source.metadata.generation,
        }
    }
}

/// How certificates are verified, as far as that can be done.
#[derive(Debug)]
pub(super) struct Validated {
    /// None if nothing could be verified.
    pub(super) tls: Option<BackendTls>,
    pub(super) refused: Option<Wrong>,
    pub(super) unresolved: Option<Wrong>,
}

/// Reads how the certificate of a backend is verified that is `host` unless it says otherwise. With
/// no authorities it is everybody that the process trusts. `place` is the field.
pub(super) fn validated(
    owner: &ObjectKey,
    place: &str,
    validation: &BackendTlsValidation,
    host: &str,
    look: &mut Look<'_, '_>,
) -> Validated {
    let mut authorities = Vec::new();
    let mut unresolved = None;
    let references = validation
        .ca_certificate_refs
        .as_deref()
        .unwrap_or_default();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("{place}.caCertificateRefs[{index}]");
        let reference = Reference::of(reference, "ConfigMap");
        match super::authorities::find(owner, &field, reference, look) {
            Ok(found) => authorities.extend(found),
            Err(mut wrong) => {
                if wrong.reason == "InvalidCACertificateKind" {
                    wrong.reason = "InvalidKind";
                }
                unresolved.get_or_insert(wrong);
            }
        }
    }
    let system = references.is_empty();
    let refused = (!system && authorities.is_empty()).then(|| no_authority(place));
    let names = validation.subject_alt_names.iter().flatten();
    let names = names.filter_map(|name| match &*name.type_ {
        "Hostname" => Some(SubjectName::Host(name.hostname.as_deref()?.into())),
        "URI" => Some(SubjectName::Uri(name.uri.as_deref()?.into())),
        _ => None,
    });
    let host = match &*validation.hostname {
        "" => host,
        named => named,
    };
    let tls = refused.is_none().then(|| BackendTls {
        authorities: (!system).then(|| authorities.into()),
        names: names.collect(),
        ..BackendTls::new(host)
    });
    Validated {
        tls,
        refused,
        unresolved,
    }
}

fn no_authority(place: &str) -> Wrong {
    Wrong::new(
        "NoValidCACertificate",
        place,
        "there is no valid certificate of an authority",
        "caCertificateRefs with a ConfigMap, or wellKnownCACertificates: System",
    )
}
