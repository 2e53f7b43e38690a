//! Manifests of `kind: RegistryCredentials`: our own form, which has no secret in it but names the files that do.

use std::path::{Path, PathBuf};

use objects::tree;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Acr, Docker, Ecr, Exchange, Gcr, Grant, Hidden, Identity, Labels, Names, Places, Source,
    host_of,
};

/// The only version that there is.
const API: &str = "narthex.dev/v1alpha1";

/// The kind.
const KIND: &str = "RegistryCredentials";

/// The longest file of a secret, in bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    secret_name: Option<String>,
    namespaces: Option<Namespaces>,
    service_accounts: Option<Vec<String>>,
    docker: Option<DockerSpec>,
    gcr: Option<GcrSpec>,
    ecr: Option<Box<EcrSpec>>,
    acr: Option<AcrSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Namespaces {
    names: Option<Vec<String>>,
    except: Option<Vec<String>>,
    #[serde(default)]
    selector: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DockerSpec {
    server: String,
    username: Option<String>,
    username_file: Option<PathBuf>,
    password_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GcrSpec {
    registries: Vec<String>,
    credentials_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EcrSpec {
    #[serde(default)]
    accounts: Vec<String>,
    regions: Vec<String>,
    access_key_id_file: Option<PathBuf>,
    secret_access_key_file: Option<PathBuf>,
    session_token_file: Option<PathBuf>,
    web_identity: Option<WebSpec>,
    assume_role: Option<String>,
    endpoint: Option<String>,
    sts_endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebSpec {
    role: String,
    token_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AcrSpec {
    registry: String,
    client_id: String,
    password_file: PathBuf,
    tenant: Option<String>,
    authority: Option<String>,
    endpoint: Option<String>,
}

/// Reads a file with all its documents, and the files that they name, whose paths are seen from its folder.
/// Documents of other kinds are left to whom they are for.
///
/// # Errors
/// What is wrong, for people.
pub fn load(path: &Path) -> Result<Vec<Grant>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // Other documents may be Secrets: nothing of them is in the error.
    let documents = tree::documents(&text).map(|document| document.map(|node| node.to_json()));
    let documents: Result<Vec<Value>, _> = documents.collect();
    let documents =
        documents.map_err(|error| wrong(format!("line {}: {}", error.line, error.message)))?;
    let ours = documents.into_iter().filter(|one| one["kind"] == KIND);
    ours.map(|one| {
        let name = one["metadata"]["name"].as_str().unwrap_or("without a name");
        let origin = format!("{KIND} {name} of {}", path.display());
        let document: Document =
            serde_json::from_value(one).map_err(|error| format!("{origin}: {error}"))?;
        document
            .grant(folder, origin.clone())
            .map_err(|why| format!("{origin}: {why}"))
    })
    .collect()
}

impl Document {
    fn grant(self, folder: &Path, origin: String) -> Result<Grant, String> {
        if self.api_version != API {
            return Err(format!("apiVersion: is to be {API}"));
        }
        let Spec {
            secret_name,
            namespaces,
            service_accounts,
            docker,
            gcr,
            ecr,
            acr,
        } = self.spec;
        let secret = secret_name.unwrap_or(self.metadata.name);
        if !is_name(&secret) {
            return Err(format!("{secret:?} is no name of a Secret"));
        }
        let mut places = Places::default();
        if let Some(given) = namespaces {
            places.labels = Labels::parse(&given.selector)
                .map_err(|why| format!("spec.namespaces.selector: {why}"))?;
            // Who is named is meant, kube-system too.
            if let Some(names) = given.names {
                places.namespaces = Names(names);
                places.except = Names::default();
            }
            if let Some(except) = given.except {
                places.except = Names(except);
            }
        }
        if let Some(accounts) = service_accounts {
            places.accounts = Names(accounts);
        }
        let files = Files(folder);
        let mut sources = Vec::new();
        sources.extend(docker.map(|it| it.source(&files)).transpose()?);
        sources.extend(gcr.map(|it| it.source(&files)).transpose()?);
        sources.extend(ecr.map(|it| it.source(&files)).transpose()?);
        sources.extend(acr.map(|it| it.source(&files)).transpose()?);
        let (Some(source), None) = (sources.pop(), sources.pop()) else {
            return Err("spec: has to have one of docker, gcr, ecr and acr".to_owned());
        };
        Ok(Grant {
            secret,
            source,
            places,
            origin,
        })
    }
}

/// Files as seen from a folder.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn path(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }

    fn secret(&self, path: &Path) -> Result<Hidden, String> {
        self.text(path).map(Hidden::new)
    }

    fn text(&self, path: &Path) -> Result<String, String> {
        let path = self.path(path);
        let wrong = |why: String| format!("{}: {why}", path.display());
        let length = std::fs::metadata(&path).map(|data| data.len());
        if length.map_err(|error| wrong(error.to_string()))? > LONGEST {
            return Err(wrong("is too long for a secret".to_owned()));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        match text.trim() {
            "" => Err(wrong("is empty".to_owned())),
            text => Ok(text.to_owned()),
        }
    }
}

impl DockerSpec {
    fn source(self, files: &Files<'_>) -> Result<Source, String> {
        let username = match (self.username, self.username_file) {
            (Some(username), None) => username,
            (None, Some(file)) => files.text(&file)?,
            _ => return Err("spec.docker: has to have one of username and usernameFile".to_owned()),
        };
        Ok(Source::Docker(Docker {
            server: registry(&self.server)?,
            username,
            password: files.secret(&self.password_file)?,
        }))
    }
}

impl GcrSpec {
    fn source(self, files: &Files<'_>) -> Result<Source, String> {
        let registries = self.registries.iter().map(|one| registry(one));
        Ok(Source::Gcr(Gcr {
            registries: registries.collect::<Result<_, _>>()?,
            file: files.secret(&self.credentials_file)?,
        }))
    }
}

impl EcrSpec {
    fn source(self, files: &Files<'_>) -> Result<Source, String> {
        let identity = match (
            self.access_key_id_file,
            self.secret_access_key_file,
            self.web_identity,
        ) {
            (Some(id), Some(secret), None) => Identity::Key {
                id: files.text(&id)?,
                secret: files.secret(&secret)?,
                session: self
                    .session_token_file
                    .map(|file| files.secret(&file))
                    .transpose()?,
            },
            (None, None, Some(web)) => Identity::Web {
                role: web.role,
                token: files.path(&web.token_file),
            },
            _ => {
                return Err(
                    "spec.ecr: has to have either accessKeyIdFile and secretAccessKeyFile, or \
                            webIdentity"
                        .to_owned(),
                );
            }
        };
        Ok(Source::Ecr(Ecr {
            accounts: self.accounts,
            regions: self.regions,
            identity,
            role: self.assume_role,
            endpoint: self.endpoint,
            sts_endpoint: self.sts_endpoint,
        }))
    }
}

impl AcrSpec {
    fn source(self, files: &Files<'_>) -> Result<Source, String> {
        Ok(Source::Acr(Acr {
            registry: registry(&self.registry)?,
            client_id: self.client_id,
            password: files.secret(&self.password_file)?,
            exchange: self.tenant.map(|tenant| Exchange {
                tenant,
                authority: self.authority,
                endpoint: self.endpoint,
            }),
        }))
    }
}

fn registry(text: &str) -> Result<String, String> {
    match host_of(text) {
        host if host.is_empty() => Err(format!("{text:?} is no registry's host")),
        host => Ok(host),
    }
}

/// RFC 1123's subdomain, as the API server takes it for names.
fn is_name(name: &str) -> bool {
    let is_end = |it: Option<&u8>| it.is_some_and(u8::is_ascii_alphanumeric);
    let is_good =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-' || it == b'.';
    let bytes = name.as_bytes();
    name.len() <= 253
        && bytes.iter().copied().all(is_good)
        && is_end(bytes.first())
        && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn loaded(text: &str) -> Result<Vec<Grant>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("password"), "hunter2\n").expect("written");
        let path = folder.path().join("credentials.yaml");
        std::fs::write(&path, text).expect("written");
        load(&path)
    }

    #[test]
    fn manifests_name_who_gives_and_who_gets() {
        let grants = loaded(
            "
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: narthex.dev/v1alpha1
kind: RegistryCredentials
metadata: {name: team}
spec:
  namespaces: {names: ['team-*'], except: [team-x], selector: 'stage!=test'}
  serviceAccounts: ['*']
  docker: {server: 'https://r.example/v2/', username: me, passwordFile: password}
---
apiVersion: narthex.dev/v1alpha1
kind: RegistryCredentials
metadata: {name: aws}
spec:
  secretName: awsecr-cred
  ecr:
    regions: [eu-central-1]
    accounts: ['111111111111']
    webIdentity: {role: 'arn:aws:iam::1:role/x', tokenFile: /var/token}
",
        )
        .expect("right");
        assert_eq!(grants.len(), 2);
        assert_eq!(grants[0].secret, "team");
        let none = BTreeMap::new();
        let places = &grants[0].places;
        assert!(places.has("team-a", &none) && !places.has("team-x", &none));
        assert!(!places.has("web", &none));
        let Source::Docker(docker) = &grants[0].source else {
            panic!("docker's");
        };
        assert_eq!(
            (docker.server.as_str(), docker.password.show()),
            ("r.example", "hunter2")
        );
        assert_eq!(grants[1].secret, "awsecr-cred");
        assert_eq!(grants[1].places, Places::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |spec: &str| {
            let text = format!(
                "{{apiVersion: narthex.dev/v1alpha1, kind: RegistryCredentials, metadata: {{name: a}}, spec: {spec}}}"
            );
            loaded(&text).expect_err(spec)
        };
        for (spec, said) in [
            ("{}", "one of docker, gcr, ecr and acr"),
            (
                "{docker: {server: a, username: b, password: hunter2}}",
                "password",
            ),
            ("{docker: {server: a, passwordFile: password}}", "username"),
            (
                "{docker: {server: a, username: b, passwordFile: nowhere}}",
                "nowhere",
            ),
            (
                "{docker: {server: 'https://', username: b, passwordFile: password}}",
                "host",
            ),
            (
                "{secretName: A, docker: {server: a, username: b, passwordFile: password}}",
                "name of a Secret",
            ),
            ("{ecr: {regions: [a]}}", "webIdentity"),
            (
                "{namespaces: {selector: 'a in (b)'}, ecr: {regions: [a]}}",
                "selector",
            ),
        ] {
            let why = with(spec);
            assert!(
                why.contains(said) && why.contains("RegistryCredentials a"),
                "{why}"
            );
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
