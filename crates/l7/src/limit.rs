//! How much goes to a service at a time: room is taken as a permit, and given back when that is dropped. What is taken is
//! counted once for all cores; each core has the limits as it knows them.

use crate::destination::Limits;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What there is no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Overflow {
    /// Another connection.
    #[error("too many connections")]
    Connections,
    /// Another request that waits for a connection.
    #[error("too many requests wait for a connection")]
    Pending,
    /// Another request.
    #[error("too many requests at a time")]
    Requests,
    /// Another try beyond a first.
    #[error("too many tries at a time")]
    Retries,
}

/// What of the room of one service (or a part of it) is taken, on all cores.
#[derive(Debug, Default)]
pub struct Taken([AtomicU32; KINDS]);

/// The room of one service (or a part of it), as one core sees it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Room(Rc<Places>);

#[derive(Debug)]
struct Places {
    taken: Arc<Taken>,
    most: [Cell<u32>; KINDS],
    /// Connections of this core.
    own: Cell<u32>,
}

/// How many kinds of [`Overflow`] there are.
const KINDS: usize = 4;

impl Room {
    /// As much as the limits say, less what is taken.
    pub fn new(limits: &Limits, taken: Arc<Taken>) -> Self {
        let room = Self(Rc::new(Places { taken, most: Default::default(), own: Cell::new(0) }));
        room.change(limits);
        room
    }

    /// The limits have changed: what is taken stays taken.
    pub fn change(&self, limits: &Limits) {
        let Limits { connections, pending, requests, retries, .. } = limits;
        let all = [
            (Overflow::Connections, connections),
            (Overflow::Pending, pending),
            (Overflow::Requests, requests),
            (Overflow::Retries, retries),
        ];
        for (kind, limit) in all {
            // No limit is as many as can be counted.
            self.0.most[kind as usize].set(limit.unwrap_or(u32::MAX));
        }
    }

    /// Room for a connection.
    ///
    /// # Errors
    /// [`Overflow::Connections`].
    pub fn connection(&self) -> Result<Permit, Overflow> {
        self.take(Overflow::Connections)
    }

    /// Room for a connection that is kept for later requests. Only its own core can use it, so each may have one, or
    /// else a core could wait for what another one keeps; a limit of none is kept to all the same.
    ///
    /// # Errors
    /// [`Overflow::Connections`].
    pub fn kept_connection(&self) -> Result<Permit, Overflow> {
        let places = &*self.0;
        let kind = Overflow::Connections;
        let mut permit = match self.take(kind) {
            Err(_) if places.own.get() == 0 && places.most[kind as usize].get() > 0 => {
                places.taken.0[kind as usize].fetch_add(1, Ordering::Relaxed);
                self.permit(kind)
            }
            taken => taken?,
        };
        places.own.set(places.own.get() + 1);
        permit.kept = true;
        Ok(permit)
    }

    /// How many connections there are more than the limit has room for, as after a change. Those of other cores count.
    pub fn surplus(&self) -> u32 {
        let Places { taken, most, own } = &*self.0;
        let kind = Overflow::Connections as usize;
        let more = taken.0[kind].load(Ordering::Relaxed).saturating_sub(most[kind].get());
        // The one that each core may have is none too many.
        more.min(own.get().saturating_sub(most[kind].get().min(1)))
    }

    /// Room to wait for a connection.
    ///
    /// # Errors
    /// [`Overflow::Pending`].
    pub fn pending(&self) -> Result<Permit, Overflow> {
        self.take(Overflow::Pending)
    }

    /// Room for a request.
    ///
    /// # Errors
    /// [`Overflow::Requests`].
    pub fn request(&self) -> Result<Permit, Overflow> {
        self.take(Overflow::Requests)
    }

    /// Requests that there are, on all cores.
    pub fn requests(&self) -> u32 {
        self.0.taken.0[Overflow::Requests as usize].load(Ordering::Relaxed)
    }

    /// Room for a try beyond the first.
    ///
    /// # Errors
    /// [`Overflow::Retries`].
    pub fn retry(&self) -> Result<Permit, Overflow> {
        self.take(Overflow::Retries)
    }

    /// The same where a budget says how many there may be, whatever the limits say.
    ///
    /// # Errors
    /// [`Overflow::Retries`].
    pub fn retry_of(&self, most: u32) -> Result<Permit, Overflow> {
        self.take_of(Overflow::Retries, most)
    }

    fn take(&self, kind: Overflow) -> Result<Permit, Overflow> {
        self.take_of(kind, self.0.most[kind as usize].get())
    }

