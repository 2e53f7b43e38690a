//! Annotations that Gateway API has nothing for, each with the reason.

/// Why an annotation that works on an Ingress has no equivalent at all. None if that depends on what
/// it says, or if it has one.
pub(super) fn without_equivalent(name: &str) -> Option<&'static str> {
    Some(match name {
        "auth-type" | "auth-secret" | "auth-secret-type" | "auth-realm" => {
            "Gateway API knows no passwords"
        }
        "auth-url"
        | "auth-method"
        | "auth-signin"
        | "auth-signin-redirect-param"
        | "auth-response-headers"
        | "auth-request-redirect"
        | "auth-cache-key"
        | "auth-cache-duration"
        | "auth-always-set-cookie"
        | "auth-proxy-set-headers"
        | "auth-keepalive"
        | "auth-keepalive-requests"
        | "auth-keepalive-share-vars"
        | "auth-keepalive-timeout"
        | "enable-global-auth" => {
            "the filter ExternalAuth asks with the client's own method and path, and sends nobody to \
             sign in: what is asked has to be another server"
        }
        "satisfy" => "filters of a rule have to be met one and all",
        "whitelist-source-range" | "allowlist-source-range" | "denylist-source-range" => {
            "Gateway API has no lists of clients' addresses: a NetworkPolicy or the load balancer has"
        }
        "limit-rps"
        | "limit-rpm"
        | "limit-connections"
        | "limit-rate"
        | "limit-rate-after"
        | "limit-burst-multiplier"
        | "limit-whitelist"
        | "limit-allowlist" => "Gateway API has no limits for a client",
        "auth-tls-secret"
        | "auth-tls-verify-client"
        | "auth-tls-verify-depth"
        | "auth-tls-error-page"
        | "auth-tls-match-cn"
        | "auth-tls-pass-certificate-to-upstream" => {
            "client certificates are asked for by a port of a Gateway (spec.tls.frontend), for all of \
             its hosts"
        }
        "custom-http-errors" | "default-backend" | "disable-proxy-intercept-errors" => {
            "Gateway API has nobody else answer in the place of a backend that fails"
        }
        "proxy-body-size"
        | "client-body-buffer-size"
        | "proxy-request-buffering"
        | "proxy-buffering"
        | "proxy-buffer-size"
        | "proxy-buffers-number"
        | "proxy-busy-buffers-size"
        | "proxy-max-temp-file-size" => {
            "Gateway API says nothing of the size and the buffering of bodies: --max-body-bytes holds \
             for all"
        }
        "load-balance"
        | "upstream-hash-by"
        | "upstream-hash-by-subset"
        | "upstream-hash-by-subset-size" => {
            "Gateway API does not say how an endpoint is chosen: the annotation narthex.dev/balance \
             of the Service does"
        }
        "service-upstream" => "endpoints are always those of the Service",
        "proxy-redirect-from"
        | "proxy-redirect-to"
        | "proxy-cookie-domain"
        | "proxy-cookie-path" => "Gateway API rewrites no values of response headers",
        "connection-proxy-header" | "proxy-http-version" => {
            "Gateway API does not say how connections to backends are kept"
        }
        "ssl-ciphers"
        | "ssl-prefer-server-ciphers"
        | "proxy-ssl-ciphers"
        | "proxy-ssl-protocols"
        | "proxy-ssl-verify-depth" => "Gateway API does not choose suites and versions of TLS",
        "fastcgi-index" | "fastcgi-params-configmap" => "Gateway API knows no FastCGI",
        "enable-access-log" | "enable-rewrite-log" => "Gateway API says nothing of logs",
        "enable-opentelemetry"
        | "opentelemetry-trust-incoming-span"
        | "opentelemetry-operation-name" => "Gateway API says nothing of traces",
        "configuration-snippet" | "server-snippet" | "auth-snippet" | "stream-snippet" => {
            "Gateway API has no text of nginx's configuration"
        }
        "use-port-in-redirects" | "relative-redirects" | "preserve-trailing-slash" => {
            "redirects of Gateway API have one form of URL"
        }
        _ => return None,
    })
}
