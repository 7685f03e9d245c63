//! What is the mux's own: every reason has a word, and a peer that breaks the frames' rules ends its connection.

use crate::support::{configs, name, run, socket, tcp_pair};
use crate::tunnels::{open_request, tunnel};
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::{End, Refused};
use weft_tunnel::mux::{ALPN, BadOpen, Incoming, Mux};
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
