//! Who may come in, and how often: what an Ingress's annotations say of it, with the Secret, the
//! ConfigMap and the Service that they name (`…-source-range`, `limit-…`, `auth-…`, `satisfy`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::backend::Discovery;
use model::filter::access::{Access, AuthCache, AuthRequest, Password, PasswordScheme, Users};
use model::filter::limit::{ClientLimits, Pace, RequestRate};
use model::policy::Ejection;
use model::text::Text;
use model::{
    AddressSet, Backend, BackendTls, Endpoint, EndpointSet, Filter, HttpVersion, Member, PathMatch,
    Policy, Transport,
};
use objects::kinds::{ObjectKey, Secret};

use super::annotations::basic_auth::{self, BasicAuth};
use super::annotations::external_auth::{self, AuthUrl, ExternalAuth};
use super::annotations::rate_limit::RateLimit;
use super::key;
use super::manner::Defaults;
use super::parse::{Parsed, PortRef};
use super::resolve::World;
use crate::name::{Name, NameRef};
use crate::report::{Problems, annotation_field};
use crate::service::{External, Services, Spoken};

/// The key of a Secret that is a file of names and passwords.
const FILE: &str = "auth";

/// How many times the limit may come at once, where nothing is said.
const BURST: u32 = 5;

/// How long who is asked may take: nginx's `proxy_read_timeout`.
const ASKED_FOR: Duration = Duration::from_secs(60);

/// What holds where an Ingress says nothing of who may come in. All of it can be said in
/// ingress-nginx's ConfigMap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GuardDefaults {
    /// `whitelist-source-range`; none is everybody.
    pub(crate) allow: Option<AddressSet>,
    /// `denylist-source-range`.
    pub(crate) deny: AddressSet,
    /// `limit-rate`, in KiB a second; 0 is no limit.
    pub(crate) rate: u32,
    /// `limit-rate-after`, in KiB.
    pub(crate) rate_after: u32,
    /// `limit-req-status-code`.
    pub(crate) rate_status: u16,
    /// `limit-conn-status-code`.
    pub(crate) at_once_status: u16,
    /// `no-auth-locations`: what paths begin with that ask nobody for anything.
    pub(crate) no_auth_locations: Box<[Box<str>]>,
    /// `global-auth-…`: who is asked where an Ingress says nobody else.
    pub(crate) global_auth: Option<Box<ExternalAuth>>,
}

impl Default for GuardDefaults {
    fn default() -> Self {
        Self {
            allow: None,
            deny: AddressSet::default(),
            rate: 0,
            rate_after: 0,
            rate_status: 503,
            at_once_status: 503,
            no_auth_locations: ["/.well-known/acme-challenge".into()].into(),
            global_auth: None,
        }
    }
}

/// Who may come in, and how often. Most Ingresses say nothing of it, and weigh nothing for it.
#[derive(Debug, Default)]
pub(crate) struct Guard(Option<Box<Guarded>>);

#[derive(Debug, Default)]
struct Guarded {
    /// What was to guard is broken.
    denied: bool,
    limits: Option<Arc<ClientLimits>>,
    pace: Option<Pace>,
    access: Option<Arc<Access>>,
    /// The same for paths that ask nobody for anything.
    open: Option<Arc<Access>>,
    asked: Option<Asked>,
}

/// Who was acquired to be asked, to be released.
#[derive(Debug)]
enum Asked {
    Service(Name, PortRef, Spoken),
    Outside(External),
}

impl Guard {
    /// Whether every path answers 503, for what was to guard it is broken.
    pub(crate) fn is_denied(&self) -> bool {
        self.0.as_ref().is_some_and(|guarded| guarded.denied)
    }

