//! Both configurations, shaking hands in memory.

use std::sync::{Arc, Mutex};

use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::authority::{Authority, hours, identity, now};
use crate::provider::provider;
use crate::{
    Expect, Leaf, LeafResolver, PeerError, ServingSlot, TrustBundle, Usage, client_config,
    control_client_config, control_server_config, ip_server_name, live_trust, peer_of, server_config,
    tunnel_server_name,
};

const CLIENT: &str = "spiffe://ours/ns/a/sa/client";
const SERVER: &str = "spiffe://ours/ns/a/sa/server";

/// Both ends after a handshake, or why each of them gave up.
struct Met {
    client: Result<ClientConnection, rustls::Error>,
    server: Result<ServerConnection, rustls::Error>,
}

/// Carries bytes both ways until neither has more to say.
fn meet(client: ClientConfig, server: ServerConfig, name: ServerName<'static>) -> Met {
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && server_error.is_none() {
            server.read_tls(&mut rest).unwrap();
            server_error = server.process_new_packets().err();
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && client_error.is_none() {
            client.read_tls(&mut rest).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    Met { client: client_error.map_or(Ok(client), Err), server: server_error.map_or(Ok(server), Err) }
}

/// Remembers the name that it was asked for.
#[derive(Debug)]
struct Asked {
    leaf: Option<Leaf>,
    name: Mutex<Option<String>>,
}

impl LeafResolver for Asked {
    fn leaf(&self, server_name: Option<&str>) -> Option<Leaf> {
        *self.name.lock().unwrap() = server_name.map(str::to_owned);
        self.leaf.clone()
    }
}

fn server_of(leaf: &Leaf, trust: TrustBundle) -> ServerConfig {
    server_config(Arc::new(leaf.clone()), live_trust(trust).1, &[b"weft/1", b"h2"]).unwrap()
}

#[test]
fn two_workloads_know_each_other() {
    let ours = Authority::root("ours");
    let trust = Arc::new(ours.trusted_for("ours"));
    let server_leaf = ours.leaf(&identity(SERVER));
    for (case, name, alpn, asked) in [
        ("Weft's dialect", tunnel_server_name(&identity(SERVER)), &b"weft/1"[..], true),
        ("HBONE", ip_server_name("10.1.2.3".parse().unwrap()), &b"h2"[..], false),
    ] {
        let leaves = Arc::new(Asked { leaf: Some(server_leaf.clone()), name: Mutex::default() });
        let expect = &[identity("spiffe://ours/ns/a/sa/other"), identity(SERVER)][..];
        let client = client_config(&ours.leaf(&identity(CLIENT)), &trust, expect, &[alpn]).unwrap();
        let view = live_trust((*trust).clone()).1;
        let server = server_config(leaves.clone(), view, &[b"weft/1", b"h2"]).unwrap();
        let Met { client, server } = meet(client, server, name.clone());
        let (client, server) = (client.expect(case), server.expect(case));
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3), "{case}");
        assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(alpn), Some(alpn)), "{case}");
        assert_eq!(client.tls13_tickets_received(), 0, "{case}");
        let seen = leaves.name.lock().unwrap().clone();
        assert_eq!(seen, asked.then(|| name.to_str().into_owned()), "{case}");
        for (certs, usage, who) in [
            (client.peer_certificates(), Usage::Server, SERVER),
            (server.peer_certificates(), Usage::Client, CLIENT),
        ] {
            assert_eq!(peer_of(certs, &trust, usage, now()).unwrap().identity(), &identity(who), "{case}");
        }
    }
}

