//! Who certifies: Issuers, ClusterIssuers and what the command line says.

use std::collections::BTreeSet;

use objects::Store;
use objects::kinds::certificates::{
    self as api, Dns01, IssuerSpec, SecretKeySelector, Solver, SolverSelector,
};
use objects::kinds::{Kind, ObjectKey};
use objects::wildcard;

use super::IssuerKey;
use crate::options::Options;

/// The annotation that limits a ClusterIssuer to namespaces: names with `*` for any letters.
const NAMESPACES: &str = "narthex.dev/namespaces";

/// How certificates are got.
#[derive(Clone, PartialEq, Eq)]
pub enum IssuerPlan {
    /// From an ACME server.
    Acme(Box<AcmeIssuer>),
    /// By an authority's key.
    Authority {
        /// Its certificate and those above it, PEM.
        chain: String,
        /// Its key, PEM.
        key: String,
    },
    /// By the authority that is made and kept here.
    Internal,
    /// By each certificate's own key.
    SelfSigned,
}

// Keys are nobody's to see in a log.
impl std::fmt::Debug for IssuerPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acme(_) => "Acme",
            Self::Authority { .. } => "Authority",
            Self::Internal => "Internal",
            Self::SelfSigned => "SelfSigned",
        })
    }
}

/// An ACME server, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct AcmeIssuer {
    /// The URL of its directory.
    pub directory: String,
    /// For its warnings.
    pub email: Option<String>,
    /// Whom to trust when talking to it, PEM; none is whom the system trusts.
    pub roots: Option<Vec<u8>>,
    /// Whether whoever runs this agrees with its terms of service.
    pub terms_agreed: bool,
    /// External account binding: the key's id, and the key in base64url.
    pub external: Option<(String, String)>,
    /// Where the account is kept: namespace and name of a Secret.
    pub account: (String, String),
    /// The profile.
    pub profile: Option<String>,
    /// The common name of the issuer at the top of the chain that is preferred.
    pub preferred_chain: Option<String>,
    /// How names are shown to be ours.
    pub solvers: Vec<SolverPlan>,
}

impl std::fmt::Debug for AcmeIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcmeIssuer")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A way to show that names are ours.
#[derive(Clone, PartialEq, Eq)]
pub struct SolverPlan {
    /// For these names alone.
    pub dns_names: Vec<String>,
    /// For names within these domains alone.
    pub dns_zones: Vec<String>,
    /// How.
    pub way: Way,
}

/// How a name is shown to be ours.
#[derive(Clone, PartialEq, Eq)]
pub enum Way {
    /// HTTP-01, which is answered here.
    Http,
    /// TLS-ALPN-01, which is answered here.
    TlsAlpn,
    /// DNS-01.
    Dns(DnsProvider),
    /// DNS-PERSIST-01: somebody has set the record.
    DnsPersist,
}

/// Who sets DNS-01's records.
#[derive(Clone, PartialEq, Eq)]
pub enum DnsProvider {
    /// A name server, by dynamic updates (RFC 2136).
    Rfc2136 {
        /// Host or address, perhaps with a port.
        server: String,
        /// How updates are signed.
        tsig: Option<Tsig>,
    },
    /// A program.
    Exec {
        /// Its path.
        program: String,
    },
    /// An HTTP service of the form of lego's `httpreq`.
    Webhook {
        /// Its URL.
        url: String,
    },
}

/// A key for signed updates (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct Tsig {
    /// Its name.
    pub name: String,
    /// Its algorithm as cert-manager names it, for example `HMACSHA256`.
    pub algorithm: String,
    /// It, in base64.
    pub secret: String,
}

/// Why nobody certifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) hint: String,
}

fn refuse<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        message: message.into(),
        hint: hint.into(),
    })
}

