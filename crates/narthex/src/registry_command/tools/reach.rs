//! Clients of registries, as the flags have them.

use std::io::Read as _;

use registry::client::{Client, Credential, Keys, Settings, Transport};

use crate::failure::Failure;
use crate::flags::registry::Reach;

/// The longest password in bytes.
const LONGEST: u64 = 64 * 1024;

/// What the flags name, read.
pub(super) struct Reached {
    pub(super) settings: Settings,
    pub(super) keys: Keys,
    /// Of --username: for whatever registry.
    given: Option<Credential>,
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
        let (keys, place) = match &flags.authfile {
            _ if given.is_some() => (Ok(Keys::default()), "standard input".to_owned()),
            Some(file) => (Keys::of_file(file), file.display().to_string()),
            None => {
                let place = "the files of docker, podman and skopeo".to_owned();
                (Keys::of_this_user(), place)
            }
        };
        Ok(Self {
            settings,
            keys: keys.map_err(Failure::new)?,
            given,
            place,
        })
    }

    /// Who we are to a registry, if anything says so.
    pub(super) fn credential(&self, host: &str, repository: &str) -> Option<&Credential> {
        self.given
            .as_ref()
            .or_else(|| self.keys.of(host, repository))
    }

    /// The credential helper that has it, which is not asked.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        self.keys.helper(host)
    }

    pub(super) fn client(&self, host: &str, repository: &str) -> Result<Client, Failure> {
        let settings = Settings {
            credential: self.credential(host, repository).cloned(),
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
