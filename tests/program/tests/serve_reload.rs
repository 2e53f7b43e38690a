//! Files in, changes by themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use program_tests::{
    Backend, Conn, Folder, HOST, Ingress, Narthex, Site, class, docs, service, until, wait,
};

/// A folder with the class and a Service `a` and `b`; the Ingress comes from the test.
struct Base {
    folder: Folder,
    _a: Backend,
    _b: Backend,
}

fn base() -> Base {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let folder = Folder::new();
    folder.write(
        "base.yaml",
        &docs(&[
            class(),
            service("a", &[a.address()]),
            service("b", &[b.address()]),
        ]),
    );
    Base {
        folder,
        _a: a,
        _b: b,
    }
}

fn to(service: &str) -> String {
    Ingress::named("web").host(HOST).prefix("/", service).yaml()
}

#[test]
fn files_and_folders_are_read_together() {
    let base = base();
    let extra = Folder::new();
    extra.write("one/two/ingress.yml", &to("a"));
    extra.write(
        "only.yaml",
        &Ingress::named("only")
            .host("only.example")
            .prefix("/", "b")
            .yaml(),
    );
    let (deep, file) = (extra.file("one"), extra.file("only.yaml"));
    let narthex = Narthex::with_paths(&[base.folder.path(), &deep, &file]).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    assert_eq!(narthex.backend("only.example", "/"), "b");
}

#[test]
fn json_manifests_and_lists_are_read() {
    let base = base();
    base.folder.write(
        "list.json",
        r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
             "metadata": {"name": "json", "namespace": "default"},
             "spec": {"ingressClassName": "narthex", "rules": [{"host": "json.example",
               "http": {"paths": [{"path": "/", "pathType": "Prefix",
                 "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}]}"#,
    );
    base.folder.write(
        "list.yaml",
        &format!(
            "apiVersion: v1\nkind: List\nitems:\n  - {}",
            Ingress::named("yaml")
                .host("yaml.example")
                .prefix("/", "b")
                .yaml()
                .trim_end()
                .replace('\n', "\n    ")
        ),
    );
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend("json.example", "/"), "a");
    assert_eq!(narthex.backend("yaml.example", "/"), "b");
}

#[test]
fn files_that_are_not_manifests_are_left_alone() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    base.folder.write("README.md", "# not: [a manifest");
    base.folder.write(".ingress.yaml.swp", "\u{0}\u{1}b0VIM");
    base.folder.write("values.txt", "{{ .Values }}");
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    assert!(!narthex.log().contains("README"), "{}", narthex.log());
}

#[test]
fn a_file_written_in_place_is_applied() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    base.folder.write_in_place("ingress.yaml", &to("b"));
    narthex.until_backend(HOST, "/", "b");
}

#[test]
fn an_editors_rename_over_is_applied() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    for service in ["b", "a", "b"] {
        base.folder.rename_over("ingress.yaml", &to(service));
        narthex.until_backend(HOST, "/", service);
    }
}

#[test]
fn a_rename_over_of_a_file_given_by_name_is_applied() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let (one, two) = (
        base.folder.file("base.yaml"),
        base.folder.file("ingress.yaml"),
    );
    let narthex = Narthex::with_paths(&[&one, &two]).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    for service in ["b", "a"] {
        base.folder.rename_over("ingress.yaml", &to(service));
        narthex.until_backend(HOST, "/", service);
    }
}

#[test]
fn added_and_deleted_files_are_applied() {
    let base = base();
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "404");
    base.folder.write("ingress.yaml", &to("a"));
    narthex.until_backend(HOST, "/", "a");
    base.folder.remove("ingress.yaml");
    narthex.until_backend(HOST, "/", "404");
}

#[test]
fn folders_that_appear_later_are_watched_too() {
    let base = base();
    let narthex = Narthex::on(&base.folder).start();
    base.folder.write("new/deeper/ingress.yaml", &to("a"));
    narthex.until_backend(HOST, "/", "a");
    base.folder
        .write_in_place("new/deeper/ingress.yaml", &to("b"));
    narthex.until_backend(HOST, "/", "b");
    fs::remove_dir_all(base.folder.file("new")).expect("was there");
    narthex.until_backend(HOST, "/", "404");
}

/// Lays `text` out as kubelet does with a mounted ConfigMap.
fn swap(folder: &Path, generation: &str, text: &str) {
    let data = folder.join(generation);
    fs::create_dir(&data).expect("a folder");
    fs::write(data.join("ingress.yaml"), text).expect("a file");
    symlink(generation, folder.join("..data_tmp")).expect("a link");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
    if !folder.join("ingress.yaml").exists() {
        symlink("..data/ingress.yaml", folder.join("ingress.yaml")).expect("a link");
    }
}

