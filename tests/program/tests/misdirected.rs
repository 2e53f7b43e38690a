//! 421: an HTTP/2 connection that is used for a host of another certificate (RFC 9110, 15.5.20).

use http::StatusCode;
use program_tests::folder::secret;
use program_tests::http2::{H2, block_on};
use program_tests::{Backend, Certificate, Ingress, Narthex, class, service};

/// Hosts `one` and `two` with their own certificates, `open` without any.
fn misdirected() -> (Narthex, program_tests::Folder, Backend) {
    let web = Backend::named("web");
    let secure = |host: &str| {
        Ingress::named(host)
            .tls(&[&format!("{host}.example")], host)
            .host(&format!("{host}.example"))
            .prefix("/", "web")
            .yaml()
    };
    let folder = program_tests::Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("one", &Certificate::of(&["one.example"])),
        secret("two", &Certificate::of(&["two.example"])),
        secret("wild", &Certificate::of(&["*.wild.example"])),
        secure("one"),
        secure("two"),
        Ingress::named("wild")
            .tls(&["*.wild.example"], "wild")
            .host("*.wild.example")
            .prefix("/", "web")
            .yaml(),
        Ingress::named("open")
            .host("open.example")
            .prefix("/", "web")
            .yaml(),
    ]);
    let narthex = Narthex::on(&folder).start();
    (narthex, folder, web)
}

#[test]
fn a_host_of_another_certificate_is_421() {
    let (narthex, _folder, web) = misdirected();
    block_on(async {
        let h2 = H2::connect(narthex.https, "one.example").await;
        let status = h2.get("two.example", "/").await.expect("an answer").status;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
        assert!(web.seen().is_empty());
        let status = h2.get("one.example", "/").await.expect("an answer").status;
        assert_eq!(status, StatusCode::OK, "the connection serves on");
    });
}

#[test]
fn hosts_that_share_a_certificate_share_a_connection() {
    let (narthex, _folder, _web) = misdirected();
    block_on(async {
        let h2 = H2::connect(narthex.https, "a.wild.example").await;
        let status = h2
            .get("b.wild.example", "/")
            .await
            .expect("an answer")
            .status;
        assert_eq!(status, StatusCode::OK);
    });
}

#[test]
fn the_default_certificate_never_misdirects() {
    let (narthex, _folder, _web) = misdirected();
    block_on(async {
        let unknown = H2::connect(narthex.https, "unknown.example").await;
        for host in ["one.example", "open.example"] {
            let status = unknown.get(host, "/").await.expect("an answer").status;
            assert_eq!(
                status,
                StatusCode::OK,
                "{host} over the default certificate"
            );
        }
        let one = H2::connect(narthex.https, "one.example").await;
        let status = one
            .get("open.example", "/")
            .await
            .expect("an answer")
            .status;
        assert_eq!(
            status,
            StatusCode::OK,
            "a host that has the default certificate only"
        );
    });
}

#[test]
fn a_renewed_certificate_misdirects_nobody() {
    let (narthex, folder, _web) = misdirected();
    block_on(async {
        let one = H2::connect(narthex.https, "one.example").await;
        let wild = H2::connect(narthex.https, "a.wild.example").await;
        let both = Certificate::of(&["one.example"]);
        let text = std::fs::read_to_string(folder.file("site.yaml")).expect("written");
        let renew = |text: &str, name: &str, certificate: &Certificate| {
            let documents: Vec<_> = text
                .split("---\n")
                .map(|document| match document {
                    it if it.contains("kind: Secret")
                        && it.contains(&format!("name: {name}\n")) =>
                    {
                        secret(name, certificate)
                    }
                    other => other.to_owned(),
                })
                .collect();
            documents.join("---\n")
        };
        let text = renew(&text, "one", &both);
        let text = renew(&text, "wild", &Certificate::of(&["*.wild.example"]));
        folder.rename_over("site.yaml", &text);
        let client = program_tests::tls::Client::trusting_anything();
        program_tests::until("the new certificate is served", || {
            // By every worker.
            (0..24).all(|_| client.certificate(narthex.https, "one.example") == both.der)
        });
        for (h2, host) in [
            (&one, "one.example"),
            (&wild, "a.wild.example"),
            (&wild, "b.wild.example"),
        ] {
            let status = h2.get(host, "/").await.expect("an answer").status;
            assert_eq!(status, StatusCode::OK, "{host}");
        }
        let status = one.get("two.example", "/").await.expect("an answer").status;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    });
}
