//! Certificates of authorities, in ConfigMaps (or Secrets) under `ca.crt`.

use objects::kinds::{Kind, ObjectKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::grants::To;
use super::references::{Reference, object};
use super::topology::Look;
use crate::status::Wrong;

const KEY: &str = "ca.crt";

/// The certificates in what `owner` refers to.
pub(super) fn find(
    owner: &ObjectKey,
    field: &str,
    reference: Reference<'_>,
    look: &mut Look<'_, '_>,
) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    const INVALID: &str = "InvalidCACertificateRef";
    const HINT: &str = "a ConfigMap with certificates in PEM under ca.crt";

    let kind = match (reference.group, reference.kind) {
        ("", "ConfigMap") => Kind::ConfigMap,
        ("", "Secret") => Kind::Secret,
        (group, kind) => {
            let message = format!("a {kind} of group {group:?} has no certificates");
            return Err(Wrong::new("InvalidCACertificateKind", field, message, HINT));
        }
    };
    let namespace = reference.namespace.unwrap_or(&owner.namespace);
    let name = reference.name;
    let to = To {
        kind,
        namespace,
        name,
    };
    look.grants.check(field, owner, to)?;
    look.refer(object(kind, namespace, name));
    let store = look.world.store;
    let invalid = |message: String| Wrong::new(INVALID, field, message, HINT);
    let missing = || invalid(format!("there is no {kind} {namespace}/{name}"));
    let text = match kind {
        Kind::Secret => {
            let secret = store.secret(namespace, name).ok_or_else(missing)?;
            secret.data.get(KEY).map(Vec::as_slice)
        }
        _ => {
            let map = store.config_map(namespace, name).ok_or_else(missing)?;
            let data = map.data.as_ref().and_then(|data| data.get(KEY));
            data.map(|text| text.as_bytes())
        }
    };
    let text = text.ok_or_else(|| invalid(format!("{kind} {namespace}/{name} has no {KEY}")))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(invalid(format!(
            "{KEY} of {kind} {namespace}/{name} has no CERTIFICATE in PEM"
        ))),
        Err(error) => Err(invalid(format!(
            "{KEY} of {kind} {namespace}/{name} cannot be read: {error}"
        ))),
    }
}
