//! The example's manifests in a temporary folder, which goes when the program ends.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use objects::SERVICE_NAME_LABEL;
use objects::kinds::Object;
use objects::manifests::{self, Options};

use super::demo::Backend;

/// The files of `examples/quickstart`.
const EXAMPLE: [(&str, &str); 5] = [
    (
        "namespace.yaml",
        include_str!("../../../../examples/quickstart/namespace.yaml"),
    ),
    (
        "ingressclass.yaml",
        include_str!("../../../../examples/quickstart/ingressclass.yaml"),
    ),
    (
        "hello.yaml",
        include_str!("../../../../examples/quickstart/hello.yaml"),
    ),
    (
        "shop.yaml",
        include_str!("../../../../examples/quickstart/shop.yaml"),
    ),
    (
        "secure.yaml",
        include_str!("../../../../examples/quickstart/secure.yaml"),
    ),
];

/// A temporary folder of manifests, and one of state beside it.
#[derive(Debug)]
pub(super) struct Folder {
    base: PathBuf,
    path: PathBuf,
}

/// A Service of the example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The names of its ports; empty for a single nameless one.
    pub(super) ports: Vec<String>,
}

impl Folder {
    /// Writes the example into a new folder.
    pub(super) fn with_example() -> io::Result<Self> {
        let base = make()?;
        let path = base.join("manifests");
        let folder = Self { base, path };
        fs::create_dir(&folder.path)?;
        for (name, text) in EXAMPLE {
            fs::write(folder.path.join(name), text)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where state can be kept as long as the folder is there.
    pub(super) fn state(&self) -> PathBuf {
        self.base.join("state")
    }

    /// The Services that need backends: those that no EndpointSlice names.
    pub(super) fn services(&self) -> Vec<Service> {
        let loaded = manifests::load(&[&self.path], &Options::default());
        let objects = || loaded.objects.iter().map(|(object, _)| object);
        let served: HashSet<_> = objects()
            .filter_map(|object| match object {
                Object::EndpointSlice(slice) => slice.metadata.labels.get(SERVICE_NAME_LABEL),
                _ => None,
            })
            .collect();
        objects()
            .filter_map(|object| match object {
                Object::Service(service) if !served.contains(service.metadata.name.as_str()) => {
                    let ports = service.spec.ports.iter().flatten();
                    Some(Service {
                        namespace: service
                            .metadata
                            .namespace
                            .as_deref()
                            .unwrap_or_default()
                            .into(),
                        name: service.metadata.name.clone(),
                        ports: ports
                            .map(|port| port.name.as_deref().unwrap_or_default().into())
                            .collect(),
                    })
                }
                _ => None,
            })
            .collect()
    }

    /// Says where the backends are, as a cluster would.
    pub(super) fn write_endpoints(&self, backends: &[Backend]) -> io::Result<()> {
        let mut text = "# Where the backends inside of `narthex quickstart` listen.\n".to_owned();
        for Backend { service, address } in backends {
            let Service {
                namespace,
                name,
                ports,
            } = service;
            let (ip, port) = (address.ip(), address.port());
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
                 name: {name}-demo\n  namespace: {namespace}\n  labels:\n    \
                 {SERVICE_NAME_LABEL}: {name}\naddressType: IPv4\nendpoints:\n  \
                 - addresses: [{ip}]\nports:\n"
            );
            for name in ports {
                let _ = writeln!(text, "  - name: \"{name}\"\n    port: {port}");
            }
        }
        fs::write(self.path.join("endpoints.yaml"), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.base) {
            tracing::warn!("{} is left over: {error}", self.base.display());
        }
    }
}

/// Makes a folder that was not there before: nobody else can have put anything into it.
fn make() -> io::Result<PathBuf> {
    let base = std::env::temp_dir();
    let process = std::process::id();
    for attempt in 0..100 {
        let path = base.join(format!("narthex-quickstart-{process}-{attempt}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", base.display()),
                ));
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_complete_and_without_problems() {
        let folder = Folder::with_example().expect("writes");
        let services = folder.services();
        assert!(
            services.iter().any(|service| service.name == "hello"),
            "{services:?}"
        );
        let backends: Vec<Backend> = services
            .into_iter()
            .map(|service| Backend {
                service,
                address: ([127, 0, 0, 1], 3000).into(),
            })
            .collect();
        folder.write_endpoints(&backends).expect("writes");
        assert_eq!(folder.services(), []);
        let loaded = manifests::load(&[folder.path()], &Options::default());
        assert_eq!(loaded.problems, []);
        let base = folder.base.clone();
        drop(folder);
        assert!(!base.exists());
    }
}
