//! Finding Weft's own programs, and asking them over HTTP from inside their namespace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::netns;

/// How long a local HTTP answer may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(2);

/// A program of this workspace: beside the running one, or where cargo put it.
pub fn find_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the running program")?;
    // A test is in target/<profile>/deps, an example in target/<profile>/examples.
    let folders: Vec<&Path> = own.ancestors().skip(1).take(2).collect();
    for folder in &folders {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!("{name} is not in {}: build it first (cargo build --bins)", places.join(", "))
}

/// `GET path` from a port on the loopback device of a namespace: status and body.
pub(crate) fn http_get(netns: &Path, port: u16, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = netns::within(netns, || exchange(port, request.as_bytes()))??;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its headers")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("an answer without a status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

fn exchange(port: u16, request: &[u8]) -> Result<String> {
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&local, HTTP_PATIENCE)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
        whole += chunk;
        body = rest.get(length + 2..).unwrap_or("");
    }
    whole
}
