//! Credentials, and the files that docker, podman and skopeo keep them in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A text that nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Who we are to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that its token service exchanges (`identitytoken`).
    Identity(Secret),
    /// A token that the registry itself takes (`registrytoken`).
    Bearer(Secret),
}

/// Credentials by registry, and by the beginnings of repositories.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    by_place: BTreeMap<String, Credential>,
    /// Registries whose credentials a helper has, which we do not ask.
    helpers: BTreeMap<String, String>,
}

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What it is; for those that send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Credential {
    /// A name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password {
            username: username.into(),
            password: Secret::new(password),
        }
    }
}

impl Keys {
    /// Those of a file: docker's `config.json`, podman's and skopeo's `auth.json`, or what is in
    /// a Secret of type `kubernetes.io/dockerconfigjson`.
    ///
    /// # Errors
    /// The file is not read, or is no such file; for people, without what is in it.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("{}: {why}", file.display());
        let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        if size.len() > MAX_FILE {
            return Err(failed(format!("larger than {MAX_FILE} bytes")));
        }
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        Self::of_json(&text).map_err(failed)
    }

    /// Those of the files where docker, podman and skopeo keep them, where they are.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub fn of_this_user() -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self::of_file(Path::new(&file));
        }
        let home = variable("HOME").map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG").map(PathBuf::from);
        let docker = docker.or_else(|| home.as_ref().map(|it| it.join(".docker")));
        // The later ones count.
        let places = [
            docker.map(|it| it.join("config.json")),
            home.map(|it| it.join(".config/containers/auth.json")),
            variable("XDG_RUNTIME_DIR").map(|it| PathBuf::from(it).join("containers/auth.json")),
        ];
        let mut all = Self::default();
        for file in places.into_iter().flatten().filter(|it| it.is_file()) {
            all.extend(Self::of_file(&file)?);
        }
        Ok(all)
    }

    /// Those of such a file's text.
    ///
    /// # Errors
    /// It is no such text; for people, without what is in it.
    pub fn of_json(text: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(text).map_err(|error| {
            format!(
                "no docker configuration: a JSON object with `auths` is expected (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        let mut keys = Self::default();
        for (place, auth) in file.auths {
            if let Some(credential) = auth.credential().map_err(|why| format!("{place}: {why}"))? {
                keys.by_place.insert(place_of(&place), credential);
            }
        }
        keys.helpers.extend(
            file.cred_helpers
                .into_iter()
                .map(|(place, helper)| (place_of(&place), helper)),
        );
        Ok(keys)
    }

    /// One more; of two for the same place the later counts.
    pub fn insert(&mut self, place: &str, credential: Credential) {
        self.by_place.insert(place_of(place), credential);
    }

    /// Those of others too, which count more.
    pub fn extend(&mut self, others: Self) {
        self.by_place.extend(others.by_place);
        self.helpers.extend(others.helpers);
    }

    /// The credential of a registry: of the longest place that the repository is in.
    pub fn of(&self, host: &str, repository: &str) -> Option<&Credential> {
        let whole = format!("{}/{repository}", place_of(host));
        let mut place = whole.trim_end_matches('/');
        loop {
            if let Some(found) = self.by_place.get(place) {
                return Some(found);
            }
            place = place.rsplit_once('/')?.0;
        }
    }

    /// The credential helper that a file names for a registry whose credential it does not have.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(&place_of(host)).map(String::as_str)
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Auth {
    fn credential(self) -> Result<Option<Credential>, String> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret(self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(Secret(self.registrytoken))));
        }
        if !self.auth.is_empty() {
            let wrong = || "`auth` is base64 of NAME:PASSWORD".to_owned();
            let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (username, password) = text.split_once(':').ok_or_else(wrong)?;
            // Some files were written by C.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credential::password(username, password)));
        }
        let some = !self.username.is_empty() || !self.password.is_empty();
        Ok(some.then(|| Credential::password(self.username, self.password)))
    }
}

/// `https://index.docker.io/v1/` is Docker Hub, and `https://host/v2/` is `host`.
fn place_of(text: &str) -> String {
    let text = text
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let text = text
        .strip_suffix("/v1")
        .or_else(|| text.strip_suffix("/v2"))
        .unwrap_or(text);
    match text.split_once('/').unwrap_or((text, "")) {
        ("index.docker.io" | "registry-1.docker.io", "") => "docker.io".to_owned(),
        ("index.docker.io" | "registry-1.docker.io", rest) => format!("docker.io/{rest}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VzYW1l"},
            "quay.io/team": {"username": "team", "password": "t"},
            "quay.io": {"auth": "cTpw"},
            "empty.example": {},
            "id.example": {"auth": "PHRva2VuPjo=", "identitytoken": "refresh"}
        },
        "credsStore": "desktop",
        "credHelpers": {"gcr.io": "gcloud"}
    }"#;

    #[test]
    fn docker_s_file_is_read() {
        let keys = Keys::of_json(FILE.as_bytes()).expect("right");
        let hub = Credential::password("me", "sesame");
        assert_eq!(keys.of("docker.io", "library/nginx"), Some(&hub));
        let team = Credential::password("team", "t");
        assert_eq!(keys.of("quay.io", "team/app"), Some(&team));
        assert_eq!(keys.of("quay.io", "teamwork/app"), keys.of("quay.io", ""));
        assert_eq!(keys.of("empty.example", "a"), None);
        let identity = Credential::Identity(Secret::new("refresh"));
        assert_eq!(keys.of("id.example", "a"), Some(&identity));
        assert_eq!(keys.helper("gcr.io"), Some("gcloud"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let wrong = r#"{"auths": {"a.example": {"auth": "c2VzYW1l"}}}"#;
        let error = Keys::of_json(wrong.as_bytes()).expect_err("no colon");
        assert_eq!(error, "a.example: `auth` is base64 of NAME:PASSWORD");
        let error = Keys::of_json(b"{\"auths\": sesame}").expect_err("no JSON");
        assert!(!error.contains("sesame"), "{error}");
        let shown = format!("{:?}", Credential::password("me", "sesame"));
        assert!(!shown.contains("sesame"), "{shown}");
    }
}
