//! Who may do what in the registry: the gate, as the flags have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::TokenReviews;
use registry::access::{
    Answer, Gate, Htpasswd, Key, Leave, Proxies, Reviewed, Reviewer, Rules, Settings, Watched,
};

use super::Plan;
use crate::failure::Failure;
use crate::flags::registry::Anonymous;

/// Reads what the flags name. The key of tokens comes from the storage, once there is somebody to
/// give one to.
pub(crate) async fn gate<K>(plan: &Plan, key: K) -> Result<Arc<Gate>, Failure>
where
    K: AsyncFnOnce() -> Result<Key, String>,
{
    let (flags, prefix) = (&plan.access, plan.prefix);
    let rules = |file: &PathBuf| rules(file, prefix);
    let users = |file: &PathBuf| users(file, prefix);
    let settings = Settings {
        rules: flags.access_file.as_ref().map(rules).transpose()?,
        anonymous: flags.anonymous.map(leave),
        htpasswd: flags.htpasswd_file.as_ref().map(users).transpose()?,
        reviewer: reviewer(plan).await?,
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

fn rules(file: &Path, prefix: &str) -> Result<Arc<Watched<Rules>>, Failure> {
    let parse = |text: &str| Rules::parse(text).map_err(|wrong| wrong.to_string());
    Watched::open(file, parse)
        .map_err(|error| Failure::new(format!("--{prefix}access-file {error}")))
}

fn users(file: &Path, prefix: &str) -> Result<Arc<Watched<Htpasswd>>, Failure> {
    let users = Watched::open(file, Htpasswd::parse)
        .map_err(|error| Failure::new(format!("--{prefix}htpasswd-file {error}")))?;
    if users.get().is_empty() {
        tracing::warn!(
            "--{prefix}htpasswd-file {}: there is nobody in it yet: `htpasswd -nB NAME` writes a line",
            file.display()
        );
    }
    Ok(users)
}

async fn reviewer(plan: &Plan) -> Result<Option<Box<dyn Reviewer>>, Failure> {
    if !plan.access.service_accounts {
        return Ok(None);
    }
    let connection = plan.connection("service-accounts").await?;
    let audiences = plan.access.service_account_audience.clone();
    let reviews = TokenReviews::new(&connection, audiences);
    Ok(Some(Box::new(ByCluster(reviews))))
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
