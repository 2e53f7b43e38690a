//! The rules of routes.

use serde::{Deserialize, Serialize};

use super::word::words;
use super::{BackendRef, RouteFilter};
use crate::kinds::Shared;

/// One of an HTTPRoute's `rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    /// `name`, once in a route.
    pub name: Option<Box<str>>,
    /// `matches`: one of them must hold. None for every request.
    pub matches: Option<Box<[HttpRouteMatch]>>,
    /// `filters`.
    pub filters: Option<Box<[RouteFilter]>>,
    /// `backendRefs`.
    pub backend_refs: Option<Box<[BackendRef]>>,
    /// `timeouts`.
    pub timeouts: Option<Box<HttpRouteTimeouts>>,
    /// `retry`.
    pub retry: Option<Box<HttpRouteRetry>>,
    /// `sessionPersistence`.
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// One of the `matches` of an HTTPRoute's rule: all that it says must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// `path`; every path if it is not there.
    pub path: Option<HttpPathMatch>,
    /// `headers`; of two for one name the first counts.
    pub headers: Option<Box<[ValueMatch]>>,
    /// `queryParams`; of two for one name the first counts.
    pub query_params: Option<Box<[ValueMatch]>>,
    /// `method`.
    pub method: Option<Shared>,
}

/// `path` of a match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpPathMatch {
    /// `type`, PathPrefix if it is not there.
    #[serde(rename = "type")]
    pub type_: Option<PathMatchType>,
    /// `value`, `/` if it is not there.
    pub value: Option<Box<str>>,
}

impl HttpPathMatch {
    /// The type.
    pub fn type_(&self) -> &PathMatchType {
        self.type_.as_ref().unwrap_or(&PathMatchType::PathPrefix)
    }

    /// The value.
    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or("/")
    }
}

words! {
    /// How a path matches.
    PathMatchType {
        /// The same, case and all.
        Exact = "Exact",
        /// By elements from its beginning.
        PathPrefix = "PathPrefix",
        /// By a regular expression.
        RegularExpression = "RegularExpression",
    }
}

/// A match of a header's or a query parameter's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ValueMatch {
    /// `type`, Exact if it is not there.
    #[serde(rename = "type")]
    pub type_: Option<MatchType>,
    /// `name`; case does not matter for headers and does for query parameters.
    pub name: Box<str>,
    /// `value`.
    pub value: Box<str>,
}

impl ValueMatch {
    /// The type.
    pub fn type_(&self) -> &MatchType {
        self.type_.as_ref().unwrap_or(&MatchType::Exact)
    }
}

words! {
    /// How a value matches.
    MatchType {
        /// The same, case and all.
        Exact = "Exact",
        /// By a regular expression.
        RegularExpression = "RegularExpression",
    }
}

/// `timeouts` of a rule; durations as [`super::duration`] reads them, `0s` for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTimeouts {
    /// `request`: from the request's beginning to the answer's end.
    pub request: Option<Box<str>>,
    /// `backendRequest`: for one attempt with a backend; no longer than `request`.
    pub backend_request: Option<Box<str>>,
}

/// `retry` of a rule (GEP-1731).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpRouteRetry {
    /// `codes`: the answers, 400 to 599, after which is tried again.
    pub codes: Option<Box<[u16]>>,
    /// `attempts`: how many times is tried again.
    pub attempts: Option<i64>,
    /// `backoff`: how long to wait at least before, a duration.
    pub backoff: Option<Box<str>>,
}

/// `sessionPersistence` of a rule or of an XBackendTrafficPolicy (GEP-1619).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPersistence {
    /// `sessionName`: the cookie's or header's.
    pub session_name: Option<Box<str>>,
    /// `absoluteTimeout`: when a session ends at the latest, a duration.
    pub absolute_timeout: Option<Box<str>>,
    /// `type`: Cookie (also if it is not there) or Header.
    #[serde(rename = "type")]
    pub type_: Option<Shared>,
    /// `cookieConfig`.
    pub cookie_config: Option<CookieConfig>,
}

/// `cookieConfig` of `sessionPersistence`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// `lifetimeType`: Session (also if it is not there), or Permanent for `absoluteTimeout`.
    pub lifetime_type: Option<Shared>,
}

/// One of a GRPCRoute's `rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    /// `name`, once in a route.
    pub name: Option<Box<str>>,
    /// `matches`: one of them must hold. None for every call.
    pub matches: Option<Box<[GrpcRouteMatch]>>,
    /// `filters`: RequestHeaderModifier, ResponseHeaderModifier, RequestMirror and ExtensionRef.
    pub filters: Option<Box<[RouteFilter]>>,
    /// `backendRefs`.
    pub backend_refs: Option<Box<[BackendRef]>>,
    /// `sessionPersistence`.
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// One of the `matches` of a GRPCRoute's rule: all that it says must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    /// `method`; every one if it is not there.
    pub method: Option<GrpcMethodMatch>,
    /// `headers`.
    pub headers: Option<Box<[ValueMatch]>>,
}

/// `method` of a match: a service, a method, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// `type`, Exact if it is not there.
    #[serde(rename = "type")]
    pub type_: Option<MatchType>,
    /// `service`, with its package.
    pub service: Option<Box<str>>,
    /// `method`.
    pub method: Option<Box<str>>,
}

impl GrpcMethodMatch {
    /// The type.
    pub fn type_(&self) -> &MatchType {
        self.type_.as_ref().unwrap_or(&MatchType::Exact)
    }
}

/// One of the `rules` of a TLSRoute, a TCPRoute or a UDPRoute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamRouteRule {
    /// `name`.
    pub name: Option<Box<str>>,
    /// `backendRefs`, without filters.
    pub backend_refs: Option<Box<[BackendRef]>>,
}
