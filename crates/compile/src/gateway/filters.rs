//! Filters of HTTPRoutes and GRPCRoutes.

use model::filter::{
    AuthProtocol, Cors, ExternalAuth, HeaderEdit, Mirror, OriginMatch, PathEdit, Redirect, Rewrite,
};
use model::{Filter, PathMatch};
use objects::kinds::gateway::{
    CorsFilter, ExternalAuthFilter, ExternalAuthProtocol, Header, HeaderFilter, PathModifier,
    RequestMirrorFilter, RequestRedirectFilter, RouteFilter, RouteFilterType, UrlRewriteFilter,
};

use objects::kinds::Shared;

use super::backend::Backends;
use super::references::Reference;
use crate::status::Wrong;

/// How long an authorisation server may take: the Gateway API names no limit.
const AUTH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What came of a list of filters.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) all: Vec<Filter>,
    /// A filter cannot be done: requests are answered 500.
    pub(super) unsupported: Option<Wrong>,
    /// A filter refers to what is not there: it is left out, or requests are answered 500.
    pub(super) unresolved: Option<Wrong>,
}

/// Reads a list of filters. `paths` are the rule's: a prefix can be replaced where there is one.
pub(super) fn read(list: &[RouteFilter], place: &str, backends: &mut Backends<'_, '_>) -> Filters {
    let mut filters = Filters::default();
    for (index, filter) in list.iter().enumerate() {
        let field = format!("{place}.filters[{index}]");
        match one(filter, &field, backends) {
            Ok(Some(filter)) => filters.all.push(filter),
            Ok(None) => {}
            Err(Failed::Unsupported(wrong)) => filters.unsupported = Some(wrong),
            Err(Failed::Unresolved(wrong)) => filters.unresolved = Some(wrong),
        }
    }
    let has = |wanted: fn(&Filter) -> bool| filters.all.iter().any(wanted);
    if has(|filter| matches!(filter, Filter::Redirect(_)))
        && has(|filter| matches!(filter, Filter::Rewrite(_)))
    {
        filters.unsupported = Some(Wrong::new(
            "IncompatibleFilters",
            format!("{place}.filters"),
            "a request is either redirected or rewritten",
            "RequestRedirect or URLRewrite",
        ));
    }
    filters
}

enum Failed {
    Unsupported(Wrong),
    Unresolved(Wrong),
}

fn one(
    filter: &RouteFilter,
    field: &str,
    backends: &mut Backends<'_, '_>,
) -> Result<Option<Filter>, Failed> {
    let missing = || {
        Failed::Unsupported(Wrong::new(
            "UnsupportedValue",
            field,
            format!("a filter of type {} has no such part", filter.type_),
            "the part of the filter's type",
        ))
    };
    Ok(Some(match &filter.type_ {
        RouteFilterType::RequestHeaderModifier => {
            let edit = filter
                .request_header_modifier
                .as_ref()
                .ok_or_else(missing)?;
            Filter::RequestHeaders(Box::new(headers(edit)))
        }
        RouteFilterType::ResponseHeaderModifier => {
            let edit = filter.response_header_modifier.as_ref();
            Filter::ResponseHeaders(Box::new(headers(edit.ok_or_else(missing)?)))
        }
        RouteFilterType::RequestRedirect => {
            let redirect_to = filter.request_redirect.as_ref().ok_or_else(missing)?;
            Filter::Redirect(Box::new(redirect(redirect_to)))
        }
        RouteFilterType::UrlRewrite => {
            let rewrite_to = filter.url_rewrite.as_ref().ok_or_else(missing)?;
            Filter::Rewrite(Box::new(rewrite(rewrite_to)))
        }
        RouteFilterType::RequestMirror => {
            let to = filter.request_mirror.as_ref().ok_or_else(missing)?;
            return mirror(to, field, backends);
        }
        RouteFilterType::Cors => {
            let rules = filter.cors.as_ref().ok_or_else(missing)?;
            Filter::Cors(Box::new(cors(rules)))
        }
        RouteFilterType::ExternalAuth => {
            let asked = filter.external_auth.as_ref().ok_or_else(missing)?;
            Filter::Auth(Box::new(auth(asked, field, backends)?))
        }
        other => {
            return Err(Failed::Unsupported(Wrong::new(
                "UnsupportedValue",
                format!("{field}.type"),
                format!("filters of type {other} are not known"),
                "a type of the Gateway API; there are no extensions",
            )));
        }
    }))
}

fn headers(edit: &HeaderFilter) -> HeaderEdit {
    let pairs = |list: &Option<Box<[Header]>>| {
        let list = list.iter().flatten();
        list.map(|header| (Box::from(&*header.name), Box::from(&*header.value)))
            .collect()
    };
    HeaderEdit {
        remove: edit
            .remove
            .iter()
            .flatten()
            .map(|name| Box::from(&**name))
            .collect(),
        set: pairs(&edit.set),
        add: pairs(&edit.add),
    }
}

fn path(edit: &PathModifier) -> Option<PathEdit> {
    if let Some(full) = &edit.replace_full_path {
        return Some(PathEdit::Full(Box::from(&**full)));
    }
    let prefix = edit.replace_prefix_match.as_ref()?;
    Some(PathEdit::Prefix(Box::from(&**prefix)))
}

