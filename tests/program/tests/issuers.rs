//! Who certifies: cert-manager's issuers read as they are, and those of our own.

use program_tests::certificate::Authority;
use program_tests::folder::raw_secret;
use program_tests::tls::Client;
use program_tests::{
    Acme, Backend, Folder, Ingress, Narthex, class, docs, eventually, ports, service, until,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const HOST: &str = "shop.example";

struct World {
    narthex: Narthex,
    folder: Folder,
    _web: Backend,
}

fn world(acme: Option<&Acme>, documents: &[String]) -> World {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    folder.write("asking.yaml", &docs(documents));
    let mut starting = Narthex::on(&folder);
    if let Some(acme) = acme {
        starting = starting.http_port(acme.http).https_port(acme.tls);
    }
    World {
        narthex: starting.start(),
        folder,
        _web: web,
    }
}

fn asking(annotation: &str, value: &str) -> Ingress {
    Ingress::named("web")
        .annotation(annotation, value)
        .tls(&[HOST], "web-tls")
        .host(HOST)
        .prefix("/", "web")
}

fn object(kind: &str, name: &str, more: Value) -> String {
    let mut object = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": kind,
        "metadata": {"name": name},
    });
    for (field, value) in more.as_object().expect("a mapping") {
        match field.as_str() {
            "annotations" => object["metadata"]["annotations"] = value.clone(),
            _ => object[field] = value.clone(),
        }
    }
    object.to_string() + "\n"
}

impl World {
    fn until_vouched_for(&self, root: &CertificateDer<'static>) {
        let client = Client::trusting(root);
        until("the issuer vouches for what is served", || {
            client.connect(self.narthex.https, HOST).is_ok()
        });
    }

    fn kept(&self, name: &str) -> Option<Value> {
        let path = self.narthex.state.path().join("certificates");
        let text = std::fs::read(path.join(format!("default.{name}.json"))).ok()?;
        Some(serde_json::from_slice(&text).expect("JSON"))
    }

    fn until_said(&self, what: &str) {
        until(&format!("it is said: {what}"), || {
            let (_, said) = self.narthex.admin_get("/api/problems").expect("answers");
            said.contains(what)
        });
    }
}

fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

/// base64, as `caBundle` has it.
fn encoded(text: &str) -> String {
    use base64::Engine as _;

    base64::engine::general_purpose::STANDARD.encode(text)
}

fn acme_spec(acme: &Acme) -> Value {
    let bundle = std::fs::read_to_string(acme.ca_file()).expect("a file");
    json!({"acme": {
        "server": acme.directory(),
        "email": "ops@shop.example",
        "caBundle": encoded(&bundle),
        "privateKeySecretRef": {"name": "account"},
        "solvers": [{"http01": {"ingress": {"ingressClassName": "nginx"}}}],
    }})
}

#[test]
fn a_cluster_issuer_of_an_acme_server_is_asked_as_it_stands() {
    let acme = Acme::starting().start();
    let issuer = object("ClusterIssuer", "le", json!({"spec": acme_spec(&acme)}));
    let asking = asking("cert-manager.io/cluster-issuer", "le");
    let world = world(Some(&acme), &[issuer, asking.yaml()]);
    world.until_vouched_for(&first(&acme.root(0)));
    assert_eq!(acme.orders(), 1);
}

#[test]
fn an_issuer_limited_to_namespaces_certifies_for_no_other() {
    let acme = Acme::starting().start();
    let issuer = json!({
        "spec": acme_spec(&acme),
        "annotations": {"narthex.dev/namespaces": "payments, team-*"},
    });
    let issuer = object("ClusterIssuer", "le", issuer);
    let asking = asking("cert-manager.io/cluster-issuer", "le");
    let world = world(Some(&acme), &[issuer, asking.yaml()]);
    world.until_said("ClusterIssuer le is not for namespace default");
    assert_eq!(acme.orders(), 0);

    // An Issuer is for its own namespace: that of another one is none.
    let elsewhere = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Issuer",
        "metadata": {"name": "le", "namespace": "other"}, "spec": acme_spec(&acme),
    });
    let asking = self::asking("cert-manager.io/issuer", "le");
    let documents = [format!("{elsewhere}\n"), asking.yaml()];
    world.folder.write("asking.yaml", &docs(&documents));
    world.until_said("there is no Issuer default/le");
    assert_eq!(acme.orders(), 0);
}

#[test]
fn an_authority_in_a_secret_certifies() {
    let authority = Authority::new();
    let secret = raw_secret("ca", &authority.pem, &authority.key_pem());
    let issuer = object(
        "Issuer",
        "own",
        json!({"spec": {"ca": {"secretName": "ca"}}}),
    );
    let asking = asking("cert-manager.io/issuer", "own");
    let world = world(None, &[secret, issuer, asking.yaml()]);
    world.until_vouched_for(&first(&authority.pem));
    let kept = world.kept("web-tls").expect("kept");
    assert!(kept["data"]["ca.crt"].is_string(), "{kept}");
}

#[test]
fn what_cannot_be_asked_is_said_and_harms_nobody() {
    let vault = object(
        "Issuer",
        "vault",
        json!({"spec": {"vault": {"server": "x"}}}),
    );
    let asking = asking("cert-manager.io/issuer", "vault");
    let world = world(None, &[vault, asking.yaml()]);
    world.until_said("Issuer default/vault is of a make that cannot be asked here");
    let client = Client::trusting_anything();
    client
        .connect(world.narthex.https, HOST)
        .expect("the host is served");
}

#[test]
fn the_authority_of_our_own_certifies_and_is_published() {
    let world = world(None, &[asking("narthex.dev/issuer", "internal").yaml()]);
    let bundle = world
        .narthex
        .state
        .path()
        .join("certificates/ca-bundle.pem");
    until("whom to trust is published", || bundle.exists());
    let root = std::fs::read_to_string(&bundle).expect("a file");
    world.until_vouched_for(&first(&root));
}

#[test]
fn certificate_objects_are_wishes_where_there_is_no_cert_manager() {
    let issuer = object("Issuer", "own", json!({"spec": {"selfSigned": {}}}));
    let client = json!({"spec": {
        "secretName": "client", "issuerRef": {"name": "own"},
        "commonName": "billing", "usages": ["client auth"], "duration": "24h",
        "privateKey": {"algorithm": "ECDSA", "size": 256},
    }});
    let world = world(None, &[issuer, object("Certificate", "client", client)]);
    until("it is kept", || world.kept("client").is_some());
    let asked_by = eventually("it is listed", || {
        let listed = world.narthex.admin_get("/api/certificates/obtained");
        let (_, listed) = listed.expect("answers");
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        listed[0]["asked_by"][0].as_str().map(str::to_owned)
    });
    assert_eq!(asked_by, "Certificate default/client");
}

#[test]
fn a_gateway_asks_for_its_listeners() {
    let documents = [
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "narthex"},
            "spec": {"controllerName": "narthex.dev/gateway"}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "annotations": {"narthex.dev/issuer": "self-signed"}},
        "spec": {"gatewayClassName": "narthex", "listeners": [{
            "name": "https", "port": ports::free(), "protocol": "HTTPS", "hostname": HOST,
            "tls": {"certificateRefs": [{"name": "edge-tls"}]},
        }]}}),
    ];
    let world = world(None, &documents.map(|it| format!("{it}\n")));
    until("it is kept", || world.kept("edge-tls").is_some());
    until("the listener is as it should be", || {
        let (_, said) = world.narthex.admin_get("/api/problems").expect("answers");
        !said.contains("edge-tls")
    });
}
