//! GatewayClasses: which of them are ours.

use std::sync::Arc;

use objects::Store;

use super::topology::Class;
use crate::options::Options;
use crate::status::Wrong;

/// What `status.supportedFeatures` says, in alphabetical order (GEP-2162).
pub(super) const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// Those of our controller name.
pub(super) fn read(store: &Store, options: &Options) -> Vec<Class> {
    let is_ours = |class: &&Arc<objects::kinds::gateway::GatewayClass>| {
        *class.spec.controller_name == *options.gateway_controller
    };
    let classes = store.gateway_classes().filter(is_ours);
    let classes = classes.map(|source| Class {
        source: Arc::clone(source),
        wrong: source.spec.parameters_ref.as_ref().map(|parameters| {
            Wrong::new(
                "InvalidParameters",
                "spec.parametersRef",
                format!("parameters of kind {} are not known", parameters.kind()),
                "no parameters",
            )
        }),
    });
    classes.collect()
}
