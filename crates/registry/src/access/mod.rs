//! Who may: rules by repository and action, and the ways to show who one is.
//!
//! In: a request's head and the other end of its connection. Out: a [`Visitor`], who is asked before
//! each thing that is done, or a [`Refusal`]. Nothing here looks into the storage, so that no answer
//! says whether a repository exists.
//!
//! Clients show a password (of an htpasswd file), a token of the cluster (ServiceAccounts), or a
//! client certificate; and get a token of ours for it, as the distribution project's token
//! authentication has it, or show it with each request. What a token says is who shows it and what
//! it was asked for: the rules are asked at each request, so that a change holds at once.

mod attempts;
pub mod certificate;
mod credentials;
mod door;
mod endpoint;
#[cfg(test)]
mod fuzz;
mod htpasswd;
mod pattern;
mod place;
mod refusal;
mod remembered;
mod review;
mod rules;
mod scope;
mod subject;
mod token;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;

use attempts::Attempts;
use credentials::Credentials;
use htpasswd::Passwords;
use refusal::Kind;
use review::Reviews;
use scope::Scope;

pub use endpoint::{LARGEST_FORM, PATH as TOKEN_PATH};
pub use htpasswd::Htpasswd;
pub use place::{Peer, Proxies};
pub use refusal::Refusal;
pub use review::{Answer, Reviewed, Reviewer};
pub use rules::{Leave, Rules, Wrong};
pub use subject::{Action, Identity};
pub use token::Key;
pub use watched::Watched;

/// What tokens are for; clients send it back to us.
const SERVICE: &str = "narthex-registry";

/// By what clients may show who they are, and where the rules are.
#[derive(Debug)]
pub struct Settings {
    /// The rules file, if there is one.
    pub rules: Option<Arc<Watched<Rules>>>,
    /// What the anonymous may do without a rules file. None: what is safe.
    pub anonymous: Option<Leave>,
    /// The password file.
    pub htpasswd: Option<Arc<Watched<Htpasswd>>>,
    /// Who knows the cluster's tokens.
    pub reviewer: Option<Box<dyn Reviewer>>,
    /// Whether clients' certificates are asked for.
    pub certificates: bool,
    /// Who is believed what it says of others, and what we are called.
    pub proxies: Proxies,
}

impl Settings {
    /// Whether there is a way to show who one is.
    pub fn authenticate(&self) -> bool {
        self.htpasswd.is_some() || self.reviewer.is_some() || self.certificates
    }
}

/// Where everybody comes in.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    /// None where nobody can show who he is.
    key: Option<Key>,
    /// Those that hold where there is no file, for clients of this host and for others.
    here: Arc<Rules>,
    elsewhere: Arc<Rules>,
    passwords: Passwords,
    reviews: Option<Reviews>,
    attempts: Attempts,
}

/// Somebody who has come in, for one request.
#[derive(Debug, Clone)]
pub struct Visitor {
    identity: Identity,
    rules: Arc<Rules>,
    /// What the token was asked for, if one of ours was shown.
    scopes: Option<Vec<Scope>>,
    /// Where tokens are to be had, if there are any.
    realm: Option<String>,
    /// Whether there is a way to show who one is.
    authenticate: bool,
}

impl Gate {
    /// A gate. `key` signs tokens; it has to be there if [`Settings::authenticate`] is true.
    pub fn new(mut settings: Settings, key: Option<Key>) -> Self {
        let authenticate = settings.authenticate();
        let (here, elsewhere) = match settings.anonymous {
            Some(leave) => (leave, leave),
            None if authenticate => (Leave::None, Leave::None),
            // Whoever is on this host can do worse; all others may look.
            None => (Leave::All, Leave::Pull),
        };
        let reviews = settings.reviewer.take().map(Reviews::new);
        Self {
            settings,
            key,
            here: Arc::new(Rules::plain(here)),
            elsewhere: Arc::new(Rules::plain(elsewhere)),
            passwords: Passwords::default(),
            reviews,
            attempts: Attempts::default(),
        }
    }

    /// A gate for a registry that nobody has to show anything to: clients of this host may do
    /// everything, others pull.
    pub fn open() -> Self {
        let settings = Settings {
            rules: None,
            anonymous: None,
            htpasswd: None,
            reviewer: None,
            certificates: false,
            proxies: Proxies::default(),
        };
        Self::new(settings, None)
    }

