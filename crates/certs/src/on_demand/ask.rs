//! Asks somebody else whether a name may have a certificate.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::https;

/// How long an answer may take.
const LONGEST: Duration = Duration::from_secs(5);

/// How many are asked of at once; whoever comes then is told no.
const AT_ONCE: usize = 16;

/// Asks at a URL, as Caddy's `ask` does: `GET URL?domain=NAME`, which 200 says yes to and anything
/// else no.
#[derive(Debug)]
pub struct Asker {
    url: String,
    client: Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<Bytes>>,
    places: Semaphore,
}

impl Asker {
    /// Over HTTP, or HTTPS to whom the system trusts.
    ///
    /// # Errors
    /// The URL is none, or there is no TLS, for people.
    pub fn new(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url
            .parse()
            .map_err(|error| format!("{url:?} is no URL: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(format!(
                "{url:?} is no URL of http:// or https:// with a host"
            ));
        }
        Ok(Self {
            url: url.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(https::connector()?),
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// Whether a name may be. Not to be remembered as a no is an error: nobody answers, or too
    /// many are asked of at once.
    ///
    /// # Errors
    /// Why it cannot be told, for people.
    pub async fn may(&self, name: &str) -> Result<bool, String> {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", self.url);
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| at(&"too many names are asked of at once"))?;
        let with = if self.url.contains('?') { '&' } else { '?' };
        // A name of a certificate has no letter that a query cannot have.
        let url = format!("{}{with}domain={name}", self.url);
        let request = http::Request::get(url).body(Empty::new());
        let request = request.map_err(|error| at(&error))?;
        let answer = timeout(LONGEST, self.client.request(request)).await;
        let answer = answer.map_err(|_| at(&"no answer"))?;
        let status = answer.map_err(|error| at(&error))?.status();
        match status.is_server_error() {
            true => Err(at(&format!("HTTP status {status}"))),
            false => Ok(status == http::StatusCode::OK),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Says 200 of one name, 500 of another, and 404 of all others.
    fn serve() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/ask?k=v", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for _ in 0..3 {
                let (mut socket, _) = listener.accept().expect("a client");
                let mut head = [0; 1024];
                let length = socket.read(&mut head).expect("a request");
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let status = match head.split(' ').nth(1) {
                    Some("/ask?k=v&domain=yes.example.org") => "200 OK",
                    Some("/ask?k=v&domain=broken.example.org") => "503 Busy",
                    _ => "404 Not Found",
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).expect("written");
            }
        });
        url
    }

    #[test]
    fn only_200_is_a_yes_and_trouble_is_no_no() {
        let asker = Asker::new(&serve()).expect("a URL");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let may = |name: &str| runtime.block_on(asker.may(name));
        assert_eq!(may("yes.example.org"), Ok(true));
        assert_eq!(may("no.example.org"), Ok(false));
        assert!(may("broken.example.org").is_err_and(|error| error.contains("503")));
        // It has ended.
        assert!(may("yes.example.org").is_err());
        assert!(Asker::new("ftp://example.org").is_err() && Asker::new("/ask").is_err());
    }
}
