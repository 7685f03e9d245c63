//! The whole of it as tables: questions in, outcomes out.

mod messages;
mod names;
mod world;
