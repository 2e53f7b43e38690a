//! As nobody, without a place to write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use program_tests::folder::secret;
use program_tests::hand_over::{HandOver, socket_of};
use program_tests::program::{Starting, binary};
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Folder, HOST, Ingress, Narthex, class, service};

const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
];

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// Everything that an unprivileged user needs, readable for all.
struct Stage {
    folder: Folder,
    place: tempfile::TempDir,
    _web: Backend,
}

fn stage() -> Stage {
    let web = Backend::named("web");
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("tls", &Certificate::of(&[HOST])),
        Ingress::named("web")
            .tls(&[HOST], "tls")
            .host(HOST)
            .prefix("/", "web")
            .yaml(),
        Ingress::named("plain")
            .host("plain.example")
            .prefix("/", "web")
            .yaml(),
    ]);
    mode(folder.path(), 0o755);
    let place = tempfile::tempdir().expect("a temporary folder");
    mode(place.path(), 0o755);
    let cwd = place.path().join("cwd");
    fs::create_dir(&cwd).expect("a folder");
    mode(&cwd, 0o555);
    Stage {
        folder,
        place,
        _web: web,
    }
}

impl Stage {
    /// The program as nobody if this test is root, else as whoever this is.
    fn narthex(&self) -> Starting {
        let starting = Narthex::on(&self.folder).in_directory(&self.place.path().join("cwd"));
        if !rustix::process::geteuid().is_root() {
            return starting;
        }
        // The build's folder may be closed to nobody.
        let copy = self.place.path().join("narthex");
        if !copy.exists() {
            fs::copy(binary(), &copy).expect("a copy");
            mode(&copy, 0o755);
        }
        starting.binary(&copy).through(NOBODY)
    }

    /// A folder that nobody may write.
    fn writable(&self, name: &str) -> std::path::PathBuf {
        let path = self.place.path().join(name);
        fs::create_dir(&path).expect("a folder");
        mode(&path, 0o777);
        path
    }
}

fn files_below(path: &Path) -> usize {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                files_below(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

#[test]
fn runs_as_nobody_with_read_only_cwd() {
    let stage = stage();
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("HOME", "/nonexistent")
        .start();
    if rustix::process::geteuid().is_root() {
        let status = fs::read_to_string(format!("/proc/{}/status", narthex.child.id()));
        assert!(
            status.expect("runs").contains("Uid:\t65534"),
            "not as nobody"
        );
    }
    assert_eq!(narthex.backend("plain.example", "/"), "web");
    let (mut conn, _) = Client::trusting_anything()
        .connect(narthex.https, HOST)
        .expect("a handshake");
    assert_eq!(conn.get(HOST, "/").backend(), "web");
    assert_eq!(files_below(&stage.place.path().join("cwd")), 0);
}

#[test]
fn without_a_state_folder_it_warns_and_keeps_state_in_memory() {
    let stage = stage();
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("HOME", "/nonexistent")
        .start();
    narthex.until_log("--state-dir");
    assert!(
        narthex.log().to_lowercase().contains("warn"),
        "{}",
        narthex.log()
    );
    Client::trusting_anything().certificate(narthex.https, "other.example");
}

#[test]
fn the_state_directory_of_systemd_is_used() {
    let stage = stage();
    let state = stage.writable("state");
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("STATE_DIRECTORY", &state)
        .start();
    Client::trusting_anything().certificate(narthex.https, "other.example");
    assert!(
        files_below(&state) > 0,
        "the default certificate is kept there"
    );
}

#[test]
fn xdg_state_home_is_used_under_our_name() {
    let stage = stage();
    let state = stage.writable("xdg");
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("XDG_STATE_HOME", &state)
        .start();
    Client::trusting_anything().certificate(narthex.https, "other.example");
    assert!(files_below(&state.join("narthex")) > 0);
}

#[test]
fn the_systemd_folder_comes_before_xdg() {
    let stage = stage();
    let (state, xdg) = (stage.writable("state"), stage.writable("xdg"));
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("STATE_DIRECTORY", &state)
        .env("XDG_STATE_HOME", &xdg)
        .start();
    Client::trusting_anything().certificate(narthex.https, "other.example");
    assert!(files_below(&state) > 0);
    assert_eq!(files_below(&xdg), 0);
}

#[test]
fn private_keys_in_the_state_folder_are_nobody_elses_to_read() {
    let stage = stage();
    let narthex = Narthex::on(&stage.folder).start();
    Client::trusting_anything().certificate(narthex.https, "other.example");
    let mut seen = 0;
    for entry in fs::read_dir(narthex.state.path())
        .expect("a folder")
        .flatten()
    {
        let data = entry.metadata().expect("there");
        if data.is_file()
            && fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("PRIVATE KEY"))
        {
            assert_eq!(data.permissions().mode() & 0o077, 0, "{:?}", entry.path());
            seen += 1;
        }
    }
    assert!(seen > 0, "a key is kept in the state folder itself");
}

/// A privileged port whose stand-in is free.
fn privileged_port() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("0.0.0.0", port)).is_ok();
    (700..1000)
        .find(|port| free(port + 8000))
        .expect("a free port")
}

#[test]
fn a_privileged_port_that_cannot_be_bound_is_served_8000_higher() {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024);
    let port = privileged_port();
    let stage = stage();
    let mut narthex = stage.narthex().http_port(port).start();
    if start <= port {
        // The machine lets everybody bind it: then it is simply bound.
        assert_eq!(narthex.backend("plain.example", "/"), "web");
        return;
    }
    narthex.until_log(&(port + 8000).to_string());
    assert!(
        narthex.log().contains(&port.to_string()),
        "{}",
        narthex.log()
    );
    narthex.http = port + 8000;
    assert_eq!(narthex.backend("plain.example", "/"), "web");
}

#[test]
fn a_process_is_replaced_as_nobody() {
    let stage = stage();
    let state = stage.writable("state");
    let start = || {
        let narthex = stage.narthex().without_state_flag();
        narthex.env("STATE_DIRECTORY", &state)
    };
    let mut narthex = start().start();
    let replacement = start().after(&narthex).start();
    let status = narthex.ended_within(std::time::Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{}", narthex.log());
    assert_eq!(replacement.backend("plain.example", "/"), "web");
}

#[test]
fn another_user_cannot_take_over() {
    let stage = stage();
    let state = stage.writable("state");
    let narthex = stage
        .narthex()
        .without_state_flag()
        .env("STATE_DIRECTORY", &state)
        .start();
    // The file's mode keeps everybody out but root, who is only told apart by number.
    let mode = fs::metadata(socket_of(&state)).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    if rustix::process::geteuid().is_root() {
        let root = HandOver::with(&state);
        // It may be shut out before it has said anything.
        let _ = root.try_say(r#"{"say":"hello","protocol":1}"#, &[]);
        assert!(root.is_refused_within(std::time::Duration::from_secs(20)));
        // Nor does it take sockets from another user's process.
        let ended = Narthex::on(&stage.folder)
            .without_state_flag()
            .env("STATE_DIRECTORY", &state)
            .arg("--upgrade")
            .fail();
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("user 65534"), "{}", ended.said());
    }
    assert_eq!(narthex.backend("plain.example", "/"), "web");
}
