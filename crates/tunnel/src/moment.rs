//! Moments of the wall clock, which is what certificates go by.

use std::time::{Duration, SystemTime};

/// Waits for a moment of the wall clock. Cancel-safe.
pub async fn until(moment: SystemTime) {
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        // In steps, for the wall clock may be set.
        tokio::time::sleep(left.min(Duration::from_secs(60))).await;
    }
}

/// When a tunnel that is new and ends then makes room for the next. The other side renews its certificate at its own
/// time, and what begins on a tunnel ends with it: whatever is new should have some time before it.
pub(crate) fn halfway(now: SystemTime, ends: SystemTime) -> SystemTime {
    now + ends.duration_since(now).unwrap_or_default() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_makes_room_while_half_of_its_time_is_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (left, want) in [(86_400, 43_200), (8, 4), (0, 0)] {
            let retires = halfway(now, now + Duration::from_secs(left));
            assert_eq!(retires.duration_since(now).ok(), Some(Duration::from_secs(want)), "{left} s left");
        }
        assert_eq!(halfway(now, now - Duration::from_secs(1)), now, "one that has ended takes nothing");
    }
}
