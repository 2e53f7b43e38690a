//! What flags mean for a registry.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster::LocalRegistry;
use registry::serve::Limits;
use registry::store::Place;

use crate::config::Invalid;
use crate::flags::registry::{Access, Beside, Following, HELP, Hosting, PullThrough, Serve};

/// How much of the disk is left to others where no flag says it, in bytes.
const LEAST_FREE: u64 = 64 * 1024 * 1024;

/// What a registry does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) place: Place,
    /// A certificate and its key.
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) access: Access,
    pub(super) following: Following,
    /// What tools are told of it in the cluster.
    pub(super) hosting: Option<LocalRegistry>,
    pub(super) limits: Limits,
    /// How much of the disk is left to others, in bytes.
    pub(super) least_free: u64,
    pub(super) pull_through: PullThrough,
    /// Zero is never.
    pub(super) gc_interval: Duration,
    pub(super) gc_grace: Duration,
}

impl Plan {
    /// Of `narthex registry serve`.
    pub(super) fn of(flags: &Serve) -> Result<Self, Invalid> {
        let tls = flags.tls_cert_file.clone().zip(flags.tls_key_file.clone());
        guard(flags.address, flags.insecure, tls.is_some(), "")?;
        certificates(flags.access.client_ca_file.is_some(), tls.is_some(), "")?;
        let limits = &flags.limits;
        Ok(Self {
            address: flags.address,
            place: flags.storage.clone(),
            tls,
            access: flags.access.clone(),
            following: flags.following.clone(),
            hosting: hosting(&flags.hosting),
            limits: Limits {
                largest_manifest: limits.max_manifest_size,
                largest_blob: limits.max_blob_size,
                connections: limits.max_connections,
                uploads: limits.max_uploads,
                begun_uploads: limits.max_begun_uploads,
                begun_bytes: match limits.max_begun_bytes {
                    0 => u64::MAX,
                    bytes => bytes,
                },
                header_bytes: limits.max_header_bytes,
                header_timeout: limits.header_timeout,
                body_timeout: limits.body_timeout,
                write_timeout: limits.write_timeout,
                verify_pulls: limits.verify_pulls,
                missing_blobs: limits.allow_missing_blobs,
            },
            least_free: limits.min_free_space,
            pull_through: flags.pull_through.clone(),
            gc_interval: flags.gc_interval,
            gc_grace: flags.gc_grace,
        })
    }

    /// Of `narthex serve`. `None` if there is to be no registry.
    pub(crate) fn beside(flags: &Beside) -> Result<Option<Self>, Invalid> {
        let Some(address) = flags.registry else {
            return Ok(None);
        };
        let Some(place) = flags.registry_storage.clone() else {
            return Err(Invalid("--registry needs --registry-storage".to_owned()));
        };
        let certificate = flags.registry_tls_cert_file.clone();
        let tls = certificate.zip(flags.registry_tls_key_file.clone());
        guard(address, flags.registry_insecure, tls.is_some(), "registry-")?;
        let has_authority = flags.access.registry_client_ca_file.is_some();
        certificates(has_authority, tls.is_some(), "registry-")?;
        Ok(Some(Self {
            address,
            place,
            tls,
            access: flags.access.plain(),
            following: flags.following.plain(),
            hosting: hosting(&flags.hosting.plain()),
            limits: Limits {
                largest_blob: flags.registry_max_blob_size,
                begun_uploads: flags.registry_max_begun_uploads,
                verify_pulls: flags.registry_verify_pulls,
                ..Limits::default()
            },
            least_free: LEAST_FREE,
            pull_through: flags.pull_through.plain(),
            gc_interval: flags.registry_gc_interval,
            gc_grace: flags.registry_gc_grace,
        }))
    }
}

/// What goes over a network is TLS, unless somebody says that it need not be.
fn guard(address: SocketAddr, insecure: bool, tls: bool, prefix: &str) -> Result<(), Invalid> {
    if tls || insecure || address.ip().is_loopback() {
        return Ok(());
    }
    Err(Invalid(format!(
        "{address} can be reached by others, and without TLS anybody on the way may change what \
         they pull: give --{prefix}tls-cert-file and --{prefix}tls-key-file, or --{prefix}insecure \
         if you want that"
    )))
}

fn hosting(flags: &Hosting) -> Option<LocalRegistry> {
    let help = flags.hosting_help.as_deref();
    Some(LocalRegistry {
        host: flags.hosting.clone()?,
        from_nodes: flags.hosting_from_nodes.clone(),
        from_pods: flags.hosting_from_pods.clone(),
        help: help.unwrap_or(HELP).to_owned(),
    })
}

/// Nobody shows a certificate without TLS.
fn certificates(are_asked_for: bool, tls: bool, prefix: &str) -> Result<(), Invalid> {
    match are_asked_for && !tls {
        true => Err(Invalid(format!(
            "--{prefix}client-ca-file takes TLS: give --{prefix}tls-cert-file and \
             --{prefix}tls-key-file"
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_unless_a_flag_says_otherwise() {
        let of = |address: &str, insecure, tls| {
            guard(address.parse().expect("an address"), insecure, tls, "")
        };
        assert!(of("127.0.0.1:5000", false, false).is_ok());
        assert!(of("[::1]:5000", false, false).is_ok());
        assert!(of("0.0.0.0:5000", false, true).is_ok());
        assert!(of("0.0.0.0:5000", true, false).is_ok());
        let Invalid(message) = of("10.0.0.1:5000", false, false).expect_err("refused");
        assert!(message.contains("--insecure"), "{message}");
    }
}
