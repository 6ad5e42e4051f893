//! The bytes of a table: its keys, and what is around and in its values. See [`crate::table`] for the drawing.

use lifeline_store::{Offset, crc32c};

use crate::fold::{Ground, Projection};
use crate::resource::ResourceIndex;

/// The layout of keys and values. Another number in the file means: set aside, rebuild.
pub(super) const VERSION: u8 = 8;

/// The key of the ground.
pub(super) const GROUND: &[u8] = b"g";

const BUCKET: u8 = b'r';
const LANDMARK: u8 = b'l';

/// Bytes before the body of a value: the version and the checksum.
pub(super) const HEAD_BYTES: usize = 5;

/// The key of a bucket.
pub(super) fn bucket_row(bucket: usize) -> [u8; 5] {
    let bucket = u32::try_from(bucket).expect("there are fewer buckets than resources, which have 32-bit numbers");
    let mut row = [BUCKET; 5];
    row[1..].copy_from_slice(&bucket.to_be_bytes());
    row
}

/// The key of a landmark.
pub(super) fn landmark_row(resource: ResourceIndex, offset: Offset) -> [u8; 13] {
    let mut row = [LANDMARK; 13];
    row[1..5].copy_from_slice(&resource.to_be_bytes());
    row[5..].copy_from_slice(&offset.get().to_be_bytes());
    row
}

/// The offset in the key of a landmark.
pub(super) fn landmark_offset(key: &[u8]) -> Option<Offset> {
    let offset = u64::from_be_bytes(key.get(5..13)?.try_into().ok()?);
    Some(Offset::from(offset))
}

/// A value whose body is what is written.
pub(super) fn sealed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut value = vec![0; HEAD_BYTES];
    write(&mut value);
    let sum = crc32c(&value[HEAD_BYTES..]);
    value[0] = VERSION;
    value[1..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    value
}

/// The body of a value, if it is of this layout and undamaged: a disk gives what it finds.
pub(super) fn body(value: &[u8]) -> Option<&[u8]> {
    let (head, body) = value.split_at_checked(HEAD_BYTES)?;
    let sum = u32::from_le_bytes(head[1..].try_into().ok()?);
    (head[0] == VERSION && sum == crc32c(body)).then_some(body)
}

/// Appends the body of the ground.
pub(super) fn encode_ground(projection: &Projection, out: &mut Vec<u8>) {
    let config = bincode::config::standard();
    let (resources, ground) = (projection.len() as u64, projection.ground());
    let mut written = bincode::serde::encode_into_std_write((resources, ground), out, config).map(|_| ());
    // Without any of these, the bytes are those of a release that knew none.
    let (has_withdrawals, has_holes) = (!ground.withdrawals.is_empty(), !ground.holes.is_empty());
    if !ground.open_replays.is_empty() || has_withdrawals || has_holes {
        let more = bincode::serde::encode_into_std_write(&ground.open_replays, out, config);
        written = written.and(more.map(|_| ()));
    }
    if has_withdrawals || has_holes {
        let more = bincode::serde::encode_into_std_write(&ground.withdrawals, out, config);
        written = written.and(more.map(|_| ()));
    }
    if has_holes {
        let more = bincode::serde::encode_into_std_write(&ground.holes, out, config);
        written = written.and(more.map(|_| ()));
    }
    written.expect("a Vec takes everything that bincode can write");
}

/// Reads the body of the ground: how many resources there are at least, and the ground.
pub(super) fn decode_ground(body: &[u8]) -> Option<(u64, Ground)> {
    let config = bincode::config::standard().with_limit::<{ 256 << 20 }>();
    let ((resources, mut ground), mut read): ((u64, Ground), usize) =
        bincode::serde::decode_from_slice(body, config).ok()?;
    if read < body.len() {
        let (open_replays, more) = bincode::serde::decode_from_slice(&body[read..], config).ok()?;
        ground.open_replays = open_replays;
        read += more;
    }
    if read < body.len() {
        let (withdrawals, more) = bincode::serde::decode_from_slice(&body[read..], config).ok()?;
        ground.withdrawals = withdrawals;
        read += more;
    }
    if read < body.len() {
        let (holes, more) = bincode::serde::decode_from_slice(&body[read..], config).ok()?;
        ground.holes = holes;
        read += more;
    }
    (read == body.len()).then_some((resources, ground))
}
