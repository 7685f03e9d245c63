//! Connections of bytes. The servers speak first, and say which version they are.

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use weft_testkit::Pod;
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};

/// How long a server may take to say who it is.
const WORD: Duration = Duration::from_secs(5);

pub(crate) fn tcp(scene: &Scene) -> Result<()> {
    leads_to(&scene.client, scene.vip(7001), &[], "v2")
}

pub(crate) fn tls(scene: &Scene) -> Result<()> {
    for (name, version) in [("new.example", "v2"), ("old.example", "v1"), ("very.old.example", "v1")] {
        leads_to(&scene.client, scene.vip(7443), &client_hello(name)?, version)?;
    }
    Ok(())
}

pub(crate) fn istio(scene: &Scene) -> Result<()> {
    leads_to(&scene.client, scene.vip(7001), &[], "v2")?;
    for (name, version) in [("reviews.shop.svc.cluster.local", "v2"), ("reviews", "v1")] {
        leads_to(&scene.client, scene.vip(7443), &client_hello(name)?, version)?;
    }
    Ok(())
}

/// Waits until five connections in a row meet a version.
fn leads_to(from: &Pod, to: SocketAddr, first: &[u8], version: &str) -> Result<()> {
    eventually(&format!("connections meet {version}"), PATIENCE, || {
        let met = versions(from, to, first, 5)?;
        ensure!(met == BTreeSet::from([version.to_owned()]), "they meet {met:?}");
        Ok(())
    })
}

/// The versions that so many connections meet.
pub(crate) fn versions(from: &Pod, to: SocketAddr, first: &[u8], count: u64) -> Result<BTreeSet<String>> {
    from.enter(|| (0..count).map(|_| who_answers(to, first)).collect())?
}

fn who_answers(to: SocketAddr, first: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, WORD).context("connecting")?;
    stream.set_read_timeout(Some(WORD)).context("setting a timeout")?;
    stream.write_all(first).context("speaking")?;
    let mut word = String::new();
    BufReader::new(stream).read_line(&mut word).context("listening")?;
    Ok(word.trim().to_owned())
}

/// The first words of a TLS client that asks for a name.
pub(crate) fn client_hello(name: &str) -> Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).context("a name for TLS")?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).context("writing it down")?;
    Ok(hello)
}
