//! Names that are looked up once, for who asks somebody on behalf of what came from outside.

use std::net::SocketAddr;

use hickory_resolver::net::NetError;

use super::address;
use super::lookup::Client;

/// Why a host is not talked to that leads to none but such addresses.
const FORBIDDEN: &str = "it stands for a loopback, link-local or metadata address";

/// Finds the addresses of hosts that came from outside, with the system's configuration, as
/// [`Resolver`](super::Resolver) does.
#[derive(Debug)]
pub struct Lookup {
    client: Client,
    allow_local: bool,
}

impl Lookup {
    /// `allow_local` is whether hosts may stand for loopback, link-local and metadata addresses.
    ///
    /// # Errors
    /// If the DNS client cannot be set up.
    pub fn new(allow_local: bool) -> Result<Self, NetError> {
        Ok(Self {
            client: Client::system()?,
            allow_local,
        })
    }

    /// The addresses of a host, a name or an address, that may be connected to; at least one.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let mut found = match address::literal(host) {
            Some(ip) => vec![ip],
            None if !self.allow_local && address::is_localhost(host) => Vec::new(),
            None => {
                let answer = self.client.lookup(host).await;
                answer.map_err(|error| error.to_string())?.addresses
            }
        };
        if !self.allow_local {
            found.retain(|&ip| !address::is_forbidden(ip));
        }
        match found.is_empty() {
            true => Err(FORBIDDEN.to_owned()),
            false => Ok(address::usable(found, port, address::has_route)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_no_hosts_of_others_unless_that_is_allowed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ask = |allow_local: bool, host: &str| {
            let lookup = Lookup::new(allow_local).expect("a client");
            runtime.block_on(lookup.addresses(host, 80))
        };
        let local = [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "localhost",
            "a.localhost.",
        ];
        for host in local {
            assert_eq!(ask(false, host), Err(FORBIDDEN.to_owned()), "{host}");
        }
        assert_eq!(
            ask(true, "127.0.0.1"),
            Ok(vec!["127.0.0.1:80".parse().expect("right")])
        );
        assert_eq!(
            ask(false, "192.0.2.1"),
            Ok(vec!["192.0.2.1:80".parse().expect("right")])
        );
    }
}
