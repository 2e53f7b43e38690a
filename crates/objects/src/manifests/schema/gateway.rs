//! The fields of Gateway API's kinds, as of 1.6.3, experimental channel, in every version.

use super::Shape::{Any, Fields, Flag, Int, List, OneOf, Port, Text, Texts};
use super::{API_VERSION, Field, KIND, METADATA, Shape, TEXT_LIST};

const STATUS: Field = ("status", Any);
const GROUP: Field = ("group", Text);
const NAME: Field = ("name", Text);
const NAMESPACE: Field = ("namespace", Text);
const SECTION: Field = ("sectionName", Text);
const PORT: Field = ("port", Port);

/// The scope of default Gateways.
const SCOPE: Shape = OneOf(&["All", "None"]);

/// `LocalObjectReference`, and `LocalParametersReference`.
const LOCAL: &[Field] = &[GROUP, KIND, NAME];
/// `ObjectReference`, `SecretObjectReference`, `ParametersReference`.
const REFERENCE: &[Field] = &[GROUP, KIND, NAME, NAMESPACE];
const REFERENCES: Shape = List(&Fields(REFERENCE));

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident: $spec:ident) => {
        $(#[$doc])*
        pub(super) const $name: &[Field] =
            &[API_VERSION, KIND, METADATA, ("spec", Fields($spec)), STATUS];
    };
}

kind!(GATEWAY_CLASS: GATEWAY_CLASS_SPEC);
kind!(GATEWAY: GATEWAY_SPEC);
kind!(LISTENER_SET: LISTENER_SET_SPEC);
kind!(HTTP_ROUTE: HTTP_ROUTE_SPEC);
kind!(GRPC_ROUTE: GRPC_ROUTE_SPEC);
kind!(TLS_ROUTE: TLS_ROUTE_SPEC);
kind!(
    /// A TCPRoute or a UDPRoute.
    STREAM_ROUTE: STREAM_ROUTE_SPEC
);
kind!(REFERENCE_GRANT: REFERENCE_GRANT_SPEC);
kind!(BACKEND_TLS_POLICY: BACKEND_TLS_POLICY_SPEC);
kind!(X_BACKEND: X_BACKEND_SPEC);
kind!(X_BACKEND_TRAFFIC_POLICY: X_BACKEND_TRAFFIC_POLICY_SPEC);

const GATEWAY_CLASS_SPEC: &[Field] = &[
    ("controllerName", Text),
    ("parametersRef", Fields(REFERENCE)),
    ("description", Text),
];

const GATEWAY_SPEC: &[Field] = &[
    ("gatewayClassName", Text),
    ("listeners", List(&Fields(LISTENER))),
    (
        "addresses",
        List(&Fields(&[("type", Text), ("value", Text)])),
    ),
    (
        "infrastructure",
        Fields(&[
            ("labels", Texts),
            ("annotations", Texts),
            ("parametersRef", Fields(LOCAL)),
        ]),
    ),
    (
        "allowedListeners",
        Fields(&[(
            "namespaces",
            Fields(&[
                ("from", OneOf(&["All", "Selector", "Same", "None"])),
                ("selector", Fields(SELECTOR)),
            ]),
        )]),
    ),
    (
        "tls",
        Fields(&[
            (
                "backend",
                Fields(&[("clientCertificateRef", Fields(REFERENCE))]),
            ),
            (
                "frontend",
                Fields(&[
                    ("default", Fields(FRONTEND_TLS)),
                    (
                        "perPort",
                        List(&Fields(&[PORT, ("tls", Fields(FRONTEND_TLS))])),
                    ),
                ]),
            ),
        ]),
    ),
    ("defaultScope", SCOPE),
];

const FRONTEND_TLS: &[Field] = &[(
    "validation",
    Fields(&[
        ("caCertificateRefs", REFERENCES),
        ("mode", OneOf(&["AllowValidOnly", "AllowInsecureFallback"])),
    ]),
)];

const LISTENER: &[Field] = &[
    NAME,
    ("hostname", Text),
    PORT,
    ("protocol", Text),
    (
        "tls",
        Fields(&[
            ("mode", OneOf(&["Terminate", "Passthrough"])),
            ("certificateRefs", REFERENCES),
            ("options", Texts),
        ]),
    ),
    (
        "allowedRoutes",
        Fields(&[
            (
                "namespaces",
                Fields(&[
                    ("from", OneOf(&["All", "Selector", "Same"])),
                    ("selector", Fields(SELECTOR)),
                ]),
            ),
            ("kinds", List(&Fields(&[GROUP, KIND]))),
        ]),
    ),
];

