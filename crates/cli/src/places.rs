//! Whom to ask: the sockets of a node, or of each node in a folder.

use crate::ask::{self, AskError};
use std::path::{Path, PathBuf};

/// Where a node's processes have their sockets, unless told.
const RUN: &str = "/run/weft";
/// The node proxy's socket there.
const PROXY_SOCKET: &str = "proxy-admin.sock";
/// And the agent's.
const AGENT_SOCKET: &str = "agent-admin.sock";
/// A waypoint's, there or in the folder of its pod.
const WAYPOINT_SOCKET: &str = "waypoint-admin.sock";
/// And the control plane's, where it runs on the same machine.
const CONTROL_SOCKET: &str = "control-admin.sock";
/// The node proxy's socket in the folder of a node.
const PROXY_SOCKET_BELOW: &str = "proxy/admin.sock";

/// What was typed about whom to ask.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The socket of one proxy.
    pub socket: Option<PathBuf>,
    /// A folder with a folder for each node.
    pub world: Option<PathBuf>,
    /// The node.
    pub node: Option<String>,
}

/// One node's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The node proxy's.
    pub proxy: PathBuf,
    /// The agent's, where it would be.
    pub agent: Option<PathBuf>,
}

/// It is not clear whom to ask.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder cannot be read.
    #[error("looking for nodes in {}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is none.
    #[error("no node proxy has its socket in {} (looked for */{PROXY_SOCKET_BELOW} and {PROXY_SOCKET})", .folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// No waypoint runs here.
    #[error("no waypoint has its socket here ({WAYPOINT_SOCKET})")]
    NoWaypoint,
    /// The node that was asked for is not among them.
    #[error("no node proxy here is of node {node}; there is {known}")]
    Unknown {
        /// What was asked for.
        node: String,
        /// Those that answered.
        known: String,
    },
}

impl PlaceError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Folder { .. } | Self::None { .. } => {
                "say where the sockets are with --world DIR or --socket PATH, and run it as root"
            }
            Self::NoWaypoint => {
                "run it where weft-waypoint runs (its WEFT_ADMIN_SOCKET says where its socket is), and say where with \
                 --socket PATH or --world DIR"
            }
            Self::Unknown { .. } => "choose one of these with --node, or leave it out",
        }
    }
}

impl Chosen {
    /// The nodes that are meant; at least one.
    ///
    /// # Errors
    /// If there is none.
    pub async fn places(&self) -> Result<Vec<Place>, PlaceError> {
        let all = match (&self.socket, &self.world) {
            (Some(socket), _) => vec![Place::of_proxy(socket)],
            (None, Some(folder)) => in_folder(folder)?,
            (None, None) => vec![Place::of_proxy(&Path::new(RUN).join(PROXY_SOCKET))],
        };
        let Some(wanted) = &self.node else { return Ok(all) };
        let mut known = Vec::new();
        for place in all {
            match place.node().await {
                Ok(node) if node == *wanted => return Ok(vec![place]),
                Ok(node) => known.push(node),
                Err(error) => known.push(format!("one that does not answer ({error})")),
            }
        }
        Err(PlaceError::Unknown { node: wanted.clone(), known: known.join(", ") })
    }
}

impl Chosen {
    /// The control plane's socket, if there is one here.
    pub fn control(&self) -> Option<PathBuf> {
        self.sockets(CONTROL_SOCKET).into_iter().next()
    }

    /// The sockets of the waypoints that run here.
    pub fn waypoints(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => self.sockets(WAYPOINT_SOCKET),
        }
    }

    /// Sockets of this name in the folder, and in the folders in it.
    fn sockets(&self, name: &str) -> Vec<PathBuf> {
        let folder = match (&self.socket, &self.world) {
            (Some(_), _) => return Vec::new(),
            (None, Some(folder)) => folder.as_path(),
            (None, None) => Path::new(RUN),
        };
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = below.collect();
        folders.sort();
        let folders = std::iter::once(folder.to_owned()).chain(folders);
        folders.map(|folder| folder.join(name)).filter(|socket| socket.exists()).collect()
    }
}

