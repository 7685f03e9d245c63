//! The node proxy: carries the connections of a node's pods through the mesh, decides policy, and tells of it.
//! It faces hostile bytes and holds no privilege; what needs one, the agent does.
#![forbid(unsafe_code)]

pub mod app;
pub mod config;
pub mod admin;
pub mod link;
pub mod keeper;
pub mod worker;
pub mod telemetry;
pub mod leaves;
pub mod sandbox;

/// An error with all of its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // An error that shows its cause itself is not repeated.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
