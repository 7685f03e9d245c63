//! Health probes: the kubelet reaches a pod past the mesh, also under STRICT and without a proxy; nobody else does, though
//! the address be the same.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use weft_testkit::{App, MeshSettings, Node, World};
use weft_tests::asking::await_enrolled;
use weft_tests::metrics::packets;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);
/// For what is not to be answered.
const SILENCE: Duration = Duration::from_millis(300);
const REFUSED: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);
/// The kernel takes the connection, and that is all.
const SILENT: Option<ErrorKind> = Some(ErrorKind::WouldBlock);

fn url(at: SocketAddr) -> String {
    format!("http://{at}/healthz")
}

/// The kubelet is answered by the application, and seen under the node's address.
fn assert_probed(node: &Node, at: SocketAddr) -> Result<()> {
    let answer = node.probe_as_kubelet(&url(at))?;
    ensure!(answer.is_ok() && answer.version() == "v1", "the kubelet is not answered at {at}: {answer:?}");
    let peer = answer.peer().map(|peer| peer.ip());
    ensure!(peer.is_some_and(|peer| node.ips().contains(&peer)), "{at} sees {peer:?}");
    Ok(())
}

/// How a program of the node's own fares, in this test's cgroup: nothing if it is answered, or why not.
fn as_another(node: &Node, at: SocketAddr, patience: Duration) -> Result<Option<ErrorKind>> {
    let answered = node.enter(|| -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&at, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])
    })?;
    Ok(answered.err().map(|error| error.kind()))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn only_the_kubelet_gets_past_strict() -> Result<()> {
    let world = World::builder().nodes(1).build()?;
    let server = world.node(1).pod("shop", "server").app(App::http("v1")).start()?;
    let mesh = start_mesh(&world, MeshSettings::default())?;
    await_enrolled(&mesh, [&server], WITHIN)?;
    let node = world.node(1);
    let both = [server.addr(8080), server.addr6(8080)];
    for at in both {
        assert_probed(&node, at)?;
        let found = as_another(&node, at, WITHIN)?;
        ensure!(found.is_none(), "PERMISSIVE, and {at}: {found:?}");
    }
    world.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}},
    }))?;
    for at in both {
        eventually("STRICT", WITHIN, || {
            let found = as_another(&node, at, WITHIN)?;
            ensure!(found == REFUSED, "{at}: {found:?}");
            Ok(())
        })?;
        let before = packets(&node)?;
        for _ in 0..10 {
            assert_probed(&node, at).context("under STRICT")?;
            let found = as_another(&node, at, WITHIN)?;
            ensure!(found == REFUSED, "beside a probe, the node itself at {at}: {found:?}");
        }
        let noted = packets(&node)?["noted_probe"] - before["noted_probe"];
        ensure!(noted == 10, "{noted} probes were noted, and ten were made");
    }
    // A node whose proxy is away must not have its pods restarted.
    mesh.proxy(1).kill()?;
    for at in both {
        assert_probed(&node, at).context("without a proxy")?;
        let found = as_another(&node, at, SILENCE)?;
        ensure!(found == SILENT, "without a proxy, the node itself at {at}: {found:?}");
    }
    Ok(())
}
