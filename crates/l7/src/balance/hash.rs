//! The one hash of balancing: the same text has the same number on every core, in every waypoint and after every
//! restart, because two that disagree send one client to two endpoints. It keeps nothing secret.

/// FNV-1a of 64 bits (draft-eastlake-fnv), with [`mix`] at the end: FNV alone leaves texts that differ in their last byte
/// close to each other, and on a ring they have to be far apart.
pub fn hash(text: &[u8]) -> u64 {
    let fnv = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// The same with a number beside the text: for several values of one text.
pub fn hash_with(text: &[u8], number: u64) -> u64 {
    // Steps of the golden ratio are far apart in all bits once they are mixed.
    mix(hash(text).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Every bit of the outcome depends on every bit of the number (the last step of MurmurHash3).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If these change, every sticky client moves once, and waypoints of two versions disagree.
    #[test]
    fn values_never_change() {
        for (text, want) in [("", 0xefd0_1f60_ba99_2926_u64), ("a", 0x82a2_a958_a9be_ce5b)] {
            assert_eq!(hash(text.as_bytes()), want, "{text:?} is {:#x}", hash(text.as_bytes()));
        }
        assert_eq!(mix(0), 0);
    }

    #[test]
    fn neighbours_are_far_apart() {
        for number in 0..100 {
            let apart = (hash_with(b"web", number) ^ hash_with(b"web", number + 1)).count_ones();
            assert!((10..=54).contains(&apart), "{number}: {apart} bits differ");
        }
    }
}
