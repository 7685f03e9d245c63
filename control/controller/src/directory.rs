//! The directory source: manifests in a folder, followed as they change.
//!
//! [`manifest::parse_manifests`] is pure: bytes in, objects and refusals with their lines out.
//! [`catalogue::Catalogue`] is pure too: files in, changes of objects out. [`source::DirectorySource`] reads
//! the folder and waits for the kernel's word that it changed.

pub mod source;
pub(crate) mod scan;
pub(crate) mod watch;
pub mod catalogue;
pub mod manifest;
pub mod last_good;
mod naming;
mod json;
mod yaml;
mod scalar;
