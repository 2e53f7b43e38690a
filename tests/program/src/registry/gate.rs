//! A proxy before a registry that sees each request, and does with it what a test says.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A request's head.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// How many came before it.
    pub number: usize,
    pub at: Instant,
}

/// What becomes of a request.
pub enum Verdict {
    /// The registry answers.
    Forward,
    /// This is the answer, all of it.
    Answer(String),
    /// The registry answers, and the connection breaks after so many bytes of that.
    CutAnswer(u64),
    /// The registry answers, and nothing says how much that is: it comes in chunks, and all of it
    /// whatever part was asked for.
    Unmeasured,
    /// The registry gets so many bytes of the body, and then the connections break.
    CutRequest(u64),
}

/// The proxy; it ends with the test's process. Every request has a connection of its own.
#[derive(Clone)]
pub struct Gate {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Gate {
    /// Before a port of this machine.
    pub fn before(
        upstream: u16,
        judge: impl Fn(&Asked) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let gate = Self {
            port,
            asked: Arc::default(),
        };
        let (own, judge) = (gate.clone(), Arc::new(judge));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (gate, judge) = (own.clone(), Arc::clone(&judge));
                std::thread::spawn(move || {
                    // What goes wrong shows at the client, which is where tests look.
                    let _ = gate.serve(socket, upstream, &*judge);
                });
            }
        });
        gate
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Those so far with this method and this in their target.
    pub fn asked_for(&self, method: &str, part: &str) -> Vec<Asked> {
        let mut all = self.asked();
        all.retain(|it| it.method == method && it.target.contains(part));
        all
    }

    fn serve(
        &self,
        mut client: TcpStream,
        upstream: u16,
        judge: &(dyn Fn(&Asked) -> Verdict + Sync),
    ) -> io::Result<()> {
        let (head, rest) = read_head(&mut client)?;
        let mut asked = parse(&head);
        {
            let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.number = all.len();
            all.push(asked.clone());
        }
        let verdict = judge(&asked);
        if let Verdict::Answer(answer) = verdict {
            client.write_all(answer.as_bytes())?;
            client.shutdown(Shutdown::Write)?;
            // What of the body is still coming.
            let _ = io::copy(&mut client, &mut io::sink());
            return Ok(());
        }
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
        let mut lines = head
            .split("\r\n")
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>();
        lines.retain(|it| !it.to_lowercase().starts_with("connection:"));
        if matches!(verdict, Verdict::Unmeasured) {
            lines.retain(|it| !it.to_lowercase().starts_with("range:"));
        }
        write!(
            server,
            "{}\r\nConnection: close\r\n\r\n",
            lines.join("\r\n")
        )?;
        let length = asked
            .header("content-length")
            .and_then(|it| it.parse::<u64>().ok());
        let mut body = io::Cursor::new(rest).chain(client.try_clone()?);
        match verdict {
            Verdict::CutRequest(bytes) => {
                io::copy(&mut (&mut body).take(bytes), &mut server)?;
                server.shutdown(Shutdown::Both)?;
                client.shutdown(Shutdown::Both)
            }
            verdict => {
                let mut to_server = server.try_clone()?;
                let sender = std::thread::spawn(move || match length {
                    Some(length) => io::copy(&mut body.take(length), &mut to_server),
                    None => Ok(0),
                });
                let most = match verdict {
                    Verdict::CutAnswer(bytes) => bytes,
                    _ => u64::MAX,
                };
                if matches!(verdict, Verdict::Unmeasured) {
                    unmeasured(&mut server, &mut client, asked.method != "HEAD")?;
                }
                // Of what was passed on, nothing is left.
                io::copy(&mut server.take(most), &mut client)?;
                client.shutdown(Shutdown::Both)?;
                drop(sender);
                Ok(())
            }
        }
    }
}

fn read_head(from: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = all.windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = all.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&all).into_owned(), rest));
        }
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&buffer[..read]);
        if all.first() == Some(&0x16) {
            // A handshake of TLS, by whoever does not know yet that there is none.
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Passes an answer on without its length.
fn unmeasured(from: &mut TcpStream, to: &mut TcpStream, has_body: bool) -> io::Result<()> {
    let (head, mut rest) = read_head(from)?;
    let mut lines = head.split("\r\n").collect::<Vec<_>>();
    lines.retain(|it| !it.is_empty() && !it.to_lowercase().starts_with("content-length:"));
    write!(
        to,
        "{}\r\nTransfer-Encoding: chunked\r\n\r\n",
        lines.join("\r\n")
    )?;
    if !has_body {
        return Ok(());
    }
    let mut buffer = [0; 16 * 1024];
    loop {
        if !rest.is_empty() {
            write!(to, "{:x}\r\n", rest.len())?;
            to.write_all(&rest)?;
            to.write_all(b"\r\n")?;
        }
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.write_all(b"0\r\n\r\n");
        }
        rest = buffer[..read].to_vec();
    }
}

fn parse(head: &str) -> Asked {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let headers = lines.filter_map(|it| it.split_once(':'));
    let headers = headers.map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    Asked {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        number: 0,
        at: Instant::now(),
    }
}
