//! `/v2/token`: a token for credentials, as the distribution project's token authentication has
//! it (GET), and its OAuth2 form (POST).

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::credentials::Credentials;
use super::refusal::{Kind, Refusal};
use super::scope::Scope;
use super::subject::{Action, Identity};
use super::{Gate, Peer, Visitor, token};

/// Where it is.
pub const PATH: &str = "/v2/token";

/// The largest body of a POST in bytes.
pub const LARGEST_FORM: usize = 64 * 1024;

/// What is asked for.
#[derive(Default)]
struct Asked {
    scopes: Vec<Scope>,
    grant: Option<String>,
    name: String,
    password: Option<String>,
    refresh: Option<String>,
}

impl Gate {
    /// Answers a request of `/v2/token`; `form` is the body of a POST, of at most
    /// [`LARGEST_FORM`] bytes.
    pub async fn token(&self, head: &Parts, form: &[u8], peer: &Peer) -> Response<Bytes> {
        let authority = head.uri.authority().map(|it| it.as_str());
        let Some(key) = &self.key else {
            return plain(
                StatusCode::NOT_FOUND,
                "NOTFOUND",
                "this registry gives no tokens",
            );
        };
        let visitor = self.stranger(&head.headers, authority, peer);
        let mut asked = Asked::default();
        asked.read(head.uri.query().unwrap_or_default().as_bytes(), false);
        match head.method {
            Method::GET => {}
            Method::POST => asked.read(form, true),
            _ => {
                let message = "a token is asked for by GET or POST";
                return plain(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message);
            }
        }
        let credentials = match asked.credentials(&head.method) {
            Ok(Some(credentials)) => Some(credentials),
            Ok(None) => match Credentials::of(&head.headers) {
                Ok(credentials) => credentials,
                Err(_) => return refuse(&visitor, "the Authorization field cannot be read"),
            },
            Err(message) => return plain(StatusCode::BAD_REQUEST, "UNSUPPORTED", message),
        };
        let identity = match credentials {
            None => visitor.identity.clone(),
            Some(credentials) => {
                let client = self.settings.proxies.client(peer, &head.headers);
                match self.identify(&credentials, client, &visitor).await {
                    Ok(identity) => identity,
                    Err(Refusal(Kind::Unauthorized { message, .. })) => {
                        return refuse(&visitor, &message);
                    }
                    Err(refusal) => return refusal.response(),
                }
            }
        };
        give(key, &visitor, identity, asked.scopes)
    }
}

impl Asked {
    /// Reads a query, or a form, in which alone there are secrets.
    fn read(&mut self, text: &[u8], is_form: bool) {
        for (name, value) in url::form_urlencoded::parse(text) {
            match name.as_ref() {
                "scope" => {
                    let room = super::scope::MOST.saturating_sub(self.scopes.len());
                    self.scopes
                        .extend(Scope::parse_all(&value).into_iter().take(room));
                }
                "grant_type" if is_form => self.grant = Some(value.into_owned()),
                "username" if is_form => self.name = value.into_owned(),
                "password" if is_form => self.password = Some(value.into_owned()),
                "refresh_token" if is_form => self.refresh = Some(value.into_owned()),
                _ => {}
            }
        }
    }

    fn credentials(&mut self, method: &Method) -> Result<Option<Credentials>, &'static str> {
        if *method == Method::GET {
            return Ok(None);
        }
        match self.grant.as_deref() {
            Some("password") => Ok(Some(Credentials::Basic {
                name: std::mem::take(&mut self.name),
                password: self.password.take().unwrap_or_default(),
            })),
            // An identity token: that of a ServiceAccount is one.
            Some("refresh_token") => Ok(Some(Credentials::Bearer(
                self.refresh.take().unwrap_or_default(),
            ))),
            _ => Err("grant_type has to be password or refresh_token"),
        }
    }
}

/// A token for what was asked for, as far as the rules let him.
fn give(
    key: &token::Key,
    visitor: &Visitor,
    mut identity: Identity,
    asked: Vec<Scope>,
) -> Response<Bytes> {
    let has_right = |action: Action, name: &str| {
        let allows = |action| visitor.rules.allow(&identity, action, name);
        allows(action) || (action == Action::List && allows(Action::Pull))
    };
    let mut granted = Vec::new();
    for mut scope in asked {
        if scope.kind == "repository" {
            let rights = Action::ALL.into_iter();
            let rights = rights.filter(|&it| scope.has(it) && has_right(it, &scope.name));
            scope.actions = rights.map(|it| it.name().to_owned()).collect();
        } else if !scope.is_catalog() || !visitor.rules.allow_any(&identity, Action::List) {
            scope.actions.clear();
        }
        if !scope.actions.is_empty() {
            granted.push(scope);
        }
    }
    let scope: Vec<_> = granted.iter().map(Scope::text).collect();
    if let Identity::Cluster { groups, .. } = &mut identity {
        // A token is no longer than it has to be: some users have hundreds.
        groups.retain(|it| visitor.rules.names_group(it));
    }
    let token = key.sign(identity, granted, SystemTime::now());
    let body = json!({
        "token": token,
        "access_token": token,
        "expires_in": token::LIFETIME.as_secs(),
        "scope": scope.join(" "),
    });
    answer(StatusCode::OK, &body)
}

/// The credentials are wrong.
fn refuse(visitor: &Visitor, message: &str) -> Response<Bytes> {
    let mut response = visitor.unauthorized(None, message).response();
    let basic = HeaderValue::from_static("Basic realm=\"narthex-registry\",charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    response
}

fn plain(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    answer(
        status,
        &json!({"errors": [{"code": code, "message": message}]}),
    )
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
