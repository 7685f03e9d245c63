//! Puts a mesh on a world: writes the tokens that its processes show, and starts them.

use anyhow::{Context as _, Result};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, SystemTime};
use weft_control_ca::{LocalTokens, ServiceAccount, TokenSubject, token};
use weft_core::names::NodeName;
use weft_testkit::{Component, Mesh, MeshSettings, PROXY_UID, World};

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

/// Writes a token for each agent and proxy, bound to its pod and node.
///
/// # Errors
/// If the key or a token cannot be written.
pub fn write_tokens(world: &World) -> Result<()> {
    let folder = world.control_folder();
    std::fs::create_dir_all(&folder).context("making the folder of the control plane")?;
    let tokens = LocalTokens::open_or_create(&folder).context("opening the token key")?;
    for node in world.nodes() {
        for component in [Component::Agent, Component::NodeProxy] {
            let identity = world.mesh_identity(component, node.number());
            let subject = TokenSubject {
                service_account: ServiceAccount {
                    namespace: identity.namespace.into(),
                    name: identity.service_account.into(),
                },
                pod: Some((identity.pod.as_str().into(), identity.uid.as_str().into())),
                node: Some(NodeName::new(node.name())),
            };
            let now = SystemTime::now();
            let text = tokens.issue_token(&subject, &[token::AUDIENCE], TOKEN_LIFETIME, now)?;
            let file = &identity.token_file;
            let parent = file.parent().context("a token file lies in a folder")?;
            std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400))?;
            if component == Component::NodeProxy {
                chown(file, Some(PROXY_UID), Some(PROXY_UID)).context("giving the proxy its token")?;
            }
        }
    }
    Ok(())
}
