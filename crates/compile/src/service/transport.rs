//! What a Service port speaks: `appProtocol` (KEP-3726, GEP-1911), and the annotations about TLS.

use std::sync::Arc;

use model::backend::Discovery;
use model::{BackendTls, HostName, HttpVersion, Transport};
use objects::kinds::{Service, ServicePort};

use super::balance::PROXY_PROTOCOL;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

const SERVER_NAME: &str = "narthex.dev/backend-tls-server-name";
const VERIFY: &str = "narthex.dev/backend-tls-verify";

/// The annotations of a Service that are read here.
pub(super) const KNOWN: &[&str] = &[SERVER_NAME, VERIFY];

/// What `appProtocol` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Known(HttpVersion, Tls),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    Yes,
    No,
}

fn spoken(port: Option<&ServicePort>) -> Spoken {
    match port.and_then(|port| port.app_protocol.as_deref()) {
        None | Some("" | "http" | "kubernetes.io/ws") => Spoken::Known(HttpVersion::Http1, Tls::No),
        // The last two are Istio's words for it.
        Some("kubernetes.io/h2c" | "h2c" | "grpc") => Spoken::Known(HttpVersion::Http2, Tls::No),
        Some("https") => Spoken::Known(HttpVersion::Negotiated, Tls::Yes),
        // A WebSocket of HTTP/2 (RFC 8441) is what few servers have.
        Some("kubernetes.io/wss") => Spoken::Known(HttpVersion::Http1, Tls::Yes),
        Some(_) => Spoken::Unknown,
    }
}

/// What the endpoints of a Service's port speak.
pub(super) fn read(
    service: &Service,
    port: Option<&ServicePort>,
    discovery: &Discovery,
) -> Transport {
    let Spoken::Known(http, tls) = spoken(port) else {
        return Transport::default();
    };
    let tls = (tls == Tls::Yes).then(|| {
        let annotated = server_name(service).and_then(Result::ok);
        let name = annotated.unwrap_or_else(|| match discovery {
            // Whoever answers there knows nothing of the Service.
            Discovery::Dns { host, .. } => host.clone(),
            Discovery::Listed => {
                let NameRef { namespace, name } = NameRef::of(&service.metadata);
                format!("{name}.{namespace}.svc").into()
            }
        });
        Arc::new(BackendTls {
            verify: verify(service) != Some(Ok(false)),
            ..BackendTls::new(name)
        })
    });
    Transport {
        http,
        tls,
        fastcgi: None,
    }
}

/// What is wrong with what these ports are said to speak.
pub(super) fn problems(service: &Service, used: &[&ServicePort], problems: &mut Problems) {
    let mut any_tls = false;
    let announces = service.metadata.annotations.contains_key(PROXY_PROTOCOL);
    for (index, port) in service.spec.ports.iter().flatten().enumerate() {
        if !used.iter().any(|used| std::ptr::eq(*used, port)) {
            continue;
        }
        match spoken(Some(port)) {
            Spoken::Known(HttpVersion::Http2, _) if announces => problems.error(
                annotation_field(PROXY_PROTOCOL),
                format!(
                    "is left out at spec.ports[{index}]: the connections of {} are many clients'",
                    port.app_protocol.as_deref().unwrap_or_default()
                ),
                "appProtocol http or https",
            ),
            Spoken::Known(_, tls) => any_tls |= tls == Tls::Yes,
            Spoken::Unknown => problems.warning(
                format!("spec.ports[{index}].appProtocol"),
                format!(
                    "{:?} is not known; HTTP/1.1 is spoken to the port",
                    port.app_protocol.as_deref().unwrap_or_default()
                ),
                "http, https, kubernetes.io/h2c, kubernetes.io/ws or kubernetes.io/wss",
            ),
        }
    }
    if let Some(Err(name)) = server_name(service) {
        let message = format!("{name:?} is no name that a certificate can have; it is left out");
        let hint = "a DNS name or an IP address";
        problems.error(annotation_field(SERVER_NAME), message, hint);
    }
    match verify(service) {
        Some(Err(text)) => {
            let message = format!("{text:?} cannot be read; certificates are verified");
            problems.error(annotation_field(VERIFY), message, "\"on\" or \"off\"");
        }
        Some(Ok(false)) if any_tls => problems.warning(
            annotation_field(VERIFY),
            "anybody on the way to the endpoints can pass for them: their certificates are not \
             verified",
            "--backend-ca-file with the certificate of whoever issues theirs",
        ),
        _ => {}
    }
    let annotated = KNOWN
        .iter()
        .find(|name| service.metadata.annotations.contains_key(name));
    if let (Some(name), false) = (annotated, any_tls) {
        let message = "has no effect: no port in use speaks TLS";
        problems.warning(annotation_field(name), message, "appProtocol: https");
    }
}