    /// The filters of a path, in nginx's order.
    pub(crate) fn filters(&self, path: &PathMatch, defaults: &Defaults, filters: &mut Vec<Filter>) {
        let Some(guarded) = &self.0 else {
            return;
        };
        filters.extend(guarded.limits.clone().map(Filter::Limit));
        let path = match path {
            PathMatch::Prefix(path) if path.is_empty() => "/",
            PathMatch::Prefix(path) | PathMatch::Exact(path) => path,
            PathMatch::Pattern(pattern) => pattern.as_str(),
        };
        let mut open = defaults.guard.no_auth_locations.iter();
        let access = match open.any(|open| path.starts_with(&**open)) {
            true => &guarded.open,
            false => &guarded.access,
        };
        filters.extend(access.clone().map(Filter::Access));
        filters.extend(guarded.pace.map(Filter::Pace));
    }

    /// The Service that is asked, if it is one.
    pub(crate) fn service(&self) -> Option<NameRef<'_>> {
        match self.0.as_ref()?.asked.as_ref()? {
            Asked::Service(name, ..) => Some(name.as_ref()),
            Asked::Outside(_) => None,
        }
    }

    /// Gives up what was acquired.
    pub(crate) fn release(&self, services: &mut Services) {
        match self.0.as_ref().and_then(|guarded| guarded.asked.as_ref()) {
            Some(Asked::Service(name, port, spoken)) => {
                services.release_with(name.as_ref(), port, spoken);
            }
            Some(Asked::Outside(external)) => services.release_external(external),
            None => {}
        }
    }
}

/// The Secret that an Ingress names for this, if it is one of its namespace.
pub(crate) fn secret(parsed: &Parsed) -> Option<NameRef<'_>> {
    let settings = parsed.settings.basic_auth.as_ref()?;
    settings.scheme?;
    own(parsed, settings.secret.as_deref()?)
}

/// The ConfigMap that an Ingress names for this, if it is one of its namespace.
pub(crate) fn config_map(parsed: &Parsed) -> Option<NameRef<'_>> {
    let settings = parsed.settings.external_auth.as_ref()?;
    own(parsed, settings.set_headers.as_deref()?)
}

/// What a name in an annotation means: something of the same namespace, or nothing.
fn own<'a>(parsed: &'a Parsed, written: &'a str) -> Option<NameRef<'a>> {
    let own = parsed.namespace();
    let (namespace, name) = written.split_once('/').unwrap_or((own, written));
    let is_right = namespace == own && !name.is_empty() && !name.contains('/');
    is_right.then_some(NameRef { namespace, name })
}

/// Finds what an Ingress's guard refers to. Where something is broken, nobody comes in.
pub(super) fn resolve(parsed: &Parsed, world: &mut World<'_>, problems: &mut Problems) -> Guard {
    let profiles = world.profiles;
    let defaults = &profiles.of(parsed.profile).guard;
    let mut guarded = Guarded::default();
    let settings = &parsed.settings;
    if let Some(limit) = settings.rate_limit.as_deref() {
        guarded.limits = limits(parsed, limit, defaults).map(Arc::new);
    }
    guarded.pace = pace(settings.rate_limit.as_deref(), defaults);
    let lists = settings.access_lists.as_deref();
    let deny = lists.and_then(|lists| lists.deny.as_ref());
    let allow = lists.and_then(|lists| lists.allow.as_ref());
    let open = Access {
        any: settings.satisfy_any,
        deny: deny.unwrap_or(&defaults.deny).clone(),
        allow: allow.or(defaults.allow.as_ref()).cloned(),
        password: None,
        external: None,
    };
    let mut access = open.clone();
    if let Some(basic) = settings.basic_auth.as_deref() {
        match password(parsed, basic, world, problems) {
            Ok(password) => access.password = password.map(Arc::new),
            Err(Broken) => guarded.denied = true,
        }
    }
    let own = settings.external_auth.as_deref();
    let global = || match own {
        Some(own) if own.is_exempt => None,
        _ => defaults.global_auth.as_deref(),
    };
    let external = own.filter(|own| own.is_asked).or_else(global);
    if let Some(external) = external
        && let Some(url) = &external.url
    {
        match asked(parsed, external, url, world, problems) {
            Ok((request, asked)) => {
                access.external = Some(Arc::new(request));
                guarded.asked = asked;
            }
            Err(Broken) => guarded.denied = true,
        }
    }
    let means = |access: Access| {
        let is_any = access.password.is_some() || access.external.is_some();
        let is_any = is_any || access.allow.is_some() || !access.deny.is_empty();
        is_any.then(|| Arc::new(access))
    };
    guarded.open = means(open);
    guarded.access = means(access);
    let is_used = guarded.denied
        || guarded.limits.is_some()
        || guarded.pace.is_some()
        || guarded.access.is_some();
    Guard(is_used.then(|| Box::new(guarded)))
}

