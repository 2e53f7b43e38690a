//! Credentials by host, for whoever speaks with registries.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::docker_config::{DockerConfig, Kept};
use super::{Credential, Failed, Grant, Http, Obtained, helper};
use crate::client::{self, Credentials};

/// How long an answer without an end is used before it is asked for again.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// How long a provider is left alone that has failed, while what it gave before serves.
const PAUSE: Duration = Duration::from_secs(30);

/// The longest file.
const LONGEST: u64 = 4 << 20;

/// Credentials by host: of files as docker, podman and skopeo have them, and of providers.
#[derive(Debug, Clone, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
    given: Arc<Vec<Given>>,
    http: Option<Http>,
}

/// What a provider gave.
#[derive(Debug)]
struct Given {
    grant: Grant,
    /// Held while it is asked, so that it is asked once for all who wait.
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    credentials: Vec<Credential>,
    at: SystemTime,
    /// When it is asked for again.
    next: SystemTime,
}

impl Keychain {
    /// Of these files, in this order, and then of these providers. A file that is not there has nothing.
    ///
    /// # Errors
    /// The system's authorities, whom providers are known by, cannot be read.
    pub fn new(files: Vec<PathBuf>, grants: Vec<Grant>) -> Result<Self, Failed> {
        let http = match grants.is_empty() {
            true => None,
            false => Some(Http::new()?),
        };
        let given = grants.into_iter().map(|grant| Given {
            grant,
            last: Mutex::default(),
        });
        Ok(Self {
            files,
            given: Arc::new(given.collect()),
            http,
        })
    }

    /// Of one file, which has to be there, and then of these providers.
    ///
    /// # Errors
    /// It cannot be read, or is no such file; or as with [`Keychain::new`].
    pub fn of_file(file: PathBuf, grants: Vec<Grant>) -> Result<Self, Failed> {
        match read(&file)? {
            Some(_) => Self::new(vec![file], grants),
            None => Err(Failed::new(format!(
                "{}: there is no such file",
                file.display()
            ))),
        }
    }

    /// Of the files of this user, and then of these providers.
    ///
    /// # Errors
    /// As with [`Keychain::new`].
    pub fn of_this_user(grants: Vec<Grant>) -> Result<Self, Failed> {
        Self::new(Self::usual_files(|name| std::env::var(name).ok()), grants)
    }

    /// The files that docker, podman and skopeo look at, in skopeo's order, as the environment has them, which is
    /// `get`: `$REGISTRY_AUTH_FILE` alone if it is set; else podman's and docker's.
    pub fn usual_files(get: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        let path = |name: &str| get(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return vec![file];
        }
        let home = path("HOME");
        let podman = path("XDG_RUNTIME_DIR").map(|it| it.join("containers/auth.json"));
        let configured = path("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let configured = configured.map(|it| it.join("containers/auth.json"));
        let docker = path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let docker = docker.map(|it| it.join("config.json"));
        [podman, configured, docker].into_iter().flatten().collect()
    }

    /// What to show a registry, by its host and the repository that is asked for (empty: any).
    ///
    /// # Errors
    /// There may be something, and it could not be had.
    pub async fn get(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<client::Credential>, Failed> {
        let host = host_of(host);
        for file in &self.files {
            let path = file.clone();
            let config = tokio::task::spawn_blocking(move || read(&path)).await;
            let config = config.map_err(|error| Failed::new(error.to_string()))?;
            let Some(config) = config? else {
                continue;
            };
            let kept = config.find(&host, repository);
            let kept = kept.map_err(|why| Failed::new(why).when(&file.display().to_string()))?;
            match kept {
                Some(Kept::Here(credential)) => return Ok(Some(credential)),
                Some(Kept::With { helper, server }) => {
                    if let Some(found) = helper::ask(&helper, &server).await? {
                        return Ok(Some(found.into()));
                    }
                }
                None => {}
            }
        }
        let Some(http) = &self.http else {
            return Ok(None);
        };
        for given in self.given.iter() {
            if given.grant.source.excludes(&host) {
                continue;
            }
            let found = given.find(http, &host).await;
            if let Some(found) = found.map_err(|failed| failed.when(&given.grant.origin))? {
                return Ok(Some(found.into()));
            }
        }
        Ok(None)
    }
}

impl Credentials for Keychain {
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<client::Credential>, client::Error>> {
        Box::pin(async move {
            let found = self.get(host, repository).await;
            found.map_err(|failed| {
                let why = format!("credentials for {host}: {failed}");
                client::Error::new(client::Kind::Denied, why)
            })
        })
    }
}

impl Given {
    async fn find(&self, http: &Http, host: &str) -> Result<Option<Credential>, Failed> {
        let mut last = self.last.lock().await;
        let now = SystemTime::now();
        let is_fresh = |last: &Last| last.at <= now && now < last.next && last.is_good(now);
        if !last.as_ref().is_some_and(is_fresh) {
            match self.grant.source.ask(http, now).await {
                Ok(Obtained { credentials, lacks }) => {
                    let has = |one: &Credential| one.registry == host;
                    if let Some(failed) = lacks {
                        if !credentials.iter().any(has) {
                            return Err(failed);
                        }
                        tracing::warn!("{}: {failed}", self.grant.origin);
                    }
                    let ends = credentials.iter().filter_map(|one| one.expires).min();
                    let life = ends.map_or(LIFE, |end| {
                        end.duration_since(now).unwrap_or_default().min(LIFE * 24) / 2
                    });
                    *last = Some(Last {
                        credentials,
                        at: now,
                        next: now + life,
                    });
                }
                // The last one may serve yet.
                Err(failed) if !last.as_ref().is_some_and(|it| it.is_good(now)) => {
                    return Err(failed);
                }
                Err(failed) => {
                    tracing::warn!("{}: {failed}", self.grant.origin);
                    // All who ask wait for its answer, which may be long in coming.
                    if let Some(last) = last.as_mut() {
                        last.next = now + PAUSE;
                    }
                }
            }
        }
        let credentials = last.iter().flat_map(|last| &last.credentials);
        let mut right = credentials.filter(|one| one.registry == host);
        Ok(right.next().cloned())
    }
}

impl Last {
    fn is_good(&self, now: SystemTime) -> bool {
        let mut ends = self.credentials.iter().filter_map(|one| one.expires);
        ends.all(|end| end > now)
    }
}

/// What a file has; nothing if there is none.
fn read(path: &Path) -> Result<Option<DockerConfig>, Failed> {
    let wrong = |why: String| Failed::new(why).when(&path.display().to_string());
    match std::fs::metadata(path) {
        Ok(data) if data.len() > LONGEST => return Err(wrong("it is too long".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    match text.trim().is_empty() {
        // As skopeo and podman make one before they log in.
        true => Ok(Some(DockerConfig::default())),
        false => DockerConfig::parse(&text).map(Some).map_err(wrong),
    }
}

/// A registry's host as it is compared: without scheme and path, in lower case; all of Docker Hub's names are
/// `docker.io`.
pub fn host_of(text: &str) -> String {
    let text = text.trim();
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    // A name and a password in a URL are no part of the host, and nobody is to see them.
    let host = host.rsplit('@').next().unwrap_or_default();
    match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
            "docker.io".to_owned()
        }
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests;