    /// Reads the files again when they have changed, for as long as the future is polled.
    pub async fn watch(&self) {
        let rules = self
            .settings
            .rules
            .as_ref()
            .map(|it| Arc::clone(it).watch());
        let htpasswd = self
            .settings
            .htpasswd
            .as_ref()
            .map(|it| Arc::clone(it).watch());
        let of = async |file: Option<_>| match file {
            Some(file) => file.await,
            None => std::future::pending().await,
        };
        let others = async |file: Option<_>| match file {
            Some(file) => file.await,
            None => std::future::pending().await,
        };
        tokio::join!(of(rules), others(htpasswd));
    }

    /// Finds out who asks. `authority` is the host of HTTP/2's requests, which have no `Host`.
    ///
    /// # Errors
    /// [`Refusal`], if what the client shows is wrong.
    pub async fn enter(
        &self,
        headers: &HeaderMap,
        authority: Option<&str>,
        peer: &Peer,
    ) -> Result<Visitor, Refusal> {
        let mut visitor = self.stranger(headers, authority, peer);
        if !visitor.authenticate {
            // Credentials mean nothing here; clients send those that they have.
            return Ok(visitor);
        }
        let credentials = Credentials::of(headers)
            .map_err(|_| visitor.unauthorized(None, "the Authorization field cannot be read"))?;
        let Some(credentials) = credentials else {
            return Ok(visitor);
        };
        if let (Credentials::Bearer(token), Some(key)) = (&credentials, &self.key)
            && let Some((identity, scopes)) = key.read(token, SystemTime::now())
        {
            // The certificate of this connection says more than a token for nobody.
            if !identity.is_anonymous() {
                visitor.identity = identity;
            }
            visitor.scopes = Some(scopes);
            return Ok(visitor);
        }
        let client = self.settings.proxies.client(peer, headers);
        visitor.identity = self.identify(&credentials, client, &visitor).await?;
        Ok(visitor)
    }

    /// Who comes without showing a password or a token.
    fn stranger(&self, headers: &HeaderMap, authority: Option<&str>, peer: &Peer) -> Visitor {
        let authenticate = self.key.is_some();
        let rules = match &self.settings.rules {
            Some(file) => file.get(),
            None if Proxies::is_local(peer, headers) => Arc::clone(&self.here),
            None => Arc::clone(&self.elsewhere),
        };
        let names = peer.certificate.clone().filter(|it| !it.is_empty());
        let identity = match names.filter(|_| self.settings.certificates) {
            Some(names) => Identity::Certificate(names),
            None => Identity::Anonymous,
        };
        let root = self.settings.proxies.root(peer, headers, authority);
        Visitor {
            identity,
            rules,
            scopes: None,
            realm: root
                .filter(|_| authenticate)
                .map(|root| format!("{root}{TOKEN_PATH}")),
            authenticate,
        }
    }

    /// Whose credentials they are.
    async fn identify(
        &self,
        credentials: &Credentials,
        client: IpAddr,
        visitor: &Visitor,
    ) -> Result<Identity, Refusal> {
        let (name, secret) = match credentials {
            Credentials::Basic { name, password } => (name.as_str(), password.as_str()),
            Credentials::Bearer(token) => ("", token.as_str()),
        };
        let users = self.settings.htpasswd.as_ref().map(|it| it.get());
        let users = users.filter(|_| matches!(credentials, Credentials::Basic { .. }));
        let reviews = self.reviews.as_ref().filter(|_| Reviews::may_be(secret));
        let is_known = users
            .as_ref()
            .is_some_and(|it| self.passwords.is_known(it, name, secret))
            || reviews.is_some_and(|it| it.is_known(secret));
        let wait = self.attempts.wait(client, Instant::now());
        if let Some(wait) = wait.filter(|_| !is_known) {
            return Err(Refusal(Kind::TooMany(wait)));
        }
        let unavailable = |_| Refusal(Kind::Unavailable);
        let found = match (users, reviews) {
            // A token is not tried as a password of nobody.
            (Some(users), reviews) if users.has(name) || reviews.is_none() => {
                let checked = self.passwords.verify(&users, name, secret).await;
                let is_right = checked.map_err(unavailable)?;
                is_right.then(|| Identity::User(name.to_owned()))
            }
            (_, Some(reviews)) => reviews.ask(secret).await.map_err(|error| {
                tracing::warn!(%error, "a token of the cluster cannot be verified");
                Refusal(Kind::Unavailable)
            })?,
            _ => None,
        };
        found.ok_or_else(|| {
            // An old token of ours is no attempt: every client's ends after a while.
            if !self.was_ours(credentials) {
                self.attempts.wrong(client, Instant::now());
                tracing::info!(%client, user = name, "the registry was shown wrong credentials");
            }
            visitor.unauthorized(None, "the credentials are wrong, or not good any more")
        })
    }

