//! The forms in which an answer is shown.

use clap::ValueEnum;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
    /// For both.
    Yaml,
}
