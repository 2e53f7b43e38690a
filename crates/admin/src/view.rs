//! The shape of the API: what `/api/…` answers, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

/// `/api/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Counts the configurations that were applied, from 1; 0 before the first.
    pub generation: u64,
    /// When the last one was applied, in seconds since 1970.
    pub last_applied: Option<u64>,
    /// How much there is.
    pub counts: Counts,
    /// How much is wrong.
    pub problems: ProblemCounts,
    /// What is listened on.
    pub listening: Vec<Listening>,
    /// The watches of a cluster, by kind; none where manifests are read from files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The APIs that the cluster has beside those that every cluster has, of those that could be
    /// of use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
    /// Leader and replicas, where a cluster is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// An API of custom resources that a cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Api {
    /// As people call it.
    pub name: &'static str,
    /// Its group.
    pub group: &'static str,
    /// The versions that are served.
    pub versions: Vec<String>,
    /// Whether its objects are read.
    pub is_read: bool,
}

/// Who tells the cluster what, among replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The leader's name, as far as it is known.
    pub leader: Option<String>,
    /// Whether that is this replica.
    pub is_leader: bool,
    /// The live replicas; only the leader knows them.
    pub replicas: Vec<String>,
    /// The addresses that Ingresses are told to have; only the leader knows them.
    pub addresses: Vec<String>,
}

/// The watches of one kind of objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The kind.
    pub kind: &'static str,
    /// How many watches there are.
    pub watches: usize,
    /// How many of them have read what there is, or were told that they may not.
    pub synced: usize,
    /// How many of them work.
    pub connected: usize,
    /// How often one had to begin again after something went wrong.
    pub restarts: u64,
    /// How long ago the last object came, changed or went.
    pub last_event_seconds: Option<u64>,
    /// For how long one has not worked.
    pub down_seconds: Option<u64>,
    /// Why.
    pub error: Option<String>,
}

/// How much there is of each thing.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// Objects by kind.
    pub objects: BTreeMap<&'static str, usize>,
    /// Virtual hosts that are served.
    pub hosts: usize,
    /// Rules of all hosts.
    pub rules: usize,
    /// Backends that rules name.
    pub backends: usize,
    /// Endpoints of these backends that take requests.
    pub endpoints: usize,
}

/// How many problems there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ProblemCounts {
    /// What is not served.
    pub errors: usize,
    /// What is served, but perhaps not as meant.
    pub warnings: usize,
}

/// One port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listening {
    /// The port as configured.
    pub port: u16,
    /// `http`, `https`, `tcp` or `udp`.
    pub protocol: &'static str,
    /// The port that is bound; another one where the configured one may not be bound.
    pub bound_port: u16,
    /// The addresses it is bound on.
    pub addresses: Vec<String>,
}

/// One problem of one object: of `/api/problems` and of `narthex check --output json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The manifest, where the object has one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// As `Ingress default/web`.
    pub object: Option<String>,
    /// As `spec.rules[0].host`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty where nothing general can be said.
    pub hint: String,
}

/// `/api/objects`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objects {
    /// Whose word it is, for people.
    pub said_by: &'static str,
    /// The objects by kind, namespace and name.
    pub items: Vec<Object>,
    /// How many more there are.
    pub remaining: usize,
    /// Where those begin: to be given as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One object of Gateway API with its status, in Kubernetes' own shape: of `/api/objects` and of
/// `narthex check --output json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The best version that is read, not that of the manifest.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Which one.
    pub metadata: Metadata,
    /// As the API server would have it.
    pub status: serde_json::Value,
}

/// `metadata` of an object, as far as it says which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Its namespace, if its kind has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Counts the changes of its `spec`; 0 for manifests that do not say.
    pub generation: i64,
}

/// Which objects `/api/objects` is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those of this kind, as `HTTPRoute`.
    pub kind: Option<String>,
    /// Those of this namespace.
    pub namespace: Option<String>,
    /// Those of this name.
    pub name: Option<String>,
    /// Those that come after this one, as [`Objects::next`] has it.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// One listener of `/api/routes`.
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// The port as configured.
    pub port: u16,
    /// `http`, `https`, `tcp` or `udp`.
    pub protocol: &'static str,
    /// Hosts, in alphabetical order; of several listeners of Gateways on one port one after the
    /// other.
    pub hosts: Vec<Host>,
    /// What is passed on byte for byte.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Stream>,
}

