//! Tests; written next.
