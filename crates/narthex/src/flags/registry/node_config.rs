//! Flags of `narthex registry node-config`.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Tell nodes of a registry: write containerd's hosts.toml, and say what else a node needs.
///
/// The kubelet pulls images from the node's network, where cluster DNS does not count: HOST has to be
/// a name or an address that the node reaches.
///
/// With --mirror the registry is asked first for what another one has, and that one where ours does
/// not have it.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct NodeConfig {
    /// The registry as nodes reach it.
    #[arg(value_name = "HOST[:PORT]", value_parser = host)]
    pub(crate) host: String,

    /// A registry whose images are asked for here first, with the path below which they are kept
    /// here if there is one; repeatable.
    #[arg(long, env = "NARTHEX_MIRROR", value_name = "REGISTRY[=PATH]", value_parser = mirror)]
    #[arg(value_delimiter = ',')]
    pub(crate) mirror: Vec<Mirror>,

    /// The registry speaks plain HTTP.
    #[arg(
        long,
        env = "NARTHEX_INSECURE",
        value_name = "BOOL",
        conflicts_with = "ca_file"
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) insecure: bool,

    /// Authorities (PEM) that have issued the registry's certificate, as the node has the file.
    #[arg(long, env = "NARTHEX_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// The folder to write into, as containerd's config_path names it: /etc/containerd/certs.d.
    /// [default: standard output]
    #[arg(long, env = "NARTHEX_CERTS_DIR", value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,

    /// Write the ConfigMap `local-registry-hosting` (KEP-1755) instead, by which tools find the
    /// registry of a cluster; HOST is where this machine's tools reach it.
    #[arg(long, env = "NARTHEX_CONFIG_MAP", value_name = "BOOL", conflicts_with_all = ["mirror", "certs_dir", "ca_file"])]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set)]
    pub(crate) config_map: bool,

    /// For the ConfigMap: where nodes reach the registry, if it is not HOST.
    #[arg(long, env = "NARTHEX_HOST_FROM_NODES", value_name = "HOST[:PORT]")]
    #[arg(value_parser = host, requires = "config_map")]
    pub(crate) host_from_nodes: Option<String>,

    /// For the ConfigMap: where pods reach the registry, if it is not HOST.
    #[arg(long, env = "NARTHEX_HOST_FROM_PODS", value_name = "HOST[:PORT]")]
    #[arg(value_parser = host, requires = "config_map")]
    pub(crate) host_from_pods: Option<String>,
}

/// A registry that is asked for here first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Its name, as images have it: `docker.io`.
    pub(crate) registry: String,
    /// The path below which its images are kept here.
    pub(crate) path: Option<String>,
}

/// A host with or without a port: nothing of a path or a scheme.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_of = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
    let (is_name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => (false, ""),
        },
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let begins = name.starts_with(|it: char| it.is_ascii_alphanumeric());
            (begins && name.bytes().all(is_of), port)
        }
    };
    let is_port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    match is_name && is_port {
        true => Ok(text.to_owned()),
        false => Err("write HOST or HOST:PORT, without a scheme or a path".to_owned()),
    }
}

fn mirror(text: &str) -> Result<Mirror, String> {
    let (registry, path) = match text.split_once('=') {
        Some((registry, path)) => (registry, Some(path.trim_matches('/'))),
        None => (text, None),
    };
    let path = path.map(
        |path| match path.parse::<registry::name::RepositoryName>() {
            Ok(path) => Ok(path.to_string()),
            Err(error) => Err(error.to_string()),
        },
    );
    Ok(Mirror {
        registry: host(registry)?,
        path: path.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_scheme_and_no_path() {
        for right in [
            "registry",
            "registry.example:5000",
            "10.0.0.1:5000",
            "[::1]:5000",
            "[::1]",
        ] {
            assert_eq!(host(right).as_deref(), Ok(right));
        }
        for wrong in [
            "", "http://a", "a/b", "a:b", "a:", "..", "a\"b", "[", "[a]:1", "[::1", "[::1]x",
            "a:1:2", "a]",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        let hub = mirror("docker.io=hub/").expect("right");
        assert_eq!(
            (hub.registry.as_str(), hub.path.as_deref()),
            ("docker.io", Some("hub"))
        );
        assert!(mirror("docker.io=../x").is_err());
    }
}
