//! Tunnels that this process has opened as the client: opened when first needed, shared by all streams of one key, and
//! left for a new one before a certificate ends. What a key is, and how one dials, is the owner's business.

use crate::handle::{ClientDriver, Handle};
use crate::moment::{halfway, until};
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_local;
use tokio::time::Instant;

/// A tunnel without streams is kept so long: a client that comes back spares a handshake.
const IDLE: Duration = Duration::from_secs(60);

/// The tunnels of one thread by their keys. What a tunnel was opened with has a mark `M`, such as its certificate's
/// fingerprint: with another mark, nothing new begins on it. `E` is why there is none.
pub struct Pool<K, M, E> {
    slots: RefCell<HashMap<K, Rc<Slot<M, E>>>>,
}

/// A tunnel that has just been opened.
pub struct Dialed {
    /// The tunnel.
    pub handle: Handle,
    /// What has to run for it; the pool does.
    pub driver: ClientDriver,
    /// Both ends of its connection.
    pub ends_at: Ends,
    /// When the first of its certificates ends, and it with that.
    pub until: SystemTime,
}

/// Both ends of a tunnel's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// This side's address.
    pub from: SocketAddr,
    /// The other side's.
    pub to: SocketAddr,
}

struct Slot<M, E> {
    tunnels: RefCell<Vec<Tunnel<M>>>,
    /// One dials, the others wait for what it gets.
    dialing: tokio::sync::Mutex<()>,
    failed: RefCell<Option<(Instant, E)>>,
}

/// One open tunnel.
struct Tunnel<M> {
    handle: Handle,
    ends_at: Ends,
    mark: M,
    used: Instant,
    /// Takes no new streams from then on.
    retires: SystemTime,
}

impl<K, M, E> Default for Pool<K, M, E> {
    fn default() -> Self {
        Self { slots: RefCell::default() }
    }
}

impl<K: Eq + Hash, M: Copy + PartialEq, E: Clone> Pool<K, M, E> {
    /// A tunnel that takes a stream now; `dial` makes one if there is none, for all that wait for one of the same key.
    ///
    /// # Errors
    /// Why dialling failed, also if somebody else dialled.
    pub async fn get(
        &self,
        key: K,
        mark: M,
        dial: impl AsyncFnOnce() -> Result<Dialed, E>,
    ) -> Result<(Handle, Ends), E> {
        let slot = self.slots.borrow_mut().entry(key).or_default().clone();
        if let Some(found) = slot.usable(mark) {
            return Ok(found);
        }
        let asked = Instant::now();
        let _dialing = slot.dialing.lock().await;
        if let Some(found) = slot.usable(mark) {
            return Ok(found);
        }
        // Whoever dialled while we waited speaks for us too: a dead node is not dialled once per connection.
        if let Some((_, error)) = slot.failed.borrow().as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        // Boxed: else every connection would keep the space of a handshake for as long as it lives.
        match Box::pin(dial()).await {
            Ok(dialed) => Ok(slot.add(dialed, mark)),
            Err(error) => {
                *slot.failed.borrow_mut() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Closes what has idled, what was opened with another mark than the current one of its key, and what nobody vouches
    /// for any more.
    pub fn close_idle(&self, current: impl Fn(&K) -> Option<M>, is_vouched_for: impl Fn(&Handle) -> bool) {
        self.slots.borrow_mut().retain(|key, slot| {
            let mark = current(key);
            slot.tunnels.borrow_mut().retain_mut(|tunnel| tunnel.keep(mark, &is_vouched_for));
            // A slot that somebody else holds is being dialled.
            Rc::strong_count(slot) > 1 || !slot.tunnels.borrow().is_empty()
        });
    }

    /// Closes the tunnels of some keys.
    pub fn close(&self, which: impl Fn(&K) -> bool) {
        self.slots.borrow_mut().retain(|key, slot| {
            let closes = which(key);
            if closes {
                slot.tunnels.borrow().iter().for_each(|tunnel| tunnel.handle.close());
            }
            !closes
        });
    }
}

impl<M, E> Default for Slot<M, E> {
    fn default() -> Self {
        Self {
            tunnels: RefCell::default(),
            dialing: tokio::sync::Mutex::default(),
            failed: RefCell::default(),
        }
    }
}

impl<M: Copy + PartialEq, E> Slot<M, E> {
    fn usable(&self, mark: M) -> Option<(Handle, Ends)> {
        let mut tunnels = self.tunnels.borrow_mut();
        let now = SystemTime::now();
        let tunnel = tunnels.iter_mut().find(|tunnel| tunnel.takes_streams(mark, now))?;
        tunnel.used = Instant::now();
        Some((tunnel.handle.clone(), tunnel.ends_at))
    }

    /// Runs a new tunnel, until it ends or a certificate does.
    fn add(&self, dialed: Dialed, mark: M) -> (Handle, Ends) {
        let Dialed { handle, driver, ends_at, until: ends } = dialed;
        let (running, to) = (handle.clone(), ends_at.to);
        spawn_local(async move {
            tokio::select! {
                ended = driver.run() => if let Err(error) = ended {
                    tracing::info!(%to, error = &error as &(dyn Error + 'static), "tunnel ended");
                },
                () = until(ends) => {
                    tracing::info!(%to, "tunnel ended with its certificate");
                    running.close();
                }
            }
        });
        let retires = halfway(SystemTime::now(), ends);
        let tunnel = Tunnel { handle: handle.clone(), ends_at, mark, used: Instant::now(), retires };
        self.tunnels.borrow_mut().push(tunnel);
        (handle, ends_at)
    }
}

impl<M: Copy + PartialEq> Tunnel<M> {
    fn takes_streams(&self, mark: M, now: SystemTime) -> bool {
        self.handle.is_usable() && self.mark == mark && now < self.retires
    }

    fn keep(&mut self, mark: Option<M>, is_vouched_for: impl Fn(&Handle) -> bool) -> bool {
        if !is_vouched_for(&self.handle) {
            tracing::warn!(to = %self.ends_at.to, "closing a tunnel whose root has left the trust bundle");
            self.handle.close();
            return false;
        }
        if self.handle.stream_count() > 0 {
            self.used = Instant::now();
            return true;
        }
        let outdated = !mark.is_some_and(|mark| self.takes_streams(mark, SystemTime::now()));
        if outdated || self.used.elapsed() > IDLE {
            self.handle.close();
            return false;
        }
        true
    }
}
