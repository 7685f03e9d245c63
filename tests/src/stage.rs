//! Puts a mesh on a world: writes the tokens that its processes show, and starts them. Waypoints too, with their Gateways.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, SystemTime};
use weft_control_ca::{LocalTokens, ServiceAccount, TokenSubject, token};
use weft_core::names::NodeName;
use weft_testkit::{
    Component, Mesh, MeshIdentity, MeshSettings, PROXY_UID, Pod, PodBuilder, Waypoint, World,
};

use crate::waiting::eventually;

/// Longer than any test, demo or benchmark takes.
const TOKEN_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// Starts control, and an agent and a proxy on each node, and waits until all are ready.
///
/// # Errors
/// What keeps a process from becoming ready, with the end of its log.
pub fn start_mesh(world: &World, settings: MeshSettings) -> Result<Mesh> {
    write_tokens(world)?;
    world.start_mesh(settings)
}

/// Starts the waypoint that a pod was made for, with a token, and waits until it is ready.
///
/// # Errors
/// If the token cannot be written; what keeps the waypoint from becoming ready, with the end of its log.
pub fn start_waypoint(world: &World, mesh: &Mesh, pod: &Pod) -> Result<Waypoint> {
    let node = world.node(pod.node());
    write_token(&open_tokens(world)?, &MeshIdentity::of_pod(pod)?, &node.name())?;
    mesh.start_waypoint(pod)
}

/// Writes a Gateway that is a waypoint, and makes a pod that serves it; [`start_waypoint`] does the rest, once there is
/// a mesh.
///
/// # Errors
/// If the Gateway cannot be written, or the pod not be made.
pub fn place_waypoint(world: &World, node: usize, namespace: &str, name: &str) -> Result<Pod> {
    let listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
    let spec = json!({"gatewayClassName": "weft-waypoint", "listeners": [listener]});
    world.apply(&object("gateway.networking.k8s.io/v1", "Gateway", [namespace, name], &spec))?;
    waypoint_pod(world.node(node).pod(namespace, name), name)
}

/// Which versions of Weft's own dialect of the tunnel a waypoint speaks, as its pod says it.
pub const TUNNEL_VERSIONS: &str = "weft.dev/tunnel-versions";

/// Makes a pod that serves a Gateway which somebody else writes.
///
/// # Errors
/// If the pod cannot be made.
pub fn waypoint_pod(pod: PodBuilder, gateway: &str) -> Result<Pod> {
    let pod = pod.service_account(gateway).annotation(TUNNEL_VERSIONS, "1");
    pod.label("gateway.networking.k8s.io/gateway-name", gateway).start()
}

/// Waits until a pod's request for a URL comes through a waypoint, which says so in its access log. Nobody else may
/// ask for that path.
///
/// # Errors
/// If it does not in time.
pub fn await_through(waypoint: &Waypoint, from: &Pod, url: &str, within: Duration) -> Result<()> {
    let path = url.split('/').skip(3).fold(String::new(), |path, part| path + "/" + part);
    eventually(&format!("{url} comes through the waypoint"), within, || {
        let answer = from.get(url)?;
        ensure!(answer.is_ok(), "{answer:?}");
        ensure!(waypoint.log().contains(&path), "the waypoint has not seen {path}");
        Ok(())
    })
}

/// An object with a spec, by its namespace and name.
pub fn object(api: &str, kind: &str, [namespace, name]: [&str; 2], spec: &Value) -> Value {
    json!({
        "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// Writes a token for each agent and proxy, bound to its pod and node.
///
/// # Errors
/// If the key or a token cannot be written.
pub fn write_tokens(world: &World) -> Result<()> {
    let tokens = open_tokens(world)?;
    for node in world.nodes() {
        for component in [Component::Agent, Component::NodeProxy] {
            let identity = world.mesh_identity(component, node.number());
            write_token(&tokens, &identity, &node.name())?;
            if component == Component::NodeProxy {
                chown(&identity.token_file, Some(PROXY_UID), Some(PROXY_UID))
                    .context("giving the proxy its token")?;
            }
        }
    }
    Ok(())
}

fn open_tokens(world: &World) -> Result<LocalTokens> {
    let folder = world.control_folder();
    std::fs::create_dir_all(&folder).context("making the folder of the control plane")?;
    LocalTokens::open_or_create(&folder).context("opening the token key")
}

fn write_token(tokens: &LocalTokens, identity: &MeshIdentity, node: &str) -> Result<()> {
    let subject = TokenSubject {
        service_account: ServiceAccount {
            namespace: identity.namespace.as_str().into(),
            name: identity.service_account.as_str().into(),
        },
        pod: Some((identity.pod.as_str().into(), identity.uid.as_str().into())),
        node: Some(NodeName::new(node)),
    };
    let text = tokens.issue_token(&subject, &[token::AUDIENCE], TOKEN_LIFETIME, SystemTime::now())?;
    let file = &identity.token_file;
    let parent = file.parent().context("a token file lies in a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400)).context("closing a token's file")
}
