//! Asking the mesh's processes how they are, over their administrative sockets, and waiting for an answer.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weft_testkit::{Mesh, Pod};

use crate::waiting::eventually;

/// How long a local answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where the proxy of a node can be asked.
pub fn proxy_socket(mesh: &Mesh, node: usize) -> PathBuf {
    mesh.proxy(node).folder().join("proxy/admin.sock")
}

/// Where the agent of a node can be asked.
pub fn agent_socket(mesh: &Mesh, node: usize) -> PathBuf {
    mesh.agent(node).folder().join("agent-admin.sock")
}

/// `GET path` over a unix socket, as JSON.
///
/// # Errors
/// Without an answer, or with another one.
pub fn ask(socket: &Path, path: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("asking {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").context("asking")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("the answer of {}", socket.display()))?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its headers")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{}{path}: {head}\n{body}", socket.display());
    serde_json::from_str(body).with_context(|| format!("{}{path}: {body}", socket.display()))
}

/// Waits until these pods are enrolled and their proxies hold a certificate for each.
///
/// # Errors
/// If they are not within the deadline; says what is missing.
pub fn await_enrolled<'a>(
    mesh: &Mesh,
    pods: impl IntoIterator<Item = &'a Pod>,
    deadline: Duration,
) -> Result<()> {
    let until = Instant::now() + deadline;
    for pod in pods {
        loop {
            let missing = match is_enrolled(mesh, pod) {
                Ok(None) => break,
                Ok(Some(missing)) => missing,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > until {
                bail!("{}/{} is not in the mesh after {deadline:?}: {missing}", pod.namespace(), pod.name());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

/// Waits until a node's proxy knows a pod as one of the mesh, which may be another node's. A pod that joins is known
/// before, as one outside, and would be spoken to in plain text.
///
/// # Errors
/// If it has not within the deadline.
pub fn await_known(mesh: &Mesh, node: usize, pod: &Pod, deadline: Duration) -> Result<()> {
    eventually(&format!("node {node} knows {}", pod.name()), deadline, || {
        let workloads = ask(&proxy_socket(mesh, node), "/workloads")?;
        let own = |entry: &&Value| entry["namespace"] == pod.namespace() && entry["name"] == pod.name();
        let workload = workloads.as_array().into_iter().flatten().find(own).context("no such workload")?;
        ensure!(is_meshed(workload), "it is outside: {workload}");
        Ok(())
    })
}

/// What is missing; nothing if it is enrolled.
fn is_enrolled(mesh: &Mesh, pod: &Pod) -> Result<Option<String>> {
    let status = ask(&agent_socket(mesh, pod.node()), "/status")?;
    let own = |entry: &&Value| entry["namespace"] == pod.namespace() && entry["name"] == pod.name();
    let Some(entry) = status["pods"].as_array().into_iter().flatten().find(own) else {
        return Ok(Some("the agent does not know it".to_owned()));
    };
    if entry["state"] != "enrolled" || !entry["reason"].is_null() {
        return Ok(Some(format!("the agent has it {} ({})", entry["state"], entry["reason"])));
    }
    let workloads = ask(&proxy_socket(mesh, pod.node()), "/workloads")?;
    let Some(workload) = workloads.as_array().into_iter().flatten().find(own) else {
        return Ok(Some("its proxy does not know it".to_owned()));
    };
    if !is_meshed(workload) {
        return Ok(Some("its proxy knows it as one outside".to_owned()));
    }
    let certificates = ask(&proxy_socket(mesh, pod.node()), "/certificates")?;
    let certified = |entry: &Value| entry["identity"] == workload["identity"] && entry["valid"] == true;
    let found = certificates.as_array().into_iter().flatten().any(certified);
    Ok((!found).then(|| format!("no certificate for {}", workload["identity"])))
}

/// Whether a proxy reaches a workload through a tunnel.
fn is_meshed(workload: &Value) -> bool {
    workload["protocol"] == "tunnel"
}
