//! Certificates that live for seconds: renewed in time, kept while the authority is away, and changed from root to
//! root, with traffic all the while.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::{ask, await_enrolled, proxy_socket};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk};
use weft_tests::waiting::eventually;

const PATIENCE: Duration = Duration::from_secs(15);
/// Half of it, with jitter, is when a proxy asks again.
const SHORT: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_secs(3600);

struct Stage {
    client: Pod,
    near: Pod,
    far: Pod,
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set(lifetime: Duration) -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| world.node(node).pod("shop", name).service_account(name);
        let client = pod(1, "client").start()?;
        let (near, far) = (pod(1, "near").app(App::echo()).start()?, pod(2, "far").app(App::echo()).start()?);
        let seconds = lifetime.as_secs();
        let settings = MeshSettings::default()
            .env(Component::Control, "WEFT_LEAF_SECONDS_MAX", &seconds)
            .env(Component::Control, "WEFT_ADMIN_SOCKET", &admin(&world).display())
            .env(Component::NodeProxy, "WEFT_LEAF_SECONDS", &seconds);
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &near, &far], PATIENCE)?;
        Ok(Self { client, near, far, mesh, world })
    }

    /// All certificates of both proxies.
    fn certificates(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for node in [1, 2] {
            let rows = ask(&proxy_socket(&self.mesh, node), "/certificates")?;
            all.extend(rows.as_array().cloned().context("a list")?);
        }
        ensure!(all.len() == 3, "one for each service account: {all:?}");
        Ok(all)
    }

    fn serials(&self) -> Result<BTreeSet<String>> {
        let serial = |row: &Value| row["serial"].as_str().map(str::to_owned).context("a serial number");
        self.certificates()?.iter().map(serial).collect()
    }

    /// One connection to another node.
    fn reach(&self) -> Result<()> {
        Talk::begin(&self.client, self.far.addr(7000))?.finish()
    }

    /// One step of a rotation.
    fn rotate(&self, step: &str) -> Result<()> {
        let mut stream =
            UnixStream::connect(admin(&self.world)).context("reaching control's admin socket")?;
        write!(
            stream,
            "POST /ca/{step} HTTP/1.1\r\nHost: weft\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("its answer")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{step}: {answer}");
        Ok(())
    }

    /// Waits until both proxies have read a bundle once more than so many times.
    fn await_bundles(&self, before: [usize; 2]) -> Result<()> {
        eventually("both proxies read the new bundle", PATIENCE, || {
            let now = self.bundles_read();
            ensure!(now[0] > before[0] && now[1] > before[1], "{before:?}, now {now:?}");
            Ok(())
        })
    }

    fn bundles_read(&self) -> [usize; 2] {
        [1, 2].map(|node| self.mesh.proxy(node).log().matches("trust bundle read").count())
    }
}

fn admin(world: &World) -> PathBuf {
    world.folder().join("control-admin.sock")
}

