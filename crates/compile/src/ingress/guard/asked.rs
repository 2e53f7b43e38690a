//! Who is asked whether a request may pass (`auth-url`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::backend::Discovery;
use model::filter::Snippet;
use model::filter::access::{AuthCache, AuthRequest, NamedHost};
use model::policy::Ejection;
use model::text::Text;
use model::{Backend, BackendTls, Endpoint, EndpointSet, HttpVersion, Member, Policy, Transport};
use objects::kinds::ObjectKey;

use super::{Asked, Broken};
use crate::ingress::annotations::external_auth::{self, AuthUrl, ExternalAuth};
use crate::ingress::annotations::snippets::AUTH;
use crate::ingress::key;
use crate::ingress::parse::{Parsed, PortRef};
use crate::ingress::resolve::World;
use crate::ingress::snippets;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};
use crate::service::{External, Spoken};

/// How long who is asked may take: nginx's `proxy_read_timeout`.
const ASKED_FOR: Duration = Duration::from_secs(60);

/// Who is asked, and what has to be given up of that some day.
pub(super) fn asked(
    parsed: &Parsed,
    settings: &ExternalAuth,
    url: &AuthUrl,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> Result<(AuthRequest, Option<Asked>), Broken> {
    let fields = match &settings.set_headers {
        Some(written) => fields(parsed, written, world).map_err(|message| {
            let prefix = &world.options.annotations_prefix;
            let field = annotation_field(&format!("{prefix}/{}", external_auth::SET_HEADERS));
            let hint = "a ConfigMap of the same namespace, with a key for each header field";
            problems.error(field, format!("{message}; its paths answer 503"), hint);
            Broken
        })?,
        None => Box::default(),
    };
    let (snippet, overrides) = match settings.snippet.as_deref() {
        None => Default::default(),
        Some(text) => snippets::read_question(text).map_err(|refused| {
            let prefix = &world.options.annotations_prefix;
            let field = annotation_field(&format!("{prefix}/{AUTH}"));
            let (line, message) = (refused.line, refused.message);
            let message = format!("line {line}: {message}; its paths answer 503");
            problems.error(field, message, "the directives that docs/ingress.md names");
            Broken
        })?,
    };
    let (backend, asked) = backend(parsed, url, world, problems);
    let cache = settings.cache_key.clone().map(|key| AuthCache {
        key,
        valid: settings.validity(),
    });
    let request = AuthRequest {
        backend,
        // What is no text with variables has been refused.
        host: Text::parse(&url.host).unwrap_or_default(),
        named: url.named.as_ref().map(|authority| {
            Box::new(NamedHost {
                authority: authority.clone(),
                tls: url.tls,
            })
        }),
        target: url.target.clone(),
        method: settings.method.clone(),
        redirect: settings.redirect.clone(),
        fields,
        response_headers: settings.response_headers.clone(),
        always_cookies: settings.always_cookies,
        signin: settings.signin_text(),
        cache,
        timeout: overrides.read.unwrap_or(ASKED_FOR),
        snippet: (snippet != Snippet::default()).then(|| Box::new(snippet)),
    };
    Ok((request, asked))
}

type Fields = Box<[(Box<str>, Text)]>;

fn fields(parsed: &Parsed, written: &str, world: &World<'_>) -> Result<Fields, String> {
    let name = parsed.named(written).ok_or_else(|| {
        let own = parsed.namespace();
        format!("{written:?} is no ConfigMap of namespace {own}")
    })?;
    let map = world.store.config_map(name.namespace, name.name);
    let map = map.ok_or_else(|| format!("there is no ConfigMap {name}"))?;
    let all = map.data.iter().flatten().map(|(field, value)| {
        if !external_auth::is_field(field) {
            return Err(format!("{field:?} in ConfigMap {name} is no header field"));
        }
        let value = Text::parse(value.trim());
        let value = value.map_err(|error| format!("{field} in ConfigMap {name}: {error}"))?;
        Ok((field.as_str().into(), value))
    });
    all.collect()
}

/// The backend that a URL means: a Service by its name, an address, or a name of DNS.
fn backend(
    parsed: &Parsed,
    url: &AuthUrl,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> (Arc<Backend>, Option<Asked>) {
    if url.named.is_some() {
        let name = format!(
            "{}/{}/{}",
            parsed.namespace(),
            parsed.source.metadata.name,
            url.host
        );
        let nobody = EndpointSet::new(Vec::new(), Policy::shared_default());
        return (
            Arc::new(Backend::new(name, Discovery::Listed, nobody)),
            None,
        );
    }
    // As in ingress-nginx nobody's certificate is verified here.
    let tls = url.tls.then(|| {
        Arc::new(BackendTls {
            verify: false,
            ..BackendTls::new(&*url.host)
        })
    });
    if let Some((name, namespace)) = url.service() {
        let name = NameRef { namespace, name };
        let (port, spoken) = (
            PortRef::Number(url.port),
            Spoken {
                tls,
                ..Spoken::default()
            },
        );
        let services = &mut *world.services;
        let (backend, refused) = services.acquire_with(name, &port, &spoken, world.store);
        if let Some(refused) = refused {
            let prefix = &world.options.annotations_prefix;
            let field = annotation_field(&format!("{prefix}/{}", external_auth::URL));
            let message = format!("{}; its paths answer 500", refused.message(name, &port));
            problems.error(field, message, refused.hint());
        }
        return (backend, Some(Asked::Service(name.to_owned(), port, spoken)));
    }
    let http = match url.tls {
        true => HttpVersion::Negotiated,
        false => HttpVersion::Http1,
    };
    let transport = Transport {
        http,
        tls,
        ..Transport::default()
    };
    let address: Option<IpAddr> = match &*url.host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().ok(),
    };
    let object: ObjectKey = key(&parsed.source);
    if let Some(address) = address {
        let address = SocketAddr::new(address, url.port);
        let name = format!("{}/{}/{address}", parsed.namespace(), object.name);
        return (Arc::new(fixed(name, address, transport)), None);
    }
    let external = External {
        object,
        discovery: Discovery::Dns {
            host: url.host.clone(),
            port: url.port,
        },
        transport,
    };
    let backend = world.services.acquire_external(&external);
    (backend, Some(Asked::Outside(external)))
}

/// A backend at one address, which is asked however often it has failed.
fn fixed(name: String, address: SocketAddr, transport: Transport) -> Backend {
    let policy = Policy {
        ejection: Ejection {
            failures: 0,
            ..Ejection::default()
        },
        ..Policy::default()
    };
    let endpoint = Arc::new(Endpoint::new(address).speaking(transport.clone()));
    let set = EndpointSet::new(vec![Member::from(endpoint)], Arc::new(policy));
    Backend::new(name, Discovery::Listed, set).speaking(transport)
}
