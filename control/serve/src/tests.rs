//! Client against server over a real socket, by topic.

mod certificates;
mod discovery;
mod on_demand;
mod protocol;
mod saved;
mod values;
mod waypoints;
mod world;