impl Place {
    /// The sockets of a node whose proxy has this one.
    fn of_proxy(socket: &Path) -> Self {
        let folder = socket.parent();
        let folder =
            if socket.ends_with(PROXY_SOCKET_BELOW) { folder.and_then(Path::parent) } else { folder };
        Self { proxy: socket.to_owned(), agent: folder.map(|folder| folder.join(AGENT_SOCKET)) }
    }

    /// The name of the node, as its proxy says it.
    ///
    /// # Errors
    /// Without an answer.
    pub async fn node(&self) -> Result<String, AskError> {
        let status = ask::get(&self.proxy, "/status").await?;
        Ok(status["node"].as_str().unwrap_or_default().to_owned())
    }
}

/// The nodes that have a socket in the folder, or in a folder in it, by the path of their proxies'.
fn in_folder(folder: &Path) -> Result<Vec<Place>, PlaceError> {
    let failed = |source| PlaceError::Folder { folder: folder.to_owned(), source };
    let mut places = in_folder_of_node(folder, &[PROXY_SOCKET, PROXY_SOCKET_BELOW]);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        places.extend(in_folder_of_node(&entry.map_err(failed)?.path(), &[PROXY_SOCKET_BELOW]));
    }
    places.sort_by(|one, other| one.proxy.cmp(&other.proxy));
    if places.is_empty() {
        return Err(PlaceError::None { folder: folder.to_owned() });
    }
    Ok(places)
}

/// The sockets in a node's own folder. A proxy that has ended in order has none; while its agent has one, it is missed
/// at the first of the places where it could be.
fn in_folder_of_node(folder: &Path, proxies: &[&str]) -> Vec<Place> {
    let sockets: Vec<PathBuf> = proxies.iter().map(|name| folder.join(name)).collect();
    let (there, away): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|socket| socket.exists());
    let missed = if there.is_empty() && folder.join(AGENT_SOCKET).exists() { away } else { Vec::new() };
    there.iter().chain(missed.first()).map(|socket| Place::of_proxy(socket)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_sits_beside_its_proxy() {
        for (case, socket, agent) in [
            ("installed", "/run/weft/proxy-admin.sock", "/run/weft/agent-admin.sock"),
            ("a world", "/run/weft-a/node1/proxy/admin.sock", "/run/weft-a/node1/agent-admin.sock"),
        ] {
            assert_eq!(Place::of_proxy(Path::new(socket)).agent, Some(agent.into()), "{case}");
        }
    }

    #[test]
    fn proxies_are_found_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(in_folder(folder.path()), Err(PlaceError::None { .. })));
        for node in ["node2", "node1", "logs"] {
            std::fs::create_dir_all(folder.path().join(node).join("proxy")).expect("a folder");
        }
        for node in ["node2", "node1"] {
            std::fs::write(folder.path().join(node).join(PROXY_SOCKET_BELOW), "").expect("a file");
        }
        let found = in_folder(folder.path()).expect("two");
        let nodes: Vec<_> =
            found.iter().filter_map(|place| place.proxy.strip_prefix(folder.path()).ok()?.to_str()).collect();
        assert_eq!(nodes, ["node1/proxy/admin.sock", "node2/proxy/admin.sock"]);
        std::fs::remove_file(folder.path().join("node1").join(PROXY_SOCKET_BELOW)).expect("it is there");
        assert_eq!(in_folder(folder.path()).expect("one").len(), 1, "nobody is left of node1");
        std::fs::write(folder.path().join("node1").join(AGENT_SOCKET), "").expect("a file");
        assert_eq!(in_folder(folder.path()).expect("two"), found, "its agent is");
        assert!(matches!(in_folder(&folder.path().join("none")), Err(PlaceError::Folder { .. })));
        let chosen = Chosen { world: Some(folder.path().to_owned()), ..Chosen::default() };
        assert_eq!(chosen.control(), None);
        let control = folder.path().join("logs").join(CONTROL_SOCKET);
        std::fs::write(&control, "").expect("a file");
        assert_eq!(chosen.control(), Some(control));
        assert!(chosen.waypoints().is_empty());
        let waypoints = ["logs", "node2"].map(|pod| folder.path().join(pod).join(WAYPOINT_SOCKET));
        waypoints.iter().for_each(|socket| std::fs::write(socket, "").expect("a file"));
        assert_eq!(chosen.waypoints(), waypoints);
    }
}
