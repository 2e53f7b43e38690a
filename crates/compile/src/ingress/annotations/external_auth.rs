//! `auth-url` and its like: somebody else decides whether a request may pass.

use super::table::{Annotation, Group, Risk};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "External authentication",
    annotations: &[
        Annotation::later("auth-always-set-cookie", Risk::Low),
        Annotation::later("auth-cache-duration", Risk::Medium),
        Annotation::later("auth-cache-key", Risk::Medium),
        Annotation::later("auth-keepalive", Risk::Low),
        Annotation::later("auth-keepalive-requests", Risk::Low),
        Annotation::later("auth-keepalive-share-vars", Risk::Low),
        Annotation::later("auth-keepalive-timeout", Risk::Low),
        Annotation::later("auth-method", Risk::Low),
        Annotation::later("auth-proxy-set-headers", Risk::Medium),
        Annotation::later("auth-request-redirect", Risk::Medium),
        Annotation::later("auth-response-headers", Risk::Medium),
        Annotation::later("auth-signin", Risk::High),
        Annotation::later("auth-signin-redirect-param", Risk::Medium),
        Annotation::later("auth-url", Risk::High),
        Annotation::later("enable-global-auth", Risk::Low),
    ],
};
