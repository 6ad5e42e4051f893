//! A lifecycle's inventory and failure as bytes: what few decisions touch, and would otherwise take the most memory.
//!
//! Start at [`pack`]. The failure comes first, then holding after holding, in the order of their objects:
//!
//! ```text
//! index      where there are more than 32 holdings: 2, how many entries (4), and where every 32nd holding begins (4 each)
//! failure    0, or 1 and the Failure in bincode
//! holding    group, version, kind, name   each a length and its bytes
//!            namespace                    0, or 1, a length and its bytes
//!            since                        a number
//!            applied                      flags (see below); when they say so: the uid, the digest (8), the fields (8),
//!                                         and when
//! ```
//!
//! Lengths and numbers take seven bits a byte, the lowest first; the eighth says that more follow. Two things keep it short:
//!
//! - A uid that is a UUID, as Kubernetes gives them, takes its 16 bytes.
//! - What was applied when the lifecycle was last settled, which is true of nearly all holdings, does not say when that was:
//!   the lifecycle does. So an apply that found everything as it was leaves these bytes alone: see [`confirms`]. It is asked
//!   for every outcome of a log that is read, which is why these few bytes have a layout of their own: bincode
//!   with serde takes five times the instructions.
//!
//! One holding is found by the index, without a look at all the others: [`since`] and [`holding`] are asked for each object of a
//! lifecycle, and it may hold ten thousand.
//!
//! Never here: what follows from a fact. See [`crate::lifecycle`].

use std::cmp::Ordering;

use data_encoding::HEXLOWER;
use lifeline_store::Offset;
use smol_str::SmolStr;

use crate::fact::{AppliedObject, ObjectKey};
use crate::lifecycle::{Applied, Failure, Holding, Lifecycle};

/// The longest collection that decoding will believe, in bytes.
pub(crate) const BYTES_MAX: usize = 256 << 20;

/// Holdings from one entry of the index to the next. So many and fewer have no index.
const INDEX_EVERY: usize = 32;

/// The first byte where there is an index. A failure begins with 0 or 1.
const INDEXED: u8 = 2;

/// The flags of a holding: it was applied, ...
const APPLIED: u8 = 1;
/// ... its uid is a UUID, ...
const UUID: u8 = 2;
/// ... it was applied at another time than that at which the lifecycle was last settled, ...
const APART: u8 = 4;
/// ... and the checksum of its fields is known.
const FIELDS: u8 = 8;

/// Packs what there is; `None` when there is nothing.
pub(crate) fn pack(lifecycle: &Lifecycle) -> Option<Box<[u8]>> {
    if lifecycle.inventory.is_empty() && lifecycle.failure.is_none() {
        return None;
    }
    let mut out = Vec::with_capacity(128);
    bincode::serde::encode_into_std_write(&lifecycle.failure, &mut out, bincode::config::standard())
        .expect("a failure holds only what bincode can write, and a Vec takes all of it");
    let (count, mut starts) = (lifecycle.inventory.len(), Vec::new());
    for (at, holding) in lifecycle.inventory.iter().enumerate() {
        if count > INDEX_EVERY && at.is_multiple_of(INDEX_EVERY) {
            starts.push(out.len());
        }
        put_holding(&mut out, holding, lifecycle.settled_at());
    }
    if !starts.is_empty() {
        out = indexed(&starts, &out);
    }
    // Exactly fitted: there may be a million.
    Some(out.as_slice().into())
}

/// The same bytes behind an index that says where these holdings begin.
fn indexed(starts: &[usize], bytes: &[u8]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).expect("an inventory takes less than 4 GiB").to_le_bytes();
    let head = 1 + 4 * (1 + starts.len());
    let mut out = Vec::with_capacity(head + bytes.len());
    out.push(INDEXED);
    out.extend(number(starts.len()));
    starts.iter().for_each(|start| out.extend(number(head + start)));
    out.extend_from_slice(bytes);
    out
}