#[test]
fn configmap_style_symlink_swap_is_applied() {
    let base = base();
    let mounted = Folder::new();
    swap(mounted.path(), "..2026_01_01", &to("a"));
    let narthex = Narthex::with_paths(&[base.folder.path(), mounted.path()]).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    swap(mounted.path(), "..2026_01_02", &to("b"));
    fs::remove_dir_all(mounted.file("..2026_01_01")).expect("was there");
    narthex.until_backend(HOST, "/", "b");
    swap(mounted.path(), "..2026_01_03", &to("a"));
    fs::remove_dir_all(mounted.file("..2026_01_02")).expect("was there");
    narthex.until_backend(HOST, "/", "a");
}

#[test]
fn a_mounted_configmap_is_read_once_and_not_through_its_data_folders_again() {
    let base = base();
    let mounted = Folder::new();
    swap(mounted.path(), "..2026_01_01", &to("a"));
    let narthex = Narthex::with_paths(&[base.folder.path(), mounted.path()]).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    let checked = program_tests::run(&[
        "check".as_ref(),
        base.folder.path().as_os_str(),
        mounted.path().as_os_str(),
    ]);
    assert_eq!(
        checked.code,
        Some(0),
        "no duplicate is reported: {}",
        checked.said()
    );
}

const BAD: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: bad
spec:
  rules:
    - host: bad.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: a
                port:
                  number: eighty
";

#[test]
fn a_malformed_document_is_reported_and_its_neighbours_are_served() {
    let base = base();
    let after = Ingress::named("after")
        .host("after.example")
        .prefix("/", "b")
        .yaml();
    base.folder
        .write("mixed.yaml", &docs(&[to("a"), BAD.to_owned(), after]));
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    assert_eq!(narthex.backend("after.example", "/"), "b");
    assert_eq!(narthex.backend("bad.example", "/"), "404");
    let lines = to("a").lines().count();
    // The field's line: the documents before it, the separator, and its place in its document.
    let line = lines + 1 + BAD.lines().count();
    for said in [&*format!("mixed.yaml:{line}"), "bad", "port.number"] {
        narthex.until_log(said);
    }
}

#[test]
fn a_file_that_is_not_yaml_is_reported_and_other_files_are_served() {
    let base = base();
    base.folder.write("good.yaml", &to("a"));
    base.folder
        .write("broken.yaml", "kind: Ingress\n  metadata: [unclosed\n");
    base.folder.write("broken.json", "{\"kind\": \"Ingress\",");
    fs::write(base.folder.file("binary.yaml"), [0xff, 0xfe, 0x00, 0x80]).expect("a file");
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    for name in ["broken.yaml:", "broken.json:", "binary.yaml"] {
        narthex.until_log(name);
    }
}

#[test]
fn an_object_that_turns_bad_keeps_its_last_good_form() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    let bad = to("b").replace("pathType: Prefix", "pathType: [Prefix]");
    base.folder.rename_over("ingress.yaml", &bad);
    narthex.until_log("ingress.yaml:");
    assert_eq!(narthex.backend(HOST, "/"), "a");
    assert_eq!(narthex.admin_status("/readyz"), Some(200));
    base.folder.rename_over("ingress.yaml", &to("b"));
    narthex.until_backend(HOST, "/", "b");
}

#[test]
fn a_file_that_turns_unreadable_as_yaml_keeps_its_objects() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    base.folder
        .rename_over("ingress.yaml", &format!("{}\n  : [half written", to("b")));
    narthex.until_log("ingress.yaml:");
    assert_eq!(narthex.backend(HOST, "/"), "a");
}

#[test]
fn unknown_kinds_are_counted_and_named_once() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let config = |name: &str| {
        format!("apiVersion: example.com/v1\nkind: Gizmo\nmetadata:\n  name: {name}\n")
    };
    base.folder.write(
        "gizmos.yaml",
        &docs(&[config("one"), config("two"), config("three")]),
    );
    let narthex = Narthex::on(&base.folder).start();
    narthex.until_log("Gizmo");
    let log = narthex.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("Gizmo")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains('3'), "counted: {lines:?}");
}

#[test]
fn the_same_object_in_two_files_is_reported() {
    let base = base();
    base.folder.write("one.yaml", &to("a"));
    base.folder.write("two.yaml", &to("b"));
    let narthex = Narthex::on(&base.folder).start();
    assert!(matches!(narthex.backend(HOST, "/").as_str(), "a" | "b"));
    until("the duplicate is reported", || {
        let log = narthex.log();
        (log.contains("one.yaml") || log.contains("two.yaml")) && log.contains("default/web")
    });
}

