//! The mux over real TLS and real sockets: integrity both ways at once, half-close, reset, refusal, a slow
//! reader that holds up nobody else, and a peer that breaks the protocol.

use crate::support::{
    assert_reset, check_noise, configs, name, pair, read_all, run, send_noise, socket, tcp_pair,
};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use weft_tunnel::end::{Carried, End, Refused, Stop};
use weft_tunnel::mux::{ALPN, BadOpen, Incoming, Mux, MuxStream, OpenRequest};
use weft_tunnel::socket::Socket;
use weft_tunnel::tls::Session;
use weft_tunnel::words::Authority;

/// A client's mux, and a server whose streams go to `on_open`.
async fn tunnel(mut on_open: impl FnMut(OpenRequest, MuxStream) + 'static) -> Mux {
    let (client_config, server_config) = configs(&[ALPN]);
    let (near, far) = pair().await;
    let (client, server) =
        tokio::join!(Session::connect(&near, client_config, name()), Session::accept(&far, server_config));
    let (session, leftover) = client.unwrap();
    let (mux, driver) = Mux::client(near, session, leftover);
    spawn_local(driver.run(|_| panic!("a server opens no streams")));
    let (session, leftover) = server.unwrap();
    let (_, driver) = Mux::server(far, session, leftover);
    let on_stream = move |incoming| match incoming {
        Incoming::Open(request, stream) => on_open(request, stream),
        Incoming::Bad(bad) => panic!("{bad}"),
    };
    spawn_local(async move { driver.run(on_stream).await });
    mux
}

fn request() -> OpenRequest {
    let addr: SocketAddr = "10.0.0.1:80".parse().unwrap();
    OpenRequest { source: addr, connect: Authority::from(addr).into() }
}

/// An application on each side of a new stream, and the ends of both relays.
struct Line {
    near: Socket,
    far: Socket,
    near_end: tokio::task::JoinHandle<(End, u64, u64)>,
    carried: Rc<Carried>,
}

async fn line() -> Line {
    let (far, far_proxy) = pair().await;
    let mut far_proxy = Some(far_proxy);
    let mux = tunnel(move |_, mut stream| {
        let app = Rc::new(far_proxy.take().unwrap());
        spawn_local(async move {
            stream.accept();
            stream.relay(app, &Carried::default()).await
        });
    })
    .await;
    let (near, near_proxy) = pair().await;
    let stream = mux.open(&request()).unwrap();
    let carried = Rc::new(Carried::default());
    let meter = carried.clone();
    let near_end = spawn_local(async move {
        let end = stream.relay(Rc::new(near_proxy), &meter).await;
        (end, meter.from_app(), meter.to_app())
    });
    Line { near, far, near_end, carried }
}

#[test]
fn bytes_arrive_whole_and_in_order_both_ways_at_once() {
    run(async {
        const TOTAL: usize = 5_000_000;
        let line = line().await;
        tokio::join!(
            send_noise(&line.near, 1, TOTAL),
            check_noise(&line.far, 1, TOTAL),
            send_noise(&line.far, 2, TOTAL),
            check_noise(&line.near, 2, TOTAL),
        );
        let want = (End::Closed, TOTAL as u64, TOTAL as u64);
        assert_eq!(line.near_end.await.unwrap(), want);
    });
}

#[test]
fn one_side_may_finish_long_before_the_other() {
    run(async {
        let line = line().await;
        line.near.write_all(b"question").await.unwrap();
        line.near.finish();
        assert_eq!(read_all(&line.far).await, b"question");
        line.far.write_all(b"answer").await.unwrap();
        line.far.finish();
        assert_eq!(read_all(&line.near).await, b"answer");
        assert_eq!(line.near_end.await.unwrap().0, End::Closed);
    });
}

#[test]
fn a_reset_arrives_as_a_reset() {
    run(async {
        let line = line().await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.far.reset_on_close();
        drop(line.far);
        assert_reset(&line.near, "near").await;
        assert_eq!(line.near_end.await.unwrap().0, End::PeerReset);
    });
}

#[test]
fn the_owner_can_stop_a_connection() {
    run(async {
        let line = line().await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.carried.stop(Stop::Policy);
        assert_eq!(line.near_end.await.unwrap().0, End::Stopped(Stop::Policy));
        for (side, socket) in [("near", &line.near), ("far", &line.far)] {
            assert_reset(socket, side).await;
        }
    });
}

#[test]
fn a_refusal_names_its_reason() {
    run(async {
        let mux = tunnel(|_, stream| stream.refuse(Refused::Policy)).await;
        let (near, near_proxy) = pair().await;
        let stream = mux.open(&request()).unwrap();
        let end = stream.relay(Rc::new(near_proxy), &Carried::default()).await;
        assert_eq!(end, End::Refused(Refused::Policy));
        assert_reset(&near, "near").await;
    });
}

