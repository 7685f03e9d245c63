//! A table of which every entry names a member, filled in turn by each member's own order of entries (Maglev, NSDI 2016,
//! §3.4): evener than a ring, a look is one access, and a member that leaves moves few keys of the others.

use super::hash::{hash_with, mix};

/// Entries of one table at most: Envoy's own limit, 20 MB.
pub const ENTRIES_MAX: u32 = 5_000_011;

/// The table. Building it takes about O(m log m) for m entries, a look O(1).
#[derive(Debug)]
pub struct Maglev {
    table: Vec<u32>,
}

/// A member's own order of the entries: a start and a step, which meets every entry since their number is prime.
struct Order {
    next: u64,
    step: u64,
    weight: u64,
    /// It takes an entry when its weight, added up over the rounds, has come so far.
    due: u64,
}

impl Maglev {
    /// From names and weights, of which none is zero. A number of entries that is no prime becomes the next one.
    pub fn new(members: &[(&str, u32)], entries: u32) -> Self {
        let wanted = entries.max(u32::try_from(members.len()).unwrap_or(ENTRIES_MAX));
        let size = next_prime(wanted.min(ENTRIES_MAX));
        let mut orders: Vec<Order> = members
            .iter()
            .map(|(name, weight)| Order {
                next: hash_with(name.as_bytes(), 0) % u64::from(size),
                step: hash_with(name.as_bytes(), 1) % u64::from(size - 1) + 1,
                weight: u64::from(*weight),
                due: 0,
            })
            .collect();
        Self { table: fill(&mut orders, size) }
    }

    /// Where a key goes: its entry, or the first after it that will do.
    pub fn find(&self, key: u64, mut will_do: impl FnMut(usize) -> bool) -> Option<usize> {
        let start = usize::try_from(mix(key).checked_rem(self.table.len() as u64)?).ok()?;
        let (before, after) = self.table.split_at(start);
        after.iter().chain(before).map(|place| *place as usize).find(|place| will_do(*place))
    }
}

fn fill(orders: &mut [Order], size: u32) -> Vec<u32> {
    let Some(heaviest) = orders.iter().map(|order| order.weight).max() else { return Vec::new() };
    let mut table = vec![None; size as usize];
    let mut left = table.len();
    for round in 1_u64.. {
        for (place, order) in (0_u32..).zip(orders.iter_mut()) {
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
            // The heaviest takes one each round, the others only when their weight has added up to it.
            if round * order.weight <= order.due {
                continue;
            }
            order.due += heaviest;
            while table[order.next as usize].is_some() {
                order.next = (order.next + order.step) % u64::from(size);
            }
            table[order.next as usize] = Some(place);
            left -= 1;
        }
    }
    Vec::new()
}

/// The least prime that is not less, and at least 3.
fn next_prime(least: u32) -> u32 {
    let is_prime =
        |number: &u32| (2..).take_while(|by| by * by <= *number).all(|by| !number.is_multiple_of(by));
    (least.max(3)..).find(is_prime).unwrap_or(ENTRIES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes() {
        for (least, want) in [(0, 3), (4, 5), (65_536, 65_537), (65_537, 65_537), (ENTRIES_MAX, ENTRIES_MAX)]
        {
            assert_eq!(next_prime(least), want, "{least}");
        }
    }
}
