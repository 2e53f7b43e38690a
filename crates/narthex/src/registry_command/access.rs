//! Who may do what in the registry: the gate, as the flags have it.

use std::path::Path;
use std::sync::Arc;

use cluster::{Connection, TokenReviews};
use registry::access::{
    Answer, Gate, Htpasswd, Key, Leave, Proxies, Reviewed, Reviewer, Rules, Settings, Watched,
};

use crate::failure::Failure;
use crate::flags::registry::{Access, Anonymous};

/// Reads what the flags name. The key of tokens comes from the storage, once there is somebody to
/// give one to.
pub(crate) async fn gate<K>(flags: &Access, key: K) -> Result<Arc<Gate>, Failure>
where
    K: AsyncFnOnce() -> Result<Key, String>,
{
    let settings = Settings {
        rules: flags.access_file.as_deref().map(rules).transpose()?,
        anonymous: flags.anonymous.map(leave),
        htpasswd: flags.htpasswd_file.as_deref().map(users).transpose()?,
        reviewer: reviewer(flags).await?,
        certificates: flags.client_ca_file.is_some(),
        proxies: Proxies {
            trusted: flags.trusted_proxies.clone(),
            external_url: flags.external_url.clone(),
        },
    };
    let key = match settings.authenticate() {
        true => Some(key().await.map_err(Failure::new)?),
        false => None,
    };
    Ok(Arc::new(Gate::new(settings, key)))
}

fn leave(anonymous: Anonymous) -> Leave {
    match anonymous {
        Anonymous::None => Leave::None,
        Anonymous::Pull => Leave::Pull,
        Anonymous::All => Leave::All,
    }
}

fn rules(file: &Path) -> Result<Arc<Watched<Rules>>, Failure> {
    let parse = |text: &str| Rules::parse(text).map_err(|wrong| wrong.to_string());
    Watched::open(file, parse).map_err(|error| Failure::new(format!("--access-file {error}")))
}

fn users(file: &Path) -> Result<Arc<Watched<Htpasswd>>, Failure> {
    Watched::open(file, Htpasswd::parse)
        .map_err(|error| Failure::new(format!("--htpasswd-file {error}")))
}

async fn reviewer(flags: &Access) -> Result<Option<Box<dyn Reviewer>>, Failure> {
    if !flags.service_accounts {
        return Ok(None);
    }
    let connection = connection(flags, "--service-accounts").await?;
    let reviews = TokenReviews::new(&connection, flags.service_account_audience.clone());
    Ok(Some(Box::new(ByCluster(reviews))))
}

/// The cluster, which a flag takes.
pub(crate) async fn connection(flags: &Access, flag: &str) -> Result<Connection, Failure> {
    let access = match &flags.kubeconfig {
        Some(file) => Some(cluster::Access::File(file.clone())),
        None => cluster::Access::find(),
    };
    let access = access.ok_or_else(|| {
        Failure::new(format!(
            "{flag} takes a cluster: give --kubeconfig FILE, or run in a pod"
        ))
    })?;
    Connection::open(&access).await.map_err(Failure::new)
}

#[derive(Debug)]
struct ByCluster(TokenReviews);

impl Reviewer for ByCluster {
    fn review<'a>(&'a self, token: &'a str) -> Answer<'a> {
        Box::pin(async {
            let user = self.0.review(token).await?;
            Ok(user.map(|user| Reviewed {
                name: user.name,
                groups: user.groups,
            }))
        })
    }
}
