//! Names that clients say and nobody has written down (ServiceEntries with the resolution DYNAMIC_DNS): looked up at a DNS
//! server of the test's own. What they stand for are services of the mesh here, as addresses of this machine are left out.

use crate::backend::Backend;
use crate::client::{Answer, Client};
use crate::secured::secured;
use crate::words::{self, PORT, service, service_name, with, workload};
use crate::world::{OK, World, eventually, run};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use weft_core::names::{ServiceName, WorkloadUid};
use weft_core::service::{AppProtocol, Service, ServicePort};
use weft_core::workload::{PortPair, TunnelProtocol, Workload};

const PATTERN: &str = "*.example.org";
/// The port at which TLS goes through.
const TLS_PORT: u16 = 443;

/// What a DNS server says of a name.
#[derive(Clone, Copy)]
enum Says {
    Address(IpAddr),
    Nothing,
}

/// A DNS server that knows these names and no others.
struct Names {
    addr: SocketAddr,
    asked: Rc<RefCell<Vec<String>>>,
}

impl Names {
    async fn serve(records: Vec<(&'static str, Says)>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let asked: Rc<RefCell<Vec<String>>> = Rc::default();
        let noted = asked.clone();
        spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let question = query.queries[0].clone();
                let name = question.name().to_string().trim_end_matches('.').to_owned();
                let is_first_family = question.query_type() == RecordType::A;
                if is_first_family {
                    noted.borrow_mut().push(name.clone());
                }
                let mut reply = Message::response(query.metadata.id, OpCode::Query);
                reply.add_query(question.clone());
                match records.iter().find(|(known, _)| *known == name).map(|(_, says)| *says) {
                    Some(Says::Nothing) => continue,
                    Some(Says::Address(IpAddr::V4(ip))) if is_first_family => {
                        let record = Record::from_rdata(question.name().clone(), 60, RData::A(A(ip)));
                        reply.add_answer(record);
                    }
                    Some(Says::Address(_)) => {}
                    None => reply.metadata.response_code = ResponseCode::NXDomain,
                }
                socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
            }
        });
        Self { addr, asked }
    }

    fn times(&self, name: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| *asked == name).count()
    }
}

fn pattern() -> ServiceName {
    ServiceName::new("shop", PATTERN)
}

/// The ServiceEntry, as discovery tells it.
fn put_pattern(world: &World) {
    let port =
        |service_port, app_protocol| ServicePort { service_port, target_port: service_port, app_protocol };
    let ports = vec![port(words::SERVICE_PORT, AppProtocol::Http11), port(TLS_PORT, AppProtocol::Tls)];
    let base = service("dynamic", world.vip("dynamic"), world.ip(2), AppProtocol::Http11);
    world.put_this(&Service { name: pattern(), ports, ..base });
    let pairs =
        [words::SERVICE_PORT, TLS_PORT].map(|port| PortPair { service_port: port, target_port: port });
    world.put_workload(&Workload {
        uid: WorkloadUid::new(format!("Kubernetes/networking.istio.io/ServiceEntry/shop/out/{PATTERN}")),
        addresses: Vec::new(),
        hostname: PATTERN.into(),
        services: vec![(pattern(), pairs.to_vec())],
        ..workload("out", world.ip(99), "", TunnelProtocol::Plain)
    });
}

/// A service of the mesh without a waypoint, served at this address of the world.
fn put_inner(world: &World, name: &str, host: u8) {
    let port =
        |service_port| ServicePort { service_port, target_port: PORT, app_protocol: AppProtocol::Unknown };
    let ports = [words::SERVICE_PORT, TLS_PORT].map(port).to_vec();
    let base = service(name, world.vip(name), world.ip(2), AppProtocol::Unknown);
    world.put_this(&Service { waypoint: None, ports, ..base });
    let pair = |service_port| PortPair { service_port, target_port: PORT };
    let pairs = [words::SERVICE_PORT, TLS_PORT].map(pair).to_vec();
    let base = workload(&format!("{name}-{host}"), world.ip(host), "", TunnelProtocol::Plain);
    world.put_workload(&Workload { services: vec![(service_name(name), pairs)], ..base });
}

/// The virtual address of a service in every world.
fn vip(name: &str) -> IpAddr {
    crate::world::vip(name).ip()
}

async fn ask(client: &Client, host: &str, path: &str) -> Answer {
    let request = Request::get(path).header("host", host).body(Full::default()).unwrap();
    client.ask("dynamic", request).await
}

/// A waypoint that asks these names of a server, and two backends that they may stand for.
async fn start(names: &Names) -> (World, [Backend; 2]) {
    let world = World::start_with(&[("WEFT_DNS_UPSTREAM", &*names.addr.to_string())]).await;
    let backends = [("inner-a", 10, Backend::named("a")), ("inner-b", 11, Backend::named("b"))];
    let mut all = Vec::new();
    for (name, host, backend) in backends {
        put_inner(&world, name, host);
        backend.listen((world.ip(host), PORT).into()).await;
        all.push(backend);
    }
    put_pattern(&world);
    let all = <[Backend; 2]>::try_from(all).unwrap_or_else(|_| unreachable!("two were made"));
    (world, all)
}