#[test]
fn a_slow_reader_holds_up_its_own_stream_only() {
    run(async {
        let streams = Rc::new(std::cell::RefCell::new(Vec::new()));
        let arrived = streams.clone();
        let (far, far_proxy) = pair().await;
        let mut far_proxy = Some(Rc::new(far_proxy));
        // The first stream is never read; the second one is carried.
        let mux = tunnel(move |_, mut stream| {
            stream.accept();
            if arrived.borrow().is_empty() {
                arrived.borrow_mut().push(stream);
                return;
            }
            let app = far_proxy.take().unwrap();
            spawn_local(async move { stream.relay(app, &Carried::default()).await });
        })
        .await;
        let (stuck, stuck_proxy) = pair().await;
        let first = mux.open(&request()).unwrap();
        spawn_local(async move { first.relay(Rc::new(stuck_proxy), &Carried::default()).await });
        let flood = spawn_local(async move {
            let block = vec![7; 65_536];
            for _ in 0..400 {
                stuck.write_all(&block).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let (near, near_proxy) = pair().await;
        let second = mux.open(&request()).unwrap();
        spawn_local(async move { second.relay(Rc::new(near_proxy), &Carried::default()).await });
        tokio::join!(send_noise(&near, 3, 2_000_000), check_noise(&far, 3, 2_000_000));
        assert!(!flood.is_finished(), "26 MB fit into no buffer of a stream that nobody reads");
        flood.abort();
        drop(streams);
    });
}

#[test]
fn a_broken_peer_ends_its_connection_and_no_process() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        for (case, bytes) in [
            ("unknown kind", vec![0, 0, 0, 77, 0, 0, 0, 1]),
            ("data for a stream that never was", vec![0, 0, 1, 4, 0, 0, 0, 9, 0]),
            ("an id out of order", [vec![0, 0, 38, 1, 0, 0, 0, 5], vec![0; 38]].concat()),
            ("a server's frame", vec![0, 0, 0, 2, 0, 0, 0, 1]),
        ] {
            let (near, far) = tcp_pair().await;
            let far = socket(far);
            let client = TlsConnector::from(client_config.clone());
            let (near, server) =
                tokio::join!(client.connect(name(), near), Session::accept(&far, server_config.clone()));
            let (session, leftover) = server.unwrap();
            let (_, driver) = Mux::server(far, session, leftover);
            let mut near = near.unwrap();
            near.write_all(&bytes).await.unwrap();
            near.flush().await.unwrap();
            let ended = driver.run(|_| panic!("nothing was opened")).await;
            assert!(ended.is_err(), "{case}");
        }
    });
}

#[test]
fn a_bad_open_is_refused_and_the_connection_goes_on() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        let (near, far) = tcp_pair().await;
        let far = socket(far);
        let client = TlsConnector::from(client_config);
        let (near, server) = tokio::join!(client.connect(name(), near), Session::accept(&far, server_config));
        let (session, leftover) = server.unwrap();
        let (_, driver) = Mux::server(far, session, leftover);
        let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
        let served = seen.clone();
        spawn_local(driver.run(move |incoming| match incoming {
            Incoming::Open(_, stream) => stream.refuse(Refused::Draining),
            Incoming::Bad(bad) => served.borrow_mut().push(bad),
        }));
        let mut near = near.unwrap();
        // Too short; a name for a destination, without the name; and one as it should be.
        let mut open = request().to_payload().unwrap();
        let length = open.len() as u8;
        let whole = [&[0, 0, length, 1, 0, 0, 0, 3], open.as_slice()].concat();
        open[19] = 0;
        let nameless = [&[0, 0, length, 1, 0, 0, 0, 2], open.as_slice()].concat();
        near.write_all(&[&[0, 0, 1, 1, 0, 0, 0, 1, 9], nameless.as_slice(), &whole].concat()).await.unwrap();
        near.flush().await.unwrap();
        let mut refusals = [0; 27];
        near.read_exact(&mut refusals).await.unwrap();
        let refusal = |id, reason: Refused| [0, 0, 1, 3, 0, 0, 0, id, reason.byte()];
        let (malformed, draining) = (Refused::Malformed, Refused::Draining);
        assert_eq!(
            refusals.as_slice(),
            [refusal(1, malformed), refusal(2, malformed), refusal(3, draining)].concat()
        );
        assert_eq!(*seen.borrow(), [BadOpen::Short, BadOpen::Host]);
    });
}
