//! What the flags mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use registry::creds::addon::{Addon, Endpoints, Kind};
use registry::creds::{Labels, Names, Places, Retry, RetryKind, Schedule};

use crate::config::Invalid;
use crate::flags::registry::creds::{Credentials, RetryType};

/// What the flags mean.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(super) addon: Addon,
    pub(super) files: Vec<PathBuf>,
    pub(super) former: Vec<String>,
    /// The namespaces that are looked into; none: all.
    pub(super) within: Option<BTreeSet<String>>,
    pub(super) schedule: Schedule,
    /// What flags say that the environment would say otherwise.
    pub(super) given: BTreeMap<&'static str, String>,
}

impl Options {
    /// Reads them.
    pub(crate) fn new(flags: Credentials) -> Result<Self, Invalid> {
        let labels = Labels::parse(&flags.registry_credentials_namespace_selector)
            .map_err(|why| Invalid(format!("--registry-credentials-namespace-selector: {why}")))?;
        let targets = BTreeMap::from([
            (Kind::Ecr, flags.aws_secret_name),
            (Kind::Gcr, flags.gcr_secret_name),
            (Kind::Dpr, flags.dpr_secret_name),
            (Kind::Acr, flags.acr_secret_name),
        ]);
        let mut names: Vec<_> = targets.values().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != targets.len() {
            let message = "--aws-secret-name, --gcr-secret-name, --dpr-secret-name and \
                           --acr-secret-name have to differ";
            return Err(Invalid(message.to_owned()));
        }
        let given = [
            ("awsregion", flags.aws_region),
            ("aws_assume_role", flags.aws_assume_role),
            ("gcrurl", flags.gcr_url),
            ("DOCKER_PRIVATE_REGISTRY_SERVER", flags.dpr_server),
            ("DOCKER_PRIVATE_REGISTRY_USER", flags.dpr_user),
            ("DOCKER_PRIVATE_REGISTRY_PASSWORD", flags.dpr_password),
            ("ACR_URL", flags.acr_url),
            ("ACR_CLIENT_ID", flags.acr_client_id),
            ("ACR_PASSWORD", flags.acr_password),
        ];
        let retry = Retry {
            kind: match flags.token_retry_type.map_or_else(retry_type, Ok)? {
                RetryType::Simple => RetryKind::Simple,
                RetryType::Exponential => RetryKind::Exponential,
            },
            times: flags
                .token_retries
                .map_or_else(|| number("TOKEN_RETRIES", 3), Ok)?,
            delay: Duration::from_secs(
                flags
                    .token_retry_delay
                    .map_or_else(|| number("TOKEN_RETRY_DELAY", 5), Ok)?,
            ),
        };
        let except = match flags.skip_kube_system {
            true => vec!["kube-system".to_owned()],
            false => Vec::new(),
        };
        Ok(Self {
            addon: Addon {
                targets,
                places: Places {
                    namespaces: Names(flags.registry_credentials_namespaces),
                    except: Names(except),
                    labels,
                    accounts: Names(flags.registry_credentials_service_accounts),
                },
                endpoints: Endpoints {
                    ecr: flags.ecr_endpoint,
                    sts: flags.sts_endpoint,
                    entra: flags.entra_endpoint,
                    acr: flags.acr_endpoint,
                },
            },
            files: flags.registry_credentials_file,
            former: flags.registry_credentials_former_secrets,
            within: match flags.registry_credentials_within {
                names if names.is_empty() => None,
                names => Some(names.into_iter().collect()),
            },
            schedule: Schedule {
                refresh: Duration::from_secs(flags.refresh_mins * 60),
                retry,
            },
            given: given
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        })
    }
}

/// Of the variables of the addon's program.
fn retry_type() -> Result<RetryType, Invalid> {
    let name = "TOKEN_RETRY_TYPE";
    match std::env::var(name).ok().filter(|it| !it.is_empty()) {
        None => Ok(RetryType::Simple),
        Some(text) => RetryType::from_str(&text, true)
            .map_err(|_| Invalid(format!("{name}: simple or exponential"))),
    }
}

/// Likewise.
fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, Invalid> {
    match std::env::var(name).ok().filter(|it| !it.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| Invalid(format!("{name}: is to be a number"))),
    }
}