fn is_because(line: &Value, why: &str) -> bool {
    line["why"].as_str().is_some_and(|text| text.contains(why))
}

#[test]
fn a_request_goes_to_what_its_host_stands_for() {
    run(async {
        let names = Names::serve(vec![
            ("a.example.org", Says::Address(vip("inner-a"))),
            ("b.example.org", Says::Address(vip("inner-b"))),
            ("local.example.org", Says::Address(Ipv4Addr::LOCALHOST.into())),
            ("guarded.example.org", Says::Address(vip("web"))),
            ("own.example.org", Says::Address(vip("dynamic"))),
            ("www.elsewhere.org", Says::Address(vip("inner-a"))),
        ])
        .await;
        let (world, [a, b]) = start(&names).await;
        let client = world.client().await;
        eventually(|| async { (ask(&client, "a.example.org", "/first").await.status == OK).then_some(()) })
            .await;
        for (case, host, want) in [
            ("a name", "a.example.org", "a"),
            ("another one, with a port", "b.example.org:8080", "b"),
            ("in another case", "B.Example.ORG", "b"),
        ] {
            let answer = ask(&client, host, "/name").await;
            assert_eq!((answer.status, &*answer.text()), (OK, want), "{case}");
        }
        assert_eq!((names.times("a.example.org"), names.times("b.example.org")), (1, 1), "it is remembered");
        assert_eq!(a.seen().last().unwrap().0.headers["host"], "a.example.org");
        let before = (a.hits(), b.hits());
        for (case, host, status, flags, why) in [
            ("elsewhere", "www.elsewhere.org", 404, "NR", "is no name that *.example.org stands for"),
            ("the domain itself", "example.org", 404, "NR", "is no name that *.example.org stands for"),
            ("an address", "192.0.2.1", 404, "NR", "is no name that *.example.org stands for"),
            ("this machine", "local.example.org", 503, "UH", "127.0.0.1 is of this machine or its link"),
            ("a waypoint's", "guarded.example.org", 503, "UH", "which has a waypoint"),
            ("itself", "own.example.org", 503, "UH", "is the service's own address in the mesh"),
            ("nobody", "gone.example.org", 503, "DF", "gone.example.org has no address"),
        ] {
            let path = format!("/{}", case.replace([' ', '\''], "-"));
            let answer = ask(&client, host, &path).await;
            assert_eq!(answer.status.as_u16(), status, "{case}");
            let line = world.line(&path).await;
            assert_eq!(line["flags"], flags, "{case}: {line}");
            assert!(is_because(&line, why), "{case}: {line}");
        }
        assert_eq!((a.hits(), b.hits()), before, "nothing got through");
        for host in ["www.elsewhere.org", "example.org", "192.0.2.1"] {
            assert_eq!(names.times(host), 0, "{host} is not asked for");
        }
        // What is kept of each name is told by itself.
        let told = world.told("/endpoints").to_string();
        assert!(told.contains("*.example.org:80 as a.example.org"), "{told}");
    });
}

/// The entry as a backend.
fn target() -> Value {
    json!({"service": {"service": pattern().to_string(), "port": words::SERVICE_PORT}})
}

/// A rule that sends everything there, with more words about how.
fn to_pattern(more: Value) -> Value {
    words::forward(&[json!({"weight": 1, "to": {"target": target()}})], more)
}

#[test]
fn routes_lead_to_the_name_that_the_backend_is_asked_for() {
    run(async {
        let names = Names::serve(vec![
            ("a.example.org", Says::Address(vip("inner-a"))),
            ("b.example.org", Says::Address(vip("inner-b"))),
            ("mute.example.org", Says::Nothing),
        ])
        .await;
        let (world, [_a, b]) = start(&names).await;
        let mirror = json!({"mirrors": [{"share": 1_000_000, "target": target()}]});
        let host = |host: &str| json!({"rewrite": {"host": host}});
        let rules = [
            (json!({"path": {"within": "/egress"}}), to_pattern(host("a.example.org"))),
            (json!({"path": {"within": "/copied"}}), to_pattern(with(mirror, host("b.example.org")))),
            (
                json!({"path": {"within": "/late"}}),
                to_pattern(with(host("mute.example.org"), json!({"timeouts": {"request": 200}}))),
            ),
            (json!({"path": {"within": "/mute"}}), to_pattern(host("mute.example.org"))),
            (json!({}), to_pattern(json!({}))),
        ];
        world.routes("web", &rules).await;
        let client = world.client().await;
        let answer = eventually(|| async {
            let answer = client.get("web", "/egress").await;
            (answer.status == OK).then_some(answer)
        })
        .await;
        assert_eq!(answer.text(), "a");
        let answer = client.get("web", "/copied").await;
        assert_eq!((answer.status, &*answer.text()), (OK, "b"));
        let copied = || async {
            b.seen().into_iter().find(|(head, _)| head.headers["host"] == "b.example.org-shadow")
        };
        eventually(copied).await;
        // What the client called it is no name of the entry's.
        let answer = client.get("web", "/as-it-came").await;
        assert_eq!(answer.status, 404);
        assert!(is_because(&world.line("/as-it-came").await, "web.shop is no name"));
        // The rule's limit counts for the time until the name is known; without one it ends all the same.
        for (path, status, flags) in [("/late", 504, "UT"), ("/mute", 503, "DF")] {
            let answer = client.get("web", path).await;
            let line = world.line(path).await;
            assert_eq!((answer.status.as_u16(), line["flags"].as_str()), (status, Some(flags)), "{line}");
        }
    });
}

