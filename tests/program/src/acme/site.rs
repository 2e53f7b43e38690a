//! Where the servers run: beside the test, or in a network of their own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A network, and how a test reaches what is in it.
pub trait Site {
    /// A program that will run there.
    fn command(&self, program: &Path) -> Command;
    /// The address to listen on there.
    fn address(&self) -> IpAddr;
    /// The port of 127.0.0.1 by which a port of that address is reached from the test.
    fn reach(&self, port: u16) -> u16;
}

/// The test's own network.
pub(super) struct Here;

impl Site for Here {
    fn command(&self, program: &Path) -> Command {
        Command::new(program)
    }

    fn address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn reach(&self, port: u16) -> u16 {
        port
    }
}

/// Whether somebody listens there. A way into another network takes every connection, and ends
/// those that lead nowhere.
pub(super) fn listens(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let limit = Some(Duration::from_millis(100));
    stream.set_read_timeout(limit).expect("a limit");
    match stream.peek(&mut [0]) {
        Ok(_) => false,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