#[test]
fn strangers_are_refused_by_whoever_meets_them() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let good = |who: &str| ours.leaf(&identity(who));
    // Our domain under their root: what another mesh's authority could sign.
    let forged = |who: &str| theirs.leaf(&identity(who));
    let past =
        |who: &str| ours.leaf_with(&identity(who), |leaf| leaf.not_after = (now() - hours(1) / 2).into());
    let unexpected = identity("spiffe://ours/ns/a/sa/db");
    let one = |who: &str| Expect::from(&identity(who));
    for (case, client, server, expect, by_client, by_server) in [
        (
            "someone else answers",
            good(CLIENT),
            ours.leaf(&unexpected),
            one(SERVER),
            Some(PeerError::Unexpected { presented: unexpected.clone() }),
            None,
        ),
        (
            "nobody is expected",
            good(CLIENT),
            good(SERVER),
            Expect::OneOf(vec![]),
            Some(PeerError::Unexpected { presented: identity(SERVER) }),
            None,
        ),
        (
            "another domain is expected",
            good(CLIENT),
            good(SERVER),
            Expect::AnyOfTrustDomain("theirs".into()),
            Some(PeerError::Unexpected { presented: identity(SERVER) }),
            None,
        ),
        ("a forged server", good(CLIENT), forged(SERVER), one(SERVER), Some(PeerError::UnknownIssuer), None),
        ("a forged client", forged(CLIENT), good(SERVER), one(SERVER), None, Some(PeerError::UnknownIssuer)),
        (
            "a client of no known domain",
            theirs.leaf(&identity("spiffe://theirs/ns/a/sa/b")),
            good(SERVER),
            one(SERVER),
            None,
            Some(PeerError::UnknownTrustDomain { trust_domain: "theirs".into() }),
        ),
        (
            "an expired server",
            good(CLIENT),
            past(SERVER),
            one(SERVER),
            Some(PeerError::Expired { not_after: now() }),
            None,
        ),
        (
            "an expired client",
            past(CLIENT),
            good(SERVER),
            one(SERVER),
            None,
            Some(PeerError::Expired { not_after: now() }),
        ),
    ] {
        let trust = Arc::new(ours.trusted_for("ours"));
        let client = client_config(&client, &trust, expect, &[b"h2"]).unwrap();
        let met = meet(client, server_of(&server, (*trust).clone()), tunnel_server_name(&identity(SERVER)));
        assert!(met.server.is_err(), "{case}: the server takes the connection for good");
        let reasons = [("client", met.client.err(), by_client), ("server", met.server.err(), by_server)];
        for (end, error, want) in reasons {
            let got = error.as_ref().and_then(PeerError::from_rustls);
            match (&got, &want) {
                (Some(PeerError::Expired { .. }), Some(PeerError::Expired { .. })) => {}
                _ => assert_eq!(got, want, "{case}, {end}: {error:?}"),
            }
        }
    }
}

#[test]
fn anyone_of_a_domain_can_be_expected() {
    let ours = Authority::root("ours");
    let trust = Arc::new(ours.trusted_for("ours"));
    let expect = Expect::AnyOfTrustDomain("ours".into());
    let client = client_config(&ours.leaf(&identity(CLIENT)), &trust, expect, &[b"h2"]).unwrap();
    let server = server_of(&ours.leaf(&identity(SERVER)), (*trust).clone());
    let met = meet(client, server, tunnel_server_name(&identity(SERVER)));
    assert!(met.client.is_ok() && met.server.is_ok());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let ours = Authority::root("ours");
    let trust = ours.trusted_for("ours");
    // A client that believes anything and shows nothing.
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(crate::verifier::ServerIdentity {
            trust: Arc::new(trust.clone()),
            expect: Expect::from(&identity(SERVER)),
        }))
        .with_no_client_auth();
    let met =
        meet(client, server_of(&ours.leaf(&identity(SERVER)), trust), tunnel_server_name(&identity(SERVER)));
    assert_eq!(met.server.err().as_ref().and_then(PeerError::from_rustls), Some(PeerError::NoCertificate));
}

#[test]
fn a_server_with_no_leaf_for_the_name_ends_the_handshake() {
    let ours = Authority::root("ours");
    let trust = Arc::new(ours.trusted_for("ours"));
    let leaves = Arc::new(Asked { leaf: None, name: Mutex::default() });
    let server = server_config(leaves, live_trust((*trust).clone()).1, &[b"h2"]).unwrap();
    let client = client_config(&ours.leaf(&identity(CLIENT)), &trust, &identity(SERVER), &[b"h2"]).unwrap();
    let met = meet(client, server, tunnel_server_name(&identity(SERVER)));
    assert!(met.client.is_err() && met.server.is_err());
}

