//! Filters: what happens to a request between routing and forwarding, and to its response on the
//! way back; one file a filter.

pub(crate) mod compression;
mod cors;
mod headers;
mod https_redirect;
mod ingress_cors;
mod location;
mod redirect;
mod response_rewrite;
mod rewrite;
mod send;
pub(crate) mod snippet;
mod substitute;

use model::filter::{Compression, ErrorPages, Snippet};
use model::{Action, Filter, HttpsRedirect, PathMatch, Rule, Target};

use crate::client::Connection;
use crate::forwarded::Client;
use crate::headers::{Headers, RequestHead};
use crate::record::Reason;
use crate::respond::Given;
use crate::variables::{Scope, expand};

/// What filters look at besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Who asks, and how.
    pub(crate) client: Client,
    /// Whether the client's connection itself is encrypted.
    pub(crate) tls: bool,
    /// The port as the client knows it.
    pub(crate) public_port: u16,
    /// The host as it is compared.
    pub(crate) host: &'a str,
    /// What the rule has matched.
    pub(crate) matched: &'a PathMatch,
    pub(crate) connection: &'a Connection,
    pub(crate) rule: &'a Rule,
}

impl<'a> Context<'a> {
    /// What variables stand for.
    fn scope(
        self,
        request: &'a RequestHead,
        path: &'a [u8],
        captures: &'a [&'a [u8]],
    ) -> Scope<'a> {
        Scope {
            request,
            connection: self.connection,
            client: self.client,
            host: self.host,
            path,
            rule: self.rule,
            backend: main_backend(self.rule),
            captures,
            response: None,
        }
    }
}

/// The name of the backend that an object names for a rule, whether it or another one gets the
/// request.
fn main_backend(rule: &Rule) -> &str {
    match &rule.action {
        Action::Forward(backend) => &backend.name,
        Action::Split(split) => match split.shares().first().map(|share| &share.target) {
            Some(Target::Backend(backend)) => &backend.name,
            Some(Target::Invalid) | None => "",
        },
        Action::Invalid | Action::Denied | Action::NotFound => "",
    }
}

/// A filter answers in the place of the backend.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The client is sent elsewhere, with this status.
    Redirect {
        status: u16,
        location: Vec<u8>,
        reason: Reason,
    },
    /// A whole answer.
    Given(Box<Given>, Reason),
}

impl Answer {
    /// Why there is one.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Redirect { reason, .. } | Self::Given(_, reason) => *reason,
        }
    }
}

/// Whether filters do no more than send clients to HTTPS, for which nothing need be copied.
pub(crate) fn are_simple(filters: &[Filter]) -> bool {
    let is_simple = |filter: &Filter| matches!(filter, Filter::HttpsRedirect(_));
    filters.iter().all(is_simple)
}

/// How the response is compressed, if it may be.
pub(crate) fn compression(filters: &[Filter]) -> Option<&Compression> {
    filters.iter().find_map(|filter| match filter {
        Filter::Compress(compression) => Some(&**compression),
        _ => None,
    })
}

/// Whether any filter has to do with the response.
pub(crate) fn touch_response(filters: &[Filter]) -> bool {
    let touches = |filter: &Filter| {
        matches!(
            filter,
            Filter::ResponseHeaders(_)
                | Filter::Cors(_)
                | Filter::IngressCors(_)
                | Filter::ResponseRewrite(_)
                | Filter::Snippet(_)
        )
    };
    filters.iter().any(touches)
}

/// Where the client is sent, if it came without TLS and a filter wants it to; or what a browser is
/// told, where that goes before it.
pub(crate) fn to_https(
    filters: &[Filter],
    request: &RequestHead,
    path: &[u8],
    client: Client,
    host: &str,
) -> Option<Answer> {
    filters.iter().find_map(|filter| match filter {
        Filter::HttpsRedirect(redirect) => {
            let location = https_redirect::target(*redirect, request, path, client, host);
            let HttpsRedirect { status, .. } = *redirect;
            location.map(|location| Answer::Redirect {
                status,
                location,
                reason: Reason::HttpsRedirect,
            })
        }
        Filter::IngressCors(cors) => ingress_cors::preflight(cors, request),
        _ => None,
    })
}

