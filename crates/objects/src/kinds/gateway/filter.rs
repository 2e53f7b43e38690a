//! The filters of HTTPRoutes and GRPCRoutes.

use serde::{Deserialize, Serialize};

use super::word::words;
use super::{BackendRef, ObjectReference};
use crate::kinds::Shared;

/// One of the `filters` of a rule or of a backend. The field of its type is there, unless an
/// object is not what an API server would have taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteFilter {
    /// `type`.
    #[serde(rename = "type")]
    pub type_: RouteFilterType,
    /// `requestHeaderModifier`.
    pub request_header_modifier: Option<Box<HeaderFilter>>,
    /// `responseHeaderModifier`.
    pub response_header_modifier: Option<Box<HeaderFilter>>,
    /// `requestMirror`.
    pub request_mirror: Option<Box<RequestMirrorFilter>>,
    /// `requestRedirect`.
    pub request_redirect: Option<Box<RequestRedirectFilter>>,
    /// `urlRewrite`.
    pub url_rewrite: Option<Box<UrlRewriteFilter>>,
    /// `cors`.
    pub cors: Option<Box<CorsFilter>>,
    /// `externalAuth`.
    pub external_auth: Option<Box<ExternalAuthFilter>>,
    /// `extensionRef`, in the route's namespace.
    pub extension_ref: Option<Box<ObjectReference>>,
}

impl Default for RouteFilter {
    fn default() -> Self {
        Self {
            type_: RouteFilterType::Other(Shared::default()),
            request_header_modifier: None,
            response_header_modifier: None,
            request_mirror: None,
            request_redirect: None,
            url_rewrite: None,
            cors: None,
            external_auth: None,
            extension_ref: None,
        }
    }
}

words! {
    /// What a filter does.
    RouteFilterType {
        /// Changes the request's header.
        RequestHeaderModifier = "RequestHeaderModifier",
        /// Changes the answer's header.
        ResponseHeaderModifier = "ResponseHeaderModifier",
        /// Sends copies of requests somewhere.
        RequestMirror = "RequestMirror",
        /// Answers with a redirect.
        RequestRedirect = "RequestRedirect",
        /// Changes the request's host or path.
        UrlRewrite = "URLRewrite",
        /// Answers what browsers ask of other origins' requests.
        Cors = "CORS",
        /// Asks a server whether a request may go on.
        ExternalAuth = "ExternalAuth",
        /// Something of an implementation's own.
        ExtensionRef = "ExtensionRef",
    }
}

/// Changes of a header: `remove`, then `set`, then `add` are of different names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HeaderFilter {
    /// `set`: in place of what is there.
    pub set: Option<Box<[Header]>>,
    /// `add`: beside what is there.
    pub add: Option<Box<[Header]>>,
    /// `remove`.
    pub remove: Option<Box<[Box<str>]>>,
}

/// A header's name and value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Header {
    /// `name`.
    pub name: Box<str>,
    /// `value`.
    pub value: Box<str>,
}

/// `requestMirror`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMirrorFilter {
    /// `backendRef`: where the copies go.
    pub backend_ref: BackendRef,
    /// `percent`, 0 to 100: of how many requests; of all if neither it nor `fraction` is there.
    pub percent: Option<i32>,
    /// `fraction`: of how many requests.
    pub fraction: Option<Fraction>,
}

/// A part of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Fraction {
    /// `numerator`.
    pub numerator: i32,
    /// `denominator`, 100 if it is not there.
    pub denominator: Option<i32>,
}

impl Fraction {
    /// The denominator.
    pub fn denominator(self) -> i32 {
        self.denominator.unwrap_or(100)
    }
}

/// `requestRedirect`: what it does not say, stays as the request has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestRedirectFilter {
    /// `scheme`: http or https.
    pub scheme: Option<Shared>,
    /// `hostname`.
    pub hostname: Option<Box<str>>,
    /// `path`.
    pub path: Option<PathModifier>,
    /// `port`.
    pub port: Option<u16>,
    /// `statusCode`: 301, 302 (also if it is not there), 303, 307 or 308.
    pub status_code: Option<u16>,
}

