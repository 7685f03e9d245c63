//! The `weft` command: asks the processes of a node over their administrative sockets and shows what they say. It
//! decides nothing; what it changes is the manifest of a waypoint, where it is told to.
#![forbid(unsafe_code)]

pub mod commands;
pub mod analyze;
pub mod waypoint;
pub mod routes;
pub mod check;
pub mod programs;
pub mod explain;
pub mod status;
pub mod lists;
pub mod answers;
pub mod parties;
pub mod places;
pub mod ask;
pub mod table;
pub mod yaml;
pub mod words;
pub mod output;
