//! Who we are to outside registries: files as docker has them, and providers that give credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry::client::Credentials;
use registry::creds::addon::{Addon, Kind};
use registry::creds::{Grant, Keychain, manifest};

/// What knows us: `authfile`, or else the files of this user; then the providers that the manifests
/// in `manifests` name, and those that the environment has as minikube's addon `registry-creds`
/// takes it.
pub(super) fn credentials(
    authfile: Option<&Path>,
    manifests: &[PathBuf],
) -> Result<Arc<dyn Credentials>, String> {
    let mut grants: Vec<Grant> = Vec::new();
    for path in manifests {
        grants.extend(manifest::load(path)?);
    }
    let addon = Addon::default();
    for kind in Kind::ALL {
        grants.extend(addon.environment(kind, |name| std::env::var(name).ok())?);
    }
    let keychain = match authfile {
        Some(file) => Keychain::of_file(file.to_owned(), grants),
        None => Keychain::of_this_user(grants),
    };
    Ok(Arc::new(keychain.map_err(|failed| failed.to_string())?))
}
