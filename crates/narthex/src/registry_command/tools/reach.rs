//! Clients of registries, as the flags have them.

use std::io::Read as _;
use std::sync::Arc;

use registry::client::{Client, Credential, Credentials, Settings, Transport};
use registry::creds::Keychain;

use crate::failure::Failure;
use crate::flags::registry::Reach;

/// The longest password in bytes.
const LONGEST: u64 = 64 * 1024;

/// What the flags name, read.
pub(super) struct Reached {
    pub(super) settings: Settings,
    /// Of --username for whatever registry, or of files.
    pub(super) credentials: Arc<dyn Credentials>,
    /// Where credentials were looked for, for people.
    pub(super) place: String,
}

impl Reached {
    pub(super) fn read(flags: &Reach) -> Result<Self, Failure> {
        let read = |file: &std::path::PathBuf| {
            std::fs::read(file)
                .map_err(|error| Failure::new(format!("{} is not read: {error}", file.display())))
        };
        let authorities: Result<Vec<_>, _> = flags.ca_file.iter().map(read).collect();
        let settings = Settings {
            transport: match flags.insecure {
                true => Transport::Either,
                false => Transport::Https,
            },
            authorities: authorities?,
            identity: flags.client_identity.as_ref().map(read).transpose()?,
            // Somebody is waiting.
            retries: 1,
            ..Settings::default()
        };
        let given = match (&flags.username, flags.password_stdin) {
            (Some(name), true) => Some(Credential::password(name, password()?)),
            (Some(_), false) => {
                let what = "--username takes --password-stdin: printf %s \"$PASSWORD\" | narthex …";
                return Err(Failure::Invalid(what.to_owned()));
            }
            (None, _) => None,
        };
        let keychain = |keychain: Result<Keychain, _>| -> Result<Arc<dyn Credentials>, Failure> {
            Ok(Arc::new(keychain.map_err(Failure::new)?))
        };
        let (credentials, place): (Arc<dyn Credentials>, _) = match (given, &flags.authfile) {
            (Some(given), _) => (Arc::new(given), "standard input".to_owned()),
            (None, Some(file)) => {
                let opened = Keychain::of_file(file.clone(), Vec::new());
                (keychain(opened)?, file.display().to_string())
            }
            (None, None) => {
                let place = "the files of docker, podman and skopeo".to_owned();
                (keychain(Keychain::of_this_user(Vec::new()))?, place)
            }
        };
        Ok(Self {
            settings,
            credentials,
            place,
        })
    }

    /// Who we are to a registry, if anything says so.
    pub(super) async fn credential(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, Failure> {
        let found = self.credentials.find(host, repository).await;
        found.map_err(Failure::new)
    }

    pub(super) fn client(&self, host: &str) -> Result<Client, Failure> {
        let settings = Settings {
            credentials: Some(Arc::clone(&self.credentials)),
            ..self.settings.clone()
        };
        Client::new(host, settings).map_err(Failure::new)
    }
}

fn password() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("the password is not read: {error}")))?;
    // As `echo` writes it, and as docker's own --password-stdin takes it.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() {
        true => Err(Failure::new("standard input has no password")),
        false => Ok(text.to_owned()),
    }
}
