//! `narthex registry creds`.

mod alone;
mod configure;
mod list;

use std::process::ExitCode;

use cluster::{Access, Connection};

use crate::failure::Failure;
use crate::flags::registry::creds::{Creds, CredsCommand, Reach};

/// Does what was asked for.
pub(super) fn run(flags: Creds) -> Result<ExitCode, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match flags.command {
        CredsCommand::Run(flags) => alone::run(*flags),
        CredsCommand::List(flags) => list::run(&flags),
        CredsCommand::Configure(flags) => configure::run(&flags),
    }
}

fn access(reach: &Reach) -> Result<Access, Failure> {
    let url = reach.kube_master_url.clone();
    let url = url.map(|url| Access::Url(url, None));
    let access = url.or_else(|| reach.kubeconfig.clone().map(Access::File));
    access.or_else(Access::find).ok_or_else(|| {
        Failure::Invalid(
            "which cluster? Give --kubeconfig FILE, or set KUBECONFIG; in a pod, its own cluster is \
             found without either"
                .to_owned(),
        )
    })
}

fn namespace(reach: &Reach, connection: &Connection) -> String {
    let told = reach.namespace.clone().filter(|it| !it.is_empty());
    told.unwrap_or_else(|| connection.client().default_namespace().to_owned())
}