/// The name in the annotation, or what stands there instead.
fn server_name(service: &Service) -> Option<Result<Box<str>, &str>> {
    let text = service.metadata.annotations.get(SERVER_NAME)?.trim();
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Some(Ok(ip.to_string().into()));
    }
    let host = Some(text)
        .filter(|text| !text.contains(':'))
        .and_then(|text| HostName::parse(text.as_bytes()));
    Some(host.map(|host| host.as_str().into()).ok_or(text))
}

/// Whether certificates are verified, as the annotation says, or what stands there instead.
fn verify(service: &Service) -> Option<Result<bool, &str>> {
    Some(match service.metadata.annotations.get(VERIFY)?.trim() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(other),
    })
}

#[cfg(test)]
mod tests {
    use objects::kinds::{Kind, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::testing::service;

    fn with(app_protocol: &str, annotations: &[(&str, &str)]) -> Service {
        let annotations: serde_json::Map<_, _> = annotations
            .iter()
            .map(|(name, value)| (format!("narthex.dev/{name}"), json!(value)))
            .collect();
        service(
            "shop",
            "web",
            json!({
                "metadata": {"annotations": annotations},
                "spec": {"ports": [{"port": 80, "appProtocol": app_protocol}]}
            }),
        )
    }

    fn transport(service: &Service) -> Transport {
        let port = service.spec.ports.iter().flatten().next();
        read(service, port, &Discovery::Listed)
    }

    fn fields(service: &Service) -> Vec<String> {
        let mut found = Problems::of(ObjectKey::new(Kind::Service, "shop", "web"));
        let used: Vec<_> = service.spec.ports.iter().flatten().collect();
        problems(service, &used, &mut found);
        let found = found.into_shared();
        found.iter().map(|problem| problem.field.clone()).collect()
    }

    #[test]
    fn every_protocol_has_its_meaning_and_an_unknown_one_is_said_once() {
        for (text, http, tls) in [
            ("", HttpVersion::Http1, false),
            ("http", HttpVersion::Http1, false),
            ("kubernetes.io/ws", HttpVersion::Http1, false),
            ("kubernetes.io/h2c", HttpVersion::Http2, false),
            ("grpc", HttpVersion::Http2, false),
            ("https", HttpVersion::Negotiated, true),
            ("kubernetes.io/wss", HttpVersion::Http1, true),
        ] {
            let service = with(text, &[]);
            let found = transport(&service);
            assert_eq!((found.http, found.tls.is_some()), (http, tls), "{text}");
            assert_eq!(fields(&service), [""; 0], "{text}");
        }
        let unknown = with("example.com/smoke-signals", &[]);
        assert!(transport(&unknown).is_plain_http1());
        assert_eq!(fields(&unknown), ["spec.ports[0].appProtocol"]);
    }

    #[test]
    fn clients_are_not_announced_on_connections_that_they_share() {
        let announced = [("proxy-protocol", "v2")];
        assert_eq!(fields(&with("https", &announced)), [""; 0]);
        assert_eq!(
            fields(&with("kubernetes.io/h2c", &announced)),
            ["metadata.annotations[narthex.dev/proxy-protocol]"]
        );
    }

    #[test]
    fn the_name_to_verify_is_the_services_own_or_the_annotated_one() {
        let name = |service: &Service| {
            let tls = transport(service).tls.expect("TLS");
            (tls.server_name.to_string(), tls.verify)
        };
        let own = ("web.shop.svc".to_owned(), true);
        assert_eq!(name(&with("https", &[])), own);
        for (text, expected) in [
            ("Backend.Example", "backend.example"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            let service = with("https", &[("backend-tls-server-name", text)]);
            assert_eq!(name(&service), (expected.to_owned(), true));
            assert_eq!(fields(&service), [""; 0]);
        }
        let wrong = with("https", &[("backend-tls-server-name", "a b")]);
        assert_eq!(name(&wrong), own);
        assert_eq!(
            fields(&wrong),
            ["metadata.annotations[narthex.dev/backend-tls-server-name]"]
        );
        let external = Discovery::Dns {
            host: "api.example".into(),
            port: 443,
        };
        let service = with("https", &[]);
        let found = read(
            &service,
            service.spec.ports.iter().flatten().next(),
            &external,
        );
        assert_eq!(&*found.tls.expect("TLS").server_name, "api.example");
    }

    #[test]
    fn that_nothing_is_verified_is_a_warning_and_nonsense_is_not_obeyed() {
        let field = "metadata.annotations[narthex.dev/backend-tls-verify]";
        for (app_protocol, text, verified, said) in [
            ("https", "on", true, 0),
            ("https", "off", false, 1),
            ("https", "false", true, 1),
            ("http", "off", true, 1),
        ] {
            let service = with(app_protocol, &[("backend-tls-verify", text)]);
            let tls = transport(&service).tls;
            assert_eq!(tls.is_none_or(|tls| tls.verify), verified, "{text}");
            assert_eq!(fields(&service), vec![field; said], "{app_protocol} {text}");
        }
    }
}
