//! What a record is as objects: the certificate as a Secret, the rest as an annotation.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use certs::ca::{Issued, names};
use certs::renew::{Failures, Window};
use certs::vault::Record;
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::MARK;
use super::vault::IssuedBy;
use crate::client::sha256;

/// The annotation of a Lease with what is known of its certificate, as JSON.
pub(super) const REST: &str = "narthex.dev/certificate-record";

/// The annotation of a Secret that tells who issued it, as the wish said.
const ISSUER: &str = "narthex.dev/certificate-issuer";

/// The longest error that is kept, in bytes: annotations are few hundred kilobytes together.
const LONGEST: usize = 4096;

const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";

/// What of a record is not in the Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Rest {
    /// The [`print`] of the certificate that this is about.
    of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<Failures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask_again: Option<SystemTime>,
}

impl Rest {
    /// The annotation for a record whose certificate is, or will be, that of `print`.
    pub(super) fn text(record: &Record, print: Option<&str>) -> String {
        let error = record.error.as_deref().map(|error| cut(error).to_owned());
        let rest = Self {
            of: print.map(str::to_owned),
            issuer: record.issuer.clone(),
            failures: record.failures,
            error,
            window: record.window,
            ask_again: record.ask_again,
        };
        // It has neither maps nor times before 1970, of which JSON could have none.
        serde_json::to_string(&rest).unwrap_or_default()
    }
}

/// What the two objects say together. What the annotation says of another certificate than the
/// Secret's is as if it were not there: somebody stopped between writing the one and the other.
pub(super) fn join(secret: Option<&Secret>, print: Option<&str>, rest: &str) -> Record {
    let issued = secret.and_then(issued);
    let rest: Rest = serde_json::from_str(rest).unwrap_or_default();
    if rest.of.as_deref() != print {
        let annotations = secret.and_then(|secret| secret.metadata.annotations.as_ref());
        let issuer = annotations.and_then(|all| all.get(ISSUER));
        return Record {
            issued,
            issuer: issuer.cloned(),
            ..Record::default()
        };
    }
    Record {
        issued,
        issuer: rest.issuer,
        failures: rest.failures,
        error: rest.error,
        window: rest.window,
        ask_again: rest.ask_again,
    }
}

/// Tells what one Secret holds from what another does.
pub(super) fn print(issued: &Issued) -> String {
    sha256(
        [&*issued.chain, &*issued.key, ca(issued)]
            .join("\0")
            .as_bytes(),
    )
}

/// The same of a Secret as it is, whatever that is.
pub(super) fn print_of(secret: &Secret) -> String {
    let value = |key| {
        let data = secret.data.as_ref();
        let value = data.and_then(|data| data.get(key));
        value.map_or(&b""[..], |value| value.0.as_slice())
    };
    sha256(&[value(CHAIN), value(KEY), value(CA)].join(&0))
}

/// A Secret to apply. `version` is that of the one which it is to replace.
pub(super) fn secret(
    (namespace, name): (&str, &str),
    issued: &Issued,
    issuer: Option<&str>,
    by: Option<&IssuedBy>,
    version: Option<&str>,
) -> Value {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let mut annotations = describe(issued, name);
    annotations.extend(issuer.map(|issuer| (ISSUER, issuer.to_owned())));
    if let Some(IssuedBy { name, kind, group }) = by {
        annotations.extend([
            ("cert-manager.io/issuer-name", name.clone()),
            ("cert-manager.io/issuer-kind", kind.clone()),
            ("cert-manager.io/issuer-group", group.clone()),
        ]);
    }
    let mut data = BTreeMap::from([(CHAIN, &*issued.chain), (KEY, &*issued.key)]);
    if !ca(issued).is_empty() {
        data.insert(CA, ca(issued));
    }
    let data: BTreeMap<_, _> = data
        .into_iter()
        .map(|(key, value)| (key, BASE64_STANDARD.encode(value)))
        .collect();
    let mut metadata = json!({
        "name": name,
        "namespace": namespace,
        "labels": {MARK: "true"},
        "annotations": annotations,
    });
    if let Some(version) = version {
        metadata["resourceVersion"] = version.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": data,
    })
}

fn issued(secret: &Secret) -> Option<Issued> {
    let data = secret.data.as_ref()?;
    let text = |key| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Issued {
        chain: text(CHAIN)?,
        key: text(KEY)?,
        ca: text(CA),
    })
}

