//! `narthex quickstart`: the first thing that a newcomer runs.

use std::process::{Command, Stdio};

use program_tests::program::binary;
use program_tests::tls::Client;
use program_tests::{Conn, eventually, ports};

/// Ended when dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_quickstart_serves_its_own_demo_and_says_what_to_try() {
    let (http, https, admin) = (ports::free(), ports::free(), ports::free());
    let state = tempfile::tempdir().expect("a temporary folder");
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    // Both streams share one place in the file, as on a terminal.
    let terminal = output.reopen().expect("a file");
    let _running = Running(
        Command::new(binary())
            .arg("quickstart")
            .args([
                "--http-port",
                &http.to_string(),
                "--https-port",
                &https.to_string(),
            ])
            .args(["--admin-address", &format!("127.0.0.1:{admin}")])
            .arg("--state-dir")
            .arg(state.path())
            .stdin(Stdio::null())
            .stdout(terminal.try_clone().expect("a file"))
            .stderr(terminal)
            .spawn()
            .expect("the binary starts"),
    );
    let answer = eventually("the demo answers", || {
        let mut conn = Conn::to(([127, 0, 0, 1], http).into()).ok()?;
        let answer = conn.get("hello.localhost", "/");
        (answer.status == 200).then_some(answer)
    });
    assert!(!answer.body.is_empty());
    let mut conn = Conn::plain(http);
    let shop = conn.get("shop.localhost", "/");
    let cart = conn.get("shop.localhost", "/cart");
    assert_eq!((shop.status, cart.status), (200, 200));
    assert_ne!(shop.text(), cart.text(), "another Service answers there");
    let secure = conn.get("secure.localhost", "/");
    assert_eq!(secure.status, 308, "a TLS host");
    let (mut tls, _) = Client::trusting_anything()
        .connect(https, "secure.localhost")
        .expect("a handshake");
    assert_eq!(tls.get("secure.localhost", "/").status, 200);
    let said = eventually("it says what to try", || {
        let said = std::fs::read_to_string(output.path()).expect("written");
        said.contains("curl").then_some(said)
    });
    for what in [
        "hello.localhost",
        "shop.localhost",
        "secure.localhost",
        &http.to_string(),
    ] {
        assert!(said.contains(what), "{what} is not in:\n{said}");
    }
}
