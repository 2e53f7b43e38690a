//! Listening sockets that another process opened and handed over, with the connections and the
//! datagrams that wait in their queues.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use model::Layer;
use socket2::Type;

use crate::listen::Socket;

/// Addresses of listening sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of TCP.
    pub tcp: Vec<SocketAddr>,
    /// Of UDP.
    pub udp: Vec<SocketAddr>,
}

impl Addresses {
    /// Those of one layer.
    pub(crate) fn of(&self, layer: Layer) -> &[SocketAddr] {
        match layer {
            Layer::Tcp => &self.tcp,
            Layer::Udp => &self.udp,
        }
    }
}

/// Listening sockets that another process opened. What is not taken is closed when this is
/// dropped; the other process still has its own hold of it.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, Socket)>,
}

impl Inherited {
    /// Looks at what was handed over.
    ///
    /// # Errors
    /// If one of the descriptors is anything but a listening TCP socket, or one of UDP that hears
    /// everybody.
    pub fn new(handed: Vec<OwnedFd>) -> io::Result<Self> {
        handed
            .into_iter()
            .map(|descriptor| listening(descriptor.into()))
            .collect::<io::Result<_>>()
            .map(|sockets| Self { sockets })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Takes those of TCP of one address.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let taken = self.take_of(Layer::Tcp, address).into_iter();
        let tcp = taken.filter_map(|socket| match socket {
            Socket::Tcp(socket) => Some(socket),
            Socket::Udp(_) => None,
        });
        tcp.collect()
    }

    /// Takes those of one layer and address.
    pub(crate) fn take_of(&mut self, layer: Layer, address: SocketAddr) -> Vec<Socket> {
        self.sockets
            .extract_if(.., |(its, socket)| {
                *its == address && socket.layer() == layer
            })
            .map(|(_, socket)| socket)
            .collect()
    }
}

fn listening(socket: socket2::Socket) -> io::Result<(SocketAddr, Socket)> {
    let address = socket.local_addr()?.as_socket();
    let kind = socket.r#type()?;
    let listens = match kind {
        Type::STREAM => socket.is_listener()?,
        // One that is connected hears one peer alone.
        Type::DGRAM => socket.peer_addr().is_err(),
        _ => false,
    };
    match address {
        Some(address) if listens => {
            socket.set_nonblocking(true)?;
            Ok(match kind {
                Type::DGRAM => (address, Socket::Udp(UdpSocket::from(socket))),
                _ => (address, Socket::Tcp(TcpListener::from(socket))),
            })
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what was handed over is not a listening socket",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

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
    fn sockets_of_datagrams_are_told_from_those_of_connections() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("bound");
        // The same port of both is two things.
        let udp = UdpSocket::bind(address).expect("a port of UDP");
        let mut inherited = Inherited::new(vec![udp.into(), tcp.into()]).expect("listening");
        let taken = inherited.take_of(Layer::Udp, address);
        assert!(matches!(&*taken, [Socket::Udp(_)]), "{taken:?}");
        assert_eq!(inherited.take(address).len(), 1);
        assert!(inherited.is_empty());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let connected = TcpStream::connect(address).expect("connects");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        datagrams.connect(address).expect("an address");
        let file = std::fs::File::open("/dev/null").expect("there");
        for descriptor in [OwnedFd::from(connected), datagrams.into(), file.into()] {
            assert!(Inherited::new(vec![descriptor]).is_err());
        }
    }
}
