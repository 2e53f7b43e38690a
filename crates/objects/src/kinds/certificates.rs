//! cert-manager.io/v1: Issuer, ClusterIssuer, Certificate, as far as certificates can be had without
//! cert-manager.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ObjectMeta;

/// The API group.
pub const GROUP: &str = "cert-manager.io";

/// cert-manager.io/v1 Issuer: for its own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Issuer {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: IssuerSpec,
}

/// cert-manager.io/v1 ClusterIssuer: for every namespace; its Secrets are in one of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ClusterIssuer {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: IssuerSpec,
}

/// `spec` of an Issuer or a ClusterIssuer, one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerSpec {
    /// `acme`.
    pub acme: Option<Box<AcmeIssuer>>,
    /// `ca`.
    pub ca: Option<CaIssuer>,
    /// `selfSigned`.
    pub self_signed: Option<Present>,
    /// `vault`, which is somebody else's.
    pub vault: Option<Present>,
    /// `venafi`, likewise.
    pub venafi: Option<Present>,
}

/// A field of which nothing matters but that it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self)
    }
}

impl Serialize for Present {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        to.serialize_map(Some(0))?.end()
    }
}

/// `acme`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeIssuer {
    /// `server`: the URL of the directory.
    pub server: String,
    /// `email`.
    pub email: Option<String>,
    /// `caBundle`: whom to trust when talking to the CA, PEM in base64.
    pub ca_bundle: Option<String>,
    /// `skipTLSVerify`.
    #[serde(rename = "skipTLSVerify")]
    pub skip_tls_verify: bool,
    /// `profile`.
    pub profile: Option<String>,
    /// `preferredChain`: the common name of the issuer at its top.
    pub preferred_chain: Option<String>,
    /// `externalAccountBinding`.
    pub external_account_binding: Option<ExternalAccountBinding>,
    /// `privateKeySecretRef`: where the account is kept.
    pub private_key_secret_ref: Option<SecretKeySelector>,
    /// `solvers`.
    pub solvers: Option<Vec<Solver>>,
}

/// `externalAccountBinding`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ExternalAccountBinding {
    /// `keyID`.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// `keySecretRef`: the HMAC, in base64url.
    #[serde(rename = "keySecretRef")]
    pub key_secret_ref: SecretKeySelector,
}

/// A key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SecretKeySelector {
    /// `name`.
    pub name: String,
    /// `key`.
    pub key: Option<String>,
}

/// `ca`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaIssuer {
    /// `secretName`.
    pub secret_name: String,
}

/// One of `solvers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Solver {
    /// `selector`; none is for every name.
    pub selector: Option<SolverSelector>,
    /// `http01`; how its Ingresses and pods would be made does not matter here.
    pub http01: Option<Present>,
    /// `dns01`.
    pub dns01: Option<Dns01>,
}

/// `selector` of a solver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SolverSelector {
    /// `matchLabels`, of the asking object.
    pub match_labels: Option<std::collections::BTreeMap<String, String>>,
    /// `dnsNames`.
    pub dns_names: Option<Vec<String>>,
    /// `dnsZones`.
    pub dns_zones: Option<Vec<String>>,
}

/// `dns01`, one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Dns01 {
    /// `rfc2136`.
    pub rfc2136: Option<Rfc2136>,
    /// `webhook`.
    pub webhook: Option<Webhook>,
    /// A provider that is not known here, by its field's name.
    #[serde(flatten)]
    pub others: std::collections::BTreeMap<String, Value>,
}

/// `rfc2136`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rfc2136 {
    /// `nameserver`: address and perhaps port.
    pub nameserver: String,
    /// `tsigKeyName`.
    pub tsig_key_name: Option<String>,
    /// `tsigAlgorithm`, for example `HMACSHA256`.
    pub tsig_algorithm: Option<String>,
    /// `tsigSecretSecretRef`: the key, in base64 as `tsig-keygen` prints it.
    #[serde(rename = "tsigSecretSecretRef")]
    pub tsig_secret: Option<SecretKeySelector>,
}

/// `webhook`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// `groupName`.
    pub group_name: String,
    /// `solverName`.
    pub solver_name: String,
    /// `config`.
    pub config: Option<Value>,
}

/// cert-manager.io/v1 Certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Certificate {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: CertificateSpec,
}

/// `spec` of a Certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// `secretName`.
    pub secret_name: String,
    /// `issuerRef`.
    pub issuer_ref: IssuerRef,
    /// `dnsNames`.
    pub dns_names: Option<Vec<String>>,
    /// `ipAddresses`.
    pub ip_addresses: Option<Vec<String>>,
    /// `commonName`.
    pub common_name: Option<String>,
    /// `duration`, as Go writes it.
    pub duration: Option<String>,
    /// `renewBefore`, likewise.
    pub renew_before: Option<String>,
    /// `privateKey`.
    pub private_key: Option<PrivateKey>,
    /// `usages`, for example `client auth`.
    pub usages: Option<Vec<String>>,
}

/// Who certifies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IssuerRef {
    /// `name`.
    pub name: String,
    /// `kind`: none is Issuer.
    pub kind: Option<String>,
    /// `group`: none is cert-manager's.
    pub group: Option<String>,
}

/// `privateKey`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct PrivateKey {
    /// `algorithm`: RSA (also when empty), ECDSA or Ed25519.
    pub algorithm: Option<String>,
    /// `size`.
    pub size: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_present_is_seen() {
        let spec: IssuerSpec = serde_json::from_str(r#"{"selfSigned": {}}"#).expect("right");
        assert_eq!(spec.self_signed, Some(Present));
        let spec: IssuerSpec =
            serde_json::from_str(r#"{"vault": {"server": "x"}}"#).expect("right");
        assert_eq!(spec.vault, Some(Present));
        let text = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(
            serde_json::from_str::<IssuerSpec>(&text).expect("right"),
            spec
        );
    }
}
