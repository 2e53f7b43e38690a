//! An ACME server in the cluster's network: pods reach it, and it reaches Services.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use program_tests::acme::{Site, Starting};

use crate::cluster::Cluster;
use crate::inside::NODE;

/// The cluster's network, on the first node's address.
struct Inside(&'static Cluster);

impl Site for Inside {
    fn command(&self, program: &Path) -> Command {
        self.0.command(program)
    }

    fn address(&self) -> IpAddr {
        NODE.parse().expect("an address")
    }

    fn reach(&self, port: u16) -> u16 {
        self.0.door(format!("{NODE}:{port}")).port()
    }
}

impl Cluster {
    /// An ACME server that will run there and asks at the ports of Services, 80 and 443.
    pub fn acme(&'static self) -> Starting {
        Starting::default().at(Inside(self)).validating_at(80, 443)
    }
}
