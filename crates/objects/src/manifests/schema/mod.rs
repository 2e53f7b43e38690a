//! The fields of the kinds that are read, as of Kubernetes v1.36.
//!
//! Every field that the API server knows is here, also those that Narthex never looks at, so
//! that a name which is not here is a mistake. Source: the OpenAPI document of Kubernetes.

mod certificates;
mod gateway;

use crate::kinds::Kind;

/// What a field holds.
#[derive(Debug)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A string, one of these.
    OneOf(&'static [&'static str]),
    /// A boolean.
    Flag,
    /// A whole number.
    Int,
    /// A whole number from 1 to 65535.
    Port,
    /// A port number, or the name of a port.
    PortOrName,
    /// A mapping of strings to strings.
    Texts,
    /// A list.
    List(&'static Self),
    /// A mapping with these fields.
    Fields(&'static [Field]),
    /// Anything, not looked into, and not kept.
    Any,
    /// Anything, not looked into, and kept as it is.
    Whole,
}

/// A field's name and what it holds.
pub(super) type Field = (&'static str, Shape);

use Shape::{Any, Fields, Flag, Int, List, OneOf, Port, PortOrName, Text, Texts};

/// The fields of objects of `kind`.
pub(super) fn of(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Certificate => certificates::CERTIFICATE,
        Kind::ClusterIssuer | Kind::Issuer => certificates::ISSUER,
        Kind::ConfigMap => CONFIG_MAP,
        Kind::Endpoints => ENDPOINTS,
        Kind::EndpointSlice => ENDPOINT_SLICE,
        Kind::Ingress => INGRESS,
        Kind::IngressClass => INGRESS_CLASS,
        Kind::Namespace => NAMESPACE,
        Kind::Secret => SECRET,
        Kind::Service => SERVICE,
        Kind::BackendTlsPolicy => gateway::BACKEND_TLS_POLICY,
        Kind::Gateway => gateway::GATEWAY,
        Kind::GatewayClass => gateway::GATEWAY_CLASS,
        Kind::GrpcRoute => gateway::GRPC_ROUTE,
        Kind::HttpRoute => gateway::HTTP_ROUTE,
        Kind::ListenerSet => gateway::LISTENER_SET,
        Kind::ReferenceGrant => gateway::REFERENCE_GRANT,
        Kind::TcpRoute | Kind::UdpRoute => gateway::STREAM_ROUTE,
        Kind::TlsRoute => gateway::TLS_ROUTE,
        Kind::XBackend => gateway::X_BACKEND,
        Kind::XBackendTrafficPolicy => gateway::X_BACKEND_TRAFFIC_POLICY,
    }
}

const TEXT: Shape = Text;
const TEXT_LIST: Shape = List(&TEXT);
const ANY: Shape = Any;
const ANY_LIST: Shape = List(&ANY);

const API_VERSION: Field = ("apiVersion", Text);
const KIND: Field = ("kind", Text);
const METADATA: Field = ("metadata", Fields(META));
const PROTOCOL: Field = ("protocol", OneOf(&["TCP", "UDP", "SCTP"]));

const META: &[Field] = &[
    ("name", Text),
    ("generateName", Text),
    ("namespace", Text),
    ("selfLink", Text),
    ("uid", Text),
    ("resourceVersion", Text),
    ("generation", Int),
    ("creationTimestamp", Text),
    ("deletionTimestamp", Text),
    ("deletionGracePeriodSeconds", Int),
    ("labels", Texts),
    ("annotations", Texts),
    ("ownerReferences", List(&Fields(OWNER_REFERENCE))),
    ("finalizers", TEXT_LIST),
    ("managedFields", ANY_LIST),
];

const OWNER_REFERENCE: &[Field] = &[
    API_VERSION,
    KIND,
    ("name", Text),
    ("uid", Text),
    ("controller", Flag),
    ("blockOwnerDeletion", Flag),
];

const NAMESPACE: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("spec", Fields(&[("finalizers", TEXT_LIST)])),
    (
        "status",
        Fields(&[("phase", Text), ("conditions", ANY_LIST)]),
    ),
];

const CONFIG_MAP: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("immutable", Flag),
    ("data", Texts),
    ("binaryData", Texts),
];

const SECRET: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("immutable", Flag),
    ("data", Texts),
    ("stringData", Texts),
    ("type", Text),
];

const INGRESS_CLASS: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    (
        "spec",
        Fields(&[
            ("controller", Text),
            (
                "parameters",
                Fields(&[
                    ("apiGroup", Text),
                    KIND,
                    ("name", Text),
                    ("scope", OneOf(&["Cluster", "Namespace"])),
                    ("namespace", Text),
                ]),
            ),
        ]),
    ),
];

