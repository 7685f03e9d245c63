//! The `weft` command: asks the processes of a node over their administrative sockets and shows what they say. It
//! decides nothing and changes nothing.
#![forbid(unsafe_code)]

pub mod commands;
pub mod check;
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