/// Whether a namespace may use an issuer.
pub(super) fn allow(
    issuer: &IssuerKey,
    namespace: &str,
    store: &Store,
    options: &Options,
) -> Result<(), Refused> {
    let allowed: Vec<String> = match issuer {
        IssuerKey::ClusterIssuer { name } => {
            let object = store.cluster_issuer(name);
            let list = object.and_then(|it| it.metadata.annotations.get(NAMESPACES));
            match list {
                Some(list) => list.split(',').map(|it| it.trim().to_owned()).collect(),
                None => return Ok(()),
            }
        }
        IssuerKey::Acme if !options.certificates.acme_namespaces.is_empty() => {
            options.certificates.acme_namespaces.clone()
        }
        _ => return Ok(()),
    };
    if allowed
        .iter()
        .any(|pattern| wildcard::matches(pattern, namespace))
    {
        return Ok(());
    }
    let hint = match issuer {
        IssuerKey::Acme => "a namespace of --acme-namespaces".to_owned(),
        _ => format!("a namespace of its annotation {NAMESPACES}"),
    };
    refuse(format!("{issuer} is not for namespace {namespace}"), hint)
}

/// What an issuer is, with the Secrets that it refers to noted.
pub(super) fn find(
    issuer: &IssuerKey,
    store: &Store,
    options: &Options,
    references: &mut BTreeSet<ObjectKey>,
) -> Result<IssuerPlan, Refused> {
    match issuer {
        IssuerKey::Internal => Ok(IssuerPlan::Internal),
        IssuerKey::SelfSigned => Ok(IssuerPlan::SelfSigned),
        IssuerKey::Acme => match &options.certificates.acme {
            Some(acme) => Ok(IssuerPlan::Acme(acme.clone())),
            None => refuse(
                "no ACME server is configured",
                "--acme-email and --acme-agree-tos, or an Issuer named by cert-manager.io/issuer",
            ),
        },
        IssuerKey::Issuer { namespace, name } => {
            let Some(object) = store.issuer(namespace, name) else {
                return refuse(
                    format!("there is no {issuer}"),
                    "an Issuer of this namespace",
                );
            };
            of_spec(&object.spec, issuer, namespace, store, references)
        }
        IssuerKey::ClusterIssuer { name } => {
            let Some(object) = store.cluster_issuer(name) else {
                return refuse(format!("there is no {issuer}"), "a ClusterIssuer");
            };
            let namespace = &options.certificates.cluster_resources;
            of_spec(&object.spec, issuer, namespace, store, references)
        }
    }
}

fn of_spec(
    spec: &IssuerSpec,
    issuer: &IssuerKey,
    namespace: &str,
    store: &Store,
    references: &mut BTreeSet<ObjectKey>,
) -> Result<IssuerPlan, Refused> {
    let mut look = Look {
        issuer,
        namespace,
        store,
        references,
    };
    if let Some(acme) = &spec.acme {
        return look.acme(acme);
    }
    if let Some(ca) = &spec.ca {
        let text = |key: &str, look: &mut Look<'_>| {
            look.secret(&SecretKeySelector {
                name: ca.secret_name.clone(),
                key: Some(key.to_owned()),
            })
        };
        return Ok(IssuerPlan::Authority {
            chain: text("tls.crt", &mut look)?,
            key: text("tls.key", &mut look)?,
        });
    }
    if spec.self_signed.is_some() {
        return Ok(IssuerPlan::SelfSigned);
    }
    refuse(
        format!("{issuer} is of a make that cannot be asked here"),
        "one with acme, ca or selfSigned",
    )
}

/// Where an issuer's references lead.
struct Look<'a> {
    issuer: &'a IssuerKey,
    namespace: &'a str,
    store: &'a Store,
    references: &'a mut BTreeSet<ObjectKey>,
}

