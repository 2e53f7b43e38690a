//! What `sync` and `status` have in common: lists, a registry to fill, and credentials.

use std::io::Write;
use std::sync::Arc;

use registry::client::{Credential, Settings, Transport};
use registry::list::{ImageList, Index};
use registry::sync::{Options, Syncer};

use super::credentials::credentials;
use crate::failure::Failure;
use crate::flags::registry::{Filling, IndexForm};

/// What fills the registry, from what was typed.
pub(super) fn syncer(flags: &Filling) -> Result<Syncer, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut list = ImageList::default();
    let mut problems = Vec::new();
    for file in &flags.lists {
        match ImageList::of_file(file) {
            Ok(read) => list.extend(read),
            Err(some) => problems.extend(some),
        }
    }
    if let Some((last, others)) = problems.split_last() {
        for problem in others {
            // Where nobody can be told, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "error: {problem}");
        }
        return Err(Failure::new(last));
    }
    let options = Options {
        target: settings(flags)?,
        credentials: Some(
            credentials(flags.authfile.as_deref(), &flags.credentials_file)
                .map_err(Failure::new)?,
        ),
        platforms: flags.platform.clone(),
        index: flags.index.map(|form| match form {
            IndexForm::Sparse => Index::Sparse,
            IndexForm::Filtered => Index::Filtered,
            IndexForm::Single => Index::Single,
        }),
        referrers: flags.referrers,
        scoped: flags.scoped,
        retries: flags.retries,
    };
    Syncer::new(list, flags.to.clone(), options).map_err(Failure::new)
}

fn settings(flags: &Filling) -> Result<Settings, Failure> {
    let read = |file: &std::path::Path| {
        std::fs::read(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
    };
    let mut settings = Settings::default();
    if flags.insecure {
        settings.transport = Transport::Either;
    }
    if let Some(file) = &flags.ca_file {
        settings.authorities.push(read(file)?);
    }
    if let (Some(username), Some(file)) = (&flags.username, &flags.password_file) {
        let password = String::from_utf8(read(file)?)
            .map_err(|_| Failure::new(format!("{}: the password is no text", file.display())))?;
        let password = password.trim_end_matches(['\n', '\r']);
        let credential = Credential::password(username.as_str(), password);
        settings.credentials = Some(Arc::new(credential));
    }
    Ok(settings)
}
