//! Every example in the book's chapters on Gateway API is good, and does what the text says.

use program_tests::{
    Backend, Certificate, Conn, Folder, Narthex, class, docs, ports, run, secret, services,
};
use serde_json::Value;

/// The YAML of a chapter, with free ports in the place of those of its listeners.
struct Chapter {
    text: String,
    ports: Vec<(u16, u16)>,
}

impl Chapter {
    fn read(name: &str) -> Self {
        let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("a chapter");
        let mut blocks = text.split("```yaml\n").skip(1);
        let blocks: Vec<_> = blocks
            .by_ref()
            .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
            .collect();
        assert!(!blocks.is_empty(), "{path} has examples");
        let mut text = docs(&blocks);
        // Nobody outside is asked for the address of an example's host.
        text = text.replace("hostname: payments.example.com", "hostname: localhost");
        let listeners = [8080, 8443, 5353].map(|port| (port, ports::free()));
        for (port, free) in listeners {
            text = text.replace(&format!("port: {port}"), &format!("port: {free}"));
        }
        Self {
            text,
            ports: listeners.into(),
        }
    }

    fn port(&self, written: u16) -> u16 {
        let found = self.ports.iter().find(|(port, _)| *port == written);
        found.expect("a port of the chapter").1
    }
}

struct World {
    folder: Folder,
    _backends: Vec<Backend>,
}

fn world(chapter: &Chapter) -> World {
    let names = ["api", "shop", "beta"];
    let backends: Vec<_> = names.iter().map(|name| Backend::named(name)).collect();
    let named: Vec<_> = names.iter().copied().zip(&backends).collect();
    let address = backends[0].address();
    let with_port = |name: &str, port: u16| {
        program_tests::service(name, &[address]).replace("port: 80\n", &format!("port: {port}\n"))
    };
    let mut documents = services(&named);
    documents.push(class());
    documents.push(with_port("db", 5432));
    let dns = with_port("dns", 53)
        .replace("targetPort: 8080", "protocol: UDP")
        .replace("protocol: TCP", "protocol: UDP");
    documents.push(dns);
    documents.push(secret("shop-tls", &Certificate::of(&["shop.example"])));
    documents.push(chapter.text.clone());
    let folder = Folder::new();
    folder.write("site.yaml", &docs(&documents));
    World {
        folder,
        _backends: backends,
    }
}

#[test]
fn the_examples_of_gateway_api_are_good_and_served() {
    // A listener on a database's own port would meet the machine's.
    let mut chapter = Chapter::read("gateway-api.md");
    let postgres = ports::free();
    chapter.text = chapter.text.replace(
        "name: postgres, port: 5432",
        &format!("name: postgres, port: {postgres}"),
    );
    let world = world(&chapter);
    let checked = run(&["check", &world.folder.path().display().to_string()]);
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let narthex = Narthex::on(&world.folder).start();
    all_is_well(&narthex, &world.folder);
    let mut conn = Conn::plain(chapter.port(8080));
    assert_eq!(conn.get("shop.example", "/api/x").backend(), "api");
    assert_eq!(conn.get("shop.example", "/").backend(), "shop");
    assert_eq!(conn.get("eu.shop.example", "/?beta=yes").backend(), "beta");
    assert_eq!(
        conn.get("filters.example", "/old/x").header("Location"),
        Some(&*format!(
            "http://filters.example:{}/new/x",
            chapter.port(8080)
        ))
    );
    let echo = conn.get("filters.example", "/v1/x");
    assert_eq!(echo.header("X-Served-By"), Some("narthex"));
    assert_eq!(echo.echo().target, "/x");
    assert_eq!(Conn::plain(postgres).get("any", "/").backend(), "api");
}

/// `check` and the API say the same of every object, and it is good.
fn all_is_well(narthex: &Narthex, folder: &Folder) {
    let path = folder.path().display().to_string();
    let checked = run(&["check", "--output=json", &path]).stdout;
    let (_, served) = narthex.admin_get("/api/objects").expect("an answer");
    let [checked, served] = [checked, served].map(|text| {
        let said: Value = serde_json::from_str(&text).expect("JSON");
        let objects = said["objects"]
            .as_array()
            .or_else(|| said["items"].as_array());
        let mut objects = objects.expect("objects").clone();
        objects.iter_mut().for_each(forget_when_and_where);
        objects
    });
    assert_eq!(checked, served);
    let of = |kind: &str, name: &str| {
        let mut all = served.iter();
        let found = all.find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))["status"].clone()
    };
    assert_eq!(of("Gateway", "web")["listeners"][0]["attachedRoutes"], 5);
    assert_eq!(
        of("Gateway", "streams")["listeners"][1]["attachedRoutes"],
        1
    );
    assert_eq!(
        of("TLSRoute", "database")["parents"][0]["conditions"][0]["status"],
        "True"
    );
    for object in &served {
        let text = object.to_string();
        let wrong = text.matches(r#""status":"False""#).count();
        let unconflicted = text.matches(r#""reason":"NoConflicts""#).count();
        assert_eq!(wrong, unconflicted, "{object:#}");
    }
}

/// What two processes cannot agree on.
fn forget_when_and_where(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "lastTransitionTime" && name != "addresses");
            fields.values_mut().for_each(forget_when_and_where);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_when_and_where),
        _ => {}
    }
}

#[test]
fn an_ingress_and_its_gateway_answer_alike() {
    let chapter = Chapter::read("from-ingress-to-gateway.md");
    let world = world(&chapter);
    let checked = run(&["check", &world.folder.path().display().to_string()]);
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let narthex = Narthex::on(&world.folder).start();
    let client = program_tests::tls::Client::trusting_anything();
    for port in [narthex.https, chapter.port(8443)] {
        let (mut conn, _) = client.connect(port, "shop.example").expect("a handshake");
        for (path, backend) in [("/", "shop"), ("/api", "api"), ("/apix", "shop")] {
            assert_eq!(conn.get("shop.example", path).backend(), backend, "{path}");
        }
    }
    for port in [narthex.http, chapter.port(8080)] {
        let response = Conn::plain(port).get("shop.example", "/x");
        assert_eq!(response.status, 308);
        assert!(
            response
                .header("Location")
                .is_some_and(|to| to.starts_with("https://shop.example"))
        );
    }
}