#[test]
fn tls_is_begun_with_the_name_that_is_asked_for() {
    run(async {
        let names = Names::serve(vec![
            ("api.example.org", Says::Address(vip("inner-tls"))),
            ("other.example.org", Says::Address(vip("inner-tls"))),
        ])
        .await;
        let world = World::start_with(&[("WEFT_DNS_UPSTREAM", &*names.addr.to_string())]).await;
        let backend = Backend::named("secured");
        let secured = secured(&world, &[b"http/1.1"], backend.clone()).await;
        put_inner(&world, "inner-tls", 10);
        put_pattern(&world);
        let tls = json!({"serverName": null, "trust": {"roots": secured.roots}});
        world.say_of(&pattern(), &json!([]), &json!({"settings": {"tls": tls}}));
        let client = world.client().await;
        eventually(|| async { (ask(&client, "api.example.org", "/").await.status == OK).then_some(()) })
            .await;
        assert_eq!(secured.asked.borrow().last().cloned().flatten().as_deref(), Some("api.example.org"));
        // The server has no certificate for this one.
        let before = backend.hits();
        let answer = ask(&client, "other.example.org", "/other").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let line = world.line("/other").await;
        assert!(is_because(&line, "NotValidForName"), "{line}");
        assert_eq!(backend.hits(), before, "nothing got through");
    });
}

#[test]
fn tls_that_goes_through_goes_where_its_server_name_says() {
    run(async {
        let names = Names::serve(vec![("api.example.org", Says::Address(vip("inner-tls")))]).await;
        let world = World::start_with(&[
            ("WEFT_DNS_UPSTREAM", &*names.addr.to_string()),
            ("WEFT_DETECTION_MILLISECONDS", "500"),
        ])
        .await;
        let backend = Backend::named("secured");
        let secured = secured(&world, &[], backend.clone()).await;
        put_inner(&world, "inner-tls", 10);
        put_pattern(&world);
        let client = world.client().await;
        let at = SocketAddr::new(vip("dynamic"), TLS_PORT);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(secured.roots.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        let shake = |name: &'static str, says: bool| {
            let mut config = config.clone();
            config.enable_sni = says;
            let name = ServerName::try_from(name).unwrap();
            let (client, connector) = (&client, TlsConnector::from(Arc::new(config)));
            async move { connector.connect(name, client.raw_at(at).await).await }
        };
        let stream = eventually(|| async { shake("api.example.org", true).await.ok() }).await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream))
                .await
                .unwrap();
        spawn_local(async move { drop(connection.await) });
        let request = Request::get("/").header("host", "api.example.org").body(Full::default()).unwrap();
        let answer = crate::client::whole(sender.send_request(request).await.unwrap()).await;
        assert_eq!((answer.status, &*answer.text()), (OK, "secured"));
        for (case, name, says, flags, why) in [
            (
                "another domain",
                "www.elsewhere.org",
                true,
                "NR",
                "www.elsewhere.org is no name that *.example.org",
            ),
            (
                "no name",
                "api.example.org",
                false,
                "NR",
                "neither a Host nor a server name (SNI) says which one",
            ),
            ("nobody", "gone.example.org", true, "DF", "gone.example.org has no address"),
        ] {
            assert!(shake(name, says).await.is_err(), "{case}");
            let line = world.line_where(|line| is_because(line, why)).await;
            assert_eq!((&line["protocol"], &line["flags"]), (&json!("TCP"), &json!(flags)), "{case}: {line}");
        }
        // What is no TLS says no name either.
        let mut io = client.raw_at(at).await;
        tokio::io::AsyncWriteExt::write_all(&mut io, b"hello\r\n").await.unwrap();
        let mut back = Vec::new();
        // It is closed, in whatever way.
        drop(tokio::io::AsyncReadExt::read_to_end(&mut io, &mut back).await);
        assert!(back.is_empty(), "{back:?}");
        assert_eq!(names.times("www.elsewhere.org"), 0);
    });
}
