//! The leaf certificates at hand: one writer (the certificate keeper), many readers (the workers).

use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use weft_core::identity::Identity;
use weft_pki::{Leaf, LeafResolver, tunnel_server_name};

/// All leaves, by who they are for and by the name that tunnels ask for them with.
#[derive(Debug, Clone, Default)]
pub struct LeafTable {
    by_identity: HashMap<Identity, Leaf>,
    by_name: HashMap<String, Identity>,
}

impl LeafTable {
    /// Adds or replaces a leaf.
    pub fn insert(&mut self, leaf: Leaf) {
        let identity = leaf.identity().clone();
        if let ServerName::DnsName(name) = tunnel_server_name(&identity) {
            self.by_name.insert(name.as_ref().to_owned(), identity.clone());
        }
        self.by_identity.insert(identity, leaf);
    }

    /// Removes a leaf that nobody needs any more.
    pub fn remove(&mut self, identity: &Identity) {
        self.by_identity.remove(identity);
        self.by_name.retain(|_, one| one != identity);
    }

    /// All leaves, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Leaf> {
        self.by_identity.values()
    }

    /// The leaf of an identity.
    pub fn get(&self, identity: &Identity) -> Option<&Leaf> {
        self.by_identity.get(identity)
    }
}

/// A reader's end.
#[derive(Debug, Clone)]
pub struct Leaves(watch::Receiver<Arc<LeafTable>>);

/// The writer's end.
#[derive(Debug)]
pub struct LeafWriter(watch::Sender<Arc<LeafTable>>);

/// How long a connection waits for its pod's certificate: a pod that has just been added gets it within
/// milliseconds, and with the CA away there is no use in waiting long.
const LEAF_WAIT: Duration = Duration::from_secs(5);

/// An empty table, and who reads it.
pub fn leaves() -> (LeafWriter, Leaves) {
    let (tx, rx) = watch::channel(Arc::default());
    (LeafWriter(tx), Leaves(rx))
}

impl LeafWriter {
    /// Changes the table.
    pub fn change(&mut self, change: impl FnOnce(&mut LeafTable)) {
        self.0.send_modify(|table| change(Arc::make_mut(table)));
    }

    /// The table as it is.
    pub fn table(&self) -> Arc<LeafTable> {
        self.0.borrow().clone()
    }
}

impl Leaves {
    /// The leaf of an identity, if it is at hand.
    pub fn get(&self, identity: &Identity) -> Option<Leaf> {
        self.0.borrow().by_identity.get(identity).cloned()
    }

    /// The table as it is.
    pub fn table(&self) -> Arc<LeafTable> {
        self.0.borrow().clone()
    }

    /// The leaf of an identity, waiting for it a moment if the pod is new.
    pub async fn wait(&self, identity: &Identity) -> Option<Leaf> {
        if let Some(leaf) = self.get(identity) {
            return Some(leaf);
        }
        let mut changes = self.0.clone();
        let arrived = changes.wait_for(|table| table.by_identity.contains_key(identity));
        let table = tokio::time::timeout(LEAF_WAIT, arrived).await.ok()?.ok()?;
        table.by_identity.get(identity).cloned()
    }
}

impl Leaves {
    /// Waits a moment for the leaf that a client asks for by this name, if it is not at hand.
    pub async fn wait_named(&self, name: Option<String>) {
        let Some(name) = name else { return };
        let there = |table: &LeafTable| {
            table.by_name.get(&name).is_some_and(|identity| table.by_identity.contains_key(identity))
        };
        if there(&self.table()) {
            return;
        }
        let mut changes = self.0.clone();
        // Without it the handshake fails, and says so.
        drop(tokio::time::timeout(LEAF_WAIT, changes.wait_for(|table| there(table))).await);
    }
}

/// Chooses the leaf for one connection to the node's tunnel by the name that the client asks for, and remembers
/// whom the session is for.
#[derive(Debug)]
pub struct SessionLeaf {
    leaves: Leaves,
    served: OnceLock<Identity>,
}

impl SessionLeaf {
    /// For one connection.
    pub fn new(leaves: Leaves) -> Self {
        Self { leaves, served: OnceLock::new() }
    }

    /// The identity that was presented, once the handshake has come so far.
    pub fn served(&self) -> Option<&Identity> {
        self.served.get()
    }
}

impl LeafResolver for SessionLeaf {
    fn leaf(&self, server_name: Option<&str>) -> Option<Leaf> {
        let table = self.leaves.0.borrow();
        let identity = table.by_name.get(server_name?)?;
        let leaf = table.by_identity.get(identity)?;
        // A second hello of the same handshake asks for the same name, or rustls refuses it.
        let _ = self.served.set(identity.clone());
        Some(leaf.clone())
    }
}
