//! Istio's resources: whole ones, ones that people have, and ones that are refused.

mod bookinfo;
mod refused_rules;
mod refused_routes;
mod whole;
mod whole_rules;