/// Opens connections one after the other while `work` goes on, and gives what `work` gives and their number. None may
/// fail.
fn under_traffic<T>(stage: &Stage, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<u64> {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                stage.reach().with_context(|| format!("connection {count}"))?;
                count += 1;
            }
            Ok(count)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let count = traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((worked?, count))
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn certificates_are_renewed_at_half_their_life_and_nobody_waits() -> Result<()> {
    let stage = Stage::set(SHORT)?;
    let mut joined = Talk::begin(&stage.client, stage.near.addr(7000))?;
    let tunnelled = Talk::begin(&stage.client, stage.far.addr(7000))?;
    let begun = Instant::now();
    let (seen, connections) = under_traffic(&stage, || {
        let mut seen = stage.serials()?;
        while begun.elapsed() < SHORT * 2 {
            for row in stage.certificates()? {
                ensure!(row["valid"] == true, "renewed too late: {row}");
                let left = row["expires_in_seconds"].as_u64().context("what is left")?;
                // At half its life, give or take a tenth, and a second for the asking.
                ensure!(left + 1 >= SHORT.as_secs() / 3, "{left} s left and not renewed: {row}");
            }
            seen.extend(stage.serials()?);
            joined.go_on().context("a connection on one node has no certificate in it")?;
        }
        Ok(seen)
    })?;
    println!("{} certificates in {:?}, {connections} connections", seen.len(), begun.elapsed());
    assert!(seen.len() >= 9, "three identities, each renewed twice at least: {}", seen.len());
    // A tunnel, and what is in it, ends no later than the certificates that it was opened with (docs/tunnel.md).
    let ending = tunnelled.wait_for_end(Duration::from_secs(1))?;
    println!("the tunnel's first connection ended: {ending:?}");
    joined.finish()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn an_authority_that_is_away_is_missed_only_when_certificates_end() -> Result<()> {
    let stage = Stage::set(SHORT)?;
    stage.reach()?;
    stage.mesh.control().kill()?;
    let rows = stage.certificates()?;
    let left =
        rows.iter().filter_map(|row| row["expires_in_seconds"].as_u64()).min().context("what is left")?;
    let begun = Instant::now();
    // The last of these has to be through before, also on a busy machine.
    while begun.elapsed() + Duration::from_secs(2) < Duration::from_secs(left) {
        stage.reach().with_context(|| format!("{:?} into the outage, of {left} s", begun.elapsed()))?;
    }
    // With the certificate goes the traffic; it fails closed.
    eventually("certificates end", SHORT + PATIENCE, || match stage.reach() {
        Ok(()) => bail!("it goes on"),
        Err(_) => Ok(()),
    })?;
    println!("certificates had {left} s left and were missed after {:?}", begun.elapsed());
    ensure!(stage.certificates()?.iter().any(|row| row["valid"] == false), "it failed for another reason");
    stage.mesh.control().start()?;
    stage.mesh.control().wait_ready()?;
    let begun = Instant::now();
    eventually("traffic is back", Duration::from_secs(45), || stage.reach())?;
    println!("traffic was back {:?} after control", begun.elapsed());
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn roots_are_changed_under_traffic() -> Result<()> {
    let stage = Stage::set(SHORT)?;
    let root = |stage: &Stage| std::fs::read_to_string(stage.world.folder().join("root-cert.pem"));
    let roots = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    let old_root = root(&stage)?;
    let ((), connections) = under_traffic(&stage, || {
        let before = stage.bundles_read();
        stage.rotate("announce-root")?;
        stage.await_bundles(before)?;
        assert_eq!(roots(&root(&stage)?), 2, "the next root is trusted, and does not sign");
        let serials = stage.serials()?;
        stage.rotate("switch-root")?;
        eventually("all certificates are of the new root", PATIENCE, || {
            ensure!(stage.serials()?.is_disjoint(&serials), "some are of the old root");
            Ok(())
        })?;
        let before = stage.bundles_read();
        // Refused until the last leaf of the old root has ended.
        eventually("the old root is needed no more", PATIENCE, || stage.rotate("drop-root"))?;
        eventually("one root is left", PATIENCE, || {
            let text = root(&stage)?;
            ensure!(roots(&text) == 1 && text != old_root, "{} roots", roots(&text));
            Ok(())
        })?;
        stage.await_bundles(before)
    })?;
    println!("a root was changed under {connections} connections, and none failed");
    stage.reach()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_root_that_is_dropped_at_once_takes_its_tunnels_along() -> Result<()> {
    let stage = Stage::set(LONG)?;
    let before = stage.bundles_read();
    stage.rotate("announce-root")?;
    stage.await_bundles(before)?;
    stage.rotate("switch-root")?;
    let (tunnelled, mut joined) = (
        Talk::begin(&stage.client, stage.far.addr(7000))?,
        Talk::begin(&stage.client, stage.near.addr(7000))?,
    );
    let serials = stage.serials()?;
    stage.rotate("drop-root?now=true")?;
    let begun = Instant::now();
    let ending = tunnelled.wait_for_end(PATIENCE)?;
    println!("a tunnel of the old root ended after {:?}", begun.elapsed());
    assert_eq!(ending, Ending::Reset, "cut, not closed");
    // Nobody waits for half an hour: what the old root signed is replaced as soon as it is worth nothing.
    eventually("traffic on certificates of the new root", PATIENCE, || stage.reach())?;
    println!("traffic was back {:?} after the root was dropped", begun.elapsed());
    eventually("all certificates are of the new root", PATIENCE, || {
        ensure!(stage.serials()?.is_disjoint(&serials), "some are of the old root");
        Ok(())
    })?;
    joined.go_on()
}