/// Gives a lifecycle the inventory and the failure that were packed; it knows already when it was settled.
///
/// # Panics
/// When the bytes are not [`is_sound`].
pub(crate) fn unpack(packed: &[u8], into: &mut Lifecycle) {
    let mut bytes = Bytes(packed);
    bytes.index().expect(SOUND);
    into.failure = bytes.failure().expect(SOUND);
    let settled_at = into.settled_at();
    into.inventory = bytes.map(|row| row.holding(settled_at).expect(SOUND)).collect();
}

/// Whether bytes that come from elsewhere are what [`pack`] makes.
pub(crate) fn is_sound(packed: &[u8]) -> bool {
    let mut bytes = Bytes(packed);
    let Some(starts) = bytes.index() else { return false };
    let (mut sound, mut count, mut begun) = (bytes.failure().is_some(), 0, Vec::new());
    while sound && !bytes.0.is_empty() {
        if usize::is_multiple_of(count, INDEX_EVERY) {
            begun.push(packed.len() - bytes.0.len());
        }
        sound = bytes.row().is_some_and(|row| row.holding(None).is_some());
        count += 1;
    }
    sound && if count > INDEX_EVERY { starts.iter().map(place).eq(begun) } else { starts.is_empty() }
}

/// The objects held, in order.
pub(crate) fn objects(packed: &[u8]) -> impl Iterator<Item = ObjectKey> {
    rows(packed).map(|row| row.object().expect(SOUND))
}

/// Since when an object is held.
pub(crate) fn since(packed: &[u8], object: &ObjectKey) -> Option<Offset> {
    find(packed, object).map(|row| row.since)
}

/// The holding of an object; `settled_at` is when the lifecycle was last settled.
pub(crate) fn holding(packed: &[u8], object: &ObjectKey, settled_at: Option<Moment>) -> Option<Holding> {
    find(packed, object).map(|row| row.holding(settled_at).expect(SOUND))
}

fn find<'r>(packed: &'r [u8], object: &ObjectKey) -> Option<Row<'r>> {
    let starts = Bytes(packed).index().expect(SOUND);
    if starts.is_empty() {
        return rows(packed).find(|row| row.is(object));
    }
    let from = |start: &[u8; 4]| Bytes(&packed[place(start)..]);
    let is_behind = |start: &[u8; 4]| from(start).next().is_some_and(|row| row.order(object) == Ordering::Greater);
    let last = starts.partition_point(|start| !is_behind(start)).checked_sub(1)?;
    from(&starts[last]).take(INDEX_EVERY).find(|row| row.is(object))
}

/// What an entry of the index says.
fn place(entry: &[u8; 4]) -> usize {
    u32::from_le_bytes(*entry) as usize
}

/// Whether these objects are all that is held, each as it was when the lifecycle was last settled.
pub(crate) fn confirms(packed: &[u8], objects: &[AppliedObject]) -> bool {
    let mut sorted: Vec<&AppliedObject> = objects.iter().collect();
    sorted.sort_unstable_by_key(|applied| &applied.object);
    let mut held = rows(packed);
    let is_next = |applied: &AppliedObject| held.next().is_some_and(|row| row.is_settled_as(applied));
    sorted.into_iter().all(is_next) && held.next().is_none()
}

fn rows(packed: &[u8]) -> Bytes<'_> {
    let mut bytes = Bytes(packed);
    bytes.index().expect(SOUND);
    bytes.failure().expect(SOUND);
    bytes
}

const SOUND: &str = "it was packed by this process, or looked into when it was read";

/// A record and the time of it, in nanoseconds since 1970.
pub(crate) type Moment = (Offset, u64);

/// A [`Holding`] as it lies there. Texts are looked into only by who wants them.
struct Row<'r> {
    group: &'r [u8],
    version: &'r [u8],
    kind: &'r [u8],
    name: &'r [u8],
    namespace: Option<&'r [u8]>,
    since: Offset,
    applied: Option<AppliedRow<'r>>,
}