/// What was to guard is broken, which has been said.
struct Broken;

fn limits(parsed: &Parsed, limit: &RateLimit, defaults: &GuardDefaults) -> Option<ClientLimits> {
    let RateLimit {
        per_second,
        per_minute,
        connections,
        ..
    } = *limit;
    if per_second == 0 && per_minute == 0 && connections == 0 {
        return None;
    }
    let rate = |limit: u32, seconds: u64| {
        let rate = u64::from(limit) * 1000 / seconds;
        (limit > 0).then(|| RequestRate {
            rate: u32::try_from(rate).unwrap_or(u32::MAX),
            burst: limit.saturating_mul(limit_burst(parsed)),
        })
    };
    Some(ClientLimits {
        zone: NameRef::of(&parsed.source.metadata).to_string().into(),
        per_second: rate(per_second, 1),
        per_minute: rate(per_minute, 60),
        at_once: connections,
        exempt: limit.exempt.clone(),
        rate_status: defaults.rate_status,
        at_once_status: defaults.at_once_status,
    })
}

fn limit_burst(parsed: &Parsed) -> u32 {
    let limit = parsed.settings.rate_limit.as_ref();
    limit.and_then(|limit| limit.burst).unwrap_or(BURST)
}

fn pace(limit: Option<&RateLimit>, defaults: &GuardDefaults) -> Option<Pace> {
    let rate = limit.and_then(|limit| limit.rate).unwrap_or(defaults.rate);
    let after = limit.and_then(|limit| limit.rate_after);
    let after = after.unwrap_or(defaults.rate_after);
    (rate > 0).then(|| Pace {
        rate: u64::from(rate) * 1024,
        after: u64::from(after) * 1024,
    })
}

/// Names and passwords; none if the annotations want none.
fn password(
    parsed: &Parsed,
    settings: &BasicAuth,
    world: &World<'_>,
    problems: &mut Problems,
) -> Result<Option<Password>, Broken> {
    let prefix = &world.options.annotations_prefix;
    let field = annotation_field(&format!("{prefix}/{}", basic_auth::SECRET));
    let hint = match settings.is_map {
        true => "a Secret of the same namespace, with a key for each name",
        false => "a Secret of the same namespace, with names and passwords under auth",
    };
    let Some(scheme) = settings.scheme else {
        let message = "has no effect without auth-type";
        problems.warning(field, message, "auth-type: basic, or none of the others");
        return Ok(None);
    };
    match read(parsed, settings, scheme, world) {
        Ok((users, unread)) => {
            if !unread.is_empty() {
                let message = format!("nobody comes in as {}", unread.join(", "));
                let hint = match scheme {
                    PasswordScheme::Basic => {
                        "hashes of bcrypt, apr1, SHA or SHA-crypt, as htpasswd -B makes them"
                    }
                    PasswordScheme::Digest => "lines as htdigest makes them, for the same realm",
                };
                problems.warning(field, message, hint);
            }
            Ok(Some(Password {
                realm: settings.realm.clone(),
                scheme,
                users,
            }))
        }
        Err(message) => {
            problems.error(field, format!("{message}; its paths answer 503"), hint);
            Err(Broken)
        }
    }
}

