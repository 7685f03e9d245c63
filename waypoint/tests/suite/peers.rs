//! Who brings connections to the waypoint, in either dialect: for whom a peer may speak, what ends its tunnel, and what is
//! none.

use crate::backend::Backend;
use crate::client::{APP_PORT, Client};
use crate::words::{identity, workload};
use crate::world::{DEADLINE, OK, World, all_to, eventually, in_both, run};
use futures::future::join_all;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_core::workload::TunnelProtocol;
use weft_pki::{client_config, tunnel_server_name};
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::{End, Refused};
use weft_tunnel::mux::frame::{Header, Kind};
use weft_tunnel::mux::{self, OpenRequest};
use weft_tunnel::words::Authority;

/// A waypoint before `web`, and pods of `client` and `other` that discovery knows.
async fn world() -> World {
    let world = World::start().await;
    world.backend("web", 10, Backend::named("web")).await;
    world.put_workload(&workload("other", world.ip(3), "", TunnelProtocol::Hbone));
    world.routes("web", &all_to("web")).await;
    world
}

/// What a peer does.
struct Approach {
    case: &'static str,
    /// Whose papers it has, and where it comes from.
    who: &'static str,
    from: IpAddr,
    /// For whose address it speaks, where the dialect says it.
    source: IpAddr,
    to: Authority,
}

impl Approach {
    async fn told_in_both(&self, world: &World) -> Vec<Result<(), End>> {
        join_all([Dialect::Mux, Dialect::Hbone].map(|dialect| self.told(world, dialect))).await
    }

    async fn told(&self, world: &World, dialect: Dialect) -> Result<(), End> {
        let leaf = world.control.leaf(&identity(self.who));
        let mut client = Client::connect_as(world, &leaf, self.from, dialect).await;
        client.source = SocketAddr::new(self.source, APP_PORT);
        client.open(self.to.clone()).opened().await
    }
}

#[test]
fn a_peer_speaks_for_itself_and_asks_for_what_is_behind_the_waypoint() {
    use Refused::{AppUnreachable, ForeignSource, Malformed, NoWorkload, Policy};
    run(async {
        let world = world().await;
        let (own, others, nobodys) = (world.ip(1), world.ip(3), world.ip(99));
        let web = || Authority::Addr(world.vip("web"));
        let at = |ip: IpAddr| Authority::Addr((ip, 80).into());
        let named = || Authority::Name { host: "web.shop".to_owned(), port: 80 };
        let approach = |case, who, from, source, to| Approach { case, who, from, source, to };
        // In HTTP/2 there are fewer words for why (wire facts §1), and none for whom a peer speaks but its address.
        let cases = [
            (approach("itself", "client", own, own, web()), Ok(()), Ok(())),
            (
                approach("with a neighbour's papers", "other", own, own, web()),
                Err(ForeignSource),
                Err(Policy),
            ),
            (
                approach("from a neighbour's pod", "client", others, own, web()),
                Err(ForeignSource),
                Err(Policy),
            ),
            (approach("for a neighbour", "client", own, others, web()), Err(ForeignSource), Ok(())),
            (approach("for nobody", "client", own, nobodys, web()), Err(ForeignSource), Ok(())),
            // As a gateway of another cluster does, in HBONE.
            (
                approach("from where nobody is known", "client", nobodys, nobodys, web()),
                Err(ForeignSource),
                Ok(()),
            ),
            (
                approach("for what nobody has", "client", own, own, at(nobodys)),
                Err(NoWorkload),
                Err(AppUnreachable),
            ),
            (
                approach("for what has no waypoint", "client", own, own, at(others)),
                Err(NoWorkload),
                Err(AppUnreachable),
            ),
            (
                approach("for the waypoint itself", "client", own, own, at(world.ip(2))),
                Err(NoWorkload),
                Err(AppUnreachable),
            ),
            (approach("for a name", "client", own, own, named()), Err(Malformed), Err(Malformed)),
        ];
        // All at once: a refusal takes as long as discovery may be late.
        let told = join_all(cases.iter().map(|(approach, ..)| approach.told_in_both(&world))).await;
        for ((approach, own, hbone), told) in cases.iter().zip(told) {
            let want = [own, hbone].map(|want| want.map_err(End::Refused));
            assert_eq!(told, want, "{}", approach.case);
        }
    });
}

