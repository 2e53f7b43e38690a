//! Azure's Container Registry: a client's id and password as they are, or exchanged for a token.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::time::moment;
use super::{Credential, Failed, Hidden, Http};

/// Where Microsoft Entra gives tokens, unless the source says otherwise (as in sovereign clouds).
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// What the token is for.
const SCOPE: &str = "https://containerregistry.azure.net/.default";

/// The name that a registry takes a refresh token with.
const USERNAME: &str = "00000000-0000-0000-0000-000000000000";

/// A registry of Azure's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acr {
    /// Its host: `team.azurecr.io`.
    pub registry: String,
    /// The client's (the service principal's) id, or a token's name.
    pub client_id: String,
    /// Its password.
    pub password: Hidden,
    /// Not shown to the registry, but exchanged for tokens of some hours.
    pub exchange: Option<Exchange>,
}

/// Where a service principal gets its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The tenant: its id or its domain.
    pub tenant: String,
    /// Who gives tokens. [default: the public cloud's]
    pub authority: Option<String>,
    /// Where the registry itself is asked. [default: `https://` and its host]
    pub endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Access {
    access_token: Hidden,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: Hidden,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

impl Acr {
    pub(super) async fn ask(
        &self,
        http: &Http,
        _now: SystemTime,
    ) -> Result<Vec<Credential>, Failed> {
        let Some(exchange) = &self.exchange else {
            return Ok(vec![Credential {
                registry: self.registry.clone(),
                username: self.client_id.clone(),
                secret: self.password.clone(),
                expires: None,
            }]);
        };
        let token = self.exchanged(exchange, http).await?;
        Ok(vec![Credential {
            registry: self.registry.clone(),
            username: USERNAME.to_owned(),
            expires: Some(expiry(&token)?),
            secret: token,
        }])
    }

    async fn exchanged(&self, exchange: &Exchange, http: &Http) -> Result<Hidden, Failed> {
        let authority = exchange.authority.as_deref().unwrap_or(AUTHORITY);
        let authority = authority.trim_end_matches('/');
        let tenant = super::http::percent(&exchange.tenant);
        let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.password.show()),
            ("scope", SCOPE),
        ];
        let access: Access = http.form(&url, &fields, &[&self.password]).await?;
        let endpoint = match &exchange.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}", self.registry),
        };
        let url = format!("{endpoint}/oauth2/exchange");
        let fields = [
            ("grant_type", "access_token"),
            ("service", &self.registry),
            ("tenant", &exchange.tenant),
            ("access_token", access.access_token.show()),
        ];
        let refresh: Refresh = http.form(&url, &fields, &[&access.access_token]).await?;
        match refresh.refresh_token.is_empty() {
            true => Err(Failed::new("the registry's answer has an empty token")),
            false => Ok(refresh.refresh_token),
        }
    }
}

/// When a token ends, as it says itself (RFC 7519, `exp`).
pub(super) fn expiry(token: &Hidden) -> Result<SystemTime, Failed> {
    let claims = token.show().split('.').nth(1).and_then(|claims| {
        let json = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice::<Claims>(&json).ok()
    });
    let expires = claims.and_then(|claims| moment(claims.exp));
    expires.ok_or_else(|| Failed::new("the registry's token does not say when it ends"))
}

#[cfg(test)]
mod tests;