impl Look<'_> {
    fn acme(&mut self, acme: &api::AcmeIssuer) -> Result<IssuerPlan, Refused> {
        let issuer = self.issuer;
        if acme.skip_tls_verify {
            return refuse(
                format!("{issuer} has skipTLSVerify, which is not done"),
                "the CA's own certificate in spec.acme.caBundle",
            );
        }
        let roots = match acme.ca_bundle.as_deref().map(decode) {
            Some(None) => {
                return refuse(
                    format!("spec.acme.caBundle of {issuer} is no base64"),
                    "certificates in PEM, in base64",
                );
            }
            Some(roots) => roots,
            None => None,
        };
        let external = match &acme.external_account_binding {
            Some(binding) => Some((
                binding.key_id.clone(),
                self.secret(&binding.key_secret_ref)?,
            )),
            None => None,
        };
        let mut solvers = Vec::new();
        for solver in acme.solvers.iter().flatten() {
            solvers.extend(self.solver(solver)?);
        }
        let account = acme.private_key_secret_ref.as_ref();
        let account = account.map_or("account", |it| it.name.as_str());
        Ok(IssuerPlan::Acme(Box::new(AcmeIssuer {
            directory: acme.server.clone(),
            email: acme.email.clone(),
            roots,
            // Who writes an Issuer agrees, as with cert-manager.
            terms_agreed: true,
            external,
            // cert-manager's own account key is of a form that is not read here.
            account: (self.namespace.to_owned(), format!("{account}-narthex")),
            profile: acme.profile.clone(),
            preferred_chain: acme.preferred_chain.clone(),
            solvers,
        })))
    }

    fn solver(&mut self, solver: &Solver) -> Result<Vec<SolverPlan>, Refused> {
        let default = SolverSelector::default();
        let selector = solver.selector.as_ref().unwrap_or(&default);
        // Certificates have no labels here.
        if selector
            .match_labels
            .as_ref()
            .is_some_and(|it| !it.is_empty())
        {
            return Ok(Vec::new());
        }
        let ways = match &solver.dns01 {
            Some(dns) => vec![Way::Dns(self.dns(dns)?)],
            None => vec![Way::Http, Way::TlsAlpn],
        };
        let plan = |way| SolverPlan {
            dns_names: selector.dns_names.clone().unwrap_or_default(),
            dns_zones: selector.dns_zones.clone().unwrap_or_default(),
            way,
        };
        Ok(ways.into_iter().map(plan).collect())
    }

    fn dns(&mut self, dns: &Dns01) -> Result<DnsProvider, Refused> {
        if let Some(update) = &dns.rfc2136 {
            let tsig = match (&update.tsig_key_name, &update.tsig_secret) {
                (Some(name), Some(secret)) => Some(Tsig {
                    name: name.clone(),
                    algorithm: update
                        .tsig_algorithm
                        .clone()
                        .unwrap_or_else(|| "HMACSHA256".to_owned()),
                    secret: self.secret(secret)?,
                }),
                _ => None,
            };
            return Ok(DnsProvider::Rfc2136 {
                server: update.nameserver.clone(),
                tsig,
            });
        }
        if let Some(webhook) = &dns.webhook {
            let url = webhook.config.as_ref().and_then(|it| it.get("url"));
            if webhook.group_name == "narthex.dev"
                && webhook.solver_name == "httpreq"
                && let Some(url) = url.and_then(|it| it.as_str())
            {
                return Ok(DnsProvider::Webhook {
                    url: url.to_owned(),
                });
            }
        }
        let known = ["cnameStrategy", "rfc2136", "webhook"];
        let name = dns.others.keys().find(|it| !known.contains(&it.as_str()));
        let name = name.map_or("webhook", String::as_str);
        refuse(
            format!(
                "{} sets DNS records by {name}, which is not spoken here",
                self.issuer
            ),
            "rfc2136, or webhook with groupName narthex.dev, solverName httpreq and config.url",
        )
    }

    fn secret(&mut self, selector: &SecretKeySelector) -> Result<String, Refused> {
        let (namespace, name) = (self.namespace, &selector.name);
        let key = selector.key.as_deref().unwrap_or("tls.key");
        let object = ObjectKey::new(Kind::Secret, namespace, name);
        self.references.insert(object);
        let secret = self.store.secret(namespace, name);
        let value = secret.and_then(|secret| secret.data.get(key));
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        match text {
            Some(text) => Ok(text.trim().to_owned()),
            None => refuse(
                format!(
                    "{} wants {key} of Secret {namespace}/{name}, which is not there",
                    self.issuer
                ),
                "that Secret; those of ClusterIssuers are in --cluster-resource-namespace",
            ),
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;

    let packed: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD
        .decode(packed)
        .ok()
}
