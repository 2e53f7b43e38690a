//! Who may come in, and how often: what an Ingress's annotations say of it, with the Secret, the
//! ConfigMap and the Service that they name (`…-source-range`, `limit-…`, `auth-…`, `satisfy`).

mod asked;
mod users;

use std::sync::Arc;

use model::filter::access::Access;
use model::filter::limit::{ClientLimits, Pace, RequestRate};
use model::{AddressSet, Filter};

use super::annotations::GuardSettings;
use super::annotations::external_auth::ExternalAuth;
use super::annotations::rate_limit::RateLimit;
use super::manner::Defaults;
use super::parse::{Parsed, PortRef};
use super::resolve::World;
use crate::config_map::Global;
use crate::name::{Name, NameRef};
use crate::report::Problems;
use crate::service::{External, Services, Spoken};

use asked::asked;
use users::password;

/// How many times the limit may come at once, where nothing is said.
const BURST: u32 = 5;

/// What holds where an Ingress says nothing of who may come in. All of it can be said in
/// ingress-nginx's ConfigMap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GuardDefaults {
    /// `whitelist-source-range`; none is everybody.
    pub(crate) allow: Option<AddressSet>,
    /// `denylist-source-range`.
    pub(crate) deny: AddressSet,
    /// `block-cidrs`: who may not come in where no list says anything, as nginx has it.
    pub(crate) blocked: AddressSet,
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

impl GuardDefaults {
    /// As the ConfigMap says.
    pub(crate) fn of(global: &Global) -> Self {
        let said = global.said.guard.as_deref();
        let lists = said.map(|said| &said.access_lists);
        let limit = said.map(|said| &said.rate_limit);
        let asked = said.and_then(|said| said.external_auth.as_ref());
        Self {
            allow: lists.and_then(|lists| lists.allow.clone()),
            deny: lists
                .and_then(|lists| lists.deny.clone())
                .unwrap_or_default(),
            blocked: global.blocked_networks.clone(),
            rate: limit.and_then(|limit| limit.rate).unwrap_or_default(),
            rate_after: limit.and_then(|limit| limit.rate_after).unwrap_or_default(),
            rate_status: global.rate_status,
            at_once_status: global.at_once_status,
            no_auth_locations: global.no_auth.clone(),
            global_auth: asked.filter(|asked| asked.is_asked).cloned().map(Box::new),
        }
    }
}

