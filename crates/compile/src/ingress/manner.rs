//! How an Ingress's requests are treated besides filters: time limits, sizes, retries. What it does
//! not say, its profile's defaults say.

use std::sync::Arc;

use model::policy::{Affinity, RouteRetry};
use model::{Extras, Timeouts};

use super::class::Profile;
use super::parse::Parsed;
use crate::options::Options;

/// How requests are treated besides filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) timeouts: Arc<Timeouts>,
    /// In bytes; 0 is no limit.
    pub(crate) max_body: u64,
    pub(crate) retry: Option<Arc<RouteRetry>>,
    pub(crate) affinity: Option<Arc<Affinity>>,
    pub(crate) extras: Option<Arc<Extras>>,
}

/// What holds where an Ingress says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defaults {
    pub(crate) manner: Arc<Manner>,
    /// How clients are sent elsewhere.
    pub(crate) redirects: Redirects,
    /// Whether paths of Exact and Prefix have nothing in them but letters, digits and `/._-`
    /// (`strict-validate-path-type`).
    pub(crate) strict_paths: bool,
    /// What paths begin with whose clients are never sent to HTTPS (`no-tls-redirect-locations`).
    pub(crate) http_paths: Box<[Box<str>]>,
}

impl Defaults {
    /// Whether clients of a path are never sent to HTTPS.
    pub(crate) fn stays_http(&self, path: &str) -> bool {
        self.http_paths
            .iter()
            .any(|start| path.starts_with(&**start))
    }
}

/// How clients are sent elsewhere where an Ingress says nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Redirects {
    /// Whether hosts with TLS send clients to HTTPS (`ssl-redirect`).
    pub(crate) when_tls: bool,
    /// Whether others do, too (`force-ssl-redirect`).
    pub(crate) always: bool,
    /// The status to HTTPS and between hosts with and without `www.` (`http-redirect-code`).
    pub(crate) code: u16,
    /// Whether a slash at the end of the target stays (`preserve-trailing-slash`).
    pub(crate) keeps_slash: bool,
    /// Whether URLs have ports in them (`use-port-in-redirects`).
    pub(crate) names_port: bool,
    /// Whether paths are not made URLs (`relative-redirects`).
    pub(crate) relative: bool,
}

/// The defaults of each profile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Profiles {
    own: Defaults,
    ingress_nginx: Defaults,
}

/// ingress-nginx's `proxy-body-size`, in bytes.
const NGINX_MAX_BODY: u64 = 1 << 20;

/// What ingress-nginx's `hsts`, `hsts-max-age` and `hsts-include-subdomains` make.
const NGINX_HSTS: &str = "max-age=31536000; includeSubDomains";

impl Profiles {
    pub(crate) fn new(options: &Options) -> Self {
        let own = Manner {
            timeouts: Arc::clone(&options.timeouts),
            max_body: options.max_body,
            retry: None,
            affinity: None,
            extras: None,
        };
        let extras = Extras {
            hsts: Some(NGINX_HSTS.into()),
        };
        let ingress_nginx = Manner {
            max_body: match options.max_body {
                0 => NGINX_MAX_BODY,
                given => given,
            },
            extras: Some(Arc::new(extras)),
            ..own.clone()
        };
        let defaults = |manner, strict_paths, http_paths: &[&str]| Defaults {
            manner: Arc::new(manner),
            redirects: Redirects {
                when_tls: options.ssl_redirect,
                code: 308,
                ..Redirects::default()
            },
            strict_paths,
            http_paths: http_paths.iter().map(|path| Box::from(*path)).collect(),
        };
        Self {
            own: defaults(own, false, &[]),
            ingress_nginx: defaults(ingress_nginx, true, &["/.well-known/acme-challenge"]),
        }
    }

    /// The defaults of a profile.
    pub(crate) fn of(&self, profile: Profile) -> &Defaults {
        match profile {
            Profile::Own => &self.own,
            Profile::IngressNginx => &self.ingress_nginx,
        }
    }
}

/// How an Ingress's requests are treated: the default itself where it says nothing.
pub(super) fn resolve(parsed: &Parsed, defaults: &Defaults) -> Arc<Manner> {
    let _ = parsed;
    Arc::clone(&defaults.manner)
}
