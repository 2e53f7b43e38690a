//! docker's `config.json`: what a Secret of type `kubernetes.io/dockerconfigjson` holds, and the files of docker,
//! podman and skopeo.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Credential, Hidden, host_of};
use crate::client;

/// What a file holds, as far as it is about credentials.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Hidden,
    username: String,
    password: Hidden,
    identitytoken: Hidden,
    registrytoken: Hidden,
}

/// Where a credential is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the file.
    Here(client::Credential),
    /// With the program `docker-credential-NAME`, asked for this server.
    With {
        /// NAME.
        helper: String,
        /// As the file names the server.
        server: String,
    },
}

/// What a Secret's `.dockerconfigjson` has to be.
pub fn dockerconfigjson(credentials: &[Credential]) -> String {
    let auths: serde_json::Map<String, Value> = credentials
        .iter()
        .map(|one| {
            let (username, password) = (&one.username, one.secret.show());
            let auth = STANDARD.encode(format!("{username}:{password}"));
            let entry = json!({"username": username, "password": password, "auth": auth});
            (one.registry.clone(), entry)
        })
        .collect();
    json!({ "auths": auths }).to_string()
}

impl DockerConfig {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Where it is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        // What serde says of a value may repeat it.
        serde_json::from_str(text).map_err(|error| {
            format!(
                "line {}, column {} is not as docker's config.json has it",
                error.line(),
                error.column()
            )
        })
    }

    /// What there is for a repository of a registry, or for the registry: the longest path that an entry has wins, as
    /// podman and skopeo have it.
    ///
    /// # Errors
    /// The entry that is it is wrong; for people, without what is in it.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Kept>, String> {
        let host = host_of(host);
        let mut path = match repository {
            "" => host.clone(),
            repository => format!("{host}/{repository}"),
        };
        loop {
            let is_it = |key: &String| key_of(key) == path;
            // A helper of its own comes before what is in the file, as with docker.
            if let Some((server, helper)) = self.cred_helpers.iter().find(|(key, _)| is_it(key)) {
                return Ok(Some(Kept::With {
                    helper: helper.clone(),
                    server: server.clone(),
                }));
            }
            if let Some((key, auth)) = self.auths.iter().find(|(key, _)| is_it(key)) {
                let credential = auth.credential().map_err(|why| format!("{key}: {why}"))?;
                if let Some(credential) = credential {
                    return Ok(Some(Kept::Here(credential)));
                }
            }
            match path.rfind('/') {
                Some(at) => path.truncate(at),
                None => break,
            }
        }
        let Some(helper) = self.creds_store.clone().filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        // The name that docker login keeps its own registry's by.
        let server = match host.as_str() {
            "docker.io" => "https://index.docker.io/v1/".to_owned(),
            _ => host,
        };
        Ok(Some(Kept::With { helper, server }))
    }
}

/// An entry's key, without what docker puts around it.
fn key_of(key: &str) -> String {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    match bare.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host_of(host)),
        None => host_of(bare),
    }
}

impl Auth {
    fn credential(&self) -> Result<Option<client::Credential>, &'static str> {
        if !self.identitytoken.is_empty() {
            let token = self.identitytoken.clone();
            return Ok(Some(client::Credential::Identity(token)));
        }
        if !self.registrytoken.is_empty() {
            let token = self.registrytoken.clone();
            return Ok(Some(client::Credential::Bearer(token)));
        }
        if !self.username.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok(Some(client::Credential::Password { username, password }));
        }
        let auth = self.auth.show().trim();
        if auth.is_empty() {
            return Ok(None);
        }
        let wrong = "`auth` is to be base64 of NAME:PASSWORD";
        let pair = STANDARD.decode(auth);
        let pair = pair.or_else(|_| STANDARD_NO_PAD.decode(auth));
        let pair = String::from_utf8(pair.map_err(|_| wrong)?).map_err(|_| wrong)?;
        let (username, password) = pair.split_once(':').ok_or(wrong)?;
        let (username, password) = (username.to_owned(), password.trim_matches('\0'));
        let named = |username| client::Credential::password(username, password);
        Ok((!username.is_empty()).then(|| named(username)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &DockerConfig, host: &str, repository: &str) -> Option<(String, String)> {
        match config.find(host, repository).expect("right")? {
            Kept::Here(client::Credential::Password { username, password }) => {
                Some((username, password.show().to_owned()))
            }
            Kept::Here(client::Credential::Identity(token)) => {
                Some(("<token>".to_owned(), token.show().to_owned()))
            }
            Kept::Here(client::Credential::Bearer(token)) => {
                Some(("<bearer>".to_owned(), token.show().to_owned()))
            }
            Kept::With { helper, server } => Some((helper, server)),
        }
    }

    fn pair(one: &str, other: &str) -> Option<(String, String)> {
        Some((one.to_owned(), other.to_owned()))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let credential = Credential {
            registry: "team.example:5000".to_owned(),
            username: "a".to_owned(),
            secret: Hidden::new("b:\"c\\"),
            expires: None,
        };
        let text = dockerconfigjson(std::slice::from_ref(&credential));
        let config = DockerConfig::parse(&text).expect("ours");
        assert_eq!(
            config.find("team.example:5000", "x/y"),
            Ok(Some(Kept::Here(credential.into())))
        );
        assert_eq!(config.find("team.example", "x/y"), Ok(None));
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let auth = json["auths"]["team.example:5000"]["auth"].as_str();
        assert_eq!(auth, Some("YTpiOiJjXA=="));
    }

    #[test]
    fn the_files_of_docker_and_podman_are_read() {
        let config = DockerConfig::parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M="},
                "quay.io/team": {"auth": "dGVhbTpx"},
                "quay.io": {"username": "all", "password": "q"},
                "azure.example": {"auth": "MDA6", "identitytoken": "refresh"},
                "bearer.example": {"registrytoken": "short"},
                "broken.example": {"auth": "%%"}, "empty.example": {}},
                "credHelpers": {"gcr.io": "gcloud"}, "HttpHeaders": {"User-Agent": "x"}}"#,
        )
        .expect("as docker has it");
        let ask = |host, repository| found(&config, host, repository);
        assert_eq!(ask("docker.io", "library/nginx"), pair("hub", "pass"));
        assert_eq!(ask("registry-1.docker.io", "x"), pair("hub", "pass"));
        assert_eq!(ask("quay.io", "team/app"), pair("team", "q"));
        assert_eq!(ask("quay.io", "teams/app"), pair("all", "q"));
        assert_eq!(ask("azure.example", ""), pair("<token>", "refresh"));
        assert_eq!(ask("gcr.io", "x/y"), pair("gcloud", "gcr.io"));
        assert_eq!(ask("bearer.example", ""), pair("<bearer>", "short"));
        for none in ["empty.example", "example.com"] {
            assert_eq!(ask(none, "x"), None, "{none}");
        }
        let said = config.find("broken.example", "x").expect_err("wrong");
        assert_eq!(
            said,
            "broken.example: `auth` is to be base64 of NAME:PASSWORD"
        );
        let config = DockerConfig::parse(r#"{"credsStore": "pass"}"#).expect("too");
        assert_eq!(
            found(&config, "docker.io", "x"),
            pair("pass", "https://index.docker.io/v1/")
        );
        let wrong = DockerConfig::parse(r#"{"auths": {"a": {"auth": ["hunter2"]}}}"#);
        assert!(!wrong.expect_err("wrong").contains("hunter2"));
    }
}