/// Who there is, and the names of some that cannot come in for their hashes.
fn read(
    parsed: &Parsed,
    settings: &BasicAuth,
    scheme: PasswordScheme,
    world: &World<'_>,
) -> Result<(Users, Vec<String>), String> {
    let written = settings.secret.as_deref();
    let written = written.ok_or_else(|| "is missing".to_owned())?;
    let name = own(parsed, written).ok_or_else(|| {
        let own = parsed.namespace();
        format!("{written:?} is no Secret of namespace {own}")
    })?;
    let secret = world.store.secret(name.namespace, name.name);
    let secret = secret.ok_or_else(|| format!("there is no Secret {name}"))?;
    let file = file(secret, settings.is_map);
    let file = file.ok_or_else(|| format!("Secret {name} has no {FILE}"))?;
    let (mut users, mut unread) = (Users::default(), Vec::new());
    for line in file.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let mut parts = line.split(|&byte| byte == b':');
        let user = parts.next().unwrap_or_default();
        let (secret, is_read) = match scheme {
            PasswordScheme::Basic => {
                let secret = parts.next().unwrap_or_default();
                (secret, is_hash(secret))
            }
            PasswordScheme::Digest => {
                let realm = parts.next().unwrap_or_default();
                let secret = parts.next().unwrap_or_default();
                let is_hash = secret.len() == 32 && secret.iter().all(u8::is_ascii_hexdigit);
                (secret, is_hash && realm == settings.realm.as_bytes())
            }
        };
        if is_read {
            users.add(user, secret);
        } else if unread.len() < 3 {
            unread.push(String::from_utf8_lossy(user).into_owned());
        }
    }
    Ok((users, unread))
}

/// The lines of a Secret.
fn file(secret: &Secret, is_map: bool) -> Option<Vec<u8>> {
    if !is_map {
        return secret.data.get(FILE).cloned();
    }
    let lines = secret.data.iter();
    let lines: Vec<Vec<u8>> = lines
        .map(|(name, value)| [name.as_bytes(), b":", value].concat())
        .collect();
    Some(lines.join(&b'\n'))
}

/// Whether it begins as hashes do that are understood.
fn is_hash(text: &[u8]) -> bool {
    const KNOWN: [&[u8]; 10] = [
        b"{PLAIN}", b"{SHA}", b"{SSHA}", b"$apr1$", b"$1$", b"$2a$", b"$2b$", b"$2y$", b"$5$",
        b"$6$",
    ];
    KNOWN.iter().any(|known| text.starts_with(known))
}

/// Who is asked, and what has to be given up of that some day.
fn asked(
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
    let (backend, asked) = backend(parsed, url, world);
    let cache = settings.cache_key.clone().map(|key| AuthCache {
        key,
        valid: settings.validity(),
    });
    let request = AuthRequest {
        backend,
        host: Text::literal(&url.host),
        target: url.target.clone(),
        method: settings.method.clone(),
        redirect: settings.redirect.clone(),
        fields,
        response_headers: settings.response_headers.clone(),
        always_cookies: settings.always_cookies,
        signin: settings.signin_text(),
        cache,
        timeout: ASKED_FOR,
    };
    Ok((request, asked))
}

type Fields = Box<[(Box<str>, Text)]>;

fn fields(parsed: &Parsed, written: &str, world: &World<'_>) -> Result<Fields, String> {
    let name = own(parsed, written).ok_or_else(|| {
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
fn backend(parsed: &Parsed, url: &AuthUrl, world: &mut World<'_>) -> (Arc<Backend>, Option<Asked>) {
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
        let (backend, _) = services.acquire_with(name, &port, &spoken, world.store);
        return (backend, Some(Asked::Service(name.to_owned(), port, spoken)));
    }
    let http = match url.tls {
        true => HttpVersion::Negotiated,
        false => HttpVersion::Http1,
    };
    let transport = Transport { http, tls };
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
