//! What minikube's addon `registry-creds` is told by: its Secrets, and the environment variables of the program
//! that it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Acr, Docker, Ecr, Exchange, Gcr, Grant, Hidden, Identity, Places, Source, host_of};

/// What the addon's manifests have where nothing was configured.
const PLACEHOLDER: &str = "changeme";

/// The region where none is named, as with the addon.
const REGION: &str = "us-east-1";

/// The registry of Google's where none is named, as with the addon.
const GCR: &str = "gcr.io";

/// The variable that names a file in place of holding it.
const GOOGLE_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// One of the addon's Secrets, by its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `registry-creds-ecr`.
    Ecr,
    /// `registry-creds-gcr`.
    Gcr,
    /// `registry-creds-dpr`: a registry with a name and a password.
    Dpr,
    /// `registry-creds-acr`.
    Acr,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Ecr, Self::Gcr, Self::Dpr, Self::Acr];

    /// The Secret that it is configured by.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Ecr => "registry-creds-ecr",
            Self::Gcr => "registry-creds-gcr",
            Self::Dpr => "registry-creds-dpr",
            Self::Acr => "registry-creds-acr",
        }
    }

    /// The value of the label `cloud` of that Secret.
    pub const fn cloud(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::Gcr => "gcr",
            Self::Dpr => "private",
            Self::Acr => "acr",
        }
    }

    /// The Secret that is written, as the addon calls it.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Ecr => "awsecr-cred",
            Self::Gcr => "gcr-secret",
            Self::Dpr => "dpr-secret",
            Self::Acr => "acr-secret",
        }
    }

    /// The keys of the Secret, with the environment variables that stand for them; the first are those without which
    /// nothing is configured.
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Self::Ecr => ECR,
            Self::Gcr => GCR_KEYS,
            Self::Dpr => DPR,
            Self::Acr => ACR,
        }
    }
}

/// A key of one of the Secrets.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in the Secret.
    pub name: &'static str,
    /// The environment variable of the same meaning.
    pub variable: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Whether nothing works without it.
    pub needed: bool,
    /// Whether nobody is to see it.
    pub hidden: bool,
}

const fn key(name: &'static str, variable: &'static str, what: &'static str) -> Key {
    Key {
        name,
        variable,
        what,
        needed: false,
        hidden: false,
    }
}

const fn needed(key: Key) -> Key {
    Key {
        needed: true,
        ..key
    }
}

const fn hidden(key: Key) -> Key {
    Key {
        hidden: true,
        ..key
    }
}

const ECR: &[Key] = &[
    needed(key(
        "AWS_ACCESS_KEY_ID",
        "AWS_ACCESS_KEY_ID",
        "AWS access key id",
    )),
    needed(hidden(key(
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS secret access key",
    ))),
    hidden(key(
        "AWS_SESSION_TOKEN",
        "AWS_SESSION_TOKEN",
        "AWS session token",
    )),
    key(
        "aws-account",
        "awsaccount",
        "AWS accounts, with commas between",
    ),
    key(
        "aws-region",
        "awsregion",
        "AWS regions, with commas between",
    ),
    key(
        "aws-assume-role",
        "aws_assume_role",
        "ARN of a role to assume",
    ),
];

const GCR_KEYS: &[Key] = &[
    needed(hidden(key(
        "application_default_credentials.json",
        GOOGLE_FILE,
        "credentials file of a service account",
    ))),
    key(
        "gcrurl",
        "gcrurl",
        "registries of Google's, with commas between",
    ),
];

const DPR: &[Key] = &[
    needed(key(
        "DOCKER_PRIVATE_REGISTRY_SERVER",
        "DOCKER_PRIVATE_REGISTRY_SERVER",
        "registry's host",
    )),
    needed(key(
        "DOCKER_PRIVATE_REGISTRY_USER",
        "DOCKER_PRIVATE_REGISTRY_USER",
        "user",
    )),
    needed(hidden(key(
        "DOCKER_PRIVATE_REGISTRY_PASSWORD",
        "DOCKER_PRIVATE_REGISTRY_PASSWORD",
        "password",
    ))),
];

