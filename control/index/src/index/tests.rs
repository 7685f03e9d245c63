//! The index without a cluster: objects as JSON in, core values out.
#![expect(clippy::needless_pass_by_value, reason = "a test writes json!(..) where it is used")]

mod authorization;
mod backend_tls;
mod delegation;
mod enrolment;
mod entries;
mod findings;
mod foreign_rules;
mod histories;
mod incremental;
mod istio_routes;
mod istio_words;
mod peers;
mod problems;
mod ranges;
mod route_precedence;
mod route_status;
mod services;
mod telemetries;
mod waypoint_policies;
mod waypoint_traffic;
mod waypoints;
mod world;