/// The authority to trust, if it is to be told.
fn ca(issued: &Issued) -> &str {
    issued.ca.as_deref().unwrap_or_default()
}

/// What cert-manager writes of a certificate beside it, under its names
/// (`internal/controller/certificates`, `AnnotationsForCertificate`): the empty ones too.
fn describe(issued: &Issued, name: &str) -> BTreeMap<&'static str, String> {
    let names = names(&issued.chain).unwrap_or_default();
    let (addresses, names): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| name.parse::<IpAddr>().is_ok());
    BTreeMap::from([
        ("cert-manager.io/certificate-name", name.to_owned()),
        (
            "cert-manager.io/common-name",
            common_name(&issued.chain).unwrap_or_default(),
        ),
        ("cert-manager.io/alt-names", names.join(",")),
        ("cert-manager.io/ip-sans", addresses.join(",")),
        ("cert-manager.io/uri-sans", String::new()),
    ])
}

fn common_name(chain: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}

fn cut(error: &str) -> &str {
    let mut end = error.len().min(LONGEST);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use certs::ca::{Request, Usage, self_signed};

    use super::*;

    fn certificate(names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let request = Request {
            names: &names,
            common_name: Some("web"),
            usage: Usage::Server,
            lifetime: Duration::from_secs(3600),
            key: certs::ca::KeyKind::default(),
        };
        self_signed(&request, SystemTime::now()).expect("made")
    }

    fn read(secret: Value) -> Secret {
        serde_json::from_value(secret).expect("a Secret")
    }

    fn record(issued: &Issued) -> Record {
        Record {
            issued: Some(issued.clone()),
            issuer: Some("staging".to_owned()),
            failures: Some(Failures {
                count: 2,
                last: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
                is_rate_limit: true,
                not_before: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)),
                of: Some(7),
            }),
            error: Some("no".to_owned()),
            window: None,
            ask_again: Some(SystemTime::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_record_is_the_same_after_it_was_a_secret_and_an_annotation() {
        let issued = Issued {
            ca: Some("the root".to_owned()),
            ..certificate(&["web.test", "10.0.0.1", "::1"])
        };
        let by = IssuedBy::read("ClusterIssuer le").expect("one of cert-manager's");
        let made = secret(
            ("shop", "web"),
            &issued,
            Some("staging"),
            Some(&by),
            Some("7"),
        );
        let annotations = &made["metadata"]["annotations"];
        for (key, value) in [
            ("cert-manager.io/alt-names", "web.test"),
            ("cert-manager.io/ip-sans", "10.0.0.1,::1"),
            ("cert-manager.io/uri-sans", ""),
            ("cert-manager.io/common-name", "web"),
            ("cert-manager.io/certificate-name", "web"),
            ("cert-manager.io/issuer-name", "le"),
            ("cert-manager.io/issuer-kind", "ClusterIssuer"),
            ("cert-manager.io/issuer-group", "cert-manager.io"),
        ] {
            assert_eq!(annotations[key], value, "{key}");
        }
        assert_eq!(made["metadata"]["resourceVersion"], "7");
        let made = read(made);
        let record = record(&issued);
        assert_eq!(print_of(&made), print(&issued));
        let text = Rest::text(&record, Some(&print(&issued)));
        assert_eq!(join(Some(&made), Some(&print_of(&made)), &text), record);
    }

    #[test]
    fn what_was_said_of_another_certificate_is_not_said_of_this_one() {
        let (old, new) = (certificate(&["old.test"]), certificate(&["new.test"]));
        let text = Rest::text(&record(&old), Some(&print(&old)));
        let secret = read(secret(("shop", "web"), &new, Some("other"), None, None));
        let joined = join(Some(&secret), Some(&print(&new)), &text);
        let alone = Record {
            issued: Some(new),
            issuer: Some("other".to_owned()),
            ..Record::default()
        };
        assert_eq!(joined, alone);
        assert_eq!(join(None, None, &text), Record::default());
        assert_eq!(join(None, None, "nonsense"), Record::default());
    }

    #[test]
    fn a_long_error_is_cut_between_letters() {
        let long = "ä".repeat(LONGEST);
        let record = Record {
            error: Some(long),
            ..Record::default()
        };
        let kept = join(None, None, &Rest::text(&record, None));
        let error = kept.error.expect("there is one");
        assert!(error.len() <= LONGEST && error.len() > LONGEST - 4);
    }
}