/// The answer to a question of a browser's that it asks before a request of another origin, which
/// carries nothing that would tell who asks.
pub(crate) fn preflight(filters: &[Filter], request: &RequestHead) -> Option<Answer> {
    filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => cors::preflight(cors, request),
        _ => None,
    })
}

/// Runs the filters that change a request or answer it, in their order. `path` is what goes
/// upstream.
pub(crate) fn run(
    filters: &[Filter],
    request: &mut RequestHead,
    path: &mut Vec<u8>,
    context: Context<'_>,
) -> Option<Answer> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(edit) => {
                if let Some(host) = headers::edit(edit, &mut request.headers) {
                    request.set_upstream_authority(host.as_bytes());
                }
            }
            Filter::Redirect(redirect) => {
                let location = redirect::target(redirect, path, request.query(), context);
                return Some(Answer::Redirect {
                    status: redirect.status,
                    location,
                    reason: Reason::Redirect,
                });
            }
            Filter::Rewrite(rewrite) => rewrite::apply(rewrite, request, path, context.matched),
            Filter::Send(send) => return Some(send::answer(send, request, path, context)),
            Filter::Substitute(substitute) => {
                if let Some(answer) = substitute::apply(substitute, request, path, context) {
                    return Some(answer);
                }
            }
            Filter::UpstreamHost(host) => {
                let host = expand(host, &context.scope(request, path, &[]));
                if !host.is_empty() {
                    request.set_upstream_authority(&host);
                }
            }
            Filter::HttpsRedirect(_)
            | Filter::ResponseHeaders(_)
            | Filter::Mirror(_)
            | Filter::Cors(_)
            | Filter::Auth(_)
            | Filter::Compress(_)
            | Filter::Limit(_)
            | Filter::Pace(_)
            | Filter::Access(_)
            | Filter::IngressCors(_)
            | Filter::ErrorPages(_)
            | Filter::ResponseRewrite(_)
            | Filter::MirrorTo(_)
            | Filter::Snippet(_) => {}
        }
    }
    None
}

/// Who answers in the place of a backend that fails.
pub(crate) fn error_pages(filters: &[Filter]) -> Option<&ErrorPages> {
    filters.iter().find_map(|filter| match filter {
        Filter::ErrorPages(pages) => Some(&**pages),
        _ => None,
    })
}

/// What snippets say, which goes before all else that a rule says.
pub(crate) fn snippet(filters: &[Filter]) -> Option<&Snippet> {
    filters.iter().find_map(|filter| match filter {
        Filter::Snippet(snippet) => Some(&**snippet),
        _ => None,
    })
}

/// What filters of a response look at besides it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The request's Origin.
    pub(crate) origin: Option<Vec<u8>>,
    /// `http` or `https`, of the connection.
    pub(crate) scheme: &'static [u8],
    /// The host as it is compared.
    pub(crate) host: Box<[u8]>,
}

/// Runs the filters that change the answer to a request that was refused at once.
pub(crate) fn finish_refusal(filters: &[Filter], headers: &mut Headers) {
    for filter in filters {
        if let Filter::ResponseHeaders(edit) = filter {
            // A response has no host.
            let _ = self::headers::edit(edit, headers);
        }
    }
}

/// Runs the filters that change a response.
pub(crate) fn finish(filters: &[Filter], headers: &mut Headers, asked: &Asked) {
    let origin = asked.origin.as_deref();
    for filter in filters {
        match filter {
            Filter::Cors(cors) => cors::finish(cors, headers, origin),
            Filter::ResponseRewrite(rewrite) => {
                let outside = response_rewrite::Outside {
                    scheme: asked.scheme,
                    host: &asked.host,
                };
                response_rewrite::finish(rewrite, headers, &outside);
            }
            Filter::ResponseHeaders(edit) => {
                // A response has no host.
                let _ = self::headers::edit(edit, headers);
            }
            _ => {}
        }
    }
    // It stands in front, as it answers first; but as of nginx nobody changes what it says.
    for filter in filters {
        if let Filter::IngressCors(cors) = filter {
            ingress_cors::finish(cors, headers, origin);
        }
    }
}