const ACR: &[Key] = &[
    needed(key("ACR_URL", "ACR_URL", "registry's host")),
    needed(key("ACR_CLIENT_ID", "ACR_CLIENT_ID", "client id")),
    needed(hidden(key("ACR_PASSWORD", "ACR_PASSWORD", "password"))),
    key(
        "ACR_TENANT_ID",
        "ACR_TENANT_ID",
        "tenant, where the client is a service principal whose password is to stay here",
    ),
];

/// Where AWS and others are asked instead, for tests and for networks of one's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `ecr`.
    pub ecr: Option<String>,
    /// `sts`.
    pub sts: Option<String>,
    /// Who gives tokens to service principals.
    pub entra: Option<String>,
    /// Where Azure's registry is asked.
    pub acr: Option<String>,
}

/// How the addon's sources become grants.
#[derive(Debug, Clone, Default)]
pub struct Addon {
    /// The Secrets' names where they are not the addon's.
    pub targets: BTreeMap<Kind, String>,
    /// Who gets what is in them.
    pub places: Places,
    /// Where providers are asked.
    pub endpoints: Endpoints,
}

impl Addon {
    /// The Secret that is written.
    pub fn target(&self, kind: Kind) -> &str {
        let named = self.targets.get(&kind).map(String::as_str);
        named.unwrap_or_else(|| kind.target())
    }

    /// What one of the Secrets means. None, if nothing is configured in it.
    ///
    /// # Errors
    /// What is missing or wrong in it.
    pub fn secret(
        &self,
        kind: Kind,
        data: &BTreeMap<String, Vec<u8>>,
        origin: String,
    ) -> Result<Option<Grant>, String> {
        let get = |key: &Key| {
            let value = String::from_utf8(data.get(key.name)?.clone()).ok()?;
            Some(value.trim().to_owned())
        };
        self.grant(kind, origin, get, None)
    }

