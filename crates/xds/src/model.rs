//! What a client learns: the types it subscribes to, and what becomes of their resources.

use std::sync::Arc;
use weft_core::names::NetworkAddr;

/// A kind of knowledge that discovery delivers. Implemented without state: all of it is in the snapshot.
pub trait Model: 'static {
    /// What readers see. Cloning it is cheap.
    type Snapshot: Clone + Default + Send + std::marker::Sync + 'static;

    /// The types of its resources, in the order in which they are asked for.
    const TYPES: &'static [&'static str];

    /// Takes a resource in.
    ///
    /// # Errors
    /// Why it was not understood, and what that means for the snapshot.
    fn insert(
        snapshot: &mut Self::Snapshot,
        type_url: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)>;

    /// Forgets a resource; nothing happens if it is not there.
    fn remove(snapshot: &mut Self::Snapshot, type_url: &'static str, name: &str);

    /// Every resource, for the last known configuration.
    fn resources(snapshot: &Self::Snapshot) -> Vec<Resource>;

    /// Whether [`Model::resources`] gives all of a resource. One of which something is left out, such as a key, is asked for
    /// again by who takes it in.
    fn is_kept_whole(_snapshot: &Self::Snapshot, _type_url: &'static str, _name: &str) -> bool {
        true
    }

    /// Whether it knows what has this address.
    fn knows(snapshot: &Self::Snapshot, addr: &NetworkAddr) -> bool;
}

/// One resource, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub type_url: &'static str,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// What becomes of a resource that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The last version that was understood stays, if there is one.
    Kept,
    /// It is a policy: it denies.
    Denies,
}

/// A resource that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: Arc<str>,
    /// What became of it.
    pub effect: Effect,
    /// Why.
    pub reason: Arc<str>,
}
