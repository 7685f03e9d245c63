//! What is the mux's own: every reason has a word, and a peer that breaks the frames' rules ends its connection.

use crate::support::{configs, name, pair, run, socket, tcp_pair};
use crate::tunnels::{open_request, tunnel};
use socket2::SockRef;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::{End, Refused};
use weft_tunnel::mux::{ALPN, BadOpen, Driver, Incoming, Mux};
use weft_tunnel::tls::Session;

/// HBONE has a status for several of them.
#[test]
fn every_reason_of_a_refusal_arrives() {
    run(async {
        for why in [
            Refused::Policy,
            Refused::NoWorkload,
            Refused::ForeignSource,
            Refused::AppUnreachable,
            Refused::Malformed,
            Refused::Draining,
            Refused::Other,
        ] {
            let (client, _server) = tunnel(Dialect::Mux, move |stream| stream.refuse(why)).await;
            let opened = client.open().unwrap().opened().await;
            assert_eq!(opened, Err(End::Refused(why)), "{why}");
        }
    });
}

/// A client that is not ours, and the driver of the server that it talks to.
async fn stranger() -> (TlsStream<TcpStream>, Driver) {
    let (client_config, server_config) = configs(&[ALPN]);
    let (near, far) = tcp_pair().await;
    // What the kernel keeps is not the tunnel's.
    for buffers in [SockRef::from(&near), SockRef::from(&far)] {
        buffers.set_recv_buffer_size(65_536).unwrap();
        buffers.set_send_buffer_size(65_536).unwrap();
    }
    let far = socket(far);
    let client = TlsConnector::from(client_config);
    let (near, server) = tokio::join!(client.connect(name(), near), Session::accept(&far, server_config));
    let (session, leftover) = server.unwrap();
    (near.unwrap(), Mux::server(far, session, leftover).1)
}

#[test]
fn a_broken_peer_ends_its_connection_and_no_process() {
    run(async {
        for (case, bytes) in [
            ("unknown kind", vec![0, 0, 0, 77, 0, 0, 0, 1]),
            ("data for a stream that never was", vec![0, 0, 1, 4, 0, 0, 0, 9, 0]),
            ("an id out of order", [vec![0, 0, 38, 1, 0, 0, 0, 5], vec![0; 38]].concat()),
            ("a server's frame", vec![0, 0, 0, 2, 0, 0, 0, 1]),
        ] {
            let (mut near, driver) = stranger().await;
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
        let (mut near, driver) = stranger().await;
        let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
        let served = seen.clone();
        spawn_local(driver.run(move |incoming| match incoming {
            Incoming::Open(_, stream) => stream.refuse(Refused::Draining),
            Incoming::Bad(bad) => served.borrow_mut().push(bad),
        }));
        // Too short; a name for a destination, without the name; and one as it should be.
        let mut open = open_request().to_payload().unwrap();
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

/// As HTTP/2's floods of frames that are answered (CVE-2019-9512, -9514 and -9515).
#[test]
fn who_reads_no_refusals_is_not_read_from_until_it_does() {
    run(async {
        const OPENS: u32 = 1_000_000;
        // The backlog's limit, two batches, what one read brings, and the kernel's buffers, in refusals of 9 bytes.
        const UNREAD_MAX: u32 = (1_048_576 + 4 * 262_144 + 1_048_576) / 9;
        let (near, driver) = stranger().await;
        let refused = Rc::new(Cell::new(0));
        let count = refused.clone();
        let server = spawn_local(driver.run(move |incoming| match incoming {
            Incoming::Open(..) => panic!("no OPEN is whole"),
            Incoming::Bad(_) => count.set(count.get() + 1),
        }));
        let (mut reading, mut writing) = tokio::io::split(near);
        let writer = spawn_local(async move {
            for first in (1..=OPENS).step_by(1_000) {
                let opens: Vec<u8> =
                    (first..first + 1_000).flat_map(|id| [[0, 0, 0, 1], id.to_be_bytes()].concat()).collect();
                writing.write_all(&opens).await.unwrap();
            }
            writing.flush().await.unwrap();
            writing
        });
        loop {
            let before = refused.get();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if before > 0 && refused.get() == before {
                break;
            }
        }
        assert!(refused.get() <= UNREAD_MAX, "{} refusals wait for nobody", refused.get());
        let mut refusal = [0; 9];
        let mut reading = BufReader::new(&mut reading);
        for id in 1..=OPENS {
            reading.read_exact(&mut refusal).await.unwrap();
            assert_eq!(refusal[..4], [0, 0, 1, 3]);
            assert_eq!(refusal[4..], [&id.to_be_bytes()[..], &[Refused::Malformed.byte()]].concat());
        }
        drop(writer.await.unwrap());
        assert!(!server.is_finished(), "the connection goes on");
    });
}

#[test]
fn a_connection_whose_peer_reads_nothing_takes_no_more_streams() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        let ((near, far), name) = (pair().await, name());
        let (client, server) =
            tokio::join!(Session::connect(&near, client_config, name), Session::accept(&far, server_config));
        let (session, leftover) = client.unwrap();
        let (client, driver) = Mux::client(near, session, leftover);
        // Nothing moves while nobody drives it, as towards a peer that does not read. Each is dropped, and resets.
        let opened = std::iter::repeat_with(|| client.open(&open_request())).map_while(|stream| stream);
        let opened = opened.take(100_000).count();
        assert!((4_096..100_000).contains(&opened), "{opened} streams");
        assert!(!client.is_usable());
        spawn_local(driver.run(|_| panic!("a server opens no streams")));
        let (session, leftover) = server.unwrap();
        let (_server, driver) = Mux::server(far, session, leftover);
        spawn_local(driver.run(|_| {}));
        while !client.is_usable() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(client.open(&open_request()).is_some());
    });
}