    /// What the environment means, which is `get`. Of Amazon's and Google's variables, which many programs have, it is
    /// looked at those that they need only if one of the addon's own is there: `awsaccount`, `awsregion`, `gcrurl`.
    ///
    /// # Errors
    /// What is missing or wrong in it.
    pub fn environment(
        &self,
        kind: Kind,
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Grant>, String> {
        let is_set = |name: &str| get(name).is_some_and(|value| !value.trim().is_empty());
        let is_asked = match kind {
            Kind::Ecr => is_set("awsaccount") || is_set("awsregion"),
            Kind::Gcr => is_set("gcrurl"),
            Kind::Dpr | Kind::Acr => true,
        };
        if !is_asked {
            return Ok(None);
        }
        let some = |name: &str| get(name).filter(|_| is_set(name));
        let web = match (some("AWS_ROLE_ARN"), some("AWS_WEB_IDENTITY_TOKEN_FILE")) {
            (Some(role), Some(token)) if kind == Kind::Ecr => Some(Identity::Web {
                role,
                token: PathBuf::from(token),
            }),
            _ => None,
        };
        let origin = "the environment".to_owned();
        // The variable names a file, as Google's own programs have it.
        let file = match get(GOOGLE_FILE).filter(|_| kind == Kind::Gcr && is_set(GOOGLE_FILE)) {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path.trim());
                let wrong = |error| format!("{origin}: {GOOGLE_FILE}: {}: {error}", path.trim());
                Some(text.map_err(wrong)?)
            }
        };
        let value = |key: &Key| match key.variable {
            GOOGLE_FILE => file.clone(),
            variable => Some(get(variable)?.trim().to_owned()),
        };
        self.grant(kind, origin, value, web)
    }

    fn grant(
        &self,
        kind: Kind,
        origin: String,
        get: impl Fn(&Key) -> Option<String>,
        web: Option<Identity>,
    ) -> Result<Option<Grant>, String> {
        let given: BTreeMap<&str, String> = kind
            .keys()
            .iter()
            .filter_map(|key| {
                let value = get(key).filter(|it| !it.is_empty() && it != PLACEHOLDER)?;
                Some((key.name, value))
            })
            .collect();
        let is_keyless = web.is_some() && !given.contains_key("AWS_ACCESS_KEY_ID");
        let mut needed = kind.keys().iter().filter(|key| key.needed && !is_keyless);
        if !is_keyless && !needed.clone().any(|key| given.contains_key(key.name)) {
            return Ok(None);
        }
        if let Some(missing) = needed.find(|key| !given.contains_key(key.name)) {
            let name = missing.name;
            return Err(format!("{origin}: {name} ({}) is missing", missing.what));
        }
        let text = |name: &str| given.get(name).cloned().unwrap_or_default();
        let list = |name: &str| list(&text(name));
        let secret = |name: &str| Hidden::new(text(name));
        let host = |name: &str, text: &str| match host_of(text) {
            host if host.is_empty() || host.contains(char::is_whitespace) => Err(format!(
                "{origin}: {name}: there is no registry's host in it"
            )),
            host => Ok(host),
        };
        let source = match kind {
            Kind::Ecr => Source::Ecr(Ecr {
                accounts: list("aws-account"),
                regions: match list("aws-region") {
                    none if none.is_empty() => vec![REGION.to_owned()],
                    some => some,
                },
                identity: match web.filter(|_| is_keyless) {
                    Some(web) => web,
                    None => Identity::Key {
                        id: text("AWS_ACCESS_KEY_ID"),
                        secret: secret("AWS_SECRET_ACCESS_KEY"),
                        session: Some(secret("AWS_SESSION_TOKEN")).filter(|it| !it.is_empty()),
                    },
                },
                role: given.get("aws-assume-role").cloned(),
                endpoint: self.endpoints.ecr.clone(),
                sts_endpoint: self.endpoints.sts.clone(),
            }),
            Kind::Gcr => Source::Gcr(Gcr {
                registries: match list("gcrurl") {
                    none if none.is_empty() => vec![GCR.to_owned()],
                    some => {
                        let hosts = some.iter().map(|one| host("gcrurl", one));
                        hosts.collect::<Result<_, _>>()?
                    }
                },
                file: secret("application_default_credentials.json"),
            }),
            Kind::Dpr => Source::Docker(Docker {
                server: {
                    let name = "DOCKER_PRIVATE_REGISTRY_SERVER";
                    host(name, &text(name))?
                },
                username: text("DOCKER_PRIVATE_REGISTRY_USER"),
                password: secret("DOCKER_PRIVATE_REGISTRY_PASSWORD"),
            }),
            Kind::Acr => Source::Acr(Acr {
                registry: host("ACR_URL", &text("ACR_URL"))?,
                client_id: text("ACR_CLIENT_ID"),
                password: secret("ACR_PASSWORD"),
                exchange: given.get("ACR_TENANT_ID").map(|tenant| Exchange {
                    tenant: tenant.clone(),
                    authority: self.endpoints.entra.clone(),
                    endpoint: self.endpoints.acr.clone(),
                }),
            }),
        };
        Ok(Some(Grant {
            secret: self.target(kind).to_owned(),
            source,
            places: self.places.clone(),
            origin,
        }))
    }
}

fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    fn read(kind: Kind, pairs: &[(&str, &str)]) -> Result<Option<Grant>, String> {
        Addon::default().secret(kind, &data(pairs), "Secret a/b".to_owned())
    }

    #[test]
    fn the_addons_secrets_are_read_as_the_addon_reads_them() {
        let grant = read(
            Kind::Ecr,
            &[
                ("AWS_ACCESS_KEY_ID", "AKID\n"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_SESSION_TOKEN", "changeme"),
                ("aws-account", "111111111111, 222222222222"),
                ("aws-region", ""),
                ("aws-assume-role", "changeme"),
            ],
        );
        let grant = grant.expect("right").expect("configured");
        assert_eq!(grant.secret, "awsecr-cred");
        let Source::Ecr(ecr) = grant.source else {
            panic!("ECR's");
        };
        assert_eq!(ecr.accounts, ["111111111111", "222222222222"]);
        assert_eq!(ecr.regions, ["us-east-1"]);
        assert_eq!(ecr.role, None);
        let key = Identity::Key {
            id: "AKID".to_owned(),
            secret: Hidden::new("secret"),
            session: None,
        };
        assert_eq!(ecr.identity, key);
        let grant = read(
            Kind::Dpr,
            &[
                ("DOCKER_PRIVATE_REGISTRY_SERVER", "https://r.example/"),
                ("DOCKER_PRIVATE_REGISTRY_USER", "u"),
                ("DOCKER_PRIVATE_REGISTRY_PASSWORD", "p"),
            ],
        );
        let grant = grant.expect("right").expect("configured");
        assert!(matches!(grant.source, Source::Docker(docker) if docker.server == "r.example"));
    }

    #[test]
    fn what_was_never_configured_is_nothing_and_what_is_half_is_said() {
        for kind in Kind::ALL {
            let placeholders: Vec<_> = kind
                .keys()
                .iter()
                .map(|key| (key.name, "changeme"))
                .collect();
            assert_eq!(read(kind, &placeholders), Ok(None), "{kind:?}");
            assert_eq!(read(kind, &[]), Ok(None), "{kind:?}");
        }
        let half = read(Kind::Acr, &[("ACR_URL", "a"), ("ACR_PASSWORD", "hunter2")]);
        let said = half.expect_err("half");
        assert_eq!(said, "Secret a/b: ACR_CLIENT_ID (client id) is missing");
    }

    #[test]
    fn a_registry_without_a_host_is_said_and_what_stands_beside_a_host_is_left_out() {
        let with = |server: &str| {
            read(
                Kind::Dpr,
                &[
                    ("DOCKER_PRIVATE_REGISTRY_SERVER", server),
                    ("DOCKER_PRIVATE_REGISTRY_USER", "u"),
                    ("DOCKER_PRIVATE_REGISTRY_PASSWORD", "p"),
                ],
            )
        };
        for bad in ["https://", "/v2/", "my registry"] {
            let said = with(bad).expect_err(bad);
            assert!(said.contains("DOCKER_PRIVATE_REGISTRY_SERVER"), "{said}");
        }
        let grant = with("https://me:hunter2@r.example/").expect("right");
        let source = grant.expect("configured").source;
        assert!(matches!(source, Source::Docker(docker) if docker.server == "r.example"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_file_that_nobody_configured() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("google.json");
        let get = |name: &str| match name {
            "gcrurl" => Some("gcr.io".to_owned()),
            GOOGLE_FILE => Some(path.display().to_string()),
            _ => None,
        };
        let read = || Addon::default().environment(Kind::Gcr, get);
        let said = read().expect_err("it is not there");
        assert!(
            said.contains(GOOGLE_FILE) && said.contains("google.json"),
            "{said}"
        );
        std::fs::write(&path, "{}").expect("written");
        assert!(read().expect("there").is_some());
    }

    #[test]
    fn the_environment_of_another_program_configures_nothing() {
        let addon = Addon::default();
        let read = |kind, pairs: &[(&str, &str)]| {
            let pairs = data(pairs);
            let get = |name: &str| {
                let value = pairs.get(name)?.clone();
                String::from_utf8(value).ok()
            };
            addon.environment(kind, get)
        };
        let keys = [
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_ROLE_ARN", "r"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
        ];
        assert_eq!(read(Kind::Ecr, &keys), Ok(None));
        assert_eq!(
            read(Kind::Gcr, &[("GOOGLE_APPLICATION_CREDENTIALS", "/x")]),
            Ok(None)
        );
        let mut keys = keys.to_vec();
        keys.push(("awsregion", "eu-central-1,us-east-1"));
        let identity = |found: Result<Option<Grant>, String>| match found {
            Ok(Some(Grant {
                source: Source::Ecr(ecr),
                ..
            })) => ecr.identity,
            other => panic!("{other:?}"),
        };
        assert!(matches!(
            identity(read(Kind::Ecr, &keys)),
            Identity::Key { .. }
        ));
        let web = identity(read(Kind::Ecr, &keys[2..]));
        assert!(matches!(web, Identity::Web { .. }));
    }
}
