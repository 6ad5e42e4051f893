//! A frame: how one record, or one trailer, lies in a segment. Pure: bytes in, bytes out.
//!
//! ```text
//!  0        4        8               16              24       28       32       36   37       40
//!  +--------+--------+---------------+---------------+--------+--------+--------+----+--------+---------+
//!  | header | length | offset        | time          | prev.  | check- | group  |kind| zero   | payload |
//!  | check  | u32    | u64           | u64 ns        | check  | sum    | dist.  | u8 |        | padded  |
//!  +--------+--------+---------------+---------------+--------+--------+--------+----+--------+---------+
//! ```
//! All integers are little-endian; frames begin at multiples of 8. `store/FORMAT.md` says why each field is there.
//! Start at [`Header::parse`]. A parsed header is trusted only because its checksum holds. The checksum is seeded with the
//! log's salt and the segment's base offset, so bytes of another log or segment never parse.

use crate::{Offset, checksum};

/// Size of a frame without its payload.
pub(crate) const FRAME_BYTES: usize = 40;

/// Frames begin on multiples of this, so that a search for the next good one has few places to look at.
pub(crate) const ALIGNMENT: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record.
    Record,
    /// A record put in place of one that was lost; the chain to its successor is not checked.
    Replaced,
    /// Takes the place of a record that was lost for good; it keeps the offset taken and serves nothing.
    Lost,
    /// The end of a group: everything since the previous one was synced together.
    Commit,
    /// The sparse index of a sealed segment.
    Index,
    /// The last frame of a sealed segment; its group distance leads back to the index.
    Seal,
    /// The end of a block within a group, so that a scan can verify many frames at once.
    Check,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Record => 1,
            Kind::Replaced => 2,
            Kind::Lost => 3,
            Kind::Commit => 4,
            Kind::Index => 5,
            Kind::Seal => 6,
            Kind::Check => 7,
        }
    }

    const fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Record,
            2 => Kind::Replaced,
            3 => Kind::Lost,
            4 => Kind::Commit,
            5 => Kind::Index,
            6 => Kind::Seal,
            7 => Kind::Check,
            _ => return None,
        })
    }

    /// Whether the frame ends a block: its checksum covers the block's bytes, and it has no payload.
    #[inline]
    pub(crate) const fn is_trailer(self) -> bool {
        matches!(self, Kind::Commit | Kind::Check)
    }

    /// Whether the frame takes up an offset.
    #[inline]
    pub(crate) const fn takes_offset(self) -> bool {
        matches!(self, Kind::Record | Kind::Replaced | Kind::Lost)
    }
}

/// The 40 bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) payload_bytes: u32,
    /// The record's offset; in a trailer, the next record's.
    pub(crate) offset: Offset,
    /// The record's time; in a trailer, the last record's.
    pub(crate) time_unix_nanos: u64,
    /// The running checksum before this frame: the chain to its predecessor.
    pub(crate) previous: u32,
    /// The running checksum after it: `previous` extended by the payload. In a trailer, the checksum of its block.
    pub(crate) checksum: u32,
    /// Bytes from the beginning of its group to this frame.
    pub(crate) group_distance: u32,
}

/// The seed of the header checksums of the segment that begins at `base`.
///
/// The base keeps the stale bytes of a recycled file from parsing. The salt, a random number of this log, keeps a payload
/// from carrying bytes that would pass for frames where a search for the next good frame looks.
pub(crate) fn seed(salt: u64, base: Offset) -> u32 {
    checksum::extend(checksum::extend(0, &salt.to_le_bytes()), &base.get().to_le_bytes())
}

/// The size of a whole frame, padding included.
pub(crate) const fn bytes(payload_bytes: u32) -> u64 {
    (FRAME_BYTES as u64 + payload_bytes as u64).next_multiple_of(ALIGNMENT as u64)
}