/// An [`Applied`] as it lies there.
struct AppliedRow<'r> {
    uid: Uid<'r>,
    digest: u64,
    fields: u64,
    /// The decision it was applied for, and when; `None` when the lifecycle was last settled by it.
    at: Option<Moment>,
}

impl Row<'_> {
    fn holding(&self, settled_at: Option<Moment>) -> Option<Holding> {
        let applied = match &self.applied {
            None => None,
            Some(applied) => {
                // Without either the lifecycle was not settled, which damage alone can make of it.
                let (acted_for, unix_nanos) = applied.at.or(settled_at).unwrap_or_default();
                let AppliedRow { digest, fields, .. } = *applied;
                Some(Applied { uid: applied.uid.text()?, digest, acted_for, unix_nanos, fields })
            }
        };
        Some(Holding { object: self.object()?, since: self.since, applied })
    }

    fn object(&self) -> Option<ObjectKey> {
        let namespace = match self.namespace {
            None => None,
            Some(namespace) => Some(text(namespace)?),
        };
        let (group, version, kind) = (text(self.group)?, text(self.version)?, text(self.kind)?);
        Some(ObjectKey { group, version, kind, namespace, name: text(self.name)? })
    }

    fn is(&self, object: &ObjectKey) -> bool {
        self.name == object.name.as_bytes()
            && self.namespace == object.namespace.as_ref().map(|namespace| namespace.as_bytes())
            && self.kind == object.kind.as_bytes()
            && self.group == object.group.as_bytes()
    }

    /// Where it is beside an object, in the order of [`ObjectKey`].
    fn order(&self, object: &ObjectKey) -> Ordering {
        let ObjectKey { group, version: _, kind, namespace, name } = object;
        let namespace = namespace.as_ref().map(|namespace| namespace.as_bytes());
        let its = (self.group, self.kind, self.namespace, self.name);
        its.cmp(&(group.as_bytes(), kind.as_bytes(), namespace, name.as_bytes()))
    }

    fn is_settled_as(&self, told: &AppliedObject) -> bool {
        let is_so = |known: &AppliedRow<'_>| {
            let is_alike = known.digest == told.digest && known.fields == told.fields;
            known.at.is_none() && is_alike && known.uid == Uid::of(&told.uid)
        };
        let is_same_version = self.version == told.object.version.as_bytes();
        self.applied.as_ref().is_some_and(is_so) && is_same_version && self.is(&told.object)
    }
}

