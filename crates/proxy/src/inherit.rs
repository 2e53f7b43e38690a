//! Listening sockets that another process opened and handed over, with the connections that wait
//! in their queues.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

/// Listening sockets that another process opened. What is not taken is closed when this is
/// dropped; the other process still has its own hold of it.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
    /// They are another process's, which may serve still.
    handed_over: bool,
}

impl Inherited {
    /// Looks at what was handed over.
    ///
    /// # Errors
    /// If one of the descriptors is anything but a listening TCP socket.
    pub fn new(handed: Vec<OwnedFd>) -> io::Result<Self> {
        handed
            .into_iter()
            .map(|descriptor| listening(Socket::from(descriptor)))
            .collect::<io::Result<_>>()
            .map(|sockets| Self {
                sockets,
                handed_over: true,
            })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether another process has handed over what it listens on, and may listen still.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over
    }

    /// Takes those of one address.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.sockets
            .extract_if(.., |(its, _)| *its == address)
            .map(|(_, socket)| socket)
            .collect()
    }
}

fn listening(socket: Socket) -> io::Result<(SocketAddr, TcpListener)> {
    let address = socket.local_addr()?.as_socket();
    match address {
        Some(address) if socket.r#type()? == Type::STREAM && socket.is_listener()? => {
            socket.set_nonblocking(true)?;
            Ok((address, socket.into()))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what was handed over is not a listening TCP socket",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_are_taken_by_their_address_and_only_once() {
        let [one, two] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let address = one.local_addr().expect("bound");
        let again = one.try_clone().expect("a descriptor");
        let mut inherited =
            Inherited::new(vec![one.into(), two.into(), again.into()]).expect("listening");
        assert_eq!(inherited.take(address).len(), 2);
        assert_eq!(inherited.take(address).len(), 0);
        assert_eq!(inherited.len(), 1);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let connected = TcpStream::connect(address).expect("connects");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let file = std::fs::File::open("/dev/null").expect("there");
        for descriptor in [OwnedFd::from(connected), datagrams.into(), file.into()] {
            assert!(Inherited::new(vec![descriptor]).is_err());
        }
    }
}
