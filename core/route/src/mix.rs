//! The hashing behind the rendezvous: stable over processes, machines and releases, so that all redirectors
//! agree. Not for anything that an adversary must not predict.

/// Spreads the bits of a number (the finalizer of `SplitMix64`, a bijection).
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a short text, eight bytes at a time.
pub(crate) fn hash_text(text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let rest = rest
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    words.chain([rest]).fold(mix(text.len() as u64), fold)
}

/// Mixes a word into a hash: the halves of their product.
const fn fold(hash: u64, word: u64) -> u64 {
    let product = ((hash ^ word) as u128) * 0xa076_1d64_78bd_642f;
    let (upper, lower) = halves(product);
    upper ^ lower
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_in_every_release() {
        // Redirectors of two releases run side by side during an upgrade and must agree.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1), 0x910a_2dec_8902_5cc1);
        for (text, hash) in [
            ("", 0x9dca_e14b_c8ec_2c07),
            ("a", 0x873a_2c97_6183_eed2),
            ("uni-oslo", 0x169c_7a44_67e6_3634),
            ("uni-oslo-2", 0x7954_d772_5097_e385),
            ("a-mirror-of-24-bytes-name", 0x156a_e3fd_a3b2_1f12),
        ] {
            assert_eq!(hash_text(text), hash, "{text}");
        }
    }
}