const INGRESS: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    (
        "spec",
        Fields(&[
            ("ingressClassName", Text),
            ("defaultBackend", Fields(INGRESS_BACKEND)),
            (
                "tls",
                List(&Fields(&[("hosts", TEXT_LIST), ("secretName", Text)])),
            ),
            (
                "rules",
                List(&Fields(&[
                    ("host", Text),
                    ("http", Fields(&[("paths", List(&Fields(INGRESS_PATH)))])),
                ])),
            ),
        ]),
    ),
    ("status", Fields(&[("loadBalancer", Fields(LOAD_BALANCER))])),
];

const INGRESS_PATH: &[Field] = &[
    ("path", Text),
    (
        "pathType",
        OneOf(&["Exact", "Prefix", "ImplementationSpecific"]),
    ),
    ("backend", Fields(INGRESS_BACKEND)),
];

const INGRESS_BACKEND: &[Field] = &[
    (
        "service",
        Fields(&[
            ("name", Text),
            ("port", Fields(&[("name", Text), ("number", Port)])),
        ]),
    ),
    (
        "resource",
        Fields(&[("apiGroup", Text), KIND, ("name", Text)]),
    ),
];

const LOAD_BALANCER: &[Field] = &[(
    "ingress",
    List(&Fields(&[
        ("ip", Text),
        ("ipMode", Text),
        ("hostname", Text),
        (
            "ports",
            List(&Fields(&[("port", Int), PROTOCOL, ("error", Text)])),
        ),
    ])),
)];

const SERVICE: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("spec", Fields(SERVICE_SPEC)),
    (
        "status",
        Fields(&[
            ("loadBalancer", Fields(LOAD_BALANCER)),
            ("conditions", ANY_LIST),
        ]),
    ),
];

const SERVICE_SPEC: &[Field] = &[
    (
        "ports",
        List(&Fields(&[
            ("name", Text),
            PROTOCOL,
            ("appProtocol", Text),
            ("port", Port),
            ("targetPort", PortOrName),
            ("nodePort", Int),
        ])),
    ),
    ("selector", Texts),
    ("clusterIP", Text),
    ("clusterIPs", TEXT_LIST),
    (
        "type",
        OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    ),
    ("externalIPs", TEXT_LIST),
    ("sessionAffinity", OneOf(&["None", "ClientIP"])),
    ("loadBalancerIP", Text),
    ("loadBalancerSourceRanges", TEXT_LIST),
    ("externalName", Text),
    ("externalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    ("healthCheckNodePort", Int),
    ("publishNotReadyAddresses", Flag),
    (
        "sessionAffinityConfig",
        Fields(&[("clientIP", Fields(&[("timeoutSeconds", Int)]))]),
    ),
    ("ipFamilies", TEXT_LIST),
    (
        "ipFamilyPolicy",
        OneOf(&["SingleStack", "PreferDualStack", "RequireDualStack"]),
    ),
    ("allocateLoadBalancerNodePorts", Flag),
    ("loadBalancerClass", Text),
    ("internalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    ("trafficDistribution", Text),
];

const OBJECT_REFERENCE: &[Field] = &[
    KIND,
    ("namespace", Text),
    ("name", Text),
    ("uid", Text),
    API_VERSION,
    ("resourceVersion", Text),
    ("fieldPath", Text),
];

const ENDPOINT_PORT: &[Field] = &[
    ("name", Text),
    PROTOCOL,
    ("port", Port),
    ("appProtocol", Text),
];

const NAMED: Shape = Fields(&[("name", Text)]);

const ENDPOINT_SLICE: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("addressType", OneOf(&["IPv4", "IPv6", "FQDN"])),
    (
        "endpoints",
        List(&Fields(&[
            ("addresses", TEXT_LIST),
            (
                "conditions",
                Fields(&[("ready", Flag), ("serving", Flag), ("terminating", Flag)]),
            ),
            ("hostname", Text),
            ("targetRef", Fields(OBJECT_REFERENCE)),
            ("deprecatedTopology", Texts),
            ("nodeName", Text),
            ("zone", Text),
            (
                "hints",
                Fields(&[("forZones", List(&NAMED)), ("forNodes", List(&NAMED))]),
            ),
        ])),
    ),
    ("ports", List(&Fields(ENDPOINT_PORT))),
];

const ENDPOINTS: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    (
        "subsets",
        List(&Fields(&[
            ("addresses", List(&Fields(ENDPOINT_ADDRESS))),
            ("notReadyAddresses", List(&Fields(ENDPOINT_ADDRESS))),
            ("ports", List(&Fields(ENDPOINT_PORT))),
        ])),
    ),
];

const ENDPOINT_ADDRESS: &[Field] = &[
    ("ip", Text),
    ("hostname", Text),
    ("nodeName", Text),
    ("targetRef", Fields(OBJECT_REFERENCE)),
];
