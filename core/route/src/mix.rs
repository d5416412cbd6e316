//! The hashing behind the rendezvous: stable over processes, machines and releases, so that all redirectors
//! agree. Not for anything that an adversary must not predict.

/// Spreads the bits of a number (the finalizer of `SplitMix64`, a bijection).
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a short text (FNV-1a, spread).
pub(crate) fn hash_text(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// The upper and the lower 64 bits.
pub(crate) const fn halves(number: u128) -> (u64, u64) {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is meant"
    )]
    let lower = number as u64;
    ((number >> 64) as u64, lower)
}
