//! GatewayClasses: which of them are ours.

use std::collections::BTreeSet;
use std::sync::Arc;

use objects::Store;
use objects::kinds::ObjectKey;

use super::parameters::Parameters;
use super::topology::Class;
use crate::options::Options;

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

/// Those of our controller name, and the ConfigMaps that they refer to.
pub(super) fn read(
    store: &Store,
    options: &Options,
    referred: &mut BTreeSet<ObjectKey>,
) -> Vec<Class> {
    let is_ours = |class: &&Arc<objects::kinds::gateway::GatewayClass>| {
        *class.spec.controller_name == *options.gateway_controller
    };
    let classes = store.gateway_classes().filter(is_ours);
    let classes = classes.map(|source| Class {
        parameters: match &source.spec.parameters_ref {
            None => Ok(Parameters::default()),
            Some(reference) => {
                let namespace = reference.namespace.as_deref();
                let field = "spec.parametersRef";
                let refer = |key| _ = referred.insert(key);
                Parameters::find(reference, namespace, field, store, refer)
            }
        },
        source: Arc::clone(source),
    });
    classes.collect()
}