/// A session whose handshake leads to Weft's own dialect, and what is said in it is the test's own.
async fn session(world: &World) -> TlsStream<TcpStream> {
    let leaf = world.control.leaf(&identity("client"));
    let trust = Arc::new(world.control.trust());
    let config = client_config(&leaf, &trust, vec![identity("waypoint")], Dialect::Mux.offers()).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((world.ip(1), 0).into()).unwrap();
    let stream = socket.connect((world.ip(2), 15008).into()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let session = connector.connect(tunnel_server_name(&identity("waypoint")), stream).await.unwrap();
    assert_eq!(session.get_ref().1.alpn_protocol(), Some(mux::ALPN), "the better of both");
    session
}

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind], &stream.to_be_bytes(), payload].concat()
}

const OPEN: u8 = 1;
const OPENED: u8 = 2;
const DATA: u8 = 4;
const FIN: u8 = 6;
const UNKNOWN: u8 = 77;

#[test]
fn what_is_no_frame_ends_its_tunnel_and_no_other() {
    run(async {
        let world = world().await;
        let client =
            Client::connect_as(&world, &world.control.leaf(&identity("client")), world.ip(1), Dialect::Mux)
                .await;
        let connect = Authority::Addr(world.vip("web")).into();
        let open = OpenRequest { source: (world.ip(1), APP_PORT).into(), connect }.to_payload().unwrap();
        let long = [&open[..], &[9, 0xff, 0xff], &[0; 9000]].concat();
        let opened = frame(OPEN, 1, &open);
        for (case, bytes) in [
            ("garbage", vec![0xff; 4096]),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
            ("an unknown kind of frame", frame(UNKNOWN, 1, b"x")),
            ("an answer instead of a question", frame(OPENED, 1, b"")),
            ("an OPEN that is too long", frame(OPEN, 1, &long)),
            ("an OPEN that never ends", vec![0xff, 0xff, 0xff, OPEN, 0, 0, 0, 1]),
            ("an OPEN out of order", frame(OPEN, 7, &open)),
            ("an OPEN twice", [opened.clone(), opened.clone()].concat()),
            ("bytes for a stream that never was", frame(DATA, 1, b"x")),
            ("FIN with words", [opened.clone(), frame(FIN, 1, b"bye")].concat()),
            ("more bytes than a frame may have", [opened.clone(), vec![4, 0, 1, DATA, 0, 0, 0, 1]].concat()),
        ] {
            let mut session = session(&world).await;
            // The waypoint may hang up before all is said, and what it has said may be lost with that.
            let _ = session.write_all(&bytes).await;
            let mut said = Vec::new();
            let _ = session.read_to_end(&mut said).await;
            let answer = client.get("web", "/").await;
            assert_eq!((answer.status, &*answer.text()), (OK, "web"), "after {case}");
        }
        // One stream's fault is that stream's alone.
        let mut session = session(&world).await;
        session.write_all(&frame(OPEN, 1, &[4; 20])).await.unwrap();
        let mut answer = [0; 9];
        session.read_exact(&mut answer).await.unwrap();
        let refused = Header { kind: Kind::Refused, stream: 1, length: 1 }.bytes();
        assert_eq!(answer, [&refused[..], &[Refused::Malformed.byte()]].concat()[..]);
        session.write_all(&frame(OPEN, 2, &open)).await.unwrap();
        let mut answer = [0; 8];
        session.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, Header { kind: Kind::Opened, stream: 2, length: 0 }.bytes());
    });
}

#[test]
fn a_tunnel_ends_with_its_peers_certificate() {
    run(async {
        let world = world().await;
        let leaf = world.control.leaf_for(&identity("client"), Duration::from_secs(8));
        let (world, leaf) = (&world, &leaf);
        let clients = [Dialect::Mux, Dialect::Hbone].map(|dialect| async move {
            let client = Client::connect_as(world, leaf, world.ip(1), dialect).await;
            let mut open = client.raw("web").await;
            // Nothing is asked; the waypoint would wait for much longer.
            let end = tokio::time::timeout(DEADLINE, open.read_u8()).await;
            assert!(end.expect("it ends by itself").is_err(), "{dialect:?}");
            eventually(|| async { (!client.is_usable()).then_some(()) }).await;
        });
        join_all(clients).await;
        // Who comes with a new one is served.
        assert_eq!(world.client().await.get("web", "/").await.status, OK);
    });
}

#[test]
fn a_tunnel_ends_when_no_root_vouches_for_its_peer_any_more() {
    in_both(|dialect| async move {
        let world = world().await.spoken_to_in(dialect);
        let client = world.client().await;
        assert_eq!(client.get("web", "/").await.status, OK);
        let mut open = client.raw("web").await;
        world.distrust_everybody();
        assert!(open.read_u8().await.is_err(), "it is ended, and nothing is said on it");
        eventually(|| async { (!client.is_usable()).then_some(()) }).await;
    });
}
