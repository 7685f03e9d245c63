//! Changes to an input: bits, numbers, lengths, words, ranges, and parts of other seeds.

use crate::random::Random;

/// Longest input that is made of seeds. Long enough for every length field's interesting values but the largest,
/// which the fields themselves claim without the bytes.
const INPUT_BYTES_MAX: usize = 16_384;
/// Most changes in a row. Few keep the shape that the first checks want; many get past the second.
const CHANGES_MAX: usize = 6;
/// Longest range that one change takes.
const RANGE_BYTES_MAX: usize = 64;

/// What inputs are made of.
pub(crate) struct Stock<'a> {
    pub(crate) seeds: &'a [Vec<u8>],
    pub(crate) words: &'a [&'a str],
}

/// Makes one input.
pub(crate) fn make(stock: &Stock<'_>, random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(stock.seeds).cloned().unwrap_or_default();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut input, stock, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, stock: &Stock<'_>, random: &mut Random) {
    match random.below(12) {
        0 => flip(input, random),
        1 => replace_byte(input, random),
        2 => number(input, random),
        3 => length(input, random),
        4 => decimal(input, random),
        5 => remove(input, random),
        6 => duplicate(input, random),
        7 => truncate(input, random),
        8 => insert_word(input, stock, random),
        9 => overwrite_word(input, stock, random),
        10 => splice(input, stock, random),
        _ => insert_noise(input, random),
    }
}

fn flip(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn replace_byte(input: &mut [u8], random: &mut Random) {
    const ODD: &[u8] = &[0, 1, 2, 0x0a, 0x20, 0x22, 0x2e, 0x3a, 0x5c, 0x7f, 0x80, 0xc0, 0xc3, 0xfe, 0xff];
    let at = random.below(input.len());
    if let (Some(byte), Some(odd)) = (input.get_mut(at), random.pick(ODD)) {
        *byte = *odd;
    }
}

/// A number of one, two or four bytes becomes one that programs get wrong.
fn number(input: &mut [u8], random: &mut Random) {
    let width = 1 << random.below(3);
    let at = random.below(input.len());
    let Some(field) = input.get_mut(at..at + width) else {
        return;
    };
    let old = field.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let new = match random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX >> 1 >> (64 - 8 * width),
        3 => old.wrapping_add(1),
        4 => old.wrapping_sub(1),
        _ => old.wrapping_add(random.next() % 32).wrapping_sub(16),
    };
    let bytes = new.to_be_bytes();
    field.copy_from_slice(&bytes[8 - width..]);
    if random.below(4) == 0 {
        field.reverse();
    }
}

/// A number becomes the count of bytes behind it, or nearly so, as if it were a length.
fn length(input: &mut [u8], random: &mut Random) {
    let width = 1 << random.below(3);
    let at = random.below(input.len());
    let behind = input.len().saturating_sub(at + width);
    let Some(field) = input.get_mut(at..at + width) else {
        return;
    };
    let length = (behind + random.below(3)).wrapping_sub(1) as u64;
    field.copy_from_slice(&length.to_be_bytes()[8 - width..]);
}

/// A number that is written in digits becomes another.
fn decimal(input: &mut Vec<u8>, random: &mut Random) {
    const ODD: &[&str] =
        &["0", "-1", "1", "00", "080", "255", "256", "65535", "65536", "4294967296", "1e9", ""];
    let start = random.below(input.len());
    let Some(first) = input.iter().skip(start).position(u8::is_ascii_digit).map(|found| start + found) else {
        return;
    };
    let digits = input.iter().skip(first).take_while(|byte| byte.is_ascii_digit()).count();
    if let Some(odd) = random.pick(ODD) {
        input.splice(first..first + digits, odd.bytes());
    }
}

/// A range within a length.
fn range(length: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(length);
    let end = start + 1 + random.below(RANGE_BYTES_MAX);
    start..end.min(length)
}

fn remove(input: &mut Vec<u8>, random: &mut Random) {
    let range = range(input.len(), random);
    input.drain(range);
}

fn duplicate(input: &mut Vec<u8>, random: &mut Random) {
    let copy = input[range(input.len(), random)].to_vec();
    let times = 1 << random.below(6);
    let at = random.below(input.len() + 1);
    let copies = copy.len() * times;
    if input.len() + copies <= INPUT_BYTES_MAX {
        input.splice(at..at, copy.repeat(times));
    }
}

fn truncate(input: &mut Vec<u8>, random: &mut Random) {
    // Nearly whole is more interesting than nearly nothing.
    let kept = random.below(input.len() + 1).max(random.below(input.len() + 1));
    input.truncate(kept);
}

fn insert_word(input: &mut Vec<u8>, stock: &Stock<'_>, random: &mut Random) {
    let at = random.below(input.len() + 1);
    if let Some(word) = random.pick(stock.words) {
        input.splice(at..at, word.bytes());
    }
}

fn overwrite_word(input: &mut Vec<u8>, stock: &Stock<'_>, random: &mut Random) {
    let at = random.below(input.len() + 1);
    if let Some(word) = random.pick(stock.words) {
        let end = (at + word.len()).min(input.len());
        input.splice(at..end, word.bytes());
    }
}

/// Takes a part of another seed: its end, or a range that is put in.
fn splice(input: &mut Vec<u8>, stock: &Stock<'_>, random: &mut Random) {
    let Some(other) = random.pick(stock.seeds) else {
        return;
    };
    let at = random.below(input.len() + 1);
    if random.below(2) == 0 {
        input.truncate(at);
        input.extend_from_slice(&other[random.below(other.len() + 1)..]);
    } else {
        let part = other[range(other.len(), random)].to_vec();
        input.splice(at..at, part);
    }
}

fn insert_noise(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(input.len() + 1);
    let noise: Vec<u8> = (0..=random.below(8)).map(|_| random.next() as u8).collect();
    input.splice(at..at, noise);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_takes_inputs_of_every_length() {
        let long = vec![b'7'; INPUT_BYTES_MAX];
        for seeds in [vec![], vec![vec![]], vec![vec![1]], vec![vec![], b"80".to_vec(), long]] {
            let stock = Stock { seeds: &seeds, words: &["word"] };
            for case in 0..2_000 {
                let made = make(&stock, &mut Random::of_case(1, case));
                assert!(made.len() <= INPUT_BYTES_MAX);
            }
        }
        let stock = Stock { seeds: &[], words: &[] };
        make(&stock, &mut Random::of_case(1, 1));
    }
}
