//! Counts the instructions of the release binary on fixed traffic, under callgrind, and compares
//! them with `tests/program/instructions.json`.
//!
//! `cargo xtask test instructions` installs valgrind and runs this. Instructions in user space do
//! not depend on what else the machine does, so 3 % more is a change of the program: find out why,
//! or accept it with `cargo xtask instructions --accept` and say why in the commit. What is less is
//! to be accepted too, so that it stays.

mod profile;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use profile::Profile;
use program_tests::{Backend, Conn, Folder, HOST, Ingress, Narthex, Then, class, http2, service};

/// How far above the baseline a count may be, in percent.
const TOLERANCE: f64 = 3.0;

/// How many requests a round of a case has: enough that what a timer does in between does not matter.
const REQUESTS: usize = 3_000;

/// The host whose Ingress has annotations.
const ANNOTATED: &str = "annotated.example";

/// What many Ingresses have.
const ANNOTATIONS: [(&str, &str); 10] = [
    ("custom-http-errors", "502,503"),
    ("enable-cors", "true"),
    ("limit-rps", "1000000"),
    ("proxy-body-size", "8m"),
    ("proxy-connect-timeout", "10"),
    ("proxy-read-timeout", "120"),
    ("rewrite-target", "/$1"),
    ("ssl-redirect", "false"),
    ("use-regex", "true"),
    ("whitelist-source-range", "127.0.0.0/8,10.0.0.0/8"),
];

const HOSTS: usize = 20;
const PATHS: usize = 50;

/// What a browser sends, about.
const FIELDS: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: none\r\nPriority: u=0, i\r\n";

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let accept = std::env::args().any(|argument| argument == "--accept");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let counts = count();
    if accept {
        let text = serde_json::to_string_pretty(&counts).expect("names and numbers");
        std::fs::write(&file, text + "\n").expect("the project's folder is writable");
        println!("accepted into {}", file.display());
        return ExitCode::SUCCESS;
    }
    let baseline = std::fs::read_to_string(&file).unwrap_or_default();
    let baseline: Counts = serde_json::from_str(&baseline).unwrap_or_default();
    report(&counts, &baseline)
}

/// Instructions by case.
fn count() -> Counts {
    let web = Backend::scripted("web", |exchange| {
        exchange.read_body()?;
        exchange.send("HTTP/1.1 200 OK\r\nServer: web\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok")?;
        Ok(Then::Keep)
    });
    let out = tempfile::tempdir().expect("a temporary folder");
    let into = out.path().join("counts");
    let folder = site(&web);
    let narthex = Narthex::on(&folder)
        .args(&["--access-log-format", "off"])
        .env("NARTHEX_WORKERS", "1")
        // One way to copy memory, whatever the processor has.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM",
        )
        .through(&[
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            &format!("--callgrind-out-file={}", into.display()),
        ])
        .start();
    let path = format!("/{}/page", PATHS / 2);
    let get = format!("GET {path}?q=1 HTTP/1.1\r\nHost: {HOST}\r\n{FIELDS}\r\n");
    let post = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4096\r\n\r\n")
        + &"x".repeat(4096);
    let kept = |request: &str| {
        let mut conn = Conn::plain(narthex.http);
        for _ in 0..REQUESTS {
            assert_eq!(conn.ask(request).status, 200);
        }
    };
    let opened = || {
        for _ in 0..REQUESTS {
            assert_eq!(Conn::plain(narthex.http).ask(&get).status, 200);
        }
    };
    let multiplexed = || {
        http2::block_on(async {
            let client = http2::H2::plain(narthex.http).await;
            for _ in 0..REQUESTS {
                let answer = client.get(HOST, &path).await.expect("an answer");
                assert_eq!(answer.status, 200);
            }
        });
    };
    let callgrind = Callgrind {
        process: narthex.child.id().to_string(),
        into: &into,
        dumps: Cell::new(0),
    };
    let annotated = get.replace(HOST, ANNOTATED);
    // Pools, buffers and code are warm before anything counts.
    kept(&get);
    kept(&annotated);
    callgrind.control(&["--instr=on"]);
    kept(&get);
    let mut counts = Counts::new();
    let mut each = |case: &str, work: &dyn Fn()| {
        let profile = callgrind.least(work);
        counts.insert(case.to_owned(), profile.total / REQUESTS as u64);
        profile
    };
    let request = each("request: GET on a kept connection", &|| kept(&get));
    each("request: GET through ten annotations", &|| kept(&annotated));
    each("request: POST of 4 KiB on a kept connection", &|| {
        kept(&post);
    });
    each("connection with one request", &opened);
    each("request: GET over HTTP/2", &multiplexed);
    for (case, function) in [
        ("request head", "narthex_proxy::http1::parse::request"),
        ("response head", "narthex_proxy::http1::parse::response"),
        ("route match", "narthex_model::listener::Site::select"),
    ] {
        let per_call = request.per_call(function);
        counts.insert(
            case.to_owned(),
            per_call.unwrap_or_else(|| {
                panic!("{function} is not in the profile: was it renamed or inlined?")
            }),
        );
    }
    counts
}

