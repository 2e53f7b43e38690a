//! Clients of registries, as the flags have them.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use registry::client::{Client, Credential, Credentials, Settings, Transport};

use super::credentials::credentials;
use crate::failure::Failure;
use crate::flags::registry::Reach;

/// The longest password in bytes.
const LONGEST: u64 = 64 * 1024;

/// What the flags name, read.
pub(super) struct Reached {
    /// How the registry is spoken to, as yet without a credential.
    pub(super) settings: Settings,
    /// Of --username: for the registry that is named.
    pub(super) given: Option<Arc<dyn Credentials>>,
    /// Of files and providers: for any registry.
    pub(super) known: Arc<dyn Credentials>,
    /// Where credentials were looked for, for people.
    pub(super) place: String,
}

impl Reached {
    pub(super) fn read(flags: &Reach) -> Result<Self, Failure> {
        let read = |file: &PathBuf| {
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
        let given = given(flags)?;
        let authfile = flags.authfile.as_deref();
        let known = credentials(authfile, &flags.credentials_file).map_err(Failure::new)?;
        let place = match (&given, authfile, flags.password_file.as_deref()) {
            (Some(_), _, Some(file)) | (None, Some(file), _) => file.display().to_string(),
            (Some(_), _, None) => "standard input".to_owned(),
            (None, None, _) => "the files of docker, podman and skopeo".to_owned(),
        };
        Ok(Self {
            settings,
            given,
            known,
            place,
        })
    }

    /// What knows us to the registry that is named.
    pub(super) fn credentials(&self) -> Arc<dyn Credentials> {
        Arc::clone(self.given.as_ref().unwrap_or(&self.known))
    }

    pub(super) fn client(&self, host: &str) -> Result<Client, Failure> {
        let settings = Settings {
            credentials: Some(self.credentials()),
            ..self.settings.clone()
        };
        Client::new(host, settings).map_err(Failure::new)
    }
}

/// Of --username.
fn given(flags: &Reach) -> Result<Option<Arc<dyn Credentials>>, Failure> {
    let Some(name) = &flags.username else {
        return Ok(None);
    };
    let password = match (&flags.password_file, flags.password_stdin) {
        (Some(file), _) => {
            let opened = File::open(file);
            opened.and_then(password).map_err(|error| {
                Failure::new(format!(
                    "{}: the password is not read: {error}",
                    file.display()
                ))
            })?
        }
        (None, true) => password(std::io::stdin().lock()).map_err(|error| {
            Failure::new(format!("standard input: the password is not read: {error}"))
        })?,
        (None, false) => {
            let what = "--username takes --password-file FILE, or --password-stdin: \
                        printf %s \"$PASSWORD\" | narthex …";
            return Err(Failure::Invalid(what.to_owned()));
        }
    };
    Ok(Some(Arc::new(Credential::password(name, password))))
}

/// A password as `echo` writes it, and as docker's own --password-stdin takes it.
fn password(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() {
        true => Err(std::io::Error::other("it is empty")),
        false => Ok(text.to_owned()),
    }
}
