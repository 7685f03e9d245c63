//! What `weft policy explain` asks, and what it answers by itself.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};

const WORKLOADS: &str = r#"[
    {"namespace": "shop", "name": "client", "addresses": ["10.0.0.1", "fd00::1"], "protocol": "tunnel", "services": []},
    {"namespace": "shop", "name": "server", "addresses": ["10.0.0.2", "fd00::2"], "protocol": "tunnel", "services": []},
    {"namespace": "lab", "name": "stranger", "addresses": ["10.0.0.3"], "protocol": "plain", "services": []}
]"#;

/// A proxy that allows everything, until the test's process ends; and what it was asked to explain.
fn proxy(socket: &Path) -> Receiver<String> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a question");
            let mut question = [0; 1024];
            let length = stream.read(&mut question).expect("a question");
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            let path = question.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = match path.as_str() {
                "/status" => r#"{"node": "n1"}"#,
                "/workloads" => WORKLOADS,
                "/services" => "[]",
                _ => r#"{"verdict": "allowed"}"#,
            };
            if path.starts_with("/explain") {
                tx.send(path).expect("the test listens");
            }
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("room for an answer");
        }
    });
    rx
}

fn explain(socket: &Path, from: &str, to: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("--socket").arg(socket).args(["policy", "explain", from, to]);
    command.output().expect("the command runs")
}

#[test]
fn an_address_is_asked_about_as_it_was_typed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let asked = proxy(&socket);
    for (from, to, want) in [
        ("shop/client", "shop/server:80", "/explain?src=shop/client&dst=shop/server&port=80"),
        ("client", "[fd00::2]:80", "/explain?src=shop/client&dst=fd00::2&port=80"),
        ("fd00::1", "shop/server", "/explain?src=fd00::1&dst=shop/server&port=0"),
        ("192.0.2.1", "10.0.0.2:80", "/explain?src=192.0.2.1&dst=10.0.0.2&port=80"),
    ] {
        let said = explain(&socket, from, to);
        assert!(said.status.success(), "{from} {to}: {said:?}");
        assert_eq!(asked.try_recv().as_deref(), Ok(want), "{from} {to}");
    }
}

#[test]
fn nobody_decides_for_a_pod_outside_the_mesh() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let asked = proxy(&socket);
    for to in ["lab/stranger:80", "10.0.0.3:80"] {
        let said = explain(&socket, "shop/client", to);
        let text = String::from_utf8(said.stderr).expect("text");
        assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0), "{to}: {text}");
        assert!(text.contains("lab/stranger is outside the mesh"), "{to}: {text}");
        assert!(asked.try_recv().is_err(), "{to}: nobody is asked");
    }
    assert!(explain(&socket, "lab/stranger", "shop/server:80").status.success(), "as a client it is judged");
}
