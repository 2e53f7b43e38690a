//! What an Ingress says of its answers: what scripts of other origins are told, who answers in the
//! place of a backend that fails, what fields answers have, and who gets copies of requests. Made
//! once for all its rules.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use model::backend::Discovery;
use model::filter::response_rewrite::Replace;
use model::filter::snippet::Edits;
use model::filter::{ErrorPages, HeaderEdit, IngressCors, MirrorTo, ResponseRewrite, Snippet};
use model::text::Text;
use model::{
    Backend, BackendTls, Endpoint, EndpointSet, Filter, Member, Policy, Timeouts, Transport,
};

use super::annotations::backend::Protocol;
use super::annotations::errors::{DEFAULT_BACKEND, Errors};
use super::annotations::mirror::{Mirror, Target};
use super::annotations::response_headers::CUSTOM_HEADERS;
use super::annotations::response_rewrite::ResponseRewrite as Written;
use super::annotations::response_rewrite::{FROM, redirect};
use super::annotations::snippets::{LOCATION, SERVER, Snippets};
use super::key;
use super::manner::Manner;
use super::parse::{Parsed, PortRef};
use super::resolve::World;
use super::snippets::{self, Overrides};
use crate::config_map::Global;
use crate::name::{Name, NameRef};
use crate::report::{Problems, annotation_field};
use crate::service::{External, Services};

/// What holds where an Ingress says nothing of its answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AnswerDefaults {
    /// For which statuses somebody else answers (`custom-http-errors`).
    pub(crate) error_codes: Box<[u16]>,
    /// Whether backends' own errors stay as they are (`disable-proxy-intercept-errors`).
    pub(crate) leaves_backends: bool,
    /// The fields that `custom-headers` may name (`global-allowed-response-headers`).
    pub(crate) allowed_headers: Box<[Box<str>]>,
    /// What is replaced in Location (`proxy-redirect-from`); empty is `off`.
    pub(crate) redirect_from: Box<str>,
    /// What takes its place (`proxy-redirect-to`); empty is `off`.
    pub(crate) redirect_to: Box<str>,
    /// `proxy-cookie-domain`.
    pub(crate) cookie_domain: Option<Replace>,
    /// `proxy-cookie-path`.
    pub(crate) cookie_path: Option<Replace>,
    /// `server-snippet` and `location-snippet`.
    pub(crate) snippets: Snippets,
    /// `proxy-set-headers` and `add-headers`, where they have variables in them.
    pub(crate) edits: Edits,
}

impl AnswerDefaults {
    /// What is said where no Ingress says anything.
    pub(crate) fn snippet(&self) -> Option<Filter> {
        let none = Snippets::default();
        if self.snippets == none && self.edits == Edits::default() {
            return None;
        }
        let snippet = read_snippets(&none, self).snippet;
        (snippet != Snippet::default()).then(|| Filter::Snippet(Arc::new(snippet)))
    }

    /// Who answers in the place of what nobody claims where that fails: the same once more.
    pub(crate) fn pages(&self, backend: &Arc<Backend>) -> Option<ErrorPages> {
        (!self.error_codes.is_empty()).then(|| ErrorPages {
            codes: self.error_codes.clone(),
            intercepts: !self.leaves_backends,
            answers: false,
            own: None,
            general: Some(Arc::clone(backend)),
        })
    }

    /// As the ConfigMap says.
    pub(crate) fn of(global: &Global) -> Self {
        let errors = global.said.errors.as_deref();
        let rewrite = global.said.response_rewrite.as_deref();
        let text = |of: fn(&Written) -> &Option<Box<str>>| {
            rewrite
                .and_then(|rewrite| of(rewrite).clone())
                .unwrap_or_default()
        };
        Self {
            error_codes: errors
                .and_then(|errors| errors.codes.clone())
                .unwrap_or_default(),
            leaves_backends: errors.and_then(|errors| errors.leaves_backends) == Some(true),
            allowed_headers: global.allowed_headers.clone().into(),
            redirect_from: text(|rewrite| &rewrite.from),
            redirect_to: text(|rewrite| &rewrite.to),
            cookie_domain: rewrite.and_then(|rewrite| rewrite.cookie_domain.clone()),
            cookie_path: rewrite.and_then(|rewrite| rewrite.cookie_path.clone()),
            snippets: global.snippets.clone(),
            edits: Edits {
                request: global.request_texts.clone(),
                response: global.response_texts.clone(),
                default_type: None,
            },
        }
    }
}

/// What an Ingress says of its answers; most say nothing.
#[derive(Debug, Default)]
pub(crate) struct Answers(Option<Box<Said>>);

