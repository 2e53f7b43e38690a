//! Ingress manifests.

use std::fmt::Write as _;

/// An Ingress in the making; [`Ingress::yaml`] writes it.
#[derive(Clone, Debug)]
pub struct Ingress {
    name: String,
    namespace: String,
    class: Option<String>,
    created: Option<String>,
    annotations: Vec<(String, String)>,
    default_backend: Option<Backend>,
    tls: Vec<(Vec<String>, Option<String>)>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Backend {
    service: String,
    port: String,
}

#[derive(Clone, Debug)]
struct Rule {
    host: Option<String>,
    paths: Vec<(String, Option<String>, Backend)>,
}

impl Ingress {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            class: Some("narthex".to_owned()),
            created: None,
            annotations: Vec::new(),
            default_backend: None,
            tls: Vec::new(),
            rules: Vec::new(),
        }
    }

    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    pub fn class(mut self, class: &str) -> Self {
        self.class = Some(class.to_owned());
        self
    }

    pub fn without_class(mut self) -> Self {
        self.class = None;
        self
    }

    /// `creationTimestamp`, such as `2024-01-01T00:00:00Z`.
    pub fn created(mut self, time: &str) -> Self {
        self.created = Some(time.to_owned());
        self
    }

    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The Service's port `http`.
    pub fn default_backend(mut self, service: &str) -> Self {
        self.default_backend = Some(Backend::named(service, "http"));
        self
    }

    pub fn tls(mut self, hosts: &[&str], secret: &str) -> Self {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        self.tls.push((hosts, Some(secret.to_owned())));
        self
    }

    pub fn tls_without_secret(mut self, hosts: &[&str]) -> Self {
        self.tls
            .push((hosts.iter().map(ToString::to_string).collect(), None));
        self
    }

    /// Starts a rule; the paths that follow are its.
    pub fn host(mut self, host: &str) -> Self {
        self.rules.push(Rule {
            host: Some(host.to_owned()),
            paths: Vec::new(),
        });
        self
    }

    /// Starts a rule without host.
    pub fn any_host(mut self) -> Self {
        self.rules.push(Rule {
            host: None,
            paths: Vec::new(),
        });
        self
    }

    pub fn prefix(self, path: &str, service: &str) -> Self {
        self.path("Prefix", path, service)
    }

    pub fn exact(self, path: &str, service: &str) -> Self {
        self.path("Exact", path, service)
    }

    pub fn path(self, kind: &str, path: &str, service: &str) -> Self {
        self.push(kind, Some(path), Backend::named(service, "http"))
    }

    /// A prefix to a port by number.
    pub fn prefix_to_number(self, path: &str, service: &str, port: u16) -> Self {
        let backend = Backend {
            service: service.to_owned(),
            port: format!("number: {port}"),
        };
        self.push("Prefix", Some(path), backend)
    }

    /// A prefix to a port by name.
    pub fn prefix_to_name(self, path: &str, service: &str, port: &str) -> Self {
        self.push("Prefix", Some(path), Backend::named(service, port))
    }

    /// ImplementationSpecific without path.
    pub fn pathless(self, service: &str) -> Self {
        self.push(
            "ImplementationSpecific",
            None,
            Backend::named(service, "http"),
        )
    }

    fn push(mut self, kind: &str, path: Option<&str>, backend: Backend) -> Self {
        let rule = self
            .rules
            .last_mut()
            .expect("a rule first: host() or any_host()");
        rule.paths
            .push((kind.to_owned(), path.map(str::to_owned), backend));
        self
    }

    pub fn yaml(&self) -> String {
        let mut text = String::from("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n");
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!(
            "  name: {}\n  namespace: {}",
            self.name, self.namespace
        ));
        if let Some(created) = &self.created {
            line(format!("  creationTimestamp: \"{created}\""));
        }
        if !self.annotations.is_empty() {
            line("  annotations:".to_owned());
            for (name, value) in &self.annotations {
                line(format!("    {name}: {value:?}"));
            }
        }
        line("spec:".to_owned());
        if let Some(class) = &self.class {
            line(format!("  ingressClassName: {class}"));
        }
        if let Some(backend) = &self.default_backend {
            line(format!("  defaultBackend:\n{}", backend.yaml(4)));
        }
        if !self.tls.is_empty() {
            line("  tls:".to_owned());
            for (hosts, secret) in &self.tls {
                line(format!("    - hosts: {hosts:?}"));
                if let Some(secret) = secret {
                    line(format!("      secretName: {secret}"));
                }
            }
        }
        if !self.rules.is_empty() {
            line("  rules:".to_owned());
        }
        for rule in &self.rules {
            line(rule.yaml());
        }
        text
    }
}

impl Rule {
    fn yaml(&self) -> String {
        let mut text = String::from("    - ");
        if let Some(host) = &self.host {
            let _ = write!(text, "host: {host:?}\n      ");
        }
        text += "http:\n        paths:";
        for (kind, path, backend) in &self.paths {
            let _ = write!(text, "\n          - pathType: {kind}");
            if let Some(path) = path {
                let _ = write!(text, "\n            path: {path:?}");
            }
            let _ = write!(text, "\n            backend:\n{}", backend.yaml(14));
        }
        text
    }
}

impl Backend {
    fn named(service: &str, port: &str) -> Self {
        Self {
            service: service.to_owned(),
            port: format!("name: {port}"),
        }
    }

    fn yaml(&self, indent: usize) -> String {
        let pad = " ".repeat(indent);
        format!(
            "{pad}service:\n{pad}  name: {}\n{pad}  port:\n{pad}    {}",
            self.service, self.port
        )
    }
}
