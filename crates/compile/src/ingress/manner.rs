//! How an Ingress's requests are treated besides filters: time limits, sizes, retries. What it does
//! not say, its profile's defaults say.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::filter::{Compression, HeaderEdit};
use model::policy::{Affinity, RouteRetry};
use model::{Extras, Timeouts};

use super::annotations::logs::Logs;
use super::annotations::table::Risk;
use super::answers::AnswerDefaults;
use super::class::Profile;
use super::guard::GuardDefaults;
use super::parse::Parsed;
use crate::config_map::Global;
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
    /// Whether hosts with TLS send clients to HTTPS (`ssl-redirect`).
    pub(crate) ssl_redirect: bool,
    /// Whether those without TLS do so, too (`force-ssl-redirect`).
    pub(crate) force_ssl_redirect: bool,
    /// The status of these redirects (`http-redirect-code`).
    pub(crate) redirect_status: u16,
    /// Whether snippets are read (`allow-snippet-annotations`).
    pub(crate) allow_snippets: bool,
    /// The most that annotations may risk (`annotations-risk-level`).
    pub(crate) risk: Risk,
    /// How responses are compressed (`use-gzip`, `enable-brotli`).
    pub(crate) compression: Option<Arc<Compression>>,
    /// Fields that backends are told besides (`proxy-set-headers`).
    pub(crate) request: Option<Arc<HeaderEdit>>,
    /// What is done to all responses (`add-headers`, `hide-headers`).
    pub(crate) response: Option<Arc<HeaderEdit>>,
    /// Who may come in, and how often.
    pub(crate) guard: GuardDefaults,
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

impl Profiles {
    /// As the command line and the ConfigMap say.
    pub(crate) fn new(options: &Options, global: &Global) -> Self {
        let own = Manner {
            timeouts: Arc::clone(&options.timeouts),
            max_body: options.max_body,
            retry: None,
            affinity: None,
            extras: None,
        };
        let extras = Extras {
            hsts: Some(global.hsts().unwrap_or_default()),
            keeps_request_id: true,
            ..Extras::default()
        };
        let given = match options.max_body {
            0 => NGINX_MAX_BODY,
            given => given,
        };
        let timeouts = Timeouts {
            connect: global.connect.unwrap_or(options.timeouts.connect),
            send: global.send.unwrap_or(options.timeouts.send),
            read: global.read.unwrap_or(options.timeouts.read),
            ..*options.timeouts
        };
        let ingress_nginx = Manner {
            timeouts: match timeouts == *options.timeouts {
                true => Arc::clone(&options.timeouts),
                false => Arc::new(timeouts),
            },
            max_body: global.max_body.unwrap_or(given),
            extras: Some(Arc::new(extras)),
            ..own.clone()
        };
        Self {
            own: Defaults {
                manner: Arc::new(own),
                ssl_redirect: options.ssl_redirect,
                force_ssl_redirect: false,
                redirect_status: 308,
                risk: options.annotations_risk,
                compression: None,
                guard: GuardDefaults::default(),
                answers: AnswerDefaults::default(),
                allow_snippets: false,
                request: None,
                response: None,
            },
            ingress_nginx: Defaults {
                manner: Arc::new(ingress_nginx),
                ssl_redirect: options.ssl_redirect && global.ssl_redirect,
                force_ssl_redirect: global.force_ssl_redirect,
                redirect_status: global.redirect_status,
                risk: global.risk.unwrap_or(options.annotations_risk),
                compression: global.compression(),
                guard: GuardDefaults::default(),
                answers: AnswerDefaults::default(),
                allow_snippets: global.allow_snippets,
                request: edit(&global.request_fields, &[]),
                response: edit(&global.response_fields, &global.hide_headers),
            },
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

/// The edit that puts these fields in place, and takes those names out.
fn edit(fields: &BTreeMap<Box<str>, Box<str>>, hidden: &[Box<str>]) -> Option<Arc<HeaderEdit>> {
    let nothing = fields.is_empty() && hidden.is_empty();
    (!nothing).then(|| {
        Arc::new(HeaderEdit {
            remove: hidden.into(),
            set: fields.clone().into_iter().collect(),
            add: [].into(),
        })
    })
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
