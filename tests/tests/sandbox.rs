//! The node proxy faces hostile bytes, so it holds nothing worth having: read from the running process, every thread
//! of it. What its system call filter refuses is tried in `node-proxy/proxy/tests/sandbox.rs`.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use weft_testkit::{App, MeshSettings, PROXY_UID, World, find_binary};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn no_thread_of_a_proxy_at_work_holds_a_privilege() -> Result<()> {
    let world = World::builder().nodes(1).build()?;
    let client = world.node(1).pod("shop", "client").start()?;
    let server = world.node(1).pod("shop", "server").app(App::echo()).start()?;
    let mesh = start_mesh(&world, MeshSettings::default())?;
    await_enrolled(&mesh, [&client, &server], Duration::from_secs(10))?;
    let mut talk = Talk::begin(&client, server.addr(7000))?;
    let proc = format!("/proc/{}", mesh.proxy(1).process()?.pid());
    let (nothing, ids) = ("0000000000000000", vec![PROXY_UID.to_string(); 4].join("\t"));
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("{proc}/task")).context("listing its threads")? {
        let thread = thread.context("a thread")?.path();
        let status = std::fs::read_to_string(thread.join("status")).context("reading its status")?;
        for (field, want) in [
            ("CapInh", nothing),
            ("CapPrm", nothing),
            ("CapEff", nothing),
            ("CapBnd", nothing),
            ("CapAmb", nothing),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("Uid", &ids),
            ("Gid", &ids),
            ("Groups", ""),
        ] {
            let found = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            assert_eq!(found.map(str::trim), Some(want), "{field} of {}", thread.display());
        }
        threads += 1;
    }
    ensure!(threads > 1, "a proxy has workers");
    println!("{threads} threads, none with a privilege");
    talk.go_on()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn it_does_not_start_as_root() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("weft-sandbox-{}", std::process::id()));
    let mut proxy = Command::new(find_binary("weft-node-proxy")?);
    let path = |name: &str| folder.join(name);
    proxy.env("WEFT_PROXY_UID", "0").env("WEFT_NODE_NAME", "node1").env("WEFT_STATE_DIR", path("state"));
    proxy.env("WEFT_TOKEN_FILE", path("token")).env("WEFT_CONTROL_ROOTS", path("roots"));
    proxy.env("WEFT_AGENT_SOCKET", path("agent")).env("WEFT_ADMIN_SOCKET", path("admin"));
    let output = ended(proxy, Duration::from_secs(10));
    std::fs::remove_dir_all(&folder).context("tidying up")?;
    let output = output?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("does not run as root"), "{said}");
    assert!(said.contains("WEFT_PROXY_UID"), "it says what to do: {said}");
    assert!(!Path::new(&path("admin")).exists());
    Ok(())
}

/// Runs a program that should end by itself.
fn ended(mut command: Command, within: Duration) -> Result<std::process::Output> {
    use std::process::Stdio;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting it")?;
    let until = Instant::now() + within;
    while child.try_wait().context("waiting for it")?.is_none() {
        if Instant::now() > until {
            child.kill().context("ending it")?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().context("reading what it said")
}
