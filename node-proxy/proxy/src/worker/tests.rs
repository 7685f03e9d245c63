//! What becomes of connections when their pod, their proxy or their tunnel goes.

mod scene;

use super::request::{Command, Request};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use scene::{Papers, Scene, listener, pod, run, served};
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use weft_agent_link::ListenerKind;
use weft_core::names::PolicyName;
use weft_core::policy::{Action, Enforcement, Policy, PolicyScope, Rule, Ruleset};
use weft_core::snapshot::Snapshot;
use weft_core::workload::Workload;
use weft_pki::{CertificateRequest, Leaf, TrustBundle, client_config, server_config, tunnel_server_name};
use weft_tunnel::accept::{Tunnel, accept};
use weft_tunnel::handle::Handle;
use weft_tunnel::handshakes::HANDSHAKES_MAX;
use weft_tunnel::mux::{self, Incoming};
use weft_tunnel::socket::Socket;

const NODE_1: u8 = 1;
const NODE_2: u8 = 4;

fn tunnel_at(host: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, host], 15008))
}

fn client() -> Workload {
    pod("client", 1, tunnel_at(NODE_1))
}

fn snapshot_of<const N: usize>(pods: [&Workload; N]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    pods.into_iter().for_each(|pod| snapshot.insert_workload(Arc::new(pod.clone())));
    snapshot
}

fn addr(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}

async fn accepted(listener: &TcpListener) -> tokio::net::TcpStream {
    let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    listener.accept().await.unwrap().0
}

async fn exchange(from: &mut tokio::net::TcpStream, to: &mut tokio::net::TcpStream) {
    from.write_all(b"word").await.unwrap();
    let mut heard = [0; 4];
    to.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"word");
}

