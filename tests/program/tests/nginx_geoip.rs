//! Databases of addresses: the variables `$geoip2_…` of ingress-nginx, in logs, fields and snippets.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use program_tests::folder::config_map;
use program_tests::mmdb::{Value, database};
use program_tests::nginx::{CONFIGURED, CONTROLLER, ingress};
use program_tests::{
    Backend, Conn, Folder, HOST, Narthex, Response, eventually, run, services, until,
};

const BRITON: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FRENCH: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn names(english: &'static str) -> Value {
    Value::Map(vec![
        ("de", Value::Text("Stadt")),
        ("en", Value::Text(english)),
    ])
}

fn place(code: &'static str, city: &'static str) -> Value {
    let region = |code| Value::Map(vec![("iso_code", Value::Text(code))]);
    Value::Map(vec![
        ("city", Value::Map(vec![("names", names(city))])),
        (
            "country",
            Value::Map(vec![
                ("iso_code", Value::Text(code)),
                ("geoname_id", Value::Number(2_635_167)),
            ]),
        ),
        (
            "location",
            Value::Map(vec![("latitude", Value::Fraction(51.75))]),
        ),
        (
            "subdivisions",
            Value::List(vec![region("ENG"), region("OXF")]),
        ),
    ])
}

struct World {
    _web: Backend,
    files: tempfile::TempDir,
    narthex: Narthex,
    _folder: Folder,
}

/// Databases of cities, of networks and of proxies, and a host that refuses the French.
fn world(lines: &[(&str, &str)]) -> World {
    let web = Backend::named("web");
    let files = tempfile::tempdir().expect("a temporary folder");
    let networks = Value::Map(vec![
        ("autonomous_system_number", Value::Number(64_500)),
        ("autonomous_system_organization", Value::Text("Example Net")),
    ]);
    let anonymous = Value::Map(vec![("is_anonymous", Value::Bool(true))]);
    let write = |name: &str, bytes: Vec<u8>| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).expect("the folder is writable");
        path.display().to_string()
    };
    let cities = [
        (BRITON, place("GB", "Boxford")),
        (FRENCH, place("FR", "Paris")),
    ];
    let paths = [
        write("city.mmdb", database("GeoLite2-City", &cities)),
        write("asn.mmdb", database("GeoLite2-ASN", &[(BRITON, networks)])),
        write(
            "anonymous.mmdb",
            database("GeoIP2-Anonymous-IP", &[(FRENCH, anonymous)]),
        ),
    ];
    let snippet = "if ($geoip2_city_country_code = FR) { return 403; }";
    let mut documents = services(&[("web", &web)]);
    let refusing = ingress("web", &[("configuration-snippet", snippet)]);
    documents.push(refusing.host(HOST).prefix("/", "web").yaml());
    documents.push(config_map(CONTROLLER, lines));
    documents.push(config_map(
        "ingress-nginx/fields",
        &[("X-Country", "$geoip2_city_country_code")],
    ));
    let folder = Folder::of(&documents);
    let narthex = Narthex::on(&folder)
        .args(&[CONFIGURED, "--trusted-proxies=127.0.0.1"])
        .arg(format!("--geoip2-database={}", paths.join(",")))
        .start();
    World {
        _web: web,
        files,
        narthex,
        _folder: folder,
    }
}

const KEYS: &[(&str, &str)] = &[
    ("use-geoip2", "true"),
    ("allow-snippet-annotations", "true"),
    ("annotations-risk-level", "Critical"),
    ("proxy-set-headers", "ingress-nginx/fields"),
    (
        "log-format-upstream",
        "from $request_uri [$geoip2_city_country_code] [$geoip2_city] [$geoip2_city_country_geoname_id] \
         [$geoip2_latitude] [$geoip2_region_code/$geoip2_subregion_code] [$geoip2_asn] [$geoip2_org] \
         [$geoip2_is_anonymous] [$geoip2_country_code]",
    ),
];

impl World {
    fn ask(&self, client: Ipv4Addr, path: &str) -> Response {
        Conn::plain(self.narthex.http).ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {client}\r\n\r\n"
        ))
    }

    #[track_caller]
    fn line(&self, path: &str) -> String {
        let start = format!("from {path} ");
        eventually(&format!("a line of {path}"), || {
            let stdout = self.narthex.stdout();
            let line = stdout.lines().find_map(|line| line.strip_prefix(&start));
            line.map(str::to_owned)
        })
    }
}

#[test]
fn logs_fields_and_snippets_know_where_a_client_is() {
    let world = world(KEYS);
    let answer = world.ask(BRITON, "/briton");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().header("x-country"), Some("GB"));
    assert_eq!(
        world.line("/briton"),
        "[GB] [Boxford] [2635167] [51.75000] [ENG/OXF] [64500] [Example Net] [0] [-]"
    );
    assert_eq!(world.ask(FRENCH, "/french").status, 403);
    assert_eq!(
        world.line("/french"),
        "[FR] [Paris] [2635167] [51.75000] [ENG/OXF] [-] [-] [1] [-]"
    );
    let nobody = Ipv4Addr::new(203, 0, 113, 1);
    let answer = world.ask(nobody, "/nobody");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.echo().header("x-country"), None);
    assert_eq!(
        world.line("/nobody"),
        "[-] [-] [-] [-] [-/-] [-] [-] [0] [-]"
    );
}

#[test]
fn a_database_is_read_again_when_its_file_is_another_one() {
    let world = world(KEYS);
    assert_eq!(world.ask(FRENCH, "/").status, 403);
    let path = world.files.path().join("city.mmdb");
    // One that is broken changes nothing.
    std::fs::write(&path, "nothing").expect("writable");
    world.narthex.until_log("city.mmdb: is no MaxMind database");
    assert_eq!(world.ask(FRENCH, "/").status, 403);
    let moved = database("GeoLite2-City", &[(FRENCH, place("BE", "Ghent"))]);
    std::fs::write(&path, moved).expect("writable");
    until("the new one is read", || {
        world.ask(FRENCH, "/").status == 200
    });
}

#[test]
fn what_is_no_database_is_named_and_nothing_is_served() {
    let files = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).expect("the folder is writable");
        path
    };
    let domains = database("GeoIP2-Domain", &[]);
    for (path, said) in [
        (write("text.mmdb", b"text"), "is no MaxMind database"),
        (
            write("domain.mmdb", &domains),
            "is a database of \"GeoIP2-Domain\"",
        ),
        (files.path().join("none.mmdb"), "No such file"),
    ] {
        let file = path.display().to_string();
        let folder = files.path().display().to_string();
        let ended = run(&["serve", &folder, "--geoip2-database", &file]);
        assert_ne!(ended.code, Some(0));
        let stderr = &ended.stderr;
        assert!(stderr.contains("--geoip2-database"), "{stderr}");
        assert!(stderr.contains(&file) && stderr.contains(said), "{stderr}");
    }
}