fn put_holding(out: &mut Vec<u8>, holding: &Holding, settled_at: Option<Moment>) {
    let ObjectKey { group, version, kind, namespace, name } = &holding.object;
    for text in [group, version, kind, name] {
        put_text(out, text.as_bytes());
    }
    out.push(u8::from(namespace.is_some()));
    if let Some(namespace) = namespace {
        put_text(out, namespace.as_bytes());
    }
    put_number(out, holding.since.get());
    let Some(applied) = &holding.applied else {
        out.push(0);
        return;
    };
    let (uid, at) = (Uid::of(&applied.uid), (applied.acted_for, applied.unix_nanos));
    let is_apart = settled_at != Some(at);
    let uuid_flag = if matches!(uid, Uid::Uuid(_)) { UUID } else { 0 };
    let fields_flag = if applied.fields != 0 { FIELDS } else { 0 };
    out.push(APPLIED | uuid_flag | fields_flag | if is_apart { APART } else { 0 });
    match uid {
        Uid::Uuid(uuid) => out.extend_from_slice(&uuid),
        Uid::Text(text) => put_text(out, text),
    }
    out.extend_from_slice(&applied.digest.to_le_bytes());
    if applied.fields != 0 {
        out.extend_from_slice(&applied.fields.to_le_bytes());
    }
    if is_apart {
        put_number(out, applied.acted_for.get());
        put_number(out, applied.unix_nanos);
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(bytes: &[u8]) -> Option<SmolStr> {
    std::str::from_utf8(bytes).ok().map(SmolStr::new)
}

/// Packed bytes that are not read yet. `None` of any of its functions means that they are not sound.
struct Bytes<'r>(&'r [u8]);

impl<'r> Bytes<'r> {
    fn failure(&mut self) -> Option<Option<Failure>> {
        if self.0.first() == Some(&0) {
            self.0 = &self.0[1..];
            return Some(None);
        }
        let config = bincode::config::standard().with_limit::<BYTES_MAX>();
        let (failure, read) = bincode::serde::decode_from_slice(self.0, config).ok()?;
        self.0 = &self.0[read..];
        Some(failure)
    }

    /// The entries of the index; none where there is none.
    fn index(&mut self) -> Option<&'r [[u8; 4]]> {
        if self.0.first() != Some(&INDEXED) {
            return Some(&[]);
        }
        self.0 = &self.0[1..];
        let count = usize::try_from(u32::from_le_bytes(*self.fixed()?)).ok()?;
        let (entries, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        self.0 = rest;
        Some(entries.as_chunks().0)
    }

    fn row(&mut self) -> Option<Row<'r>> {
        let (group, version, kind, name) = (self.text()?, self.text()?, self.text()?, self.text()?);
        let namespace = if self.byte()? == 0 { None } else { Some(self.text()?) };
        let since = Offset::from(self.number()?);
        let flags = self.byte()?;
        let applied = if flags & APPLIED == 0 {
            None
        } else {
            let uid = if flags & UUID == 0 { Uid::Text(self.text()?) } else { Uid::Uuid(*self.fixed()?) };
            let digest = u64::from_le_bytes(*self.fixed()?);
            let fields = if flags & FIELDS == 0 { 0 } else { u64::from_le_bytes(*self.fixed()?) };
            let at = if flags & APART == 0 { None } else { Some((Offset::from(self.number()?), self.number()?)) };
            Some(AppliedRow { uid, digest, fields, at })
        };
        Some(Row { group, version, kind, name, namespace, since, applied })
    }

    fn text(&mut self) -> Option<&'r [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(text)
    }

    fn fixed<const COUNT: usize>(&mut self) -> Option<&'r [u8; COUNT]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| *byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl<'r> Iterator for Bytes<'r> {
    type Item = Row<'r>;

    fn next(&mut self) -> Option<Row<'r>> {
        (!self.0.is_empty()).then(|| self.row().expect(SOUND))
    }
}

