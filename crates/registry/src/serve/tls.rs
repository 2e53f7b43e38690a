//! The registry's certificate, read again when its files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::access::certificate::verifier;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate and its key, in files.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// Those that have issued clients' certificates.
    authorities: Option<PathBuf>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    config: Arc<ServerConfig>,
    looked: Instant,
    written: Written,
}

/// When the files were written.
type Written = [Option<SystemTime>; 3];

impl Tls {
    /// Reads both files, in PEM, and that of the authorities that have issued clients'
    /// certificates, if clients may show some. The error is for people.
    pub fn new(
        certificate: PathBuf,
        key: PathBuf,
        authorities: Option<PathBuf>,
    ) -> Result<Self, String> {
        let written = written(&certificate, &key, authorities.as_deref());
        let config = read(&certificate, &key, authorities.as_deref())?;
        Ok(Self {
            certificate,
            key,
            authorities,
            now: Mutex::new(Now {
                config,
                looked: Instant::now(),
                written,
            }),
        })
    }

    /// What the next handshake is done with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() >= LOOK {
            now.looked = Instant::now();
            let authorities = self.authorities.as_deref();
            let written = written(&self.certificate, &self.key, authorities);
            if written != now.written {
                now.written = written;
                match read(&self.certificate, &self.key, authorities) {
                    Ok(config) => {
                        tracing::info!("the registry's certificate was read again");
                        now.config = config;
                    }
                    Err(error) => tracing::error!("the last good certificate is shown: {error}"),
                }
            }
        }
        Arc::clone(&now.config)
    }
}

fn written(certificate: &Path, key: &Path, authorities: Option<&Path>) -> Written {
    [Some(certificate), Some(key), authorities]
        .map(|file| fs::metadata(file?).and_then(|meta| meta.modified()).ok())
}

fn read(
    certificate: &PathBuf,
    key: &PathBuf,
    authorities: Option<&Path>,
) -> Result<Arc<ServerConfig>, String> {
    let wrong =
        |file: &PathBuf, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"has no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let config = ServerConfig::builder();
    let config = match authorities {
        Some(file) => config.with_client_cert_verifier(verifier(file)?),
        None => config.with_no_client_auth(),
    };
    let mut config = config
        .with_single_cert(chain, private)
        .map_err(|error| wrong(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
