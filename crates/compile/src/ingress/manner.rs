//! How an Ingress's requests are treated besides filters: time limits, sizes, retries. What it does
//! not say, its profile's defaults say.

use std::sync::Arc;

use model::policy::{Affinity, RouteRetry};
use model::{Extras, Timeouts};

use super::annotations::logs::Logs;
use super::answers::AnswerDefaults;
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
    /// Whether hosts with TLS send clients to HTTPS.
    pub(crate) ssl_redirect: bool,
    /// What holds of answers.
    pub(crate) answers: AnswerDefaults,
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
            keeps_request_id: true,
            ..Extras::default()
        };
        let ingress_nginx = Manner {
            max_body: match options.max_body {
                0 => NGINX_MAX_BODY,
                given => given,
            },
            extras: Some(Arc::new(extras)),
            ..own.clone()
        };
        let defaults = |manner| Defaults {
            manner: Arc::new(manner),
            ssl_redirect: options.ssl_redirect,
            answers: AnswerDefaults::default(),
        };
        Self {
            own: defaults(own),
            ingress_nginx: defaults(ingress_nginx),
        }
    }

    /// The same with other defaults of answers.
    #[cfg(test)]
    pub(crate) fn answering(mut self, answers: AnswerDefaults) -> Self {
        self.ingress_nginx.answers = answers;
        self
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
    let logs = parsed.settings.logs;
    if logs == Logs::default() {
        return Arc::clone(&defaults.manner);
    }
    let manner = &*defaults.manner;
    let extras = manner.extras.as_deref().cloned().unwrap_or_default();
    let extras = Extras {
        unlogged: logs.hides_requests,
        logs_rewrites: logs.shows_rewrites,
        ..extras
    };
    Arc::new(Manner {
        extras: Some(Arc::new(extras)),
        ..manner.clone()
    })
}
