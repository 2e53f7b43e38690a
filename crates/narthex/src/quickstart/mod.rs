//! `narthex quickstart`: an example with backends of its own, and what to try.

mod demo;
mod folder;
mod page;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::serve::{self, Open};
use crate::{config, flags, log};
use folder::Folder;

/// How many ports are tried, upwards from the one that was asked for.
const TRIED: u16 = 100;

/// Serves the example.
pub(crate) fn run(flags: flags::Quickstart) -> Result<ExitCode, Failure> {
    let flags::Quickstart {
        mut compilation,
        mut serving,
    } = flags;
    log::start(serving.log_format, &serving.log_level);
    let mut taken = HashSet::new();
    let addresses = match serving.bind_address.as_slice() {
        [] => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        given => given.to_vec(),
    };
    compilation.http_port = free_port(compilation.http_port, &addresses, &mut taken)?;
    compilation.https_port = free_port(compilation.https_port, &addresses, &mut taken)?;
    let admin = serving.admin_address;
    let admin_port = free_port(admin.port(), &[admin.ip()], &mut taken)?;
    serving.admin_address.set_port(admin_port);

    let folder = Folder::with_example()
        .map_err(|error| Failure::new(format!("the example cannot be written: {error}")))?;
    let backends = demo::start(&folder.services())
        .map_err(|error| Failure::new(format!("the backends cannot be started: {error}")))?;
    folder
        .write_endpoints(&backends)
        .map_err(|error| Failure::new(format!("the example cannot be written: {error}")))?;

    let source = config::Source::Files(vec![folder.path().to_owned()]);
    let mut config = config::Serve::new(source, &compilation, serving)?;
    config.state_dir.get_or_insert_with(|| folder.state());
    config.ends_on_hang_up = true;
    let (http, https) = (compilation.http_port, compilation.https_port);
    serve::run_until_end(config, |open| welcome(open, &folder, http, https))
}

/// The first port from `wanted` on that is free on all addresses and not in `taken`.
fn free_port(wanted: u16, addresses: &[IpAddr], taken: &mut HashSet<u16>) -> Result<u16, Failure> {
    let last = wanted.saturating_add(TRIED);
    let found = (wanted..=last).find(|&port| !taken.contains(&port) && is_free(port, addresses));
    let Some(port) = found else {
        return Err(Failure::new(format!(
            "every port from {wanted} to {last} is in use; give another one (see --help)"
        )));
    };
    if port != wanted {
        tracing::info!("port {wanted} is in use: {port} is taken instead");
    }
    taken.insert(port);
    Ok(port)
}

fn is_free(port: u16, addresses: &[IpAddr]) -> bool {
    addresses.iter().all(|&ip| {
        match TcpListener::bind(SocketAddr::new(ip, port)) {
            Ok(_) => true,
            // No such address here, or not allowed: that will be told when it is opened.
            Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
        }
    })
}

fn welcome(open: &Open<'_>, folder: &Folder, http: u16, https: u16) {
    let bound = |port| {
        let mut listening = open.listening.iter();
        listening
            .find(|listening| listening.port == port)
            .map_or(port, |listening| listening.bound_port)
    };
    let (http, https) = (bound(http), bound(https));
    let (admin, path) = (open.admin, folder.path().display());
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "
Narthex serves the example. Try, in another terminal or a browser:

  curl http://hello.localhost:{http}/
  curl http://shop.localhost:{http}/
  curl http://shop.localhost:{http}/cart
  curl -k https://hello.localhost:{https}/
  curl -i http://secure.localhost:{http}/        redirected to HTTPS
  curl -k https://secure.localhost:{https}/
  curl -i http://nobody.localhost:{http}/        claimed by nobody: 404

Its manifests are in {path}
Edit them: changes are served as you save.

  narthex explain --http-port {http} --https-port {https} {path} http://shop.localhost:{http}/cart
  narthex check {path}

What it knows of itself:

  http://{admin}/api/routes
  http://{admin}/api/status
  http://{admin}/metrics

Ctrl-C ends it. Each request is one line of JSON below.

"
    );
    // Whoever cannot read it can still use what is served.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_passed_over() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = held.local_addr().expect("bound").port();
        let mut taken = HashSet::new();
        let first = free_port(port, &[Ipv4Addr::LOCALHOST.into()], &mut taken).expect("found");
        let second = free_port(port, &[Ipv4Addr::LOCALHOST.into()], &mut taken).expect("found");
        assert!(port < first && first < second, "{port} {first} {second}");
    }
}
