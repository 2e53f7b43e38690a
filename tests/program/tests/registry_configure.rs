//! `narthex registry creds configure` at a terminal, a real one by Python's `pty`.

use std::process::Command;

use program_tests::program::{Ended, binary, end};
use serde_json::Value;

/// Runs a command at a terminal of its own. For each pair of arguments it waits until the terminal shows the first, notes
/// whether what is typed is shown, and types the second. Tells what the terminal showed, those notes, how the terminal was
/// when the command had ended, and its exit status.
const TERMINAL: &str = r#"
import fcntl, json, os, pty, select, signal, subprocess, sys, termios, time
pairs, command = json.loads(sys.argv[1]), sys.argv[2:]
# We lead the session and outlive the command: the kernel brings the terminal of a leader back itself when that ends.
os.setsid()
terminal, other = pty.openpty()
fcntl.ioctl(other, termios.TIOCSCTTY, 0)
# A handler is not inherited, as ignoring would be.
signal.signal(signal.SIGINT, lambda *_: None)
child = subprocess.Popen(command, stdin=other, stdout=other, stderr=other)
shown, seen, echo = b"", 0, []
deadline = time.monotonic() + 60
def is_shown():
    return bool(termios.tcgetattr(other)[3] & termios.ECHO)
def read():
    global shown
    if select.select([terminal], [], [], 0.05)[0]:
        shown += os.read(terminal, 65536)
for prompt, typed in pairs:
    while prompt.encode() not in shown[seen:]:
        if time.monotonic() > deadline:
            sys.exit("not shown: %r in %r" % (prompt, shown))
        read()
    seen = len(shown)
    # A prompt is written before what is typed is hidden.
    if typed.startswith("hidden:"):
        typed = typed[len("hidden:"):]
        while is_shown() and time.monotonic() < deadline:
            time.sleep(0.01)
    echo.append(is_shown())
    os.write(terminal, typed.encode())
while child.poll() is None and time.monotonic() < deadline:
    read()
status = child.poll()
if status is None:
    child.kill()
while select.select([terminal], [], [], 0.2)[0]:
    read()
print(json.dumps({"shown": shown.decode(), "echo": echo, "after": is_shown(), "status": status}))
"#;

#[track_caller]
fn at_terminal(pairs: &[(&str, &str)], arguments: &[&str]) -> Value {
    let mut python = Command::new("python3");
    python
        .args(["-c", TERMINAL])
        .arg(serde_json::json!(pairs).to_string())
        .arg(binary())
        .args(["registry", "creds", "configure"])
        .args(arguments);
    let ended: Ended = end(python);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

#[test]
fn a_password_that_is_typed_is_not_shown_and_all_else_is() {
    let answers = [
        ("ECR)? [y/N] ", "\n"),
        ("GCR)? [y/N] ", "n\n"),
        ("a password? [y/N] ", "y\n"),
        ("(ACR)? [y/N] ", "\n"),
        (": ", "r.example\n"),
        (": ", "robot\n"),
        (": ", "hidden:wonder land\n"),
    ];
    let ended = at_terminal(&answers, &["--dry-run"]);
    assert_eq!(ended["status"], 0, "{ended:#}");
    assert_eq!(
        ended["echo"],
        serde_json::json!([true, true, true, true, true, true, false])
    );
    let shown = ended["shown"].as_str().expect("a text");
    assert!(
        shown.contains("robot") && shown.contains("r.example"),
        "{shown}"
    );
    assert!(!shown.contains("wonder"), "{shown}");
    // In Base64, in the manifest that is printed.
    assert!(shown.contains("d29uZGVyIGxhbmQ="), "{shown}");
    assert_eq!(ended["after"], true, "the terminal is as it was");
}

#[test]
fn a_terminal_is_as_it_was_after_who_is_asked_for_a_password_breaks_off() {
    let arguments = [
        "--provider=docker",
        "--dry-run",
        "--set=DOCKER_PRIVATE_REGISTRY_SERVER=r.example",
        "--set=DOCKER_PRIVATE_REGISTRY_USER=robot",
    ];
    // Half a password, and Control-C; then none, and the end of the file.
    for (typed, status) in [("hidden:wond\u{3}", 130), ("hidden:\u{4}", 1)] {
        let ended = at_terminal(&[(": ", typed)], &arguments);
        assert_eq!(ended["status"], status, "{ended:#}");
        assert_eq!(ended["echo"], serde_json::json!([false]));
        assert_eq!(ended["after"], true, "{ended:#}");
        let shown = ended["shown"].as_str().expect("a text");
        assert!(
            !shown.contains("wond") && !shown.contains("Secret"),
            "{shown}"
        );
    }
}
