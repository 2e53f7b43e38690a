//! A client that sends exactly the bytes it is given and reads strictly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::backend::Echo;

/// How long a read may wait.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// Something to speak HTTP/1 over: a TCP socket, or TLS on one.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

pub type Headers = Vec<(String, String)>;

/// A client's connection.
pub struct Conn {
    io: BufReader<Box<dyn Wire>>,
    tcp: TcpStream,
}

/// A response, read to its end.
#[derive(Debug, Default)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    /// In order, in the case they came in.
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// 1xx responses that came before.
    pub informational: Vec<(u16, Headers)>,
}

impl Conn {
    /// To the loopback address over plain TCP.
    #[track_caller]
    pub fn plain(port: u16) -> Self {
        Self::to(SocketAddr::from(([127, 0, 0, 1], port))).expect("the listener accepts")
    }

    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let tcp = dial(address)?;
        let wire = tcp.try_clone()?;
        Ok(Self::over(Box::new(wire), tcp))
    }

    /// Over `wire`, whose socket is `tcp`.
    pub fn over(wire: Box<dyn Wire>, tcp: TcpStream) -> Self {
        Self {
            io: BufReader::new(wire),
            tcp,
        }
    }

    /// The address this end has.
    pub fn local(&self) -> SocketAddr {
        self.tcp.local_addr().expect("connected")
    }

    /// The socket below, for what goes around HTTP.
    pub fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    pub fn set_read_timeout(&self, timeout: Duration) {
        self.tcp.set_read_timeout(Some(timeout)).expect("not zero");
    }

    pub fn set_write_timeout(&self, timeout: Duration) {
        self.tcp.set_write_timeout(Some(timeout)).expect("not zero");
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        // The other side may be gone already, which is as good.
        let _ = self.tcp.shutdown(std::net::Shutdown::Write);
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write_all(bytes.as_ref())
            .expect("the connection takes bytes");
    }

    /// Reads the response to a request other than HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response(false).expect("a well-formed response")
    }

    /// Sends `request` as it is and reads the response.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> Response {
        self.send(request);
        let to_head = request.starts_with("HEAD ");
        self.try_response(to_head).expect("a well-formed response")
    }

    /// A GET that keeps the connection.
    #[track_caller]
    pub fn get(&mut self, host: &str, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Reads a response; an error names what was wrong with it.
    pub fn try_response(&mut self, to_head: bool) -> io::Result<Response> {
        let mut informational = Vec::new();
        loop {
            let mut response = self.try_head()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                informational.push((response.status, response.headers));
                continue;
            }
            response.informational = informational;
            let bodiless = to_head || matches!(response.status, 101 | 204 | 304);
            if !bodiless {
                self.read_body(&mut response)?;
            }
            return Ok(response);
        }
    }

    /// Reads a head alone, 1xx included.
    pub fn try_head(&mut self) -> io::Result<Response> {
        let start = self.line()?;
        let mut parts = start.splitn(3, ' ');
        let version = parts.next().unwrap_or_default().to_owned();
        if !version.starts_with("HTTP/1.") {
            return Err(wrong(format!("not a status line: {start:?}")));
        }
        let status = parts.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| wrong(format!("no status in {start:?}")))?;
        let reason = parts.next().unwrap_or_default().to_owned();
        let headers = self.fields()?;
        Ok(Response {
            version,
            status,
            reason,
            headers,
            ..Response::default()
        })
    }

    fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        let lengths: Vec<&str> = response.all("content-length").collect();
        let chunked = response
            .header("transfer-encoding")
            .map(str::to_ascii_lowercase);
        match (chunked.as_deref(), lengths.as_slice()) {
            (Some("chunked"), []) => {
                while let Some(chunk) = self.chunk()? {
                    response.body.extend(chunk);
                }
                response.trailers = self.fields()?;
            }
            (None, [length]) => {
                let length = length.parse().map_err(|_| wrong("not a length"))?;
                let read = Read::by_ref(self)
                    .take(length)
                    .read_to_end(&mut response.body)?;
                if read as u64 != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            (None, []) => {
                self.read_to_end(&mut response.body)?;
            }
            (coding, lengths) => {
                return Err(wrong(format!("framing: {coding:?} and {lengths:?}")));
            }
        }
        Ok(())
    }

    /// One chunk's data; none for the last chunk, whose trailers follow.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = size.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| wrong(format!("chunk {size:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let mut data = Vec::new();
        Read::by_ref(self).take(size).read_to_end(&mut data)?;
        let mut end = [0; 2];
        self.read_exact(&mut end)?;
        if data.len() as u64 == size && end == *b"\r\n" {
            Ok(Some(data))
        } else {
            Err(wrong("chunk end"))
        }
    }

    fn fields(&mut self) -> io::Result<Headers> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| wrong(format!("field {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.io.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
        text.strip_suffix("\r\n")
            .map(str::to_owned)
            .ok_or_else(|| wrong(format!("line {text:?}")))
    }

    /// Whether the other side closes within `timeout` and sends nothing before.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.set_read_timeout(timeout);
        let mut byte = [0; 1];
        let closed = match self.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        };
        self.set_read_timeout(READ_TIMEOUT);
        closed
    }
}

impl Read for Conn {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.io.read(into) {
                // A process that was stopped for a while finds itself interrupted (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io.get_mut().flush()
    }
}

impl Response {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the echoing backend received.
    #[track_caller]
    pub fn echo(&self) -> Echo {
        match serde_json::from_slice(&self.body) {
            Ok(echo) => echo,
            Err(_) => panic!(
                "the answer is not a backend's echo: {} {}",
                self.status,
                self.text()
            ),
        }
    }

    /// The name of the backend that answered, or the status of an answer that is not a backend's.
    pub fn backend(&self) -> String {
        match serde_json::from_slice::<Echo>(&self.body) {
            Ok(echo) => echo.backend,
            Err(_) => self.status.to_string(),
        }
    }
}

/// All values of a field, in order.
pub fn values<'a>(headers: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    let same = move |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
    headers.iter().filter(same).map(|(_, value)| value.as_str())
}

/// A socket with time-outs.
pub fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&address, Duration::from_secs(30))?;
    tcp.set_read_timeout(Some(READ_TIMEOUT))?;
    tcp.set_write_timeout(Some(READ_TIMEOUT))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
