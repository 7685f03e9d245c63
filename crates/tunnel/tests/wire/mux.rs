//! What is the mux's own: every reason has a word, and a peer that breaks the frames' rules ends its connection.

use crate::support::{configs, name, run, socket, tcp_pair};
use crate::tunnels::tunnel;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::{End, Refused};
use weft_tunnel::mux::{ALPN, Mux};
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
            ("an OPEN that does not read", vec![0, 0, 1, 1, 0, 0, 0, 1, 9]),
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
            let ended = driver.run(|_, _| panic!("nothing was opened")).await;
            assert!(ended.is_err(), "{case}");
        }
    });
}
