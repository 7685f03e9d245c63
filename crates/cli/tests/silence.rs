//! What the command does when some of those whom it asks do not answer.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// A proxy that answers every question, until the test's process ends.
fn proxy(folder: &Path, node: &'static str) {
    proxy_of_status(folder, node, format!(r#"{{"node": "{node}"}}"#));
}

/// The same, with so much to say of itself.
fn proxy_of_status(folder: &Path, node: &str, status: String) {
    let listener = UnixListener::bind(socket(folder, node)).expect("a socket");
    answer(listener, status);
}

/// An agent that does so, beside its proxy.
fn agent(folder: &Path, node: &str) {
    let listener = UnixListener::bind(folder.join(node).join("agent-admin.sock")).expect("a socket");
    answer(listener, format!(r#"{{"node": "{node}", "in_sync": true}}"#));
}

fn answer(listener: UnixListener, status: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a question");
            let mut question = [0; 1024];
            let length = stream.read(&mut question).expect("a question");
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            let path = question.split(' ').nth(1).unwrap_or_default();
            let body = match path {
                "/status" => &status,
                "/connections" => r#"[{"direction": "outbound"}]"#,
                _ => r#"[{"identity": "spiffe://td/ns/shop/sa/a", "name": "a"}]"#,
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("room for an answer");
        }
    });
}

/// A socket whose process has ended.
fn ended(folder: &Path, node: &str) {
    drop(UnixListener::bind(socket(folder, node)).expect("a socket"));
}

fn socket(folder: &Path, node: &str) -> std::path::PathBuf {
    let folder = folder.join(node).join("proxy");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join("admin.sock")
}

/// Standard output, standard error and the status.
fn weft(world: &Path, words: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.env_remove("WEFT_ADMIN_SOCKET").arg("--world").arg(world).args(words);
    let output = command.output().expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn what_the_others_say_is_shown() {
    let world = tempfile::tempdir().expect("a folder");
    ended(world.path(), "node1");
    proxy(world.path(), "node2");
    ended(world.path(), "node3");
    proxy(world.path(), "node4");
    let first = socket(world.path(), "node1").display().to_string();
    let third = socket(world.path(), "node3").display().to_string();
    let each_own = (vec!["node2", "node4"], vec![&first, &third], Some(1));
    // All say the same: the first who answers is enough, and who comes behind is not asked.
    let the_mesh = (vec!["-"], vec![&first], Some(0));
    for (verb, (nodes, silent, status)) in [
        ("certificates", each_own.clone()),
        ("connections", each_own),
        ("workloads", the_mesh.clone()),
        ("services", the_mesh.clone()),
        ("policies", the_mesh),
    ] {
        let (answer, silences, code) = weft(world.path(), &[verb, "-o", "json"]);
        assert_eq!(code, status, "{verb}");
        let rows: serde_json::Value = serde_json::from_str(&answer).expect("JSON and nothing else");
        let found: Vec<&str> =
            rows.as_array().expect("a list").iter().map(|row| row["node"].as_str().unwrap_or("-")).collect();
        assert_eq!(found, nodes, "{verb}");
        let want: String = silent.iter().map(|socket| silence(socket)).collect();
        assert_eq!(silences, want, "{verb}");
        let (table, silences, code) = weft(world.path(), &[verb]);
        assert_eq!((table.lines().count(), code), (1 + nodes.len(), status), "{verb}: {table}");
        assert_eq!(silences, want, "{verb}");
    }
    let (status, silences, code) = weft(world.path(), &["status"]);
    assert_eq!((silences.as_str(), code), ("", Some(1)), "who is silent is part of the status");
    for line in
        ["node2", "node4", &format!("  proxy         does not answer: connecting to {first}: {REFUSED}")]
    {
        assert!(status.lines().any(|one| one == line), "{line:?} is missing in\n{status}");
    }
}

#[test]
fn nobody_is_no_empty_list() {
    let world = tempfile::tempdir().expect("a folder");
    ended(world.path(), "node1");
    ended(world.path(), "node2");
    let want: String =
        ["node1", "node2"].map(|node| silence(&socket(world.path(), node).display().to_string())).concat();
    for verb in ["certificates", "connections", "workloads", "services", "policies"] {
        for form in ["table", "json", "yaml"] {
            let said = weft(world.path(), &[verb, "-o", form]);
            assert_eq!(said, (String::new(), want.clone(), Some(1)), "{verb} as {form}");
        }
    }
}

#[test]
fn whoever_answers_needs_no_words() {
    let world = tempfile::tempdir().expect("a folder");
    proxy(world.path(), "node1");
    let (answer, silences, code) = weft(world.path(), &["connections", "-o", "json"]);
    assert_eq!((silences.as_str(), code), ("", Some(0)), "{answer}");
    assert!(answer.contains("node1"), "{answer}");
}

#[test]
fn who_has_read_enough_breaks_nothing() {
    let world = tempfile::tempdir().expect("a folder");
    proxy(world.path(), "node1");
    for (case, out, want) in [("a reader that has gone", closed_pipe(), 0), ("a full disk", full_disk(), 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.env_remove("WEFT_ADMIN_SOCKET").arg("--world").arg(world.path()).arg("workloads");
        let output = command.stdout(out).output().expect("the command runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(want), "{case}: {said}");
        assert_eq!(said.is_empty(), want == 0, "{case}: {said}");
        assert!(!said.contains("panicked"), "{case}: {said}");
    }
}

fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full").into()
}

/// A control plane that has ended in order leaves no socket that could refuse.
#[test]
fn a_control_plane_that_is_gone_is_missed_by_its_nodes() {
    for (case, connected, code) in [("there, on another machine", "7", 0), ("gone", "null", 1)] {
        let world = tempfile::tempdir().expect("a folder");
        let status = format!(
            r#"{{"node": "node1", "discovery": {{"in_sync": true, "connected_for_seconds": {connected}, "failures": 2,
                "last_error": "connection refused"}}}}"#
        );
        proxy_of_status(world.path(), "node1", status);
        agent(world.path(), "node1");
        let (table, silences, got) = weft(world.path(), &["status"]);
        assert_eq!((silences.as_str(), got), ("", Some(code)), "{case}: {table}");
        let lines =
            ["control", "  discovery     NOT connected, 2 attempts failed, the last one: connection refused"];
        for line in lines {
            assert_eq!(table.lines().any(|one| one == line), code == 1, "{case}: {line:?} in\n{table}");
        }
        let (json, _, got) = weft(world.path(), &["status", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((json["control"]["error"].is_string(), got), (code == 1, Some(code)), "{case}");
    }
}

const REFUSED: &str = "Connection refused (os error 111)";

/// Where, why, and what to do.
fn silence(socket: &str) -> String {
    format!(
        "weft: no answer: connecting to {socket}: {REFUSED}\n  \
         the process that made this socket has ended: look at its log\n"
    )
}