#[derive(Debug, Default)]
struct Said {
    cors: Option<Arc<IngressCors>>,
    errors: Option<Arc<ErrorPages>>,
    headers: Option<HeaderEdit>,
    rewrite: Option<Arc<ResponseRewrite>>,
    mirror: Option<Arc<MirrorTo>>,
    snippet: Option<Arc<Snippet>>,
    /// What snippets say of limits.
    overrides: Overrides,
    /// What was to be said cannot be, and ingress-nginx closes the paths for it.
    denied: bool,
    /// Services that were acquired for this.
    held: Vec<Name>,
    /// The same, where it is no Service.
    external: Option<External>,
}

impl Answers {
    /// What browsers are told; before all else, as nginx's `if` and `return` are.
    pub(crate) fn cors(&self) -> Option<Filter> {
        let cors = self.0.as_ref()?.cors.as_ref()?;
        Some(Filter::IngressCors(Arc::clone(cors)))
    }

    /// What is done once a request may pass, and to its response.
    pub(crate) fn filters(&self) -> impl Iterator<Item = Filter> {
        self.0.iter().flat_map(|said| {
            let errors = said.errors.clone().map(Filter::ErrorPages);
            let rewrite = said.rewrite.clone().map(Filter::ResponseRewrite);
            let snippet = said.snippet.clone().map(Filter::Snippet);
            let headers = said.headers.clone();
            let headers = headers.map(|edit| Filter::ResponseHeaders(Box::new(edit)));
            let mirror = said.mirror.clone().map(Filter::MirrorTo);
            [snippet, errors, rewrite, headers, mirror]
                .into_iter()
                .flatten()
        })
    }

    /// How requests are treated, where snippets say something of it.
    pub(super) fn over(&self, manner: Arc<Manner>) -> Arc<Manner> {
        let overrides = self.0.as_ref().map(|said| said.overrides);
        let Some(overrides) = overrides.filter(|some| *some != Overrides::default()) else {
            return manner;
        };
        let timeouts = &manner.timeouts;
        Arc::new(Manner {
            timeouts: Arc::new(Timeouts {
                connect: overrides.connect.unwrap_or(timeouts.connect),
                send: overrides.send.unwrap_or(timeouts.send),
                read: overrides.read.unwrap_or(timeouts.read),
                ..**timeouts
            }),
            max_body: overrides.max_body.unwrap_or(manner.max_body),
            ..(*manner).clone()
        })
    }

    /// Whether every path answers 503.
    pub(crate) fn denied(&self) -> bool {
        self.0.as_ref().is_some_and(|said| said.denied)
    }

    /// The Services that were acquired for this.
    pub(crate) fn services(&self) -> impl Iterator<Item = NameRef<'_>> {
        let held = self.0.iter().flat_map(|said| &said.held);
        held.map(Name::as_ref)
    }

    /// Takes back what was acquired.
    pub(crate) fn release(&self, services: &mut Services) {
        for name in self.services() {
            services.release(name, &PortRef::First);
        }
        if let Some(external) = self.0.as_ref().and_then(|said| said.external.as_ref()) {
            services.release_external(external);
        }
    }
}

/// The ConfigMap that an Ingress names for its answers, if it is one of its namespace.
pub(crate) fn config_map(parsed: &Parsed) -> Option<NameRef<'_>> {
    let written = parsed.settings.custom_headers.as_deref()?;
    written.contains('/').then(|| parsed.named(written))?
}

/// Finds out what is said.
pub(super) fn resolve(parsed: &Parsed, world: &mut World<'_>, problems: &mut Problems) -> Answers {
    let settings = &parsed.settings;
    let defaults = &world.profiles.of(parsed.profile).answers;
    if *defaults == AnswerDefaults::default()
        && settings.cors.is_none()
        && settings.errors.is_none()
        && settings.custom_headers.is_none()
        && settings.response_rewrite.is_none()
        && settings.mirror.is_none()
        && settings.snippets.is_none()
    {
        return Answers::default();
    }
    let mut said = Said {
        rewrite: rewrite(parsed, defaults, world, problems).map(Arc::new),
        ..Said::default()
    };
    let cors = settings.cors.as_ref().filter(|cors| cors.enabled);
    said.cors = cors.map(|cors| Arc::new(cors.filter()));
    match headers(parsed, defaults, world, problems) {
        Ok(edit) => said.headers = edit,
        Err(()) => said.denied = true,
    }
    let errors = settings.errors.as_deref();
    errors_of(parsed, errors, &mut said, world, problems);
    if let Some(mirror) = &settings.mirror {
        said.mirror = mirror_of(parsed, mirror, &mut said, world).map(Arc::new);
    }
    let none = Snippets::default();
    let written = settings.snippets.as_deref().unwrap_or(&none);
    if *written != none || defaults.snippets != none || defaults.edits != Edits::default() {
        snippets_of(written, defaults, &mut said, world, problems);
    }
    Answers(Some(Box::new(said)))
}