const SELECTOR: &[Field] = &[
    ("matchLabels", Texts),
    (
        "matchExpressions",
        List(&Fields(&[
            ("key", Text),
            (
                "operator",
                OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]),
            ),
            ("values", TEXT_LIST),
        ])),
    ),
];

const LISTENER_SET_SPEC: &[Field] = &[
    ("parentRef", Fields(REFERENCE)),
    ("listeners", List(&Fields(LISTENER))),
];

const PARENTS: Field = (
    "parentRefs",
    List(&Fields(&[GROUP, KIND, NAMESPACE, NAME, SECTION, PORT])),
);
const DEFAULT_GATEWAYS: Field = ("useDefaultGateways", SCOPE);
const HOSTNAMES: Field = ("hostnames", TEXT_LIST);

const HTTP_ROUTE_SPEC: &[Field] = &[
    PARENTS,
    DEFAULT_GATEWAYS,
    HOSTNAMES,
    (
        "rules",
        List(&Fields(&[
            NAME,
            ("matches", List(&Fields(HTTP_MATCH))),
            ("filters", List(&Fields(HTTP_FILTER))),
            (
                "backendRefs",
                List(&Fields(&[
                    GROUP,
                    KIND,
                    NAME,
                    NAMESPACE,
                    PORT,
                    ("weight", Int),
                    ("filters", List(&Fields(HTTP_FILTER))),
                ])),
            ),
            (
                "timeouts",
                Fields(&[("request", Text), ("backendRequest", Text)]),
            ),
            (
                "retry",
                Fields(&[("codes", List(&Int)), ("attempts", Int), ("backoff", Text)]),
            ),
            ("sessionPersistence", Fields(SESSION)),
        ])),
    ),
];

const HTTP_MATCH: &[Field] = &[
    (
        "path",
        Fields(&[
            ("type", OneOf(&["Exact", "PathPrefix", "RegularExpression"])),
            ("value", Text),
        ]),
    ),
    ("headers", List(&Fields(VALUE_MATCH))),
    ("queryParams", List(&Fields(VALUE_MATCH))),
    (
        "method",
        OneOf(&[
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
        ]),
    ),
];

const VALUE_MATCH: &[Field] = &[
    ("type", OneOf(&["Exact", "RegularExpression"])),
    NAME,
    ("value", Text),
];

const SESSION: &[Field] = &[
    ("sessionName", Text),
    ("absoluteTimeout", Text),
    ("type", OneOf(&["Cookie", "Header"])),
    (
        "cookieConfig",
        Fields(&[("lifetimeType", OneOf(&["Permanent", "Session"]))]),
    ),
];

const GRPC_ROUTE_SPEC: &[Field] = &[
    PARENTS,
    DEFAULT_GATEWAYS,
    HOSTNAMES,
    (
        "rules",
        List(&Fields(&[
            NAME,
            (
                "matches",
                List(&Fields(&[
                    (
                        "method",
                        Fields(&[
                            ("type", OneOf(&["Exact", "RegularExpression"])),
                            ("service", Text),
                            ("method", Text),
                        ]),
                    ),
                    ("headers", List(&Fields(VALUE_MATCH))),
                ])),
            ),
            ("filters", List(&Fields(GRPC_FILTER))),
            (
                "backendRefs",
                List(&Fields(&[
                    GROUP,
                    KIND,
                    NAME,
                    NAMESPACE,
                    PORT,
                    ("weight", Int),
                    ("filters", List(&Fields(GRPC_FILTER))),
                ])),
            ),
            ("sessionPersistence", Fields(SESSION)),
        ])),
    ),
];

const TLS_ROUTE_SPEC: &[Field] = &[PARENTS, DEFAULT_GATEWAYS, HOSTNAMES, STREAM_RULES];
const STREAM_ROUTE_SPEC: &[Field] = &[PARENTS, DEFAULT_GATEWAYS, STREAM_RULES];

const STREAM_RULES: Field = (
    "rules",
    List(&Fields(&[
        NAME,
        (
            "backendRefs",
            List(&Fields(&[
                GROUP,
                KIND,
                NAME,
                NAMESPACE,
                PORT,
                ("weight", Int),
            ])),
        ),
    ])),
);

const REQUEST_HEADER: Field = ("requestHeaderModifier", Fields(HEADER_FILTER));
const RESPONSE_HEADER: Field = ("responseHeaderModifier", Fields(HEADER_FILTER));
const EXTENSION: Field = ("extensionRef", Fields(LOCAL));
const BACKEND: Field = ("backendRef", Fields(&[GROUP, KIND, NAME, NAMESPACE, PORT]));
const MIRROR: Field = (
    "requestMirror",
    Fields(&[
        BACKEND,
        ("percent", Int),
        (
            "fraction",
            Fields(&[("numerator", Int), ("denominator", Int)]),
        ),
    ]),
);

