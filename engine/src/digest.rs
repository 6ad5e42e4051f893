//! Checksums of rules: equal for equal meaning, in every process and every release.
//!
//! The first eight bytes, big-endian, of SHA-256 over JSON with sorted keys and no blanks. They are recorded in the log, so
//! the function never changes; a test pins it. Start at [`digest`].

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The checksum of a value, whatever the order of its keys.
#[must_use]
pub fn digest(value: &Value) -> u64 {
    let mut text = Vec::new();
    write_canonical(value, &mut text);
    let hash = Sha256::digest(&text);
    u64::from_be_bytes(hash[..8].try_into().expect("SHA-256 gives 32 bytes"))
}

/// JSON with keys sorted by code point.
#[must_use]
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = Vec::new();
    write_canonical(value, &mut text);
    String::from_utf8(text).expect("JSON is UTF-8")
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(key, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        scalar => write(scalar, out),
    }
}

/// A key or a scalar as JSON.
fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a key or a scalar can be written to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digest_is_the_same_in_every_release() {
        assert_eq!(digest(&json!({"b": [1, "x\n", null], "a": {"d": true, "c": 1.5}})), PINNED);
        assert_eq!(digest(&serde_json::from_str(r#"{"a":{"c":1.5,"d":true},"b":[1,"x\n",null]}"#).unwrap()), PINNED);
    }

    #[test]
    fn canonical_json_has_sorted_keys() {
        assert_eq!(canonical(&json!({"b": 1, "a": {"d": 1, "c": []}})), r#"{"a":{"c":[],"d":1},"b":1}"#);
    }

    const PINNED: u64 = 0x4623_f661_f949_c97c;
}
