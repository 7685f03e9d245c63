//! Fuzzing of everything that reads bytes from outside (style rule 27), on stable Rust.
//!
//! A [`Target`] is a function of bytes that asserts what must hold for all of them, with seeds that are real
//! encodings. A [`Campaign`] mutates the seeds: case `n` of seed `s` is the same on every machine, so a failure
//! is named by two numbers. There is no coverage feedback; the seeds and the words of each target stand in for it.
//! Modules stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod campaign;
pub mod targets;
mod mutate;
mod random;

pub use campaign::{Campaign, Failure, Report};
pub use targets::{ALL, Target};
