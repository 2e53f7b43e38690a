//! Amazon's Elastic Container Registry: `GetAuthorizationToken`, signed with SigV4, in each region; by a role if one
//! is to be assumed.

mod sign;
mod sts;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::http::{Question, host};
use super::time::moment;
use super::{Credential, Failed, Hidden, Http, Obtained, host_of};
use sign::Signing;
pub(super) use sts::element;
#[cfg(test)]
pub(super) use sts::key;

/// What `GetAuthorizationToken` is called in its header field.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

/// AWS's JSON protocol 1.1.
const JSON: &str = "application/x-amz-json-1.1";

/// The most regions, and the most accounts, that one source has.
const MOST: usize = 32;

/// Amazon's registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ecr {
    /// The accounts whose registries are wanted; none means that of who asks.
    pub accounts: Vec<String>,
    /// The regions.
    pub regions: Vec<String>,
    /// As whom is asked.
    pub identity: Identity,
    /// The role that is assumed first (`arn:aws:iam::…:role/…`).
    pub role: Option<String>,
    /// Where ECR is asked, in every region. [default: by the region]
    pub endpoint: Option<String>,
    /// Where STS is asked. [default: by the region]
    pub sts_endpoint: Option<String>,
}

/// As whom AWS is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By an access key.
    Key {
        /// `AWS_ACCESS_KEY_ID`.
        id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret: Hidden,
        /// `AWS_SESSION_TOKEN`.
        session: Option<Hidden>,
    },
    /// As a Kubernetes ServiceAccount that has a role (IRSA): without any key.
    Web {
        /// `AWS_ROLE_ARN`.
        role: String,
        /// `AWS_WEB_IDENTITY_TOKEN_FILE`: read each time, as it is replaced.
        token: PathBuf,
    },
}

/// What requests are signed with.
#[derive(Debug, Clone)]
pub(super) struct Key {
    id: String,
    secret: Hidden,
    session: Option<Hidden>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tokens {
    authorization_data: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    authorization_token: Hidden,
    /// In seconds since 1970.
    expires_at: Option<f64>,
    proxy_endpoint: String,
}

impl Ecr {
    /// One region that does not answer keeps nothing from the others.
    pub(super) async fn ask(&self, http: &Http, now: SystemTime) -> Result<Obtained, Failed> {
        if self.regions.is_empty() {
            return Err(Failed::new("no AWS region is given"));
        }
        if self.regions.len() > MOST || self.accounts.len() > MOST {
            return Err(Failed::new(format!(
                "it has more than {MOST} regions or accounts"
            )));
        }
        if !self.regions.iter().all(|region| is_name(region)) {
            return Err(Failed::new("an AWS region is no name like eu-central-1"));
        }
        let (mut credentials, mut lacks) = (Vec::new(), None);
        for region in &self.regions {
            match self.region(http, region, now).await {
                Ok(tokens) => credentials.extend(tokens),
                Err(failed) => lacks = lacks.or(Some(failed)),
            }
        }
        match lacks {
            Some(failed) if credentials.is_empty() => Err(failed),
            lacks => Ok(Obtained { credentials, lacks }),
        }
    }

    async fn region(
        &self,
        http: &Http,
        region: &str,
        now: SystemTime,
    ) -> Result<Vec<Credential>, Failed> {
        let key = self.key(http, region, now).await?;
        let tokens = self.tokens(http, region, &key, now).await;
        tokens.map_err(|failed| failed.when(&format!("ECR in {region}")))
    }

    /// The key of the role, if there is one to be assumed, else our own.
    async fn key(&self, http: &Http, region: &str, now: SystemTime) -> Result<Key, Failed> {
        let endpoint = match &self.sts_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://sts.{region}.{}/", suffix(region)),
        };
        let sts = sts::Sts {
            http,
            endpoint: &endpoint,
            region,
        };
        let own = match &self.identity {
            Identity::Key {
                id,
                secret,
                session,
            } => Key {
                id: id.clone(),
                secret: secret.clone(),
                session: session.clone().filter(|it| !it.is_empty()),
            },
            Identity::Web { role, token } => sts.web(role, token).await?,
        };
        match self.role.as_deref().filter(|role| !role.is_empty()) {
            Some(role) => sts.assume(role, &own, now).await,
            None => Ok(own),
        }
    }