/// What becomes of connections, or datagrams, that are passed on byte for byte.
#[derive(Debug, Clone, Serialize)]
pub struct Stream {
    /// The server name (SNI) that clients ask for; `*` for all.
    pub server_name: String,
    /// `passthrough` if TLS goes on to the backend, `terminate` if it ends here; nothing without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'static str>,
    /// `namespace/name` of the route.
    pub route: String,
    /// Where in it.
    pub field: String,
    /// Who gets them.
    pub backends: Vec<Backend>,
}

/// One virtual host.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// A name, `*.` and a name, or `*` for all other hosts.
    pub host: String,
    /// Its rules, and last what answers every other path.
    pub rules: Vec<Rule>,
}

/// One rule of a virtual host.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// `Exact`, `Prefix`, `Pattern`, or `Default` for what no path of the host claims.
    pub match_type: &'static str,
    /// The path.
    pub path: String,
    /// `namespace/name` of the Ingress or the route; empty for the built-in page.
    pub route: String,
    /// Where in it.
    pub field: String,
    /// What else a request has to be like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// What happens before the backend is asked.
    pub filters: Vec<String>,
    /// What answers; none is the built-in page, or several backends.
    pub backend: Option<Backend>,
    /// What answers, where there are several, or one with filters of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Share>,
}

/// One of several backends.
#[derive(Debug, Clone, Serialize)]
pub struct Share {
    /// Its part of the requests is that of its weight in the sum of all.
    pub weight: u32,
    /// None is a reference that is wrong or not allowed: the answer is 500.
    pub backend: Option<Backend>,
    /// What happens to its part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
}

/// What answers a rule's requests.
#[derive(Debug, Clone, Serialize)]
pub struct Backend {
    /// `namespace/service:port`.
    pub name: String,
    /// The endpoints that take requests.
    pub endpoints: Vec<String>,
    /// Why there are none.
    pub unavailable: Option<String>,
}

/// One host of `/api/certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// A name, `*.` and a name, or `*` for handshakes that no other is for.
    pub host: String,
    /// Where it is from, as `Secret default/tls`, or `self-signed`.
    pub source: String,
    /// Its end, in seconds since 1970.
    pub not_after: i64,
}

/// The answer of `/api/explain`.
#[derive(Debug)]
pub enum Explained {
    /// For people.
    Text(String),
    /// For programs.
    Json(String),
}

/// A certificate that is obtained here: of `/api/certificates/obtained`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObtainedCertificate {
    /// Where it is kept: the Secret's namespace and name.
    pub secret: String,
    /// What it is for.
    pub names: Vec<String>,
    /// Who certifies.
    pub issuer: String,
    /// The objects that ask for it.
    pub asked_by: Vec<String>,
    /// `valid`, `being obtained`, `waiting`, `failed`, `not renewed` or `cert-manager's`.
    pub state: &'static str,
    /// When it ends, in seconds since 1970, if there is one.
    pub expires: Option<i64>,
    /// When it is looked at next, likewise.
    pub next: Option<i64>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// Credentials of outside registries: of `/api/registry/credentials`. No secret is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RegistryCredentials {
    /// Whether this process has anything to do with them.
    pub on: bool,
    /// Whether this replica asks for them and writes them; another one may.
    pub writes: bool,
    /// Each.
    pub credentials: Vec<RegistryCredential>,
    /// What is wrong with their sources, and what could not be written.
    pub problems: Vec<String>,
}

/// A credential of outside registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryCredential {
    /// The Secret's name, in each namespace that has it.
    pub secret: String,
    /// `docker`, `gcr`, `ecr` or `acr`.
    pub provider: &'static str,
    /// Where it is configured.
    pub from: String,
    /// The registries' hosts, where they are known.
    pub registries: Vec<String>,
    /// `valid`, `waiting`, `failing` (the last good one is kept), `failed` (there is none), `ended` or
    /// `another replica's`.
    pub state: &'static str,
    /// When it came, in seconds since 1970.
    pub refreshed: Option<u64>,
    /// When it ends, likewise, where the provider says so.
    pub expires: Option<u64>,
    /// When it is asked for again, likewise.
    pub next: Option<u64>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How many namespaces have it.
    pub namespaces: usize,
}

/// Something that is to be done about a certificate: a POST to `/api/certificates/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub kind: OrderKind,
    /// About which: the Secret's namespace and name.
    pub secret: String,
    /// Why it is revoked, as RFC 5280 calls it.
    pub reason: Option<String>,
    /// What is imported, in PEM.
    pub body: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// A new certificate, now.
    Renew,
    /// It is revoked, and replaced.
    Revoke,
    /// One that came otherwise takes its place.
    Import,
    /// It is told, with its key.
    Export,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Whoever orders it may not.
    Forbidden(String),
    /// It failed.
    Failed(String),
}
