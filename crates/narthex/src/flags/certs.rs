//! Flags of `narthex certs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Output, values};

/// Look at the certificates that a running Narthex obtains, and renew or revoke them.
///
/// Asks the process at --admin-address. Whatever changes something, and `export`, needs the same
/// --state-dir as that process, whose token it shows.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Certs {
    #[command(subcommand)]
    pub(crate) question: CertsQuestion,

    /// Where the running process is asked.
    #[arg(
        long,
        env = "NARTHEX_ADMIN_ADDRESS",
        value_name = "IP:PORT",
        global = true
    )]
    #[arg(default_value = "127.0.0.1:9090", value_parser = values::admin_address)]
    pub(crate) admin_address: SocketAddr,

    /// The running process's state folder.
    /// [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/narthex]
    #[arg(long, env = "NARTHEX_STATE_DIR", value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsQuestion {
    /// Show each certificate: names, issuer, expiry, when it is looked at next, the last error.
    List {
        /// How it is written.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Obtain a new certificate now, whatever the schedule says.
    Renew {
        /// The Secret that it is kept in.
        #[arg(value_name = "NAMESPACE/SECRET", value_parser = secret)]
        secret: String,
    },
    /// Tell the CA that the certificate is not to be trusted any more, and replace it.
    Revoke {
        /// The Secret that it is kept in.
        #[arg(value_name = "NAMESPACE/SECRET", value_parser = secret)]
        secret: String,
        /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation.
        #[arg(long, value_name = "REASON", default_value = "unspecified")]
        reason: String,
    },
    /// Write the certificate, those above it and its key, in PEM.
    Export {
        /// The Secret that it is kept in.
        #[arg(value_name = "NAMESPACE/SECRET", value_parser = secret)]
        secret: String,
        /// The file to write, readable for this user alone. [default: standard output]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Use a certificate that came otherwise until it is due; then it is renewed.
    Import {
        /// The Secret that it is to be kept in.
        #[arg(value_name = "NAMESPACE/SECRET", value_parser = secret)]
        secret: String,
        /// The certificate, those above it, and its key, in PEM.
        #[arg(value_name = "FILE", required = true, num_args = 1..)]
        files: Vec<PathBuf>,
    },
}

/// A Secret of namespace `default`, unless it has one.
fn secret(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        None if !text.is_empty() => Ok(format!("default/{text}")),
        _ => Err("the Secret's NAMESPACE/NAME".to_owned()),
    }
}