fn redirect(redirect: &RequestRedirectFilter) -> Redirect {
    Redirect {
        scheme: redirect.scheme.as_deref().map(Into::into),
        host: redirect.hostname.as_deref().map(Into::into),
        path: redirect.path.as_ref().and_then(path),
        port: redirect.port,
        status: redirect.status_code.unwrap_or(302),
    }
}

fn rewrite(rewrite: &UrlRewriteFilter) -> Rewrite {
    Rewrite {
        host: rewrite.hostname.as_deref().map(Into::into),
        path: rewrite.path.as_ref().and_then(path),
    }
}

fn mirror(
    to: &RequestMirrorFilter,
    field: &str,
    backends: &mut Backends<'_, '_>,
) -> Result<Option<Filter>, Failed> {
    let field = format!("{field}.requestMirror.backendRef");
    let reference = Reference::to_backend(&to.backend_ref);
    let backend = backends.find(&field, reference, to.backend_ref.port);
    let backend = backend.map_err(Failed::Unresolved)?;
    let (numerator, denominator) = match (to.fraction, to.percent) {
        (Some(fraction), _) => (fraction.numerator, fraction.denominator()),
        (None, Some(percent)) => (percent, 100),
        (None, None) => (1, 1),
    };
    // Below zero is nothing; the API takes neither.
    let [numerator, denominator] =
        [numerator, denominator].map(|number| u32::try_from(number).unwrap_or_default());
    if numerator == 0 || denominator == 0 {
        return Ok(None);
    }
    Ok(Some(Filter::Mirror(Box::new(Mirror {
        backend,
        numerator: numerator.min(denominator),
        denominator,
    }))))
}

fn cors(rules: &CorsFilter) -> Cors {
    let texts = |list: &Option<Box<[Shared]>>| {
        let list = list.iter().flatten();
        list.map(|text| Box::from(text.as_str())).collect()
    };
    Cors {
        origins: rules
            .allow_origins
            .iter()
            .flatten()
            .map(|origin| origin_match(origin))
            .collect(),
        methods: texts(&rules.allow_methods),
        headers: texts(&rules.allow_headers),
        expose: texts(&rules.expose_headers),
        max_age: u32::try_from(rules.max_age()).unwrap_or_default(),
        credentials: rules.allow_credentials.unwrap_or_default(),
    }
}

fn origin_match(origin: &str) -> OriginMatch {
    let origin = origin.to_ascii_lowercase();
    if origin == "*" {
        return OriginMatch::Any;
    }
    match origin.split_once('*') {
        Some((before, after)) => OriginMatch::Wildcard {
            before: before.into(),
            after: after.into(),
        },
        None => OriginMatch::Exact(origin.into()),
    }
}

fn auth(
    asked: &ExternalAuthFilter,
    field: &str,
    backends: &mut Backends<'_, '_>,
) -> Result<ExternalAuth, Failed> {
    let reference = Reference::to_backend(&asked.backend_ref);
    let place = format!("{field}.externalAuth.backendRef");
    let is_grpc = asked.protocol == ExternalAuthProtocol::Grpc;
    let backend = backends.find_speaking(&place, reference, asked.backend_ref.port, is_grpc);
    let backend = backend.map_err(Failed::Unresolved)?;
    let lower = |list: Option<&[Box<str>]>| {
        let list = list.unwrap_or_default().iter();
        list.map(|name| name.to_ascii_lowercase().into()).collect()
    };
    let protocol = match &asked.protocol {
        ExternalAuthProtocol::Grpc => AuthProtocol::Grpc {
            headers: lower(
                asked
                    .grpc
                    .as_ref()
                    .and_then(|grpc| grpc.allowed_headers.as_deref()),
            ),
        },
        ExternalAuthProtocol::Http => {
            let http = asked.http.as_ref();
            AuthProtocol::Http {
                path: http.map_or("", |http| &*http.path).into(),
                headers: lower(http.and_then(|http| http.allowed_headers.as_deref())),
                response_headers: lower(
                    http.and_then(|http| http.allowed_response_headers.as_deref()),
                ),
            }
        }
        other => {
            return Err(Failed::Unsupported(Wrong::new(
                "UnsupportedValue",
                format!("{field}.externalAuth.protocol"),
                format!("{other} is not known"),
                "HTTP or GRPC",
            )));
        }
    };
    Ok(ExternalAuth {
        backend,
        protocol,
        body: asked.forward_body.as_ref().map_or(0, |forward| {
            u32::try_from(forward.max_size).unwrap_or_default()
        }),
        timeout: AUTH_TIMEOUT,
    })
}

/// Whether filters fit the path of the rule that they are in: only a prefix can be replaced.
pub(super) fn fit(filters: &[Filter], path: &PathMatch) -> bool {
    let edits_prefix = |edit: &Option<PathEdit>| matches!(edit, Some(PathEdit::Prefix(_)));
    matches!(path, PathMatch::Prefix(_))
        || !filters.iter().any(|filter| match filter {
            Filter::Redirect(redirect) => edits_prefix(&redirect.path),
            Filter::Rewrite(rewrite) => edits_prefix(&rewrite.path),
            _ => false,
        })
}
