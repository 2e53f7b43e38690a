//! Ways from the test's network into the cluster's.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use program_tests::http1::{Conn, Response};

use crate::cluster::{Cluster, exchange};

impl Cluster {
    /// A loopback address behind which is `address` inside: of a pod, a Service, a node. It is there
    /// until the test's process ends. A connection that cannot be made inside is closed.
    pub fn door(&self, address: impl ToString) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let here = listener.local_addr().expect("bound");
        let socket = self.folder().join("control.sock");
        let request = format!("CONNECT {}", address.to_string());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (socket, request) = (socket.clone(), request.clone());
                std::thread::spawn(move || {
                    let inside = UnixStream::connect(&socket).map_err(|error| error.to_string());
                    let connected =
                        inside.and_then(|stream| exchange(&stream, &request).map(|_| stream));
                    match connected {
                        Ok(inside) => relay(&client, &inside),
                        // The client sees a reset, which tells nobody why.
                        Err(error) => eprintln!("no way in by {request:?}: {error}"),
                    }
                });
            }
        });
        here
    }

    /// A GET inside, on a connection of its own.
    ///
    /// # Errors
    ///
    /// Why there is no response.
    pub fn ask(&self, address: impl ToString, host: &str, path: &str) -> Result<Response, String> {
        let address = address.to_string();
        let inside = self.socket()?;
        exchange(&inside, &format!("CONNECT {address}"))?;
        let mut conn = over_tcp(inside).map_err(|error| error.to_string())?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        conn.write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        conn.try_response(false)
            .map_err(|error| format!("{address}{path}: {error}"))
    }
}

/// The clients of the whole-program tests are made for TCP sockets.
fn over_tcp(inside: UnixStream) -> std::io::Result<Conn> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let conn = Conn::to(listener.local_addr()?)?;
    let (client, _) = listener.accept()?;
    std::thread::spawn(move || relay(&client, &inside));
    Ok(conn)
}

fn relay(client: &TcpStream, inside: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            copy(client, inside);
            let _ = inside.shutdown(Shutdown::Write);
        });
        copy(inside, client);
        // The cluster's end is over, so nobody reads what the client may still send.
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn copy(mut from: impl Read, mut to: impl Write) {
    // A connection that breaks is passed on as one that ends.
    let _ = std::io::copy(&mut from, &mut to);
}
