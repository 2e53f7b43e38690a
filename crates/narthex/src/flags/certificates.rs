//! Flags of the certificates that are obtained.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Which certificates are obtained, and from whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct Certificates {
    /// Obtain and renew the certificates that Ingresses and Gateways ask for by
    /// cert-manager.io/issuer, cert-manager.io/cluster-issuer, kubernetes.io/tls-acme or
    /// narthex.dev/issuer, and keep them in Secrets (in a folder's case: in --state-dir).
    /// [default: true, and false in a cluster]
    #[arg(long, env = "NARTHEX_OBTAIN_CERTIFICATES", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set)]
    pub(crate) obtain_certificates: Option<bool>,

    /// Whom the ACME server warns; with it, or with --acme-directory, the issuer `acme` is there.
    #[arg(long, env = "NARTHEX_ACME_EMAIL", value_name = "ADDRESS")]
    pub(crate) acme_email: Option<String>,

    /// The ACME server: the URL of its directory.
    #[arg(long, env = "NARTHEX_ACME_DIRECTORY", value_name = "URL")]
    #[arg(default_value = "https://acme-v02.api.letsencrypt.org/directory")]
    pub(crate) acme_directory: String,

    /// A file of certificates in PEM: whom to trust when talking to the ACME server, instead of
    /// whom the system trusts.
    #[arg(long, env = "NARTHEX_ACME_CA_FILE", value_name = "FILE")]
    pub(crate) acme_ca_file: Option<PathBuf>,

    /// Agree with the ACME server's terms of service.
    #[arg(long, env = "NARTHEX_ACME_AGREE_TOS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) acme_agree_tos: bool,

    /// The kind of certificate, of those that the ACME server offers: for example shortlived.
    #[arg(long, env = "NARTHEX_ACME_PROFILE", value_name = "NAME")]
    pub(crate) acme_profile: Option<String>,

    /// Of several chains, the one whose top is issued by this common name.
    #[arg(long, env = "NARTHEX_ACME_PREFERRED_CHAIN", value_name = "NAME")]
    pub(crate) acme_preferred_chain: Option<String>,

    /// The id of the key by which the ACME server knows its customer (external account binding).
    #[arg(long, env = "NARTHEX_ACME_EAB_KEY_ID", value_name = "ID")]
    #[arg(requires = "acme_eab_key_file")]
    pub(crate) acme_eab_key_id: Option<String>,

    /// A file with that key, in base64url as the CA gave it.
    #[arg(long, env = "NARTHEX_ACME_EAB_KEY_FILE", value_name = "FILE")]
    #[arg(requires = "acme_eab_key_id")]
    pub(crate) acme_eab_key_file: Option<PathBuf>,

    /// How names are shown to be ours, for the issuer `acme`: http (HTTP-01, on the HTTP port), tls
    /// (TLS-ALPN-01, on the HTTPS port), dns (DNS-01, by one of --acme-dns-…), dns-persist
    /// (DNS-PERSIST-01, whose record is set once by hand: the log says which). Repeatable.
    /// [default: dns where one of --acme-dns-… is given, else http,tls]
    #[arg(long, env = "NARTHEX_ACME_CHALLENGE", value_name = "WAY")]
    #[arg(value_delimiter = ',')]
    pub(crate) acme_challenge: Vec<Challenge>,

    /// DNS-01 by dynamic updates (RFC 2136): the zone's primary name server.
    #[arg(long, env = "NARTHEX_ACME_DNS_SERVER", value_name = "HOST[:PORT]")]
    #[arg(conflicts_with_all = ["acme_dns_exec", "acme_dns_webhook"])]
    pub(crate) acme_dns_server: Option<String>,

    /// A file with the key that updates are signed with (TSIG), as tsig-keygen writes it.
    #[arg(long, env = "NARTHEX_ACME_DNS_KEY_FILE", value_name = "FILE")]
    #[arg(requires = "acme_dns_server")]
    pub(crate) acme_dns_key_file: Option<PathBuf>,

    /// DNS-01 by a program, run as `PROGRAM present|cleanup NAME VALUE`.
    #[arg(long, env = "NARTHEX_ACME_DNS_EXEC", value_name = "PROGRAM")]
    #[arg(conflicts_with = "acme_dns_webhook")]
    pub(crate) acme_dns_exec: Option<PathBuf>,

    /// DNS-01 by an HTTP service, as lego's httpreq speaks to it: POST URL/present and
    /// URL/cleanup.
    #[arg(long, env = "NARTHEX_ACME_DNS_WEBHOOK", value_name = "URL")]
    pub(crate) acme_dns_webhook: Option<String>,

    /// The namespaces that may use the issuer `acme`, with * for any letters; repeatable.
    /// [default: all]
    #[arg(long, env = "NARTHEX_ACME_NAMESPACES", value_name = "NAMESPACE")]
    #[arg(value_delimiter = ',')]
    pub(crate) acme_namespaces: Vec<String>,

    /// Obtain a certificate from the issuer `acme` when a client first asks for such a name by TLS and
    /// no certificate is for it, with * for one label or a part of one: *.example.org,
    /// shop-*.example.org; repeatable. Only for names that lead here: whoever connects chooses them.
    /// [default: none]
    #[arg(long, env = "NARTHEX_ON_DEMAND_NAMES", value_name = "PATTERN")]
    #[arg(value_delimiter = ',')]
    pub(crate) on_demand_names: Vec<String>,

    /// Ask before that: GET URL?domain=NAME, which 200 says yes to. Without --on-demand-names any
    /// name is asked about.
    #[arg(long, env = "NARTHEX_ON_DEMAND_ASK", value_name = "URL")]
    pub(crate) on_demand_ask: Option<String>,

    /// For how many new names at the most certificates are obtained on demand within an hour.
    #[arg(long, env = "NARTHEX_ON_DEMAND_PER_HOUR", value_name = "NUMBER")]
    #[arg(default_value_t = 20)]
    pub(crate) on_demand_per_hour: usize,

    /// The namespace of the Secrets that ClusterIssuers refer to.
    /// [default: cert-manager, and in a cluster that of this pod]
    #[arg(
        long,
        env = "NARTHEX_CLUSTER_RESOURCE_NAMESPACE",
        value_name = "NAMESPACE"
    )]
    pub(crate) cluster_resource_namespace: Option<String>,

    /// Take Certificate objects for wishes, because no cert-manager runs; else those are
    /// cert-manager's, and their Secrets are left alone. [default: true, and false in a cluster]
    #[arg(long, env = "NARTHEX_WITHOUT_CERT_MANAGER", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set)]
    pub(crate) without_cert_manager: Option<bool>,
}

/// A way to show that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Challenge {
    /// HTTP-01.
    Http,
    /// TLS-ALPN-01.
    Tls,
    /// DNS-01.
    Dns,
    /// DNS-PERSIST-01.
    DnsPersist,
}