#[test]
fn without_a_common_protocol_there_is_no_connection() {
    let ours = Authority::root("ours");
    let trust = Arc::new(ours.trusted_for("ours"));
    let client =
        client_config(&ours.leaf(&identity(CLIENT)), &trust, &identity(SERVER), &[b"http/1.1"]).unwrap();
    let server = server_of(&ours.leaf(&identity(SERVER)), (*trust).clone());
    assert!(meet(client, server, tunnel_server_name(&identity(SERVER))).server.is_err());
}

#[test]
fn a_changed_bundle_counts_from_the_next_handshake() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let server_leaf = new.leaf(&identity(SERVER));
    let both = Arc::new(TrustBundle::from_pem("ours", [old.pem(), new.pem()]).unwrap());
    let (mut writer, view) = live_trust((*both).clone());
    let server = server_config(Arc::new(server_leaf), view, &[b"h2"]).unwrap();
    let client = client_config(&old.leaf(&identity(CLIENT)), &both, &identity(SERVER), &[b"h2"]).unwrap();
    let name = || tunnel_server_name(&identity(SERVER));
    let before = meet(client.clone(), server.clone(), name()).server.unwrap();
    writer.replace(new.trusted_for("ours"));
    let after = meet(client, server, name()).server.err();
    assert_eq!(after.as_ref().and_then(PeerError::from_rustls), Some(PeerError::UnknownIssuer));
    // The connection from before is judged again by its certificates.
    let again = peer_of(before.peer_certificates(), &writer.view().now(), Usage::Client, now());
    assert_eq!(again, Err(PeerError::UnknownIssuer));
}

#[test]
fn the_control_planes_port_proves_its_name() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let (chain, key) = ours.serving("control.weft");
    let slot = Arc::new(ServingSlot::new(&chain, &key).unwrap());
    let alpn: &[&[u8]] = &[b"h2"];
    let server = control_server_config(slot.clone(), alpn).unwrap();
    let name = |text: &str| ServerName::try_from(text.to_owned()).unwrap();
    for (case, trust, name, want) in [
        ("right", ours.trusted_for("ours"), name("control.weft"), true),
        ("another name", ours.trusted_for("ours"), name("other.weft"), false),
        ("another root", theirs.trusted_for("ours"), name("control.weft"), false),
        ("no roots for the domain", ours.trusted_for("theirs"), name("control.weft"), false),
    ] {
        let client = control_client_config(&trust, "ours", alpn).unwrap();
        assert_eq!(meet(client, server.clone(), name).client.is_ok(), want, "{case}");
    }
    let (chain, key) = theirs.serving("control.weft");
    slot.replace(&chain, &key).unwrap();
    assert!(slot.replace(&chain, "no key").is_err());
    let client = control_client_config(&theirs.trusted_for("ours"), "ours", alpn).unwrap();
    assert!(meet(client, server, name("control.weft")).client.is_ok(), "replaced");
}

#[test]
fn a_workload_cannot_pass_for_the_control_plane() {
    let ours = Authority::root("ours");
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            ours.leaf(&identity(SERVER)).certified(),
        )));
    let client = control_client_config(&ours.trusted_for("ours"), "ours", &[]).unwrap();
    let name = ServerName::try_from("control.weft").unwrap();
    assert!(meet(client, server, name).client.is_err());
}

#[test]
fn an_older_tls_is_refused() {
    let ours = Authority::root("ours");
    let trust = ours.trusted_for("ours");
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(crate::verifier::ServerIdentity {
            trust: Arc::new(trust.clone()),
            expect: Expect::from(&identity(SERVER)),
        }))
        .with_no_client_auth();
    let met =
        meet(client, server_of(&ours.leaf(&identity(SERVER)), trust), tunnel_server_name(&identity(SERVER)));
    assert!(matches!(met.server, Err(rustls::Error::PeerIncompatible(_))));
}
