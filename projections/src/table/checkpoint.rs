//! A checkpoint in the making: which rows have to be written, and in which order, while records are folded meanwhile.
//!
//! Start at [`Checkpoint::begin`]. It fixes two things at one watermark: the ground, as bytes, and which buckets changed since
//! the checkpoint before. From there on a bucket that changes counts for the next checkpoint. The buckets are collected one by
//! one, each as it is when its turn comes, so that the projection is needed for some microseconds at a time, and no more than
//! one piece is in memory.
//!
//! A bucket may therefore be ahead of the ground's watermark, in a checkpoint that is complete as in one that a crash cut
//! off. It is never behind it, which is what [`crate::table`] needs:
//!
//! - the ground is the last row, so that a watermark is on the disk only after every bucket that changed below it;
//! - buckets come in order, and none that began after the watermark, so that each but the last is full;
//! - the landmarks of a bucket are collected with it, under the same lock, and are in the same piece: what a row is ahead by is
//!   not folded again, and would leave no landmark.

use std::ops::Deref;

use lifeline_store::Offset;

use super::layout::{GROUND, bucket_row, encode_ground, landmark_row, sealed};
use super::rows::Row;
use crate::fold::Projection;
use crate::landmarks::LandmarkKey;

/// Bytes in one piece, give or take a bucket: larger ones make sled's memory grow, smaller ones amplify its writes.
pub const PIECE_BYTES: usize = 256 << 10;

/// What is still to be written of a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    watermark: Offset,
    /// Which buckets changed.
    changed: Vec<bool>,
    /// The first bucket that has not been collected.
    next: usize,
    /// The ground's row, until it is collected.
    ground: Option<Row>,
    piece_bytes: usize,
}

/// Rows that are written at once.
#[derive(Debug, Default)]
pub struct Piece {
    pub(super) rows: Vec<Row>,
    /// The landmarks among them.
    pub(super) landmarks: Vec<LandmarkKey>,
    bytes: usize,
}

impl Checkpoint {
    /// Begins a checkpoint at the projection's watermark. One at a time: it has to be written as a whole, or given up.
    pub fn begin(projection: &mut Projection) -> Checkpoint {
        let watermark = projection.watermark();
        let ground = sealed(|out| encode_ground(projection, out));
        let changed = projection.storage_mut().take_changed();
        Checkpoint { watermark, changed, next: 0, ground: Some((GROUND.to_vec(), ground)), piece_bytes: PIECE_BYTES }
    }

    /// Begins one that writes every bucket: for a table that may have lost what was written to it.
    pub fn begin_whole(projection: &mut Projection) -> Checkpoint {
        projection.storage_mut().all_changed();
        Checkpoint::begin(projection)
    }

    /// The watermark of the projection once it is written.
    #[must_use]
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// The same, in pieces of another size.
    #[must_use]
    pub fn with_piece_bytes(self, piece_bytes: usize) -> Checkpoint {
        Checkpoint { piece_bytes, ..self }
    }

    /// The next piece; `None` once all were given. `projection` is asked for each bucket, and held no longer than it takes to
    /// encode that.
    pub fn next_piece<P: Deref<Target = Projection>>(&mut self, projection: impl Fn() -> P) -> Option<Piece> {
        let mut piece = Piece::default();
        while piece.bytes < self.piece_bytes {
            let mut rest = self.changed.iter().enumerate().skip(self.next);
            if let Some((bucket, _)) = rest.find(|(_, changed)| **changed) {
                piece.collect(bucket, &projection());
                self.next = bucket + 1;
            } else if let Some(ground) = self.ground.take() {
                self.next = self.changed.len();
                piece.push(ground);
            } else {
                break;
            }
        }
        (!piece.rows.is_empty()).then_some(piece)
    }

    /// Gives it up: what changed before it counts for the next one.
    pub fn give_up(self, projection: &mut Projection) {
        projection.storage_mut().changed_too(&self.changed);
    }
}

impl Piece {
    /// Adds a bucket, and the landmarks of its resources before it.
    fn collect(&mut self, bucket: usize, projection: &Projection) {
        let storage = projection.storage();
        projection.landmarks().each_recent(storage.numbers(bucket), |(resource, offset), bytes| {
            let value = sealed(|out| out.extend_from_slice(bytes));
            self.push((landmark_row(resource, offset).to_vec(), value));
            self.landmarks.push((resource, offset));
        });
        self.push((bucket_row(bucket).to_vec(), sealed(|out| storage.encode_bucket(bucket, out))));
    }

    fn push(&mut self, row: Row) {
        self.bytes += row.1.len();
        self.rows.push(row);
    }
}