    fn was_ours(&self, credentials: &Credentials) -> bool {
        match (credentials, &self.key) {
            (Credentials::Bearer(token), Some(key)) => key.signed(token),
            _ => false,
        }
    }
}

impl Visitor {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For `GET /v2/`, by which clients find out whether they need credentials, and which: whoever
    /// shows none is told, even where the anonymous may pull, since most clients ask once.
    ///
    /// # Errors
    /// [`Refusal`] of the anonymous.
    pub fn ping(&self) -> Result<(), Refusal> {
        let has_shown = !self.identity.is_anonymous() || self.scopes.is_some();
        match has_shown || !self.authenticate {
            true => Ok(()),
            false => Err(self.unauthorized(None, "authentication is required")),
        }
    }

    /// Whether something may be done to a repository.
    pub fn may(&self, action: Action, repository: &str) -> bool {
        self.has_right(action, repository) && self.has_asked(action, repository)
    }

    /// The same, or how the visitor is sent away.
    ///
    /// # Errors
    /// [`Refusal`], if it may not be done.
    pub fn require(&self, action: Action, repository: &str) -> Result<(), Refusal> {
        let has_right = self.has_right(action, repository);
        if has_right && self.has_asked(action, repository) {
            return Ok(());
        }
        let name = action.name();
        if self.authenticate && (has_right || self.identity.is_anonymous()) {
            let message = format!("authentication is required to {name} here");
            return Err(self.unauthorized(Some(Scope::of_repository(repository, action)), &message));
        }
        Err(self.denied(&format!("to {name} here")))
    }

    /// For the catalog, from which a repository is left out that may not be listed.
    ///
    /// # Errors
    /// [`Refusal`], if none may be.
    pub fn require_catalog(&self) -> Result<(), Refusal> {
        let has_right = self.rules.allow_any(&self.identity, Action::List);
        let scopes = self.scopes.as_ref();
        let has_asked = scopes.is_none_or(|it| it.iter().any(Scope::is_catalog));
        if has_right && has_asked {
            return Ok(());
        }
        if self.authenticate && (has_right || self.identity.is_anonymous()) {
            let message = "authentication is required to list repositories";
            return Err(self.unauthorized(Some(Scope::of_catalog()), message));
        }
        Err(self.denied("to list repositories"))
    }

    /// Whether the catalog shows a repository; [`Self::require_catalog`] comes first.
    pub fn may_see(&self, repository: &str) -> bool {
        self.has_right(Action::List, repository)
    }

    /// Whether every repository may be pulled, by no token that was asked for some.
    pub fn may_pull_all(&self) -> bool {
        self.scopes.is_none() && self.rules.allow_all(&self.identity, Action::Pull)
    }

    fn has_right(&self, action: Action, repository: &str) -> bool {
        let allows = |action| self.rules.allow(&self.identity, action, repository);
        // Whoever may pull may know the tags.
        allows(action) || (action == Action::List && allows(Action::Pull))
    }

    fn has_asked(&self, action: Action, repository: &str) -> bool {
        let is = |it: &Scope| it.is_of(repository) && it.has(action);
        self.scopes.as_ref().is_none_or(|it| it.iter().any(is))
    }

    fn denied(&self, what: &str) -> Refusal {
        let message = match self.authenticate {
            true => format!("{} has no right {what}", self.identity),
            false => format!(
                "nobody from elsewhere has the right {what}: the registry knows no users yet"
            ),
        };
        Refusal(Kind::Denied { message })
    }

    fn unauthorized(&self, scope: Option<Scope>, message: &str) -> Refusal {
        let challenge = self.realm.as_ref().map(|realm| {
            let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{SERVICE}\"");
            if let Some(scope) = scope {
                challenge.push_str(&format!(",scope=\"{}\"", scope.text()));
            }
            if self.scopes.is_some() {
                challenge.push_str(",error=\"insufficient_scope\"");
            }
            challenge
        });
        Refusal(Kind::Unauthorized {
            challenge,
            message: message.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
