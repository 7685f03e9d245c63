//! Telemetries as facts: what they are for, and what they say to waypoints. Node proxies, which see no requests, obey none.

mod words;

use super::Target;
use super::authorization::target;
use crate::config::IndexConfig;
use crate::facts;
use crate::name::Name;
use std::sync::Arc;
use weft_control_api::istio::telemetry::Telemetry;
use weft_control_api::problem::Note;
use weft_l7::telemetry::{Logging, MetricOverride, Tracing};

/// A Telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TelemetryFacts {
    pub(crate) aim: Aim,
    pub(crate) home: Home,
    /// Seconds since 1970.
    pub(crate) created: i64,
    pub(crate) said: Said,
}

/// What it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Nothing: it is for all of its namespace, or of the mesh.
    Wide,
    /// These, each with the path of its field.
    Targets(Vec<(Target, String)>),
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// In a root namespace.
    Root,
    /// In this one.
    Namespace(Arc<str>),
}

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) tracing: Vec<Tracing>,
    pub(crate) metrics: Vec<MetricOverride>,
    pub(crate) logging: Vec<Logging>,
}

impl Aim {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        let list = match self {
            Self::Wide => &[][..],
            Self::Targets(list) => list,
        };
        list.iter().map(|(target, _)| target)
    }
}

/// Reads one. An error among the notes refuses it.
pub(crate) fn read(
    one: &Telemetry,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> TelemetryFacts {
    let spec = &one.spec;
    if spec
        .selector
        .as_ref()
        .is_some_and(|selector| selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty()))
    {
        let reason =
            "selects pods, whose proxies see no requests: name the waypoint or the Service with targetRefs";
        notes.push(Note::error("spec.selector", reason));
    }
    let written = match &spec.target_ref {
        Some(one) => ("spec.targetRef", std::slice::from_ref(one)),
        None => ("spec.targetRefs", &spec.target_refs[..]),
    };
    let targets = target::read_all(written, name, config, notes);
    let is_root = config.is_root(&name.namespace);
    TelemetryFacts {
        aim: if written.1.is_empty() { Aim::Wide } else { Aim::Targets(targets) },
        home: if is_root { Home::Root } else { Home::Namespace(name.namespace.clone()) },
        created: facts::created(&one.metadata),
        said: words::read(spec, &config.providers, notes),
    }
}
