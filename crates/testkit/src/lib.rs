//! The world builder: nodes and pods as network namespaces on one machine, the mesh's processes in them, packet
//! captures, faults and small demo applications, for the end-to-end tests, the demo and the benchmark.
//!
//! A world needs root. There is one at a time on a machine (a lock file makes a second one wait), and all of it is
//! undone when [`World`] is dropped; what a killed run left is removed by the next one, or by [`sweep`].
//! Nothing here is part of what Weft installs anywhere.

mod world;
mod mesh;
mod mesh_identity;
mod node;
mod service;
mod pod_builder;
mod pod;
mod tools;
mod binaries;
mod app;
mod fault;
mod shared;
mod cluster;
mod state;
mod manifests;
mod yaml;
mod process;
mod capture;
mod tap;
mod flow;
mod packet;
mod network;
mod netns;
mod plan;
pub mod report;

pub use app::App;
pub use binaries::find_binary;
pub use capture::{Capture, NotTls};
pub use fault::Fill;
pub use flow::{Flow, FlowKey};
pub use manifests::Manifests;
pub use mesh::{Mesh, MeshProcess, MeshSettings, PROXY_UID, Readiness, Waypoint};
pub use mesh_identity::{Component, MeshIdentity};
pub use node::Node;
pub use packet::{Packet, TcpFlags, Transport};
pub use plan::Plan;
pub use pod::Pod;
pub use pod_builder::PodBuilder;
pub use process::{Output, Process};
pub use service::{Port, ServiceBuilder, TargetPort};
pub use state::{leftovers, sweep};
pub use tap::TapOptions;
pub use tools::{Connects, Get, Hold, Probe, Running, Speaks, Tool};
pub use world::{World, WorldBuilder};