/// A uid, short if it can be.
#[derive(Debug, PartialEq)]
enum Uid<'r> {
    /// In lower case and with its four hyphens.
    Uuid([u8; 16]),
    Text(&'r [u8]),
}

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl<'r> Uid<'r> {
    fn of(text: &'r str) -> Uid<'r> {
        Uid::parse(text.as_bytes()).map_or(Uid::Text(text.as_bytes()), Uid::Uuid)
    }

    fn parse(text: &[u8]) -> Option<[u8; 16]> {
        if text.len() != 36 || HYPHENS.iter().any(|at| text[*at] != b'-') {
            return None;
        }
        let mut digits = [0; 32];
        digits[..8].copy_from_slice(&text[..8]);
        digits[8..12].copy_from_slice(&text[9..13]);
        digits[12..16].copy_from_slice(&text[14..18]);
        digits[16..20].copy_from_slice(&text[19..23]);
        digits[20..].copy_from_slice(&text[24..]);
        let mut uuid = [0; 16];
        HEXLOWER.decode_mut(&digits, &mut uuid).ok()?;
        Some(uuid)
    }

    fn text(&self) -> Option<String> {
        Some(match self {
            Uid::Uuid(uuid) => {
                let mut text = HEXLOWER.encode(uuid);
                HYPHENS.iter().for_each(|at| text.insert(*at, '-'));
                text
            }
            Uid::Text(text) => std::str::from_utf8(text).ok()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::happened::Happened;

    #[test]
    fn a_uid_reads_as_it_was_written_and_only_a_uuid_is_short() {
        let check = |text: &str, is_short: bool| {
            let uid = Uid::of(text);
            assert_eq!(matches!(uid, Uid::Uuid(_)), is_short, "{text}");
            assert_eq!(uid.text().as_deref(), Some(text));
        };
        check("0b8f2c1a-93d4-4e57-8a60-fedcba987654", true);
        check("0B8F2C1A-93D4-4E57-8A60-FEDCBA987654", false);
        check("0b8f2c1a-93d4-4e57-8a60fedcba9876540", false);
        check("0b8f2c1a-93d4-4e57-8a60-fedcba98765g", false);
        check("0b8f2c1a-93d4-4e57-8a60-fedcba98765", false);
        check("éé8f2c1a-93d4-4e57-8a60-fedcba987654", false);
        check("uid", false);
        check("", false);
    }

    #[test]
    fn an_apply_is_confirmed_only_by_all_that_is_held_as_it_was() {
        let object = |name: &str| ObjectKey {
            group: "".into(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: name.into(),
        };
        let applied =
            |name: &str, uid: &str, digest| AppliedObject { object: object(name), uid: uid.into(), digest, fields: 0 };
        let mut lifecycle = Lifecycle::new("t", "c");
        lifecycle.evolve(Offset::from(1), 10, Happened::DecidedCreate);
        let objects = [applied("b", "uid-b", 7), applied("a", "0b8f2c1a-93d4-4e57-8a60-fedcba987654", 8)];
        let happened = Happened::Applied { acted_for: Offset::from(1), objects: &objects };
        lifecycle.evolve(Offset::from(2), 20, happened);
        let packed = pack(&lifecycle).expect("it holds two");
        let check = |told: &[AppliedObject], expected: bool| assert_eq!(confirms(&packed, told), expected, "{told:?}");
        let [b, a] = objects.clone();
        check(&objects, true);
        check(&[a.clone(), b.clone()], true);
        check(std::slice::from_ref(&a), false);
        check(&[a.clone(), a.clone()], false);
        check(&[a.clone(), b.clone(), applied("c", "uid-c", 9)], false);
        check(&[a.clone(), applied("b", "uid-c", 7)], false);
        check(&[a.clone(), applied("b", "uid-b", 8)], false);
        check(&[a.clone(), AppliedObject { fields: 3, ..b.clone() }], false);
        check(&[a.clone(), applied("c", "uid-b", 7)], false);
        check(&[], false);

        // One of them was applied for an earlier decision: the next apply is news.
        lifecycle.evolve(Offset::from(3), 30, Happened::DecidedCreate);
        lifecycle.evolve(Offset::from(4), 40, Happened::Applied { acted_for: Offset::from(3), objects: &[a] });
        assert!(!confirms(&pack(&lifecycle).expect("it holds two"), &objects));
        lifecycle.evolve(Offset::from(5), 50, Happened::Applied { acted_for: Offset::from(3), objects: &objects });
        assert!(confirms(&pack(&lifecycle).expect("it holds two"), &objects));
    }

    /// A lifecycle that holds so many objects, the n-th of them since the record n.
    fn holder(count: u64) -> Lifecycle {
        let mut lifecycle = Lifecycle::new("t", "c");
        lifecycle.failure =
            Some(Failure { offset: Offset::ZERO, unix_nanos: 0, error: "no".into(), attempt: 1, transient: true });
        for number in 0..count {
            let object = ObjectKey {
                group: ["", "apps"][number as usize % 2].into(),
                version: "v1".into(),
                kind: "Kind".into(),
                namespace: (number % 3 != 0).then(|| format!("n{}", number % 5).into()),
                name: format!("name-{number}").into(),
            };
            lifecycle.inventory.push(Holding { object, since: Offset::from(number), applied: None });
        }
        lifecycle.inventory.sort_by(|one, other| one.object.cmp(&other.object));
        lifecycle
    }

    #[test]
    fn each_of_many_holdings_is_found_and_no_other_one() {
        for count in [1, 31, 32, 33, 64, 65, 1_000] {
            let lifecycle = holder(count);
            let packed = pack(&lifecycle).expect("it holds some");
            assert!(is_sound(&packed), "{count}");
            let mut unpacked = Lifecycle { inventory: vec![], failure: None, ..lifecycle.clone() };
            unpack(&packed, &mut unpacked);
            assert_eq!(unpacked, lifecycle);
            for held in &lifecycle.inventory {
                assert_eq!(since(&packed, &held.object), Some(held.since), "{count}, {held:?}");
                assert_eq!(holding(&packed, &held.object, None).as_ref(), Some(held));
                let [before, after] = ["", "~"].map(|tail| ObjectKey {
                    name: format!("{}{tail}", if tail.is_empty() { "" } else { &held.object.name }).into(),
                    ..held.object.clone()
                });
                assert_eq!((since(&packed, &before), since(&packed, &after)), (None, None), "{count}, {held:?}");
            }
            // An index that is not that of these holdings is not believed.
            if packed[0] == INDEXED {
                let mut other = packed.to_vec();
                other[5] ^= 1;
                assert!(!is_sound(&other), "{count}");
            }
        }
    }

    #[test]
    fn a_holding_of_ten_thousand_is_found_without_a_look_at_all_of_them() {
        let packed = pack(&holder(10_000)).expect("it holds some");
        let starts = Bytes(&packed).index().expect("it is sound");
        assert_eq!(starts.len(), 10_000_usize.div_ceil(INDEX_EVERY));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_and_numbers_of_any_size_are_read_back(
            names in proptest::collection::btree_set("[a-zé]{0,200}", 0..4),
            numbers in proptest::collection::vec(any::<u64>(), 4),
            bits in 0..8_u8,
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut lifecycle = Lifecycle::new("t", "c");
            let number = |at: usize| numbers[at % 4] >> (numbers[at % 3] % 64);
            (lifecycle.settled, lifecycle.settled_unix_nanos) = (Some(Offset::from(number(0))), number(1));
            for (at, name) in names.iter().enumerate() {
                let object = ObjectKey {
                    group: name.chars().rev().collect(),
                    version: "v1".into(),
                    kind: "Kind".into(),
                    namespace: (bits & 1 == 0).then(|| name.into()),
                    name: name.into(),
                };
                let (acted_for, unix_nanos) = if at == 1 { (Offset::from(number(2)), 3) } else { (Offset::from(number(0)), number(1)) };
                let uid = if bits & 2 == 0 { name.clone() } else { "0b8f2c1a-93d4-4e57-8a60-fedcba987654".to_owned() };
                let fields = if at == 0 { 0 } else { number(2) };
                let applied = Applied { uid, digest: number(3), acted_for, unix_nanos, fields };
                lifecycle.inventory.push(Holding { object, since: Offset::from(number(at)), applied: (at != 2).then_some(applied) });
            }
            lifecycle.inventory.sort_by(|one, other| one.object.cmp(&other.object));
            lifecycle.failure = (bits & 4 == 0).then(|| Failure {
                offset: Offset::from(number(1)),
                unix_nanos: number(2),
                error: "é".repeat(100),
                attempt: 1,
                transient: true,
            });
            let Some(packed) = pack(&lifecycle) else {
                prop_assert!(lifecycle.inventory.is_empty() && lifecycle.failure.is_none());
                return Ok(());
            };
            prop_assert!(is_sound(&packed));
            let mut unpacked = Lifecycle { inventory: vec![], failure: None, ..lifecycle.clone() };
            unpack(&packed, &mut unpacked);
            prop_assert_eq!(&unpacked, &lifecycle);
            // Whatever is cut off is missed, unless whole holdings are.
            let cut = &packed[..cut.index(packed.len())];
            if is_sound(cut) {
                unpack(cut, &mut unpacked);
                prop_assert!(lifecycle.inventory.starts_with(&unpacked.inventory));
                prop_assert!(unpacked.inventory.len() < lifecycle.inventory.len());
            }
        }
    }
}
