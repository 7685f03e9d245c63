//! The control plane: sources of Kubernetes objects, the index, discovery and certificates in one process.
#![forbid(unsafe_code)]

pub mod directory;