fn snippets_of(
    written: &Snippets,
    defaults: &AnswerDefaults,
    said: &mut Said,
    world: &World<'_>,
    problems: &mut Problems,
) {
    let read = read_snippets(written, defaults);
    for (name, refused) in [(SERVER, read.server), (LOCATION, read.location)] {
        if let Some(refused) = refused {
            let (line, message) = (refused.line, refused.message);
            let message = format!("line {line}: {message}; the snippet has no effect");
            let hint = "the directives that docs/ingress.md names";
            problems.error(field(name, world), message, hint);
        }
    }
    said.overrides = read.overrides;
    said.snippet = (read.snippet != Snippet::default()).then(|| Arc::new(read.snippet));
}

fn read_snippets(written: &Snippets, defaults: &AnswerDefaults) -> snippets::Understood {
    let mut read = snippets::read_over(written, &defaults.snippets);
    let edits = &mut read.snippet.location.edits;
    let common = &defaults.edits;
    edits.request = [&*common.request, &edits.request].concat().into();
    edits.response = [&*common.response, &edits.response].concat().into();
    read
}

fn field(name: &str, world: &World<'_>) -> String {
    annotation_field(&format!("{}/{name}", world.options.annotations_prefix))
}

fn rewrite(
    parsed: &Parsed,
    defaults: &AnswerDefaults,
    world: &World<'_>,
    problems: &mut Problems,
) -> Option<ResponseRewrite> {
    let own = parsed.settings.response_rewrite.as_deref();
    let or_off = |text: &str| match text.is_empty() {
        true => "off".into(),
        false => Box::from(text),
    };
    let from = own.and_then(|own| own.from.clone());
    let from = from.unwrap_or_else(|| or_off(&defaults.redirect_from));
    let to = own.and_then(|own| own.to.clone());
    let to = to.unwrap_or_else(|| or_off(&defaults.redirect_to));
    let redirect = redirect(&from, &to).unwrap_or_else(|bad| {
        let message = format!("{from:?} cannot be read; nothing is replaced");
        problems.warning(field(FROM, world), message, bad.hint);
        None
    });
    let cookie = |own: Option<&Option<Replace>>, default: &Option<Replace>| match own {
        Some(Some(own)) => Some(own.clone()),
        _ => default.clone(),
    };
    let rewrite = ResponseRewrite {
        redirect,
        cookie_domain: cookie(own.map(|own| &own.cookie_domain), &defaults.cookie_domain),
        cookie_path: cookie(own.map(|own| &own.cookie_path), &defaults.cookie_path),
    };
    (rewrite != ResponseRewrite::default()).then_some(rewrite)
}

/// The fields of the ConfigMap; an error closes the paths.
fn headers(
    parsed: &Parsed,
    defaults: &AnswerDefaults,
    world: &World<'_>,
    problems: &mut Problems,
) -> Result<Option<HeaderEdit>, ()> {
    let Some(written) = &parsed.settings.custom_headers else {
        return Ok(None);
    };
    let mut deny = |message: String, hint: &str| {
        let message = format!("{message}; its paths answer 503");
        problems.error(field(CUSTOM_HEADERS, world), message, hint);
    };
    let map = config_map(parsed).and_then(|name| world.store.config_map(name.namespace, name.name));
    let Some(map) = map else {
        let own = parsed.namespace();
        deny(
            format!("there is no ConfigMap {written:?} in namespace {own}"),
            "namespace/name of a ConfigMap of the same namespace",
        );
        return Err(());
    };
    let mut set = Vec::new();
    for (name, value) in map.data.iter().flatten() {
        if let Err((message, hint)) = check(name, value, &defaults.allowed_headers) {
            deny(format!("{name:?} of ConfigMap {written} {message}"), hint);
            return Err(());
        }
        set.push((name.as_str().into(), value.as_str().into()));
    }
    let edit = HeaderEdit {
        set: set.into(),
        ..HeaderEdit::default()
    };
    Ok((!edit.set.is_empty()).then_some(edit))
}

/// Whether a field may be given to responses, by ingress-nginx's rules.
fn check(
    name: &str,
    value: &str,
    allowed: &[Box<str>],
) -> Result<(), (&'static str, &'static str)> {
    const OF_VALUES: &str = "_ :;.,\\/\"'?!(){}[]@<>=-+*#$&`|~^%";
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_of_value = |char: char| char.is_ascii_alphanumeric() || OF_VALUES.contains(char);
    if name.is_empty() || !name.bytes().all(is_of_name) {
        return Err(("is no name of a field", "letters, digits and dashes"));
    }
    if value.is_empty() || !value.chars().all(is_of_value) {
        return Err((
            "has a value that no field may have",
            "one line of plain text",
        ));
    }
    if !allowed.iter().any(|one| **one == *name) {
        let hint = "its name in global-allowed-response-headers";
        return Err(("is not among the fields that may be given", hint));
    }
    Ok(())
}