const GRPC_FILTER: &[Field] = &[
    (
        "type",
        OneOf(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "ExtensionRef",
        ]),
    ),
    REQUEST_HEADER,
    RESPONSE_HEADER,
    MIRROR,
    EXTENSION,
];

const HTTP_FILTER: &[Field] = &[
    (
        "type",
        OneOf(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "ExtensionRef",
            "CORS",
            "ExternalAuth",
        ]),
    ),
    REQUEST_HEADER,
    RESPONSE_HEADER,
    MIRROR,
    (
        "requestRedirect",
        Fields(&[
            ("scheme", OneOf(&["http", "https"])),
            ("hostname", Text),
            PATH_MODIFIER,
            PORT,
            ("statusCode", Int),
        ]),
    ),
    ("urlRewrite", Fields(&[("hostname", Text), PATH_MODIFIER])),
    (
        "cors",
        Fields(&[
            ("allowOrigins", TEXT_LIST),
            ("allowCredentials", Flag),
            ("allowMethods", TEXT_LIST),
            ("allowHeaders", TEXT_LIST),
            ("exposeHeaders", TEXT_LIST),
            ("maxAge", Int),
        ]),
    ),
    ("externalAuth", Fields(EXTERNAL_AUTH)),
    EXTENSION,
];

const PATH_MODIFIER: Field = (
    "path",
    Fields(&[
        ("type", OneOf(&["ReplaceFullPath", "ReplacePrefixMatch"])),
        ("replaceFullPath", Text),
        ("replacePrefixMatch", Text),
    ]),
);

const HEADER_FILTER: &[Field] = &[
    ("set", List(&Fields(&[NAME, ("value", Text)]))),
    ("add", List(&Fields(&[NAME, ("value", Text)]))),
    ("remove", TEXT_LIST),
];

const EXTERNAL_AUTH: &[Field] = &[
    ("protocol", OneOf(&["HTTP", "GRPC"])),
    BACKEND,
    ("grpc", Fields(&[("allowedHeaders", TEXT_LIST)])),
    (
        "http",
        Fields(&[
            ("path", Text),
            ("allowedHeaders", TEXT_LIST),
            ("allowedResponseHeaders", TEXT_LIST),
        ]),
    ),
    ("forwardBody", Fields(&[("maxSize", Int)])),
];

const REFERENCE_GRANT_SPEC: &[Field] = &[
    ("from", List(&Fields(&[GROUP, KIND, NAMESPACE]))),
    ("to", List(&Fields(&[GROUP, KIND, NAME]))),
];

const BACKEND_TLS_POLICY_SPEC: &[Field] = &[
    ("targetRefs", List(&Fields(&[GROUP, KIND, NAME, SECTION]))),
    ("validation", Fields(VALIDATION)),
    ("options", Texts),
];

const VALIDATION: &[Field] = &[
    ("caCertificateRefs", List(&Fields(LOCAL))),
    ("wellKnownCACertificates", Text),
    ("hostname", Text),
    (
        "subjectAltNames",
        List(&Fields(&[
            ("type", OneOf(&["Hostname", "URI"])),
            ("hostname", Text),
            ("uri", Text),
        ])),
    ),
];

const X_BACKEND_SPEC: &[Field] = &[
    ("type", OneOf(&["ExternalHostname"])),
    ("port", Fields(&[NAME, PORT])),
    ("externalHostname", Fields(&[("hostname", Text)])),
    (
        "protocol",
        OneOf(&["TCP", "HTTP", "HTTP2", "HTTP11", "H2C", "MCP"]),
    ),
    (
        "tls",
        Fields(&[
            ("mode", OneOf(&["None", "ServerOnly", "ClientAndServer"])),
            ("clientCertificateRef", Fields(REFERENCE)),
            ("validation", Fields(VALIDATION)),
        ]),
    ),
];

const X_BACKEND_TRAFFIC_POLICY_SPEC: &[Field] = &[
    ("targetRefs", List(&Fields(LOCAL))),
    (
        "retryConstraint",
        Fields(&[
            ("budget", Fields(&[("percent", Int), ("interval", Text)])),
            (
                "minRetryRate",
                Fields(&[("count", Int), ("interval", Text)]),
            ),
        ]),
    ),
    ("sessionPersistence", Fields(SESSION)),
];