impl Default for GuardDefaults {
    fn default() -> Self {
        Self {
            allow: None,
            deny: AddressSet::default(),
            blocked: AddressSet::default(),
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
    pace: Option<Box<Pace>>,
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
    pub(crate) fn filters(&self, path: &str, defaults: &Defaults, filters: &mut Vec<Filter>) {
        let Some(guarded) = &self.0 else {
            return;
        };
        filters.extend(guarded.limits.clone().map(Filter::Limit));
        let mut open = defaults.guard.no_auth_locations.iter();
        let access = match open.any(|open| path.starts_with(&**open)) {
            true => &guarded.open,
            false => &guarded.access,
        };
        filters.extend(access.clone().map(Filter::Access));
        filters.extend(guarded.pace.clone().map(Filter::Pace));
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
    let settings = parsed.settings.guard.as_ref()?.basic_auth.as_ref()?;
    settings.scheme?;
    parsed.named(settings.secret.as_deref()?)
}

/// The ConfigMap that an Ingress names for this, if it is one of its namespace.
pub(crate) fn config_map(parsed: &Parsed) -> Option<NameRef<'_>> {
    let settings = parsed.settings.guard.as_ref()?.external_auth.as_ref()?;
    parsed.named(settings.set_headers.as_deref()?)
}

/// Finds what an Ingress's guard refers to. Where something is broken, nobody comes in.
pub(super) fn resolve(
    parsed: &Parsed,
    defaults: &GuardDefaults,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> Guard {
    let nothing = GuardSettings::default();
    let settings = parsed.settings.guard.as_deref().unwrap_or(&nothing);
    let mut guarded = Guarded {
        limits: limits(parsed, &settings.rate_limit, defaults).map(Arc::new),
        pace: pace(&settings.rate_limit, defaults),
        ..Guarded::default()
    };
    let lists = &settings.access_lists;
    let deny = lists.deny.as_ref().unwrap_or(&defaults.deny);
    let allow = lists.allow.as_ref().or(defaults.allow.as_ref());
    let says_nothing = deny.is_empty() && allow.is_none();
    let deny = if says_nothing {
        &defaults.blocked
    } else {
        deny
    };
    let open = Access {
        any: settings.satisfy_any,
        deny: deny.clone(),
        allow: allow.cloned(),
        password: None,
        external: None,
    };
    let mut access = open.clone();
    if let Some(basic) = &settings.basic_auth {
        match password(parsed, basic, world, problems) {
            Ok(password) => access.password = password.map(Arc::new),
            Err(Broken) => guarded.denied = true,
        }
    }
    let own = settings.external_auth.as_ref();
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
        burst,
        ..
    } = *limit;
    if per_second == 0 && per_minute == 0 && connections == 0 {
        return None;
    }
    let rate = |limit: u32, seconds: u64| {
        let rate = u64::from(limit) * 1000 / seconds;
        (limit > 0).then(|| RequestRate {
            rate: u32::try_from(rate).unwrap_or(u32::MAX),
            burst: limit.saturating_mul(burst.unwrap_or(BURST)),
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

fn pace(limit: &RateLimit, defaults: &GuardDefaults) -> Option<Box<Pace>> {
    let rate = limit.rate.unwrap_or(defaults.rate);
    let after = limit.rate_after.unwrap_or(defaults.rate_after);
    let pace = || Pace {
        rate: u64::from(rate) * 1024,
        after: u64::from(after) * 1024,
    };
    (rate > 0).then(|| Box::new(pace()))
}

#[cfg(test)]
mod tests {
    use objects::Store;
    use serde_json::{Map, json};

    use super::*;
    use crate::certificates::Certificates;
    use crate::ingress::annotations::Reading;
    use crate::ingress::annotations::external_auth::AuthUrl;
    use crate::ingress::class::Profile;
    use crate::ingress::manner::Profiles;
    use crate::ingress::parse::parse;
    use crate::testing::{ingress, options};

    fn guarded(annotations: &[(&str, &str)], defaults: &GuardDefaults) -> Guarded {
        let annotations = annotations.iter().map(|(name, value)| {
            let name = format!("nginx.ingress.kubernetes.io/{name}");
            (name, json!(value))
        });
        let annotations: Map<_, _> = annotations.collect();
        let object = json!({"metadata": {"annotations": annotations}});
        let (options, store) = (options(), Store::default());
        let source = Arc::new(ingress("default", "web", object));
        let profiles = Profiles::new(&options, &Global::default());
        let reading = Reading::of(&options, profiles.of(Profile::IngressNginx));
        let parsed = parse(&source, Profile::IngressNginx, true, reading);
        let mut problems = Problems::of(crate::ingress::key(&source));
        let mut world = World {
            store: &store,
            options: &options,
            profiles: &profiles,
            services: &mut Services::new(&options),
            certificates: &mut Certificates::new(&options),
            now: 0,
        };
        let guard = resolve(&parsed, defaults, &mut world, &mut problems);
        guard.0.map(|guarded| *guarded).unwrap_or_default()
    }

    #[test]
    fn an_ingress_without_a_word_weighs_nothing() {
        let none = guarded(&[], &GuardDefaults::default());
        assert!(none.access.is_none() && none.limits.is_none() && none.pace.is_none());
        assert_eq!(size_of::<Guard>(), size_of::<usize>());
    }

    #[test]
    fn who_is_asked_for_all_is_asked_unless_an_ingress_says_otherwise() {
        let url = |port| AuthUrl {
            named: None,
            tls: false,
            host: "127.0.0.1".into(),
            port,
            target: None,
        };
        let global = ExternalAuth {
            is_asked: true,
            url: Some(url(9)),
            ..ExternalAuth::default()
        };
        let defaults = GuardDefaults {
            global_auth: Some(Box::new(global)),
            ..GuardDefaults::default()
        };
        let asked = |annotations: &[(&str, &str)]| {
            let access = guarded(annotations, &defaults).access?;
            let request = access.external.as_ref()?;
            let endpoints = request.backend.endpoints();
            endpoints.ready.first().map(|one| one.address.port())
        };
        assert_eq!(asked(&[]), Some(9));
        assert_eq!(asked(&[("enable-global-auth", "true")]), Some(9));
        assert_eq!(asked(&[("enable-global-auth", "maybe")]), Some(9));
        assert_eq!(asked(&[("enable-global-auth", "false")]), None);
        let own = ("auth-url", "http://127.0.0.1:7/");
        assert_eq!(asked(&[own]), Some(7));
        assert_eq!(asked(&[own, ("enable-global-auth", "false")]), Some(7));
    }

    #[test]
    fn lists_and_rates_take_the_place_of_the_defaults() {
        let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a net");
        let set = |text: &str| -> AddressSet { [net(text)].into_iter().collect() };
        let defaults = GuardDefaults {
            allow: Some(set("10.0.0.0/8")),
            rate: 4,
            rate_status: 429,
            ..GuardDefaults::default()
        };
        let none = guarded(&[], &defaults);
        assert_eq!(
            none.access.map(|it| it.allow.clone()),
            Some(defaults.allow.clone())
        );
        assert_eq!(none.pace.map(|pace| pace.rate), Some(4096));
        let annotations = [
            ("allowlist-source-range", "192.0.2.0/24"),
            ("limit-rate", "1"),
            ("limit-rps", "3"),
            ("limit-rpm", "100"),
            ("limit-burst-multiplier", "2"),
        ];
        let own = guarded(&annotations, &defaults);
        let allow = own.access.and_then(|access| access.allow.clone());
        assert_eq!(allow, Some(set("192.0.2.0/24")));
        assert_eq!(own.pace.map(|pace| pace.rate), Some(1024));
        let limits = own.limits.expect("limits");
        let rate = |rate, burst| Some(RequestRate { rate, burst });
        assert_eq!(limits.per_second, rate(3000, 6));
        assert_eq!(limits.per_minute, rate(1666, 200));
        assert_eq!((limits.rate_status, limits.at_once_status), (429, 503));
    }
}
