//! How much goes to a service at a time, on one core: room is taken as a permit, and given back when that is dropped.

use crate::destination::Limits;
use std::cell::Cell;
use std::rc::Rc;

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

/// The room of one service (or a part of it), and what of it is taken.
#[derive(Debug, Clone)]
pub struct Room {
    connections: Rc<Places>,
    pending: Rc<Places>,
    requests: Rc<Places>,
    retries: Rc<Places>,
}

impl Room {
    /// As much as this core may take of the limits: each is parted among `cores`, rounded up, so that one request is always
    /// possible. All cores together may then take up to one more each.
    pub fn new(limits: &Limits, cores: u32) -> Self {
        let places = |limit: Option<u32>| Rc::new(Places::new(part(limit, cores)));
        Self {
            connections: places(limits.connections),
            pending: places(limits.pending),
            requests: places(limits.requests),
            retries: places(limits.retries),
        }
    }

    /// The limits have changed: what is taken stays taken.
    pub fn change(&self, limits: &Limits, cores: u32) {
        self.connections.most.set(part(limits.connections, cores));
        self.pending.most.set(part(limits.pending, cores));
        self.requests.most.set(part(limits.requests, cores));
        self.retries.most.set(part(limits.retries, cores));
    }

    /// Room for a connection.
    ///
    /// # Errors
    /// [`Overflow::Connections`].
    pub fn connection(&self) -> Result<Permit, Overflow> {
        take(&self.connections, Overflow::Connections)
    }

    /// Room to wait for a connection.
    ///
    /// # Errors
    /// [`Overflow::Pending`].
    pub fn pending(&self) -> Result<Permit, Overflow> {
        take(&self.pending, Overflow::Pending)
    }

    /// Room for a request.
    ///
    /// # Errors
    /// [`Overflow::Requests`].
    pub fn request(&self) -> Result<Permit, Overflow> {
        take(&self.requests, Overflow::Requests)
    }

    /// Room for a try beyond the first.
    ///
    /// # Errors
    /// [`Overflow::Retries`].
    pub fn retry(&self) -> Result<Permit, Overflow> {
        take(&self.retries, Overflow::Retries)
    }
}

/// Room that is taken, until this is dropped.
#[must_use = "the room is given back as soon as this is dropped"]
#[derive(Debug)]
pub struct Permit {
    places: Rc<Places>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.taken.set(self.places.taken.get().saturating_sub(1));
    }
}

#[derive(Debug)]
struct Places {
    most: Cell<u32>,
    taken: Cell<u32>,
}

impl Places {
    fn new(most: u32) -> Self {
        Self { most: Cell::new(most), taken: Cell::new(0) }
    }
}

/// No limit is as many as can be counted.
fn part(limit: Option<u32>, cores: u32) -> u32 {
    limit.map_or(u32::MAX, |limit| limit.div_ceil(cores.max(1)))
}

fn take(places: &Rc<Places>, overflow: Overflow) -> Result<Permit, Overflow> {
    if places.taken.get() >= places.most.get() {
        return Err(overflow);
    }
    places.taken.set(places.taken.get() + 1);
    Ok(Permit { places: places.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Take = fn(&Room) -> Result<Permit, Overflow>;

    fn limits(one: u32) -> Limits {
        let all = Some(one);
        Limits { connections: all, pending: all, requests: all, retries: all, ..Limits::default() }
    }

    const ALL: [(Take, Overflow); 4] = [
        (Room::connection, Overflow::Connections),
        (Room::pending, Overflow::Pending),
        (Room::request, Overflow::Requests),
        (Room::retry, Overflow::Retries),
    ];

    #[test]
    fn room_is_taken_and_given_back() {
        for (limit, cores, want) in [(0, 1, 0), (1, 1, 1), (5, 1, 5), (5, 2, 3), (1, 8, 1), (8, 0, 8)] {
            for (take, overflow) in ALL {
                let room = Room::new(&limits(limit), cores);
                let mut permits: Vec<Permit> = (0..want).map(|_| take(&room).expect("room")).collect();
                assert_eq!(take(&room).err(), Some(overflow), "{limit} on {cores} cores");
                if permits.pop().is_some() {
                    assert!(take(&room).is_ok(), "{overflow}, after one has gone");
                }
            }
        }
        let endless = Room::new(&Limits::default(), 1);
        assert!((0..100_000).map(|_| endless.request()).all(|permit| permit.is_ok()));
    }

    #[test]
    fn each_has_its_own_room() {
        let room = Room::new(&limits(1), 1);
        let taken: Vec<_> = ALL.iter().map(|(take, _)| take(&room)).collect();
        assert!(taken.iter().all(Result::is_ok));
    }

    #[test]
    fn a_change_leaves_what_is_taken() {
        let room = Room::new(&limits(3), 1);
        let mut permits: Vec<_> = (0..3).map(|_| room.request()).collect();
        room.change(&limits(2), 1);
        permits.pop();
        assert_eq!(room.request().err(), Some(Overflow::Requests), "two are taken, of two");
        permits.pop();
        assert!(room.request().is_ok());
    }
}
