//! What flags mean for a registry.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster::{Connection, LocalRegistry};
use registry::serve::Limits;
use registry::store::Place;

use crate::config::Invalid;
use crate::failure::Failure;
use crate::flags::registry::{
    Access, Alone, Beside, Following, HELP, Hosting, Prune, PullThrough, Serve, Settings,
};

/// What a registry does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) place: Place,
    /// A certificate and its key.
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) access: Access,
    /// The cluster, if it is not to be found.
    cluster: Option<cluster::Access>,
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
    /// What the flags' names begin with, for messages.
    pub(super) prefix: &'static str,
}

impl Plan {
    /// Of `narthex registry serve`.
    pub(super) fn of(flags: &Serve) -> Result<Self, Invalid> {
        let cluster = flags.kubeconfig.clone().map(cluster::Access::File);
        let (place, Alone(settings)) = (flags.storage.clone(), &flags.settings);
        Self::new(flags.address, place, settings, cluster, "")
    }

    /// Of `narthex serve`, which may have a cluster. `None` if there is to be no registry.
    pub(crate) fn beside(
        flags: &Beside,
        cluster: Option<cluster::Access>,
    ) -> Result<Option<Self>, Invalid> {
        let settings = &flags.settings;
        let Some(address) = flags.registry else {
            let idle = [
                ("sync", !settings.following.sync.is_empty()),
                ("image-lists", settings.following.image_lists.is_some()),
                (
                    "pull-through",
                    !settings.pull_through.pull_through.is_empty(),
                ),
                ("hosting", settings.hosting.hosting.is_some()),
            ];
            return match idle.iter().find(|(_, is_given)| *is_given) {
                Some((name, _)) => Err(Invalid(format!(
                    "--registry-{name} is about a registry: give --registry IP:PORT, too"
                ))),
                None => Ok(None),
            };
        };
        let Some(place) = flags.registry_storage.clone() else {
            return Err(Invalid("--registry needs --registry-storage".to_owned()));
        };
        Self::new(address, place, settings, cluster, "registry-").map(Some)
    }

    fn new(
        address: SocketAddr,
        place: Place,
        settings: &Settings,
        cluster: Option<cluster::Access>,
        prefix: &'static str,
    ) -> Result<Self, Invalid> {
        let certificate = settings.tls_cert_file.clone();
        let tls = certificate.zip(settings.tls_key_file.clone());
        guard(address, settings.insecure, tls.is_some(), prefix)?;
        certificates(
            settings.access.client_ca_file.is_some(),
            tls.is_some(),
            prefix,
        )?;
        let following = &settings.following;
        if following.sync_prune != Prune::Off && following.image_lists.is_some() {
            return Err(Invalid(format!(
                "--{prefix}sync-prune goes by files alone: leave out --{prefix}image-lists, whose \
                 images stay in any case"
            )));
        }
        let limits = &settings.limits;
        Ok(Self {
            address,
            place,
            tls,
            access: settings.access.clone(),
            cluster,
            following: settings.following.clone(),
            hosting: hosting(&settings.hosting),
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
            pull_through: settings.pull_through.clone(),
            gc_interval: settings.gc_interval,
            gc_grace: settings.gc_grace,
            prefix,
        })
    }

    /// The cluster, which a flag takes.
    pub(super) async fn connection(&self, flag: &str) -> Result<Connection, Failure> {
        let access = self.cluster.clone().or_else(cluster::Access::find);
        let access = access.ok_or_else(|| {
            let prefix = self.prefix;
            Failure::new(format!(
                "--{prefix}{flag} takes a cluster: give --kubeconfig FILE, or set KUBECONFIG, or \
                 run in a pod"
            ))
        })?;
        Connection::open(&access).await.map_err(Failure::new)
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