    fn take_of(&self, kind: Overflow, most: u32) -> Result<Permit, Overflow> {
        // Nothing but the number itself is agreed upon by it.
        let more = |taken: u32| (taken < most).then(|| taken + 1);
        let taken = &self.0.taken.0[kind as usize];
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| kind)?;
        Ok(self.permit(kind))
    }

    fn permit(&self, kind: Overflow) -> Permit {
        Permit { places: self.0.clone(), kind, kept: false }
    }
}

/// Room that is taken, until this is dropped.
#[must_use = "the room is given back as soon as this is dropped"]
#[derive(Debug)]
pub struct Permit {
    places: Rc<Places>,
    kind: Overflow,
    kept: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Places { taken, own, .. } = &*self.places;
        taken.0[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
        if self.kept {
            own.set(own.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Take = fn(&Room) -> Result<Permit, Overflow>;

    fn limits(one: u32) -> Limits {
        let all = Some(one);
        Limits { connections: all, pending: all, requests: all, retries: all, ..Limits::default() }
    }

    const ALL: [(Take, Overflow); 5] = [
        (Room::connection, Overflow::Connections),
        (Room::kept_connection, Overflow::Connections),
        (Room::pending, Overflow::Pending),
        (Room::request, Overflow::Requests),
        (Room::retry, Overflow::Retries),
    ];

    #[test]
    fn room_is_taken_and_given_back() {
        for limit in [0, 1, 5] {
            for (take, overflow) in ALL {
                let room = Room::new(&limits(limit), Arc::default());
                let mut permits: Vec<Permit> = (0..limit).map(|_| take(&room).expect("room")).collect();
                assert_eq!(take(&room).err(), Some(overflow), "{limit}");
                if permits.pop().is_some() {
                    assert!(take(&room).is_ok(), "{overflow}, after one has gone");
                }
            }
        }
        let endless = Room::new(&Limits::default(), Arc::default());
        assert!((0..100_000).map(|_| endless.request()).all(|permit| permit.is_ok()));
    }

    #[test]
    fn each_has_its_own_room() {
        let room = Room::new(&limits(1), Arc::default());
        let kinds = [Room::connection, Room::pending, Room::request, Room::retry];
        let taken: Vec<_> = kinds.iter().map(|take| take(&room)).collect();
        assert!(taken.iter().all(Result::is_ok));
    }

    #[test]
    fn cores_share_it() {
        let taken = Arc::<Taken>::default();
        let cores = [Room::new(&limits(3), taken.clone()), Room::new(&limits(3), taken)];
        let mut permits: Vec<_> = [0, 1, 0].map(|core: usize| cores[core].request().expect("room")).into();
        assert!(cores.iter().all(|core| core.request().is_err()));
        permits.pop();
        let _other = cores[1].request().expect("what the first core gave back");
        assert!(cores.iter().all(|core| core.request().is_err()));
    }

    #[test]
    fn each_core_may_keep_a_connection() {
        let taken = Arc::<Taken>::default();
        let cores = [Room::new(&limits(2), taken.clone()), Room::new(&limits(2), taken)];
        let mut first =
            [cores[0].kept_connection().expect("room"), cores[0].kept_connection().expect("room")]
                .into_iter();
        assert!(cores[0].kept_connection().is_err());
        let other = cores[1].kept_connection().expect("its first");
        assert!(cores[1].kept_connection().is_err());
        assert_eq!([cores[0].surplus(), cores[1].surplus()], [1, 0], "the other may have its only one");
        drop(first.next());
        assert_eq!(cores[0].surplus(), 0);
        assert!(cores[0].kept_connection().is_err(), "two are there");
        drop(other);
        assert!(cores[0].kept_connection().is_ok());
    }

    #[test]
    fn a_change_leaves_what_is_taken() {
        let room = Room::new(&limits(3), Arc::default());
        let mut permits: Vec<_> = (0..3).map(|_| room.request()).collect();
        room.change(&limits(2));
        permits.pop();
        assert_eq!(room.request().err(), Some(Overflow::Requests), "two are taken, of two");
        permits.pop();
        assert!(room.request().is_ok());
    }

    #[test]
    fn what_is_too_much_after_a_change_is_known() {
        let room = Room::new(&Limits::default(), Arc::default());
        let kept: Vec<_> = (0..5).map(|_| room.kept_connection()).collect();
        assert_eq!(room.surplus(), 0);
        for (limit, surplus) in [(5, 0), (3, 2), (1, 4), (0, 5)] {
            room.change(&limits(limit));
            assert_eq!(room.surplus(), surplus, "of a limit of {limit}");
        }
        drop(kept);
        assert_eq!(room.surplus(), 0);
    }
}
