//! The agent's metrics.

use crate::capture::Capture;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::Arc;
use weft_runtime::metrics::{MetricError, Metrics};

/// What the agent counts itself.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    /// Pods of the mesh, by state.
    pub pods: IntGaugeVec,
    /// Enrolments that failed.
    pub enrol_failures: IntCounter,
    /// Releases that failed.
    pub release_failures: IntCounter,
    /// Sockets handed to proxies, by kind.
    pub sockets: IntCounterVec,
    /// Proxies that are connected.
    pub proxies: IntGauge,
}

impl AgentMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            pods: metrics.gauges("weft_agent_pods", "Pods of the mesh on this node.", &["state"])?,
            enrol_failures: metrics
                .counter("weft_agent_enrol_failures_total", "Enrolments of pods that failed.")?,
            release_failures: metrics
                .counter("weft_agent_release_failures_total", "Releases of pods that failed.")?,
            sockets: metrics.counters(
                "weft_agent_sockets_handed_total",
                "Ready sockets handed to node proxies.",
                &["kind"],
            )?,
            proxies: metrics.gauge("weft_agent_proxies", "Node proxies that are connected.")?,
        })
    }
}

/// Reads the kernel's counters when someone asks.
pub struct CaptureCounters {
    capture: Arc<dyn Capture>,
    packets: IntCounterVec,
}

impl CaptureCounters {
    /// A collector for the registry.
    ///
    /// # Errors
    /// The name is no name.
    pub fn new(capture: Arc<dyn Capture>) -> prometheus::Result<Self> {
        let about = Opts::new("weft_agent_packets_total", "What happened to packets of pods.");
        Ok(Self { capture, packets: IntCounterVec::new(about, &["verdict"])? })
    }
}

impl Collector for CaptureCounters {
    fn desc(&self) -> Vec<&Desc> {
        self.packets.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.packets.reset();
        for (verdict, count) in self.capture.counters() {
            self.packets.with_label_values(&[verdict]).inc_by(count);
        }
        self.packets.collect()
    }
}