impl Header {
    /// The frame's size, padding included.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        bytes(self.payload_bytes)
    }

    /// The header's bytes.
    pub(crate) fn encode(&self, seed: u32) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time_unix_nanos.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.previous.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.group_distance.to_le_bytes());
        bytes[36] = self.kind.code();
        let check = checksum::extend(seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a header that was written with this seed; `None` when these bytes are none.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<Header> {
        let bytes: &[u8; FRAME_BYTES] = bytes.get(..FRAME_BYTES)?.try_into().ok()?;
        // Before the checksum: most of what is not a frame fails here, which makes searching for one quick.
        Kind::from_code(bytes[36])?;
        if checksum::extend(seed, &bytes[4..]) != u32_at(bytes, 0) {
            return None;
        }
        Header::decode(bytes)
    }

    /// Reads a header out of bytes that are known to be good; `None` for a kind there is not.
    #[inline]
    pub(crate) fn decode(bytes: &[u8; FRAME_BYTES]) -> Option<Header> {
        let kind = Kind::from_code(bytes[36])?;
        Some(Header {
            kind,
            payload_bytes: u32_at(bytes, 4),
            offset: Offset::new(u64_at(bytes, 8)),
            time_unix_nanos: u64_at(bytes, 16),
            previous: u32_at(bytes, 24),
            checksum: u32_at(bytes, 28),
            group_distance: u32_at(bytes, 32),
        })
    }

    /// Whether this payload is the one the header was written for.
    #[inline]
    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        if self.kind.is_trailer() {
            return payload.is_empty();
        }
        payload.len() == self.payload_bytes as usize && checksum::extend(self.previous, payload) == self.checksum
    }
}

/// Appends a whole frame to `buffer`, padded.
pub(crate) fn push(buffer: &mut Vec<u8>, header: &Header, payload: &[u8], seed: u32) {
    debug_assert!(header.matches(payload), "a frame is written with its own payload");
    buffer.extend_from_slice(&header.encode(seed));
    buffer.extend_from_slice(payload);
    let padding = payload.len().next_multiple_of(ALIGNMENT) - payload.len();
    buffer.extend_from_slice(&[0; ALIGNMENT][..padding]);
}

/// Completes a frame whose payload ends `buffer`, behind the room for its header at `begin`.
pub(crate) fn complete(buffer: &mut Vec<u8>, begin: usize, header: &Header, seed: u32) {
    debug_assert!(header.matches(&buffer[begin + FRAME_BYTES..]), "a frame is written with its own payload");
    buffer[begin..begin + FRAME_BYTES].copy_from_slice(&header.encode(seed));
    let padding = header.frame_bytes() as usize - (buffer.len() - begin);
    buffer.extend_from_slice(&[0; ALIGNMENT][..padding]);
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Header {
        Header {
            kind: Kind::Record,
            payload_bytes: payload.len() as u32,
            offset: Offset::new(7),
            time_unix_nanos: 1_700_000_000_000_000_000,
            previous: 0xDEAD_BEEF,
            checksum: checksum::extend(0xDEAD_BEEF, payload),
            group_distance: 80,
        }
    }

    #[test]
    fn frame_reads_back_as_written_and_stays_aligned() {
        for length in [0, 1, 7, 8, 9, 512, 70_000] {
            let payload = vec![0xA5; length];
            let mut buffer = Vec::new();
            push(&mut buffer, &record(&payload), &payload, 3);
            assert_eq!(buffer.len() as u64, bytes(length as u32));
            assert_eq!(buffer.len() % ALIGNMENT, 0);
            let header = Header::parse(&buffer, 3).expect("a header");
            assert_eq!(header, record(&payload));
            assert!(header.matches(&buffer[FRAME_BYTES..FRAME_BYTES + length]));
        }
    }

    #[test]
    fn header_of_another_segment_never_parses() {
        let encoded = record(b"x").encode(seed(1, Offset::new(10)));
        assert!(Header::parse(&encoded, seed(1, Offset::new(10))).is_some());
        assert_eq!(Header::parse(&encoded, seed(1, Offset::new(11))), None);
        assert_eq!(Header::parse(&encoded, seed(2, Offset::new(10))), None);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let payload = b"twelve bytes";
        let mut buffer = Vec::new();
        push(&mut buffer, &record(payload), payload, 3);
        for bit in 0..(FRAME_BYTES + payload.len()) * 8 {
            buffer[bit / 8] ^= 1 << (bit % 8);
            let intact = Header::parse(&buffer, 3).is_some_and(|header| {
                buffer
                    .get(FRAME_BYTES..FRAME_BYTES + header.payload_bytes as usize)
                    .is_some_and(|payload| header.matches(payload))
            });
            assert!(!intact, "bit {bit}");
            buffer[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Header::parse(&[0; 64], seed(0, Offset::ZERO)), None);
        assert_eq!(Header::parse(&[0; 39], 0), None);
    }
}
