//! The index without a cluster: objects as JSON in, core values out.

mod authorization;
mod enrolment;
mod incremental;
mod peers;
mod problems;
mod services;
mod world;