#[test]
fn an_object_that_moves_to_another_file_is_served_throughout() {
    let base = base();
    base.folder.write("one.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    fs::rename(base.folder.file("one.yaml"), base.folder.file("two.yaml")).expect("renamed");
    base.folder.rename_over("two.yaml", &to("b"));
    narthex.until_backend(HOST, "/", "b");
}

#[test]
fn a_path_that_does_not_exist_is_a_clear_error() {
    let ended = Narthex::with_paths(&[Path::new("/nowhere/at/all")]).fail();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("/nowhere/at/all"), "{}", ended.said());
}

#[test]
fn an_objects_namespace_defaults_to_default() {
    let base = base();
    base.folder.write(
        "ingress.yaml",
        &to("a").replace("  namespace: default\n", ""),
    );
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
    assert_eq!(narthex.access("/")["route"], "default/web");
}

#[test]
fn objects_of_later_versions_keep_their_unknown_fields_to_themselves() {
    let base = base();
    base.folder.write(
        "ingress.yaml",
        &to("a").replace("spec:\n", "spec:\n  fromTheFuture: {x: 1}\n"),
    );
    let narthex = Narthex::on(&base.folder).start();
    assert_eq!(narthex.backend(HOST, "/"), "a");
}

#[test]
fn a_change_is_applied_within_a_second() {
    let site = Site::echo();
    // A machine that does something else in between says nothing about the program: one round
    // shows what it can do.
    let mut rounds = Vec::new();
    let in_time = (0..8).any(|round| {
        let host = format!("new{round}.example");
        let changed = docs(&[
            class(),
            service("web", &[site.web.address()]),
            Ingress::named("web").host(&host).prefix("/", "web").yaml(),
        ]);
        let started = std::time::Instant::now();
        site.folder.rename_over("site.yaml", &changed);
        site.narthex.until_backend(&host, "/", "web");
        rounds.push(started.elapsed());
        started.elapsed() < std::time::Duration::from_secs(1)
    });
    assert!(in_time, "{rounds:?}");
}

#[test]
fn a_thousand_files_at_once_are_all_applied() {
    let base = base();
    let narthex = Narthex::on(&base.folder).start();
    for index in 0..1000 {
        let ingress = Ingress::named(&format!("i{index}"))
            .host(&format!("h{index}.example"))
            .prefix("/", if index % 2 == 0 { "a" } else { "b" });
        base.folder
            .write(&format!("i{index}.yaml"), &ingress.yaml());
    }
    for index in [0, 1, 500, 998, 999] {
        let backend = if index % 2 == 0 { "a" } else { "b" };
        narthex.until_backend(&format!("h{index}.example"), "/", backend);
    }
}

#[test]
fn two_updates_in_one_instant_end_with_the_last() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).start();
    for round in 0..20 {
        base.folder.rename_over("ingress.yaml", &to("a"));
        base.folder
            .rename_over("ingress.yaml", &to(if round % 2 == 0 { "b" } else { "a" }));
    }
    let last = Ingress::named("last").host("last.example").prefix("/", "b");
    base.folder
        .rename_over("ingress.yaml", &docs(&[to("b"), last.yaml()]));
    narthex.until_backend("last.example", "/", "b");
    program_tests::never(
        "an older form returns",
        std::time::Duration::from_millis(300),
        || narthex.backend(HOST, "/") != "b",
    );
}

#[test]
fn who_has_seen_a_change_finds_it_wherever_it_asks_next() {
    let base = base();
    base.folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&base.folder).arg("--workers=4").start();
    // The machine is busy: whoever tells the workers may be held up between two of them.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        let asked = scope.spawn(|| find_changes(&base, &narthex)).join();
        over.store(true, Ordering::Relaxed);
        asked.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// Changes the backend again and again, and asks everywhere once one connection has the new one.
fn find_changes(base: &Base, narthex: &Narthex) {
    // As many that all workers have some, nearly always; the same whatever they have.
    let mut conns: Vec<_> = (0..16).map(|_| Conn::plain(narthex.http)).collect();
    let mut backend = move |conn: usize| conns[conn].get(HOST, "/").backend();
    for round in 0..40 {
        let new = if round % 2 == 0 { "b" } else { "a" };
        base.folder.rename_over("ingress.yaml", &to(new));
        let first = round % 16;
        // Without a pause, to come between one worker's change and another's.
        let end = Instant::now() + wait::PATIENCE;
        while backend(first) != new {
            assert!(Instant::now() < end, "{new} is not served in round {round}");
        }
        for other in 0..16 {
            assert_eq!(backend(other), new, "connection {other}, round {round}");
        }
    }
}
