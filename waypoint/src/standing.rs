//! How an endpoint stands with one worker, as the administrative socket tells it: whether it takes requests, whether it is
//! left alone, and how busy it is.

use crate::endpoints::Endpoint;
use crate::lines::Upstream;
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use weft_core::names::WorkloadUid;
use weft_l7::balance::{EndpointState, Member};
use weft_l7::target::ServiceTarget;

/// Somewhere that requests go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TargetName {
    /// To an endpoint of a service, or of a part of it.
    Service(ServiceTarget),
    /// To what a name stands for, of a service that stands for many names.
    Named(ServiceTarget, Arc<str>),
    /// To a workload, at a port of its own.
    Workload(WorkloadUid, u16),
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(target) => target.fmt(f),
            Self::Named(target, name) => write!(f, "{target} as {name}"),
            Self::Workload(uid, port) => write!(f, "{uid}:{port}"),
        }
    }
}

/// How an endpoint stands with one worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Standing {
    /// What it is an endpoint of.
    pub(crate) target: String,
    /// Its pod, as `<namespace>/<name>`.
    pub(crate) workload: String,
    /// Its address and the application's port.
    pub(crate) address: SocketAddr,
    /// Whether it is reached through a tunnel, or in plain text.
    pub(crate) reached: &'static str,
    /// What discovery says of it.
    pub(crate) state: &'static str,
    /// Whether it is left alone for its failures.
    pub(crate) ejected: bool,
    /// Its share among the others.
    pub(crate) weight: u32,
    /// Requests of this worker that are not over.
    pub(crate) requests: u32,
    /// What is expected of it; none if nobody knows.
    pub(crate) latency_ms: Option<f64>,
}

impl Standing {
    pub(crate) fn new(target: &TargetName, member: &Member<Upstream>, now: Instant) -> Self {
        let Endpoint { workload, addr, tunnel, .. } = &member.endpoint.to.endpoint;
        Self {
            target: target.to_string(),
            workload: format!("{}/{}", workload.namespace, workload.name),
            address: *addr,
            reached: if tunnel.is_some() { "tunnel" } else { "plain" },
            state: match member.endpoint.state {
                EndpointState::Serving => "healthy",
                EndpointState::Unhealthy => "unhealthy",
                EndpointState::Leaving => "terminating",
            },
            ejected: member.load.is_ejected(),
            weight: member.endpoint.weight,
            requests: member.load.in_flight(),
            latency_ms: member.load.latency(now).map(|seconds| (seconds * 1e6).round() / 1e3),
        }
    }
}
