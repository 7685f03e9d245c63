//! The handling of the mesh's processes, shown on stand-ins: scripts that are ready in the way that the real ones are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_testkit::{Component, MeshSettings, World, find_binary};

fn stand_in(folder: &Path, component: Component, body: &str) -> Result<()> {
    let path = folder.join(component.binary());
    std::fs::write(&path, format!("#!/bin/sh\necho \"begins as $WEFT_NODE_NAME\"\n{body}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn stand_ins(world: &World) -> Result<MeshSettings> {
    let folder = world.folder().join("stand-ins");
    std::fs::create_dir_all(&folder)?;
    let app = find_binary("weft-testapp")?;
    let ready_at = |port: u16| format!("exec {} http --port {port}", app.display());
    stand_in(&folder, Component::Control, &ready_at(15014))?;
    stand_in(&folder, Component::NodeProxy, &ready_at(15021))?;
    stand_in(&folder, Component::Agent, "touch $WEFT_AGENT_SOCKET; mkdir -p $WEFT_BPF_DIR; exec sleep 1000")?;
    Ok(MeshSettings { bin_dir: Some(folder), deadline: Duration::from_secs(20), ..MeshSettings::default() })
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn processes_start_are_found_ready_and_take_blows() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let settings = stand_ins(&world)?.env(Component::NodeProxy, "WEFT_LOG", "debug");
    let mesh = world.start_mesh(settings)?;
    assert_eq!(mesh.all().count(), 5);
    assert_eq!(world.node(2).http_get(15021, "/healthz/ready")?.0, 200);
    assert_eq!(world.control_http_get(15014, "/healthz/ready")?.0, 200);

    let own = world.mesh_identity(Component::NodeProxy, 2);
    let manifest = world.manifests().folder().join(format!("pod.{}.{}.yaml", own.namespace, own.pod));
    let manifest = std::fs::read_to_string(manifest)?;
    assert!(manifest.contains(&own.uid) && manifest.contains("hostNetwork: true"), "{manifest}");

    let proxy = mesh.proxy(2);
    let first = proxy.process()?.pid();
    proxy.kill_and_restart()?;
    assert!(proxy.process()?.pid() != first && proxy.log().matches("begins as node2").count() == 2);
    ensure!(proxy.start().is_err(), "it runs already");
    proxy.pause()?;
    ensure!(world.node(2).http_get(15021, "/").is_err(), "a paused process does not answer");
    proxy.resume()?;
    assert_eq!(world.node(2).http_get(15021, "/")?.0, 200);
    proxy.restart(Duration::from_secs(20))?;
    assert!(proxy.process()?.memory_bytes()? > 0 && proxy.cpu_time()? > Duration::ZERO);

    let env = std::fs::read_to_string(format!("/proc/{}/environ", proxy.process()?.pid()))?;
    assert!(env.contains("WEFT_LOG=debug") && !env.contains("WEFT_LOG=info"), "{env}");
    let pins = format!("/sys/fs/bpf/{}-node1", world.prefix());
    assert!(Path::new(&pins).is_dir());
    let process = proxy.process()?;
    drop(mesh);
    assert!(!process.is_running());
    world.tear_down()?;
    assert!(!Path::new(&pins).exists());
    Ok(())
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn a_process_that_does_not_get_ready_shows_its_log() -> Result<()> {
    let world = World::builder().nodes(1).build()?;
    for (body, expected) in [
        ("echo no configuration >&2; exit 3", ["exit status: 3", "no configuration"]),
        ("echo still thinking; exec sleep 1000", ["not ready within 300ms", "still thinking"]),
    ] {
        let mut settings = stand_ins(&world)?;
        settings.deadline = Duration::from_millis(300);
        stand_in(&world.folder().join("stand-ins"), Component::Control, body)?;
        let Err(error) = world.start_mesh(settings) else { panic!("{body}: it started") };
        let text = format!("{error:#}");
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
    world.tear_down()
}
