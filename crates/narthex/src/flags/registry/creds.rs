//! Flags of `narthex registry creds`, and of `serve --registry-credentials`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use tracing_subscriber::filter::Targets;

use crate::flags::{LogFormat, Output, values};

/// Bring credentials of outside registries into namespaces.
#[derive(Debug, Args)]
pub(crate) struct Creds {
    #[command(subcommand)]
    pub(crate) command: CredsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredsCommand {
    /// Keep the pull secrets of a cluster's namespaces fresh, and do nothing else.
    ///
    /// What `narthex serve --registry-credentials` does beside serving.
    Run(Box<Run>),
    /// Show each credential of a running Narthex: from whom, until when, what went wrong. No secrets.
    List(List),
    /// Ask for credentials, and write the Secrets that say whom to ask for them.
    ///
    /// As `minikube addons configure registry-creds` does. What is given by flags is not asked for.
    Configure(Box<Configure>),
}

/// Keep the pull secrets of a cluster's namespaces fresh.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The name of the Lease by which one of several replicas is the one that writes: with
    /// `-registry-credentials` after it.
    #[arg(long, env = "NARTHEX_ELECTION_ID", value_name = "NAME")]
    #[arg(default_value = "narthex-leader")]
    pub(crate) election_id: String,
    /// Where health, metrics and the API are.
    #[arg(long, env = "NARTHEX_ADMIN_ADDRESS", value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:9090", value_parser = values::admin_address)]
    pub(crate) admin_address: SocketAddr,
    /// How the program's own log is written to standard error.
    #[arg(long, env = "NARTHEX_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// How much the program's own log says: error, warn, info, debug, trace.
    #[arg(long, env = "NARTHEX_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "info", value_parser = values::log_filter)]
    pub(crate) log_level: Targets,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The cluster's kubeconfig file.
    /// [default: in a pod its ServiceAccount, else $KUBECONFIG]
    #[arg(long, env = "NARTHEX_KUBECONFIG", value_name = "FILE")]
    #[arg(alias = "kubecfg-file")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The API server's URL, to which nothing is said of who asks, as behind `kubectl proxy`; in place of a
    /// kubeconfig.
    #[arg(long, env = "NARTHEX_KUBE_MASTER_URL", value_name = "URL")]
    #[arg(conflicts_with = "kubeconfig")]
    pub(crate) kube_master_url: Option<String>,
    /// The namespace of the Secrets that say whom to ask, and of the Lease.
    /// [default: the pod's, else the kubeconfig's]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    #[arg(alias = "pod-namespace")]
    pub(crate) namespace: Option<String>,
}

/// Show each credential of a running Narthex.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Where the running process is asked.
    #[arg(long, env = "NARTHEX_ADMIN_ADDRESS", value_name = "IP:PORT")]
    #[arg(default_value = "127.0.0.1:9090", value_parser = values::admin_address)]
    pub(crate) admin_address: SocketAddr,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// Ask for credentials, and write the Secrets that say whom to ask for them.
#[derive(Debug, Args)]
pub(crate) struct Configure {
    /// Which; repeatable. Without it, each is asked about.
    #[arg(long, value_name = "PROVIDER", value_delimiter = ',')]
    pub(crate) provider: Vec<Provider>,
    /// What is not to be asked for, by its name in the Secret; repeatable. A value that begins with @ is
    /// read from that file.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the manifests, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Who gives credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// Amazon's Elastic Container Registry.
    Ecr,
    /// Google's Artifact Registry and Container Registry.
    Gcr,
    /// A registry with a name and a password.
    Docker,
    /// Azure's Container Registry.
    Acr,
}

/// Flags of credentials that are brought into namespaces; those of the program that minikube's addon
/// `registry-creds` runs have their names.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry credentials")]
pub(crate) struct Credentials {
    /// A file with manifests of kind RegistryCredentials; repeatable. It is read again when it changes, and
    /// so are the files that it names.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_FILE", value_name = "FILE")]
    #[arg(value_delimiter = ',')]
    pub(crate) registry_credentials_file: Vec<PathBuf>,

    /// The namespaces that get what the addon's Secrets configure, with * for any letters.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_NAMESPACES")]
    #[arg(value_name = "NAME,…", value_delimiter = ',', default_value = "*")]
    pub(crate) registry_credentials_namespaces: Vec<String>,

    /// Which of them, by their labels: as team=web,stage!=test,image,!internal.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_NAMESPACE_SELECTOR")]
    #[arg(value_name = "LABELS", default_value = "")]
    pub(crate) registry_credentials_namespace_selector: String,

    /// Look into these namespaces and no others, so that rights in them are enough: what selects namespaces
    /// selects among these. [default: all]
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_WITHIN")]
    #[arg(value_name = "NAME,…", value_delimiter = ',', value_parser = namespace)]
    pub(crate) registry_credentials_within: Vec<String>,

