//! Who says whether certificates are revoked (OCSP): OpenSSL's responder, and one that answers as no
//! right one would; and what a client is shown of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::certificate::{Authority, Certificate};
use crate::{ports, wait};

/// Writes a value of DER.
pub fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut der = vec![tag];
    match contents.len() {
        short @ 0..0x80 => der.push(u8::try_from(short).expect("short")),
        long => {
            let long = u16::try_from(long).expect("not so long");
            der.push(0x82);
            der.extend(long.to_be_bytes());
            // The shortest form is the only one.
            if long < 0x100 {
                der.drain(1..3);
                der.insert(1, 0x81);
            }
        }
    }
    der.extend(contents);
    der
}

/// What a client of OpenSSL's is shown, with a version of TLS (`-tls1_3`, `-tls1_2`): the status, as
/// `good`; none if nothing is stapled.
#[track_caller]
pub fn stapled(port: u16, host: &str, version: &str) -> Option<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-status", version, "-servername", host])
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("OCSP response: no response sent") {
        return None;
    }
    assert!(text.contains("OCSP Response Status: successful"), "{text}");
    let status = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Cert Status: "));
    Some(status.expect("a status").to_owned())
}

/// OpenSSL's responder; killed when dropped.
pub struct Openssl {
    folder: tempfile::TempDir,
    child: Child,
}

impl Openssl {
    /// Answers on a port for an authority: of some certificates that they are good, of others that
    /// they are revoked, and of all others that it does not know them. It signs as `delegate`, or as
    /// the authority itself.
    #[track_caller]
    pub fn start(
        port: u16,
        authority: &Authority,
        good: &[&Certificate],
        revoked: &[&Certificate],
        delegate: Option<&Certificate>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("a file");
        };
        let good = good.iter().map(|it| format!("V\t{}\n", entry("", it)));
        let revoked = revoked.iter();
        let revoked = revoked.map(|it| format!("R\t{}\n", entry("260101000000Z", it)));
        write("index.txt", &good.chain(revoked).collect::<String>());
        write("ca.pem", &authority.pem);
        write(
            "signer.pem",
            delegate.map_or(&authority.pem, |it| &it.chain_pem),
        );
        write(
            "key.pem",
            &delegate.map_or_else(|| authority.key_pem(), |it| it.key_pem.clone()),
        );
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("openssl")
            .args(["ocsp", "-index", "index.txt", "-CA", "ca.pem"])
            .args(["-rsigner", "signer.pem", "-rkey", "key.pem", "-nmin", "60"])
            .args(["-port", &port.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("openssl");
        let mut server = Self { folder, child };
        wait::until(&format!("openssl listens on {port}"), || {
            if let Some(status) = server.child.try_wait().expect("our child") {
                panic!("openssl ended: {status}\n{}", server.log());
            }
            // Not by connecting: it hangs on connections without a question.
            server.log().contains("ACCEPT")
        });
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- openssl ocsp\n{}", self.log());
        }
    }
}

/// A line of the list that `openssl ca` keeps, without its first field.
fn entry(revoked: &str, certificate: &Certificate) -> String {
    let (_, parsed) = X509Certificate::from_der(&certificate.der).expect("a certificate");
    let serial: String = parsed
        .raw_serial()
        .iter()
        .skip_while(|byte| **byte == 0)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("991231235959Z\t{revoked}\t{serial}\tunknown\t/CN=x")
}

/// How [`Answering`] answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// That the certificate is good, for so long, from now on or until now.
    Good(Duration),
    /// The same of a time that is over.
    Expired,
    /// That another certificate is good.
    AboutAnother,
    /// By sending to another URL.
    Elsewhere(String),
    /// With more than anybody has to say.
    Endless,
}

/// A responder of an authority whose answers a test chooses. It ends when dropped.
pub struct Answering {
    pub url: String,
    asked: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
    ends: Arc<AtomicBool>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub fn start(authority: Arc<Authority>, manner: Manner) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let (asked, ends) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let manner = Arc::new(Mutex::new(manner));
        let served = (Arc::clone(&asked), Arc::clone(&ends), Arc::clone(&manner));
        let thread = std::thread::spawn(move || {
            let (asked, ends, manner) = served;
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let manner = manner
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // Who asks may go when it likes.
                let _ = stream.and_then(|stream| serve(stream, &authority, &manner, &asked));
            }
        });
        Self {
            url: format!("http://{address}/ocsp"),
            asked,
            manner,
            ends,
            address,
            thread: Some(thread),
        }
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers so from now on.
    pub fn answer(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Only to be waited for no more.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    authority: &Authority,
    manner: &Manner,
    asked: &AtomicUsize,
) -> io::Result<()> {
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.set_write_timeout(Some(wait::PATIENCE))?;
    let question = read(&mut stream)?;
    asked.fetch_add(1, Ordering::Relaxed);
    let (since, until) = match manner {
        Manner::Expired => (-7200, -60),
        Manner::Good(time) => (-60, i64::try_from(time.as_secs()).expect("short")),
        _ => (-60, 3600),
    };
    let mut id = cert_id(&question).to_vec();
    if matches!(manner, Manner::AboutAnother) {
        // The last byte of its number.
        *id.last_mut().expect("a number") ^= 1;
    }
    let body = match manner {
        Manner::Elsewhere(url) => {
            let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n";
            return stream.write_all(format!("{head}Location: {url}\r\n\r\n").as_bytes());
        }
        Manner::Endless => vec![b' '; 1 << 20],
        _ => answer(authority, &id, since, until),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// The body of a request, as far as it is one for a responder.
fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut part = [0; 4096];
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&part[..length]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        assert!(head.starts_with("post /ocsp http/1.1\r\n"), "{head}");
        assert!(
            head.contains("content-type: application/ocsp-request"),
            "{head}"
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        let body = &all[end + 4..];
        if body.len() >= length {
            return Ok(body.to_vec());
        }
    }
}

/// What is asked about: inside of OCSPRequest, TBSRequest, requestList and Request, each of which
/// is nothing but what is asked and short.
fn cert_id(question: &[u8]) -> &[u8] {
    assert!(question[0] == 0x30 && question.len() < 0x80, "{question:?}");
    &question[8..]
}

fn answer(authority: &Authority, id: &[u8], since: i64, until: i64) -> Vec<u8> {
    const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
    const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

    let (_, parsed) = X509Certificate::from_der(&authority.der).expect("a certificate");
    let name = der(0xa1, &[parsed.subject().as_raw()]);
    let good = der(0x80, &[]);
    let until = der(0xa0, &[&stamp(until)]);
    let single = der(0x30, &[id, &good, &stamp(since), &until]);
    let data = der(0x30, &[&name, &stamp(0), &der(0x30, &[&single])]);
    let signature = der(0x03, &[&[0], &authority.signature(&data)]);
    let algorithm = der(0x30, &[&der(0x06, &[ECDSA_SHA256])]);
    let basic = der(0x30, &[&data, &algorithm, &signature]);
    let bytes = der(0x30, &[&der(0x06, &[BASIC]), &der(0x04, &[&basic])]);
    der(0x30, &[&der(0x0a, &[&[0]]), &der(0xa0, &[&bytes])])
}

/// A time so many seconds from now.
fn stamp(seconds: i64) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let now = i64::try_from(now.as_secs()).expect("before the end of time");
    let time = ASN1Time::from_timestamp(now + seconds).expect("a time");
    let time = time.to_datetime();
    let (month, day) = (u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let text = format!(
        "{}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z",
        time.year()
    );
    der(0x18, &[text.as_bytes()])
}