/// Who answers in the place of a backend that fails.
fn errors_of(
    parsed: &Parsed,
    errors: Option<&Errors>,
    said: &mut Said,
    world: &mut World<'_>,
    problems: &mut Problems,
) {
    let profiles = world.profiles;
    let defaults = &profiles.of(parsed.profile).answers;
    let general_intercepts = !defaults.error_codes.is_empty() && !defaults.leaves_backends;
    let own_codes = errors.and_then(|errors| errors.codes.as_ref());
    let own_codes = own_codes.filter(|codes| !codes.is_empty());
    let own = errors
        .and_then(|errors| errors.service.as_deref())
        .and_then(|service| own_backend(parsed, service, said, world, problems));
    let leaves = errors.and_then(|errors| errors.leaves_backends);
    let (codes, intercepts) = match own_codes {
        Some(codes) => (codes, general_intercepts || leaves != Some(true)),
        None => (&defaults.error_codes, general_intercepts),
    };
    // What nginx takes over is of backends that speak HTTP/1 (`proxy_intercept_errors`).
    let speaks = parsed.settings.backend.as_ref().map(|it| it.protocol);
    let other = matches!(
        speaks,
        Some(Protocol::FastCgi | Protocol::Grpc | Protocol::Grpcs)
    );
    let intercepts = intercepts && !other;
    if codes.is_empty() && own.is_none() {
        return;
    }
    let general = world.options.default_backend_service.as_ref();
    let general = general.filter(|_| !codes.is_empty());
    let general = general.map(|(namespace, name)| {
        let name = NameRef { namespace, name };
        let (backend, _) = world.services.acquire(name, &PortRef::First, world.store);
        said.held.push(name.to_owned());
        backend
    });
    said.errors = Some(Arc::new(ErrorPages {
        codes: codes.clone(),
        intercepts,
        answers: own_codes.is_some(),
        own,
        general,
    }));
}

/// The Service of `default-backend`, if there is one.
fn own_backend(
    parsed: &Parsed,
    service: &str,
    said: &mut Said,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> Option<Arc<Backend>> {
    let namespace = parsed.namespace();
    let name = NameRef {
        namespace,
        name: service,
    };
    let (backend, refused) = world.services.acquire(name, &PortRef::First, world.store);
    said.held.push(name.to_owned());
    let Some(refused) = refused else {
        return Some(backend);
    };
    let message = refused.message(name, &PortRef::First);
    let message = format!("{message}; it is as if nothing were said");
    problems.warning(field(DEFAULT_BACKEND, world), message, refused.hint());
    None
}

/// Who gets copies.
fn mirror_of(
    parsed: &Parsed,
    mirror: &Mirror,
    said: &mut Said,
    world: &mut World<'_>,
) -> Option<MirrorTo> {
    let target = mirror.target.as_ref()?;
    let literal = target.path.as_literal();
    Some(MirrorTo {
        backend: mirrored(parsed, target, said, world),
        target: target.path.clone(),
        keeps_query: literal.is_some_and(|path| !path.contains('?')),
        host: mirror
            .host
            .clone()
            .unwrap_or_else(|| Text::literal(&target.host)),
        body: !mirror.without_body,
    })
}

fn mirrored(
    parsed: &Parsed,
    target: &Target,
    said: &mut Said,
    world: &mut World<'_>,
) -> Arc<Backend> {
    let transport = match target.tls {
        false => Transport::default(),
        // As nginx without a word on it: nobody is asked who it is.
        true => Transport::default().over(Arc::new(BackendTls {
            verify: false,
            tells_name: true,
            ..BackendTls::new(target.host.clone())
        })),
    };
    let address: Option<IpAddr> = match &*target.host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().ok(),
    };
    if let Some(address) = address {
        let address = SocketAddr::new(address, target.port);
        let endpoint = Arc::new(Endpoint::new(address).speaking(transport.clone()));
        let set = EndpointSet::new(vec![Member::from(endpoint)], Arc::new(Policy::default()));
        let made = Backend::new(address.to_string(), Discovery::Listed, set);
        return Arc::new(made.speaking(transport));
    }
    let external = External {
        object: key(&parsed.source),
        discovery: Discovery::Dns {
            // As a whole name, which nobody's search domains make another of.
            host: format!("{}.", target.host.trim_end_matches('.')).into(),
            port: target.port,
        },
        transport,
    };
    let backend = world.services.acquire_external(&external);
    said.external = Some(external);
    backend
}

#[cfg(test)]
mod tests;