    async fn tokens(
        &self,
        http: &Http,
        region: &str,
        key: &Key,
        now: SystemTime,
    ) -> Result<Vec<Credential>, Failed> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://api.ecr.{region}.{}/", suffix(region)),
        };
        let body = match self.accounts.as_slice() {
            [] => json!({}),
            some => json!({"registryIds": some}),
        };
        let body = body.to_string().into_bytes();
        let signing = Signing {
            service: "ecr",
            region,
            key,
        };
        let mut headers = vec![
            ("content-type", JSON.to_owned()),
            ("x-amz-target", TARGET.to_owned()),
        ];
        signing.sign(&endpoint, &mut headers, &body, now)?;
        let secrets: Vec<_> = [&key.secret].into_iter().chain(&key.session).collect();
        let question = Question {
            url: &endpoint,
            headers,
            body,
        };
        let answer = http.post(question).await?;
        let name = host(&endpoint);
        if answer.status != 200 {
            return Err(answer.refused(&name, &secrets));
        }
        let tokens: Tokens = answer.json(&name)?;
        let credentials = tokens.credentials()?;
        for account in &self.accounts {
            let is_there = |one: &Credential| one.registry.starts_with(&format!("{account}."));
            if self.endpoint.is_none() && !credentials.iter().any(is_there) {
                return Err(Failed::new(format!(
                    "{name} gives nothing for the account {account}"
                )));
            }
        }
        Ok(credentials)
    }

    /// Whether a host may be one of these registries.
    pub(super) fn may_be(&self, host: &str) -> bool {
        if self.endpoint.is_some() {
            return true;
        }
        let is_of = |region: &String| host.ends_with(&format!(".{region}.{}", suffix(region)));
        let account = host.split('.').next().unwrap_or_default();
        let is_wanted = self.accounts.is_empty() || self.accounts.iter().any(|it| it == account);
        host.contains(".dkr.ecr") && is_wanted && self.regions.iter().any(is_of)
    }
}

impl Tokens {
    pub(super) fn credentials(&self) -> Result<Vec<Credential>, Failed> {
        let all = self.authorization_data.iter();
        all.map(Token::credential).collect()
    }
}

impl Token {
    fn credential(&self) -> Result<Credential, Failed> {
        let wrong = || Failed::new("ECR's token is not base64 of a name, a colon and a password");
        let pair = STANDARD.decode(self.authorization_token.show());
        let pair = String::from_utf8(pair.map_err(|_| wrong())?).map_err(|_| wrong())?;
        let (username, secret) = pair.split_once(':').ok_or_else(wrong)?;
        let registry = host_of(&self.proxy_endpoint);
        if registry.is_empty() || secret.is_empty() {
            return Err(wrong());
        }
        Ok(Credential {
            registry,
            username: username.to_owned(),
            secret: Hidden::new(secret),
            expires: self.expires_at.and_then(moment),
        })
    }
}

/// The domain of AWS's services in a region: its partition's.
fn suffix(region: &str) -> &'static str {
    let starts = |start| region.starts_with(start);
    if starts("cn-") {
        "amazonaws.com.cn"
    } else if starts("us-isob-") {
        "sc2s.sgov.gov"
    } else if starts("us-isof-") || starts("eu-isof-") {
        "csp.hci.ic.gov"
    } else if starts("eu-isoe-") {
        "cloud.adc-e.uk"
    } else if starts("us-iso-") {
        "c2s.ic.gov"
    } else if starts("eusc-") {
        "amazonaws.eu"
    } else {
        "amazonaws.com"
    }
}

/// Lest a region lead to another's host.
fn is_name(region: &str) -> bool {
    let is_good = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    !region.is_empty() && region.len() < 40 && region.bytes().all(is_good)
}
