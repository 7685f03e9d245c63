//! Names: services of the mesh are answered by the node proxy, all others by the server that was asked.

use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use weft_core::names::canonical;
use weft_testkit::{App, Component, MeshSettings, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn names_lead_where_kubernetes_says() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.namespace("shop", [("weft.dev/mesh", "enabled")])?;
    let client = world.node(1).pod("shop", "client").start()?;
    let server = world
        .node(2)
        .pod("shop", "reviews-v1")
        .labels([("app", "reviews")])
        .port("http", 8080)
        .app(App::http("v1"))
        .start()?;
    world.service("shop", "reviews").port("http", 80, 8080).select([("app", "reviews")]).apply()?;
    world.service("shop", "pods").port("http", 8080, 8080).select([("app", "reviews")]).headless().apply()?;
    world.service("shop", "elsewhere").external_name("reviews.shop.svc.cluster.local").apply()?;
    let database = |node: usize, name: &str| {
        let pod = world.node(node).pod("shop", name).label("app", "db").named_below("db");
        pod.port("http", 8080).app(App::http(name)).start()
    };
    let databases = [database(1, "db-0")?, database(2, "db-1")?];
    world.service("shop", "db").port("http", 8080, 8080).select([("app", "db")]).headless().apply()?;
    world.service("shop", "abroad").external_name("example.test").apply()?;
    // The server behind knows one name that the mesh does not, and follows an alias out of the mesh.
    let outside = world.node(2).outside("web").app(App::http("outside")).start()?;
    let names = [("example.test", outside.ip()), ("abroad.shop.svc.cluster.local", outside.ip())];
    let resolver = world.node(2).outside("resolver").app(App::dns(&names)).start()?;
    // Whom pods ask; it knows the name too, as another one.
    let other =
        world.node(2).outside("other").app(App::dns(&[("example.test", ELSEWHERE.into())])).start()?;
    let at_large = world.node(2).pod("shop", "at-large").start()?;
    let settings = MeshSettings::default();
    let settings = settings.env_on(Component::NodeProxy, 1, "WEFT_DNS_UPSTREAM", &resolver.addr(53));
    let mesh = start_mesh(&world, settings)?;
    let enrolled = [&client, &server, &at_large].into_iter().chain(&databases);
    await_enrolled(&mesh, enrolled, Duration::from_secs(15))?;
    for (url, version) in [
        ("http://reviews.shop.svc.cluster.local/", "v1"),
        ("http://reviews.shop/", "v1"),
        ("http://reviews/", "v1"),
        ("http://pods:8080/", "v1"),
        ("http://elsewhere/", "v1"),
        // A StatefulSet's pods, each by its own name.
        ("http://db-0.db.shop.svc.cluster.local:8080/", "db-0"),
        ("http://db-1.db.shop.svc.cluster.local:8080/", "db-1"),
        ("http://db-0.db.shop:8080/", "db-0"),
        ("http://db-1.db:8080/", "db-1"),
        ("http://example.test:8080/", "outside"),
        ("http://abroad:8080/", "outside"),
    ] {
        let answer = client.get(url)?;
        assert!(answer.is_ok(), "{url}: {answer:?}\n{}", mesh.proxy(1).log());
        assert_eq!(answer.version(), version, "{url}");
    }
    let hello = client.get("http://reviews/")?.hello();
    let local = hello.map(|hello| canonical(hello.local).ip());
    assert!(local.is_some_and(|local| server.ips().contains(&local)), "{local:?} is the pod's own address");
    let listed = databases.iter().flat_map(Pod::ips).collect::<BTreeSet<_>>();
    for (name, want) in [
        ("db-0.db.shop.svc.cluster.local", databases[0].ips().into()),
        ("db-1.db", databases[1].ips().into()),
        ("db", listed),
    ] {
        // Over both families, as `getent ahosts` asks.
        let found = client.run(["getent", "ahosts", name])?;
        let found = found.stdout.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
        assert_eq!(found.collect::<BTreeSet<IpAddr>>(), want, "{name}");
    }
    let nobody = SocketAddr::from((world.plan().dns(), 53));
    let reply = client.enter(|| ask_by_tcp(nobody, "reviews.shop.svc.cluster.local"))??;
    assert!(reply.len() > 12 && reply[7] > 0, "an answer over TCP as well: {reply:?}");
    let two = ["reviews.shop.svc.cluster.local", "example.test"];
    let replies = client.enter(|| ask_by_one_connection(nobody, &two))??;
    assert_eq!(replies.len(), 1, "the name of the mesh, and then an end: the other one has no place there");
    for name in ["http://nowhere.shop/", "http://db-2.db:8080/", "http://db-0.reviews:8080/"] {
        let unknown = client.get(name)?;
        assert_eq!(unknown.error, "resolve", "{name}: {unknown:?}");
    }
    // Node 1 has a server of its own for what the mesh does not know; on node 2 that is whoever is asked.
    for (case, from, asked, want) in [
        ("nobody, with a server behind", &client, nobody, outside.ip()),
        ("somebody, with a server behind", &client, other.addr(53), outside.ip()),
        ("the same by IPv6", &client, other.addr6(53), outside.ip()),
        ("somebody, and no other", &at_large, other.addr(53), ELSEWHERE.into()),
        ("the same by IPv6, and no other", &at_large, other.addr6(53), ELSEWHERE.into()),
    ] {
        let replies = from.enter(|| {
            [("UDP", ask_by_udp(asked, "example.test")), ("TCP", ask_by_tcp(asked, "example.test"))]
        })?;
        for (transport, reply) in replies {
            let reply = reply.with_context(|| format!("{case}, {transport}\n{}", mesh.proxy(1).log()))?;
            assert!(reply[7] == 1 && ends_with(&reply, want), "{case}, {transport}: {reply:?}");
        }
    }
    Ok(())
}

/// An address that nobody has (RFC 5737).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const PATIENCE: Duration = Duration::from_secs(5);

/// The record of a single answer comes last.
fn ends_with(reply: &[u8], want: IpAddr) -> bool {
    matches!(want, IpAddr::V4(want) if reply.ends_with(&want.octets()))
}

/// Asks for the IPv4 addresses of a name, and returns the message that comes back from that very address.
fn ask_by_udp(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(&query(name))?;
    let mut reply = vec![0; 512];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

/// The same over TCP (RFC 1035 §4.2.2).
fn ask_by_tcp(server: SocketAddr, name: &str) -> io::Result<Vec<u8>> {
    ask_by_one_connection(server, &[name])?.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// One after the other, until there is no answer.
fn ask_by_one_connection(server: SocketAddr, names: &[&str]) -> io::Result<Vec<Vec<u8>>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut replies = Vec::new();
    for name in names {
        let query = query(name);
        stream.write_all(&(query.len() as u16).to_be_bytes())?;
        stream.write_all(&query)?;
        let mut length = [0; 2];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply)?;
        replies.push(reply);
    }
    Ok(replies)
}

fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}