/// `urlRewrite`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct UrlRewriteFilter {
    /// `hostname`.
    pub hostname: Option<Box<str>>,
    /// `path`.
    pub path: Option<PathModifier>,
}

/// `path` of a redirect or a rewrite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathModifier {
    /// `type`.
    #[serde(rename = "type")]
    pub type_: PathModifierType,
    /// `replaceFullPath`.
    pub replace_full_path: Option<Box<str>>,
    /// `replacePrefixMatch`.
    pub replace_prefix_match: Option<Box<str>>,
}

impl Default for PathModifier {
    fn default() -> Self {
        Self {
            type_: PathModifierType::Other(Shared::default()),
            replace_full_path: None,
            replace_prefix_match: None,
        }
    }
}

words! {
    /// What becomes of a path.
    PathModifierType {
        /// Another one.
        ReplaceFullPath = "ReplaceFullPath",
        /// One with another beginning.
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }
}

/// `cors` (GEP-1767).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsFilter {
    /// `allowOrigins`: `*`, or schemes and hosts, perhaps with ports, hosts perhaps with `*`.
    pub allow_origins: Option<Box<[Box<str>]>>,
    /// `allowCredentials`.
    pub allow_credentials: Option<bool>,
    /// `allowMethods`: methods, or `*`.
    pub allow_methods: Option<Box<[Shared]>>,
    /// `allowHeaders`: names, or `*`.
    pub allow_headers: Option<Box<[Shared]>>,
    /// `exposeHeaders`: names, or `*`.
    pub expose_headers: Option<Box<[Shared]>>,
    /// `maxAge`, in seconds; 5 if it is not there.
    pub max_age: Option<i32>,
}

impl CorsFilter {
    /// For how long browsers may keep an answer, in seconds.
    pub fn max_age(&self) -> i32 {
        self.max_age.unwrap_or(5)
    }
}

/// `externalAuth` (GEP-1494).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalAuthFilter {
    /// `protocol`.
    pub protocol: ExternalAuthProtocol,
    /// `backendRef`: who is asked.
    pub backend_ref: BackendRef,
    /// `grpc`.
    pub grpc: Option<GrpcAuth>,
    /// `http`.
    pub http: Option<HttpAuth>,
    /// `forwardBody`; nothing of the body if it is not there.
    pub forward_body: Option<ForwardBody>,
}

impl Default for ExternalAuthFilter {
    fn default() -> Self {
        Self {
            protocol: ExternalAuthProtocol::Other(Shared::default()),
            backend_ref: BackendRef::default(),
            grpc: None,
            http: None,
            forward_body: None,
        }
    }
}

words! {
    /// How a server is asked whether a request may go on.
    ExternalAuthProtocol {
        /// With the request's head.
        Http = "HTTP",
        /// With Envoy's ext_authz call.
        Grpc = "GRPC",
    }
}

/// `grpc` of `externalAuth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcAuth {
    /// `allowedHeaders`: of the request, what is sent to the server; everything if none is named.
    pub allowed_headers: Option<Box<[Box<str>]>>,
}

/// `http` of `externalAuth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpAuth {
    /// `path`: what stands before the request's path.
    pub path: Box<str>,
    /// `allowedHeaders`: of the request, what is sent to the server beside Authorization, Method,
    /// Path, Host, Content-Length.
    pub allowed_headers: Option<Box<[Box<str>]>>,
    /// `allowedResponseHeaders`: of the server's answer, what is sent on to the backend; everything
    /// but Authority and Host if none is named.
    pub allowed_response_headers: Option<Box<[Box<str>]>>,
}

/// `forwardBody` of `externalAuth`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardBody {
    /// `maxSize` in bytes; longer requests are refused. 0 for no body.
    pub max_size: i64,
}