/// As many rules as a middling cluster has.
fn site(web: &Backend) -> Folder {
    let mut documents = vec![class(), service("web", &[web.address()])];
    for number in 0..HOSTS {
        let host = if number == 0 {
            HOST.to_owned()
        } else {
            format!("host-{number}.example")
        };
        let mut ingress = Ingress::named(&format!("site-{number}")).host(&host);
        for path in 0..PATHS {
            ingress = ingress.prefix(&format!("/{path}"), "web");
        }
        documents.push(ingress.yaml());
    }
    let mut ingress = Ingress::named("annotated").class("nginx").host(ANNOTATED);
    for (name, value) in ANNOTATIONS {
        ingress = ingress.annotation(&format!("nginx.ingress.kubernetes.io/{name}"), value);
    }
    documents.push(
        ingress
            .path("ImplementationSpecific", "/(.*)", "web")
            .yaml(),
    );
    Folder::of(&documents)
}

struct Callgrind<'a> {
    process: String,
    into: &'a Path,
    /// How many dumps there are.
    dumps: Cell<u32>,
}

impl Callgrind<'_> {
    /// The cheapest of a few rounds: what comes in between, as timers do, only adds.
    fn least(&self, work: &dyn Fn()) -> Profile {
        let rounds = (0..3).map(|_| self.during(work));
        let least = rounds.min_by_key(|profile| profile.total);
        least.expect("there are rounds")
    }

    /// What is counted while `work` runs.
    fn during(&self, work: &dyn Fn()) -> Profile {
        self.control(&["--zero"]);
        work();
        self.control(&["--dump"]);
        self.dumps.set(self.dumps.get() + 1);
        let file = self.into.with_extension(self.dumps.get().to_string());
        let text = std::fs::read_to_string(&file);
        Profile::parse(&text.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    }

    fn control(&self, words: &[&str]) {
        let mut command = Command::new("callgrind_control");
        let output = command.args(words).arg(&self.process).output();
        let output = output.expect("valgrind's package has it");
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

fn report(counts: &Counts, baseline: &Counts) -> ExitCode {
    println!(
        "{:<46} {:>10} {:>10} {:>8}",
        "instructions", "accepted", "now", "change"
    );
    let (mut passed, mut failed) = (0, 0);
    for (case, &now) in counts {
        let Some(&accepted) = baseline.get(case) else {
            println!("{case:<46} {:>10} {now:>10}", "none");
            failed += 1;
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let change = (now as f64 / accepted as f64 - 1.0) * 100.0;
        let verdict = if change > TOLERANCE {
            failed += 1;
            "  FAILED"
        } else {
            passed += 1;
            if change < -TOLERANCE {
                "  (accept it, so that it stays)"
            } else {
                ""
            }
        };
        println!("{case:<46} {accepted:>10} {now:>10} {change:>+7.1}%{verdict}");
    }
    if failed > 0 {
        println!(
            "\nMore than {TOLERANCE} % above what was accepted. If that is meant:\n    \
             cargo xtask instructions --accept"
        );
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored;");
    ExitCode::from(u8::from(failed > 0))
}
