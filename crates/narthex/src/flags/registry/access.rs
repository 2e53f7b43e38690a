//! Flags of who may do what in the registry.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;

use crate::flags::values;

/// Who may do what in the registry.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who may")]
pub(crate) struct Access {
    /// Rules by repository and action, of `kind: RegistryAccess`; read again when it changes.
    /// [default: users and client certificates may do everything, ServiceAccounts pull]
    #[arg(long, env = "NARTHEX_REGISTRY_ACCESS_FILE", value_name = "FILE")]
    pub(crate) access_file: Option<PathBuf>,

    /// What may be done without credentials, where no --access-file says so.
    /// [default: nothing where there are users, else clients of this machine may do everything and
    /// others pull]
    #[arg(long, env = "NARTHEX_REGISTRY_ANONYMOUS", value_name = "WHAT")]
    #[arg(conflicts_with = "access_file")]
    pub(crate) anonymous: Option<Anonymous>,

    /// Users and their passwords, as `htpasswd -B` writes them; read again when it changes.
    #[arg(long, env = "NARTHEX_REGISTRY_HTPASSWD_FILE", value_name = "FILE")]
    pub(crate) htpasswd_file: Option<PathBuf>,

    /// Take ServiceAccounts' tokens: the cluster's API server is asked about them (TokenReview).
    #[arg(long, env = "NARTHEX_REGISTRY_SERVICE_ACCOUNTS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) service_accounts: bool,

    /// For whom ServiceAccounts' tokens have to be; repeatable. [default: the API server]
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SERVICE_ACCOUNT_AUDIENCE",
        value_name = "AUDIENCE"
    )]
    #[arg(value_delimiter = ',', requires = "service_accounts")]
    pub(crate) service_account_audience: Vec<String>,

    /// The cluster's kubeconfig file, for --service-accounts, --hosting and --image-lists.
    /// [default: in a pod its ServiceAccount, else $KUBECONFIG]
    #[arg(long, env = "NARTHEX_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Authorities (PEM) of clients' certificates, which are users then. Takes TLS.
    #[arg(long, env = "NARTHEX_REGISTRY_CLIENT_CA_FILE", value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,

    /// The registry's URL as clients have it, for example https://registry.example.com.
    /// [default: as each request has it]
    #[arg(long, env = "NARTHEX_REGISTRY_EXTERNAL_URL", value_name = "URL", value_parser = external_url)]
    pub(crate) external_url: Option<String>,

    /// Proxies whose X-Forwarded-For, -Proto and -Host count: networks or addresses, repeatable.
    #[arg(long, env = "NARTHEX_REGISTRY_TRUSTED_PROXIES", value_name = "CIDR")]
    #[arg(value_delimiter = ',', value_parser = values::network)]
    #[arg(default_value = "127.0.0.0/8,::1/128")]
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// Who may do what in the registry beside `narthex serve`: as [`Access`], with other names.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image registry")]
pub(crate) struct BesideAccess {
    /// Rules by repository and action, of `kind: RegistryAccess`; read again when it changes.
    /// [default: users and client certificates may do everything, ServiceAccounts pull]
    #[arg(long, env = "NARTHEX_REGISTRY_ACCESS_FILE", value_name = "FILE")]
    pub(crate) registry_access_file: Option<PathBuf>,

    /// What may be done without credentials, where no --registry-access-file says so.
    /// [default: nothing where there are users, else clients of this machine may do everything and
    /// others pull]
    #[arg(long, env = "NARTHEX_REGISTRY_ANONYMOUS", value_name = "WHAT")]
    #[arg(conflicts_with = "registry_access_file")]
    pub(crate) registry_anonymous: Option<Anonymous>,

    /// Users and their passwords, as `htpasswd -B` writes them; read again when it changes.
    #[arg(long, env = "NARTHEX_REGISTRY_HTPASSWD_FILE", value_name = "FILE")]
    pub(crate) registry_htpasswd_file: Option<PathBuf>,

    /// Take ServiceAccounts' tokens: the cluster's API server is asked about them (TokenReview), by
    /// the pod's ServiceAccount or $KUBECONFIG.
    #[arg(long, env = "NARTHEX_REGISTRY_SERVICE_ACCOUNTS", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) registry_service_accounts: bool,

    /// For whom ServiceAccounts' tokens have to be; repeatable. [default: the API server]
    #[arg(
        long,
        env = "NARTHEX_REGISTRY_SERVICE_ACCOUNT_AUDIENCE",
        value_name = "AUDIENCE"
    )]
    #[arg(value_delimiter = ',', requires = "registry_service_accounts")]
    pub(crate) registry_service_account_audience: Vec<String>,

    /// Authorities (PEM) of clients' certificates, which are users then. Takes TLS.
    #[arg(long, env = "NARTHEX_REGISTRY_CLIENT_CA_FILE", value_name = "FILE")]
    pub(crate) registry_client_ca_file: Option<PathBuf>,

    /// The registry's URL as clients have it, for example https://registry.example.com.
    /// [default: as each request has it]
    #[arg(long, env = "NARTHEX_REGISTRY_EXTERNAL_URL", value_name = "URL")]
    #[arg(value_parser = external_url)]
    pub(crate) registry_external_url: Option<String>,

    /// Proxies whose X-Forwarded-For, -Proto and -Host count: networks or addresses, repeatable.
    #[arg(long, env = "NARTHEX_REGISTRY_TRUSTED_PROXIES", value_name = "CIDR")]
    #[arg(value_delimiter = ',', value_parser = values::network)]
    #[arg(default_value = "127.0.0.0/8,::1/128")]
    pub(crate) registry_trusted_proxies: Vec<IpNet>,
}

impl BesideAccess {
    /// The same by the names that `registry serve` has.
    pub(crate) fn plain(&self) -> Access {
        Access {
            access_file: self.registry_access_file.clone(),
            anonymous: self.registry_anonymous,
            htpasswd_file: self.registry_htpasswd_file.clone(),
            service_accounts: self.registry_service_accounts,
            service_account_audience: self.registry_service_account_audience.clone(),
            kubeconfig: None,
            client_ca_file: self.registry_client_ca_file.clone(),
            external_url: self.registry_external_url.clone(),
            trusted_proxies: self.registry_trusted_proxies.clone(),
        }
    }
}

/// What may be done without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Anonymous {
    /// Nothing.
    None,
    /// To pull and to list.
    Pull,
    /// Everything: to push and to delete as well.
    All,
}

/// A URL without a path.
fn external_url(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_of = |it: u8| it.is_ascii_alphanumeric() || b".-_:[]".contains(&it);
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(is_of) => Ok(text.to_owned()),
        _ => Err("write https://HOST or https://HOST:PORT, without a path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_url_is_a_scheme_and_a_host() {
        let right = external_url("https://registry.example:5000/");
        assert_eq!(right.as_deref(), Ok("https://registry.example:5000"));
        for wrong in [
            "registry.example",
            "https://",
            "https://a/b",
            "ftp://a",
            "http://a\"b",
        ] {
            assert!(external_url(wrong).is_err(), "{wrong}");
        }
    }
}
