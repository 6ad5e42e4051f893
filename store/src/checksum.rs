//! CRC32C (Castagnoli; RFC 3720, appendix B.4), the one checksum of the format, in hardware where there is any.
//!
//! A checksum may continue another one: `extend(extend(0, a), b)` is the checksum of `a` followed by `b`. The log's
//! running checksum rests on that.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC32C of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    extend(0, bytes)
}

/// The checksum of what `checksum` covers followed by `bytes`; `extend(0, bytes)` starts afresh.
#[inline]
pub(crate) fn extend(checksum: u32, bytes: &[u8]) -> u32 {
    // The crate keeps its state inverted, as the algorithm does inside.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!checksum));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::extend;

    #[test]
    fn checksum_is_the_published_crc32c() {
        // The check value of CRC-32/ISCSI and the vectors of RFC 3720, B.4.
        assert_eq!(extend(0, b"123456789"), 0xE306_9283);
        assert_eq!(extend(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(extend(0, &[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn checksum_of_parts_continues_to_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5000_u32).map(|index| (index * 31 % 251) as u8).collect();
        for cut in [0, 1, 7, 8, 512, 4999, 5000] {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(extend(extend(0, head), tail), extend(0, &bytes), "cut at {cut}");
        }
    }
}