    /// The ServiceAccounts that get it, with * for any letters.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_SERVICE_ACCOUNTS")]
    #[arg(
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "default"
    )]
    pub(crate) registry_credentials_service_accounts: Vec<String>,

    /// Secrets that were written once under these names are removed.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS_FORMER_SECRETS")]
    #[arg(value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) registry_credentials_former_secrets: Vec<String>,

    /// Leave the namespace kube-system out.
    #[arg(long, env = "NARTHEX_SKIP_KUBE_SYSTEM", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set)]
    pub(crate) skip_kube_system: bool,

    /// The Secret of Amazon's registries.
    #[arg(
        long,
        env = "NARTHEX_AWS_SECRET_NAME",
        value_name = "NAME",
        default_value = "awsecr-cred"
    )]
    pub(crate) aws_secret_name: String,

    /// The Secret of a registry with a name and a password.
    #[arg(
        long,
        env = "NARTHEX_DPR_SECRET_NAME",
        value_name = "NAME",
        default_value = "dpr-secret"
    )]
    pub(crate) dpr_secret_name: String,

    /// The Secret of Google's registries.
    #[arg(
        long,
        env = "NARTHEX_GCR_SECRET_NAME",
        value_name = "NAME",
        default_value = "gcr-secret"
    )]
    pub(crate) gcr_secret_name: String,

    /// The Secret of Azure's registries.
    #[arg(
        long,
        env = "NARTHEX_ACR_SECRET_NAME",
        value_name = "NAME",
        default_value = "acr-secret"
    )]
    pub(crate) acr_secret_name: String,

    /// After how many minutes a credential is refreshed at the latest; one that lives shorter is at half
    /// of its life.
    #[arg(
        long,
        env = "NARTHEX_REFRESH_MINS",
        value_name = "N",
        default_value_t = 60
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_080))]
    pub(crate) refresh_mins: u64,

    /// How waits after failures grow. [default: $TOKEN_RETRY_TYPE, else simple]
    #[arg(long, env = "NARTHEX_TOKEN_RETRY_TYPE", value_name = "TYPE")]
    pub(crate) token_retry_type: Option<RetryType>,

    /// After so many failures in a row it is tried every five minutes. [default: $TOKEN_RETRIES, else 3]
    #[arg(long, env = "NARTHEX_TOKEN_RETRIES", value_name = "N")]
    pub(crate) token_retries: Option<u32>,

    /// The first wait after a failure, in seconds. [default: $TOKEN_RETRY_DELAY, else 5]
    #[arg(long, env = "NARTHEX_TOKEN_RETRY_DELAY", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) token_retry_delay: Option<u64>,

    /// AWS regions. [default: $awsregion, else us-east-1]
    #[arg(long, env = "NARTHEX_AWS_REGION", value_name = "REGION,…")]
    pub(crate) aws_region: Option<String>,

    /// The ARN of a role to assume. [default: $aws_assume_role]
    #[arg(
        long,
        env = "NARTHEX_AWS_ASSUME_ROLE",
        alias = "aws_assume_role",
        value_name = "ARN"
    )]
    pub(crate) aws_assume_role: Option<String>,

    /// Google's registries. [default: $gcrurl]
    #[arg(long, env = "NARTHEX_GCR_URL", value_name = "HOST,…")]
    pub(crate) gcr_url: Option<String>,

    /// A registry with a name and a password, which is in $DOCKER_PRIVATE_REGISTRY_PASSWORD.
    /// [default: $DOCKER_PRIVATE_REGISTRY_SERVER]
    #[arg(long, env = "NARTHEX_DPR_SERVER", value_name = "HOST")]
    pub(crate) dpr_server: Option<String>,

    /// The name. [default: $DOCKER_PRIVATE_REGISTRY_USER]
    #[arg(long, env = "NARTHEX_DPR_USER", value_name = "NAME")]
    pub(crate) dpr_user: Option<String>,

    /// The password, for everybody to see who may list processes.
    /// [default: $DOCKER_PRIVATE_REGISTRY_PASSWORD]
    #[arg(long, value_name = "PASSWORD", hide = true)]
    pub(crate) dpr_password: Option<String>,

    /// Azure's registry; the password is in $ACR_PASSWORD. [default: $ACR_URL]
    #[arg(long, env = "NARTHEX_ACR_URL", value_name = "HOST")]
    pub(crate) acr_url: Option<String>,

    /// The client's id. [default: $ACR_CLIENT_ID]
    #[arg(long, env = "NARTHEX_ACR_CLIENT_ID", value_name = "ID")]
    pub(crate) acr_client_id: Option<String>,

    /// The password, for everybody to see who may list processes. [default: $ACR_PASSWORD]
    #[arg(long, value_name = "PASSWORD", hide = true)]
    pub(crate) acr_password: Option<String>,

    /// Where ECR is asked, rather than at its region's address.
    #[arg(long, env = "NARTHEX_ECR_ENDPOINT", value_name = "URL")]
    pub(crate) ecr_endpoint: Option<String>,

    /// Where AWS's STS is asked, likewise.
    #[arg(long, env = "NARTHEX_STS_ENDPOINT", value_name = "URL")]
    pub(crate) sts_endpoint: Option<String>,

    /// Where Microsoft Entra is asked, as in sovereign clouds.
    #[arg(long, env = "NARTHEX_ENTRA_ENDPOINT", value_name = "URL")]
    pub(crate) entra_endpoint: Option<String>,

    /// Where Azure's registry is asked for its token, rather than at its host.
    #[arg(long, env = "NARTHEX_ACR_ENDPOINT", value_name = "URL")]
    pub(crate) acr_endpoint: Option<String>,
}

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RetryType {
    /// Not at all.
    Simple,
    /// Twice as long each time.
    Exponential,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CredentialsBeside {
    /// Bring credentials of outside registries into namespaces, and keep them fresh: as minikube's addon
    /// registry-creds does, from the same Secrets.
    #[arg(long, env = "NARTHEX_REGISTRY_CREDENTIALS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = "Registry credentials")]
    pub(crate) registry_credentials: bool,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// A namespace's name, as the API server takes it.
fn namespace(text: &str) -> Result<String, String> {
    let is_of = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    match !text.is_empty() && text.len() <= 63 && text.bytes().all(is_of) {
        true => Ok(text.to_owned()),
        false => Err("write a namespace's name, without *".to_owned()),
    }
}