#[test]
fn a_pod_that_leaves_takes_along_what_is_not_carried_yet() {
    run(async {
        let (client, way_out) = (client(), listener(2));
        let mut scene = Scene::set(snapshot_of([&client]), Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let mut application = TcpStream::connect(addr(&way_out)).unwrap();
        application.set_nonblocking(true).unwrap();
        // The proxy would dial, and waits for a socket.
        scene.hears(|request| matches!(request, Request::Sockets { .. })).await;
        scene.say(Command::PodGone { pod: client.uid.clone(), release: 0 }).await;
        scene.hears(|request| matches!(request, Request::Released { .. })).await;
        let error =
            application.read(&mut [0; 8]).expect_err("it is over when the pod is said to be released");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let lines = scene.lines().await;
        assert!(lines.len() == 1 && lines[0].contains("the pod has left the mesh"), "{lines:?}");
    });
}

#[test]
fn a_proxy_that_drains_carries_what_it_has_accepted() {
    run(async {
        let (client, way_out) = (client(), listener(2));
        let mut scene = Scene::set(snapshot_of([&client]), Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let mut application = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        scene.hears(|request| matches!(request, Request::Sockets { .. })).await;
        scene.say(Command::Drain).await;
        scene.give_sockets(&client, 1).await;
        // The proxy accepts nothing more, so what it dials comes here.
        let mut outside = accepted(&way_out).await;
        exchange(&mut application, &mut outside).await;
        exchange(&mut outside, &mut application).await;
        drop((application, outside));
        scene.hears(|request| matches!(request, Request::Drained { .. })).await;
        assert!(scene.lines().await[0].contains("end=closed"));
    });
}

#[test]
fn whoever_waits_for_a_socket_has_one_of_an_agent_that_comes_back() {
    run(async {
        let (client, way_out) = (client(), listener(2));
        let mut scene = Scene::set(snapshot_of([&client]), Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let mut application = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        let asks = |request: &Request| matches!(request, Request::Sockets { .. });
        scene.hears(asks).await;
        scene.say(Command::AgentRestarted).await;
        scene.hears(asks).await;
        // It did not know the pod yet when it was asked. Now it does, and says so.
        scene.enrol(&client, &[]).await;
        scene.hears(asks).await;
        scene.give_sockets(&client, 1).await;
        let mut outside = accepted(&way_out).await;
        exchange(&mut application, &mut outside).await;
    });
}

#[test]
fn a_pod_that_comes_back_in_another_namespace_takes_nothing_of_the_old_one() {
    run(async {
        let (client, way_out) = (client(), listener(2));
        let mut scene = Scene::set(snapshot_of([&client]), Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let mut application = TcpStream::connect(addr(&way_out)).unwrap();
        application.set_nonblocking(true).unwrap();
        scene.hears(|request| matches!(request, Request::Sockets { .. })).await;
        // Nobody was linked when the agent would have said that the old one leaves.
        scene.enrol_anew(&client, &[]).await;
        let lines = scene.lines().await;
        assert!(lines.len() == 1 && lines[0].contains("the pod has left the mesh"), "{lines:?}");
        let error = application.read(&mut [0; 8]).expect_err("it is over");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_pod_that_has_come_back_at_another_address_is_waited_for() {
    run(async {
        let (way_out, app) = (listener(2), listener(3));
        let (client, mut server) = (client(), pod("server", 3, tunnel_at(NODE_1)));
        let service = served(&mut server, addr(&way_out), addr(&app).port());
        let mut snapshot = snapshot_of([&pod("client", 9, tunnel_at(NODE_1)), &server]);
        snapshot.insert_service(Arc::new(service));
        let scene = Scene::set(snapshot, Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        scene.enrol(&server, &[]).await;
        scene.give_sockets(&server, 1).await;
        let mut near = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        // The event loop looks at its sockets before it sleeps: now the connection is accepted.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        scene.settles().await;
        scene.tell(|snapshot| snapshot.insert_workload(Arc::new(client.clone())));
        let mut far = accepted(&app).await;
        exchange(&mut near, &mut far).await;
        // Whoever sends from an address that is never told has no such luck.
        scene.tell(|snapshot| snapshot.insert_workload(Arc::new(pod("client", 9, tunnel_at(NODE_1)))));
        let mut forger = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        let error = forger.read(&mut [0; 8]).await.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let lines = scene.lines().await;
        assert!(lines[0].contains("127.0.0.1 is not an address of pod"), "{lines:?}");
    });
}

#[test]
fn whoever_is_in_no_mesh_is_asked_whether_it_is_still_there() {
    run(async {
        let (way_out, way_in) = (listener(2), listener(3));
        let (client, server) = (client(), pod("server", 3, tunnel_at(NODE_1)));
        let mut scene = Scene::set(snapshot_of([&client, &server]), Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let _application = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        let asks = |whose: &Workload| {
            let whose = whose.uid.clone();
            move |request: &Request| matches!(request, Request::Sockets { pod, .. } if *pod == whose)
        };
        scene.hears(asks(&client)).await;
        // What is dialled comes to the test.
        scene.enrol(&client, &[]).await;
        scene.give_sockets(&client, 1).await;
        let outside = accepted(&way_out).await;
        assert!(is_kept_alive(outside.peer_addr().unwrap(), outside.local_addr().unwrap()), "on the way out");

        scene.enrol(&server, &[(ListenerKind::InboundPlain, &way_in)]).await;
        let stranger = tokio::net::TcpStream::connect(addr(&way_in)).await.unwrap();
        scene.hears(asks(&server)).await;
        assert!(
            is_kept_alive(stranger.peer_addr().unwrap(), stranger.local_addr().unwrap()),
            "on the way in"
        );
    });
}

/// Whether the kernel will ask the other end of a connection of this namespace (proc(5): 2 is the timer of keepalives).
fn is_kept_alive(local: SocketAddr, remote: SocketAddr) -> bool {
    let written = |addr: SocketAddr| match addr {
        SocketAddr::V4(addr) => {
            format!("{:08X}:{:04X}", u32::from_le_bytes(addr.ip().octets()), addr.port())
        }
        SocketAddr::V6(_) => panic!("IPv4 here"),
    };
    let ends = format!("{} {}", written(local), written(remote));
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let row = table.lines().find(|row| row.contains(&ends)).unwrap_or_else(|| panic!("{ends} in {table}"));
    row.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02"))
}

#[test]
fn a_policy_holds_for_what_a_draining_proxy_still_carries() {
    run(async {
        let (way_out, app) = (listener(2), listener(3));
        let (client, mut server) = (client(), pod("server", 3, tunnel_at(NODE_1)));
        let service = served(&mut server, addr(&way_out), addr(&app).port());
        let mut snapshot = snapshot_of([&client, &server]);
        snapshot.insert_service(Arc::new(service));
        let mut scene = Scene::set(snapshot, Papers::default());
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        scene.enrol(&server, &[]).await;
        scene.give_sockets(&server, 1).await;
        let mut near = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();
        let mut far = accepted(&app).await;
        exchange(&mut near, &mut far).await;
        scene.say(Command::Drain).await;
        scene.settles().await;
        exchange(&mut far, &mut near).await;
        scene.tell(|snapshot| {
            snapshot.insert_policy(Arc::new(Policy {
                name: PolicyName::new("shop", "nobody"),
                scope: PolicyScope::Namespace,
                action: Action::Deny,
                enforcement: Enforcement::Enforced,
                ruleset: Ruleset::Rules(vec![Rule::default()]),
            }));
        });
        let error = near.read(&mut [0; 8]).await.expect_err("it is denied now");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        scene.hears(|request| matches!(request, Request::Drained { .. })).await;
        assert!(scene.lines().await[0].contains("end=policy_changed"));
    });
}

#[test]
fn peers_that_say_nothing_keep_nobody_out() {
    weft_runtime::fds::raise_open_files_limit().unwrap();
    run(async {
        let door = listener(NODE_1);
        let scene = Scene::set(snapshot_of([&client()]), Papers::default());
        scene.say(Command::NodeTunnel(vec![door.try_clone().unwrap().into()])).await;
        let mut silent = Vec::new();
        for _ in 0..HANDSHAKES_MAX {
            silent.push(tokio::net::TcpStream::connect(addr(&door)).await.unwrap());
        }
        let last = tokio::net::TcpStream::connect(addr(&door)).await.unwrap();
        // The one that has been silent for longest goes.
        assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap(), 0);
        for waiting in [&silent[1], &last] {
            assert_eq!(waiting.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

#[test]
fn a_peer_at_its_handshake_when_the_proxy_drains_may_finish_and_is_told_to_go() {
    run(async {
        let door = listener(NODE_1);
        let (client, server) = (client(), pod("server", 3, tunnel_at(NODE_1)));
        let authority = Authority::new();
        let trust = TrustBundle::from_pem("cluster.local", [&authority.pem]).unwrap();
        let papers = Papers { leaves: vec![authority.leaf(&server)], trust };
        let mut scene = Scene::set(snapshot_of([&client, &server]), papers);
        scene.say(Command::NodeTunnel(vec![door.try_clone().unwrap().into()])).await;
        let peer = tokio::net::TcpStream::connect(addr(&door)).await.unwrap().into_std().unwrap();
        scene.settles().await;
        // The event loop looks at its sockets before it sleeps: now the peer is accepted.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        scene.say(Command::Drain).await;
        scene.settles().await;
        let trust = scene.trust.now();
        let leaf = authority.leaf(&client);
        let config = client_config(&leaf, &trust, vec![server.identity.clone()], &[mux::ALPN]).unwrap();
        let name = tunnel_server_name(&server.identity);
        let peer = Socket::from_nonblocking(peer).unwrap();
        let (handle, driver) = Handle::connect(peer, Arc::new(config), name).await.expect("it is served");
        assert!(handle.is_usable());
        driver.run().await.expect("nothing is open, so it ends when the proxy says that it goes");
        scene.hears(|request| matches!(request, Request::Drained { .. })).await;
    });
}

#[test]
fn a_connection_whose_tunnel_is_lost_for_good_has_one_access_line() {
    run(async {
        let (way_out, door) = (listener(2), listener(NODE_2));
        let (client, mut server) = (client(), pod("server", 5, addr(&door)));
        let service = served(&mut server, addr(&way_out), 80);
        let mut snapshot = snapshot_of([&client, &server]);
        snapshot.insert_service(Arc::new(service));
        let authority = Authority::new();
        let trust = TrustBundle::from_pem("cluster.local", [&authority.pem]).unwrap();
        let papers = Papers { leaves: vec![authority.leaf(&client)], trust };
        let scene = Scene::set(snapshot, papers);
        scene.enrol(&client, &[(ListenerKind::Outbound, &way_out)]).await;
        let mut application = tokio::net::TcpStream::connect(addr(&way_out)).await.unwrap();

        // The other node takes the stream, says nothing to it, and is gone.
        let peer = accepted(&door).await.into_std().unwrap();
        drop(door);
        let config = server_config(Arc::new(authority.leaf(&server)), scene.trust.clone(), &[mux::ALPN]);
        let peer = accept(Socket::from_nonblocking(peer).unwrap(), Arc::new(config.unwrap()));
        let Tunnel::Mux(handle, driver) = peer.await.unwrap().into_tunnel() else {
            panic!("nothing else was offered");
        };
        let (opened, asked) = oneshot::channel();
        let mut opened = Some(opened);
        let driven = spawn_local(driver.run(move |incoming| {
            if let (Incoming::Open(_, stream), Some(opened)) = (incoming, opened.take()) {
                drop(opened.send(stream));
            }
        }));
        let stream = asked.await.expect("a stream is opened");
        driven.abort();
        assert!(driven.await.is_err());
        drop((stream, handle));

        let error = application.read(&mut [0; 8]).await.expect_err("no other tunnel takes it");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let lines = scene.lines().await;
        assert!(lines.len() == 1 && lines[0].contains("end=tunnel_lost"), "{lines:?}");
        assert!(lines[0].contains("dst.workload=server"), "{lines:?}");
    });
}

/// A root that signs what it is asked to.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn leaf(&self, pod: &Workload) -> Leaf {
        let request = CertificateRequest::generate(&pod.identity).unwrap();
        let mut params = CertificateParams::default();
        let uri = Ia5String::try_from(pod.identity.to_string()).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let csr = CertificateSigningRequestParams::from_pem(request.csr_pem()).unwrap();
        let leaf = params.signed_by(&csr.public_key, &self.issuer).unwrap();
        request.complete(&[leaf.pem(), self.pem.clone()]).unwrap()
    }
}
