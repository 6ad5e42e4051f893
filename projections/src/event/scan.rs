//! One pass over the JSON of an event in structured mode: its attributes, borrowed, and a check of everything else.
//!
//! Start at [`scan_told`]. It knows the shape that nearly every producer sends, and gives up with `None` at anything else:
//! a fault, an escaped attribute, a repeated one, a value that is no string, nesting beyond [`DEPTH_MAX`]. Then serde_json
//! reads the event from the start and has the last word, so verdicts and their texts are its own.
//!
//! Invariant: what [`scan_told`] accepts, serde_json accepts too, and reads the same out of it. The tests at the end compare
//! the two on whole families of texts.
//!
//! Never here: what an attribute may say. That is checked in [`super`], for both ways.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{Attributes, Text};

/// Nesting inside one value that is followed here. The kinds of the open brackets are kept in the bits of one number.
const DEPTH_MAX: u32 = 64;

/// The attributes of an event, when it has the common shape.
#[cfg(test)]
fn scan(text: &str) -> Option<Attributes<'_>> {
    scan_told(text).map(|(attributes, _)| attributes)
}

/// The attributes, and whether all the rest reads as values too. Numbers with exponents may be too large for any, and escapes may
/// be halves of a character; serde_json sees that where the value is read.
pub(super) fn scan_told(text: &str) -> Option<(Attributes<'_>, bool)> {
    let mut scanner = Scanner::new(text);
    let mut attributes = Attributes::default();
    let mut has_data = false;
    scanner.skip_space();
    scanner.expect(b'{')?;
    scanner.skip_space();
    if scanner.peek()? == b'}' {
        scanner.at += 1;
    } else {
        loop {
            let name = scanner.string()?;
            scanner.skip_space();
            scanner.expect(b':')?;
            scanner.skip_space();
            let slot = match name.as_bytes() {
                b"specversion" => &mut attributes.specversion,
                b"id" => &mut attributes.id,
                b"source" => &mut attributes.source,
                b"type" => &mut attributes.kind,
                b"subject" => &mut attributes.subject,
                b"time" => &mut attributes.time,
                b"dataschema" => &mut attributes.dataschema,
                b"datacontenttype" => &mut attributes.datacontenttype,
                b"data_base64" => &mut attributes.data_base64,
                b"traceparent" => &mut attributes.traceparent,
                b"data" => {
                    if has_data {
                        return None;
                    }
                    has_data = true;
                    // `null` counts as absent.
                    attributes.data = (scanner.peek()? != b'n').then_some(IgnoredAny);
                    scanner.value()?;
                    if scanner.ends_member()? {
                        break;
                    }
                    continue;
                }
                _ => {
                    scanner.value()?;
                    if scanner.ends_member()? {
                        break;
                    }
                    continue;
                }
            };
            // A repeated attribute is a fault. A null one is rare, and whether it came before is not kept: both are
            // left to serde_json.
            if slot.is_some() {
                return None;
            }
            *slot = Some(Text(Cow::Borrowed(scanner.string()?)));
            if scanner.ends_member()? {
                break;
            }
        }
    }
    scanner.skip_space();
    (scanner.at == text.len()).then_some((attributes, !scanner.has_doubt))
}

/// A number of so many digits, without an exponent, is no infinity.
const DIGITS_SURE: usize = 300;

/// Bytes looked at together: as many as a number has bits.
const BLOCK_BYTES: usize = 64;

/// Which of the first 64 bytes end a stretch of plain text, the first in the lowest bit: quotes, backslashes and control
/// characters.
#[inline]
fn ends(bytes: &[u8]) -> u64 {
    let mut padded = [b' '; BLOCK_BYTES];
    let block = match bytes.first_chunk::<BLOCK_BYTES>() {
        Some(block) => block,
        None => {
            padded[..bytes.len()].copy_from_slice(bytes);
            &padded
        }
    };
    // In two steps, because compilers know how to do the first for many bytes at a time.
    let is_end = block.map(|byte| u8::from((byte == b'"') | (byte == b'\\') | (byte < 0x20)));
    let (words, _) = is_end.as_chunks::<8>();
    // The multiplication moves the lowest bits of eight bytes side by side.
    let bits = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    words.iter().rev().fold(0, |ends, word| ends << 8 | bits(word))
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The block that was looked at last, and what [`ends`] said of it.
    block: usize,
    ends: u64,
    /// Whether something was passed that may read as no value.
    has_doubt: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        // No block has this number: none was looked at.
        Scanner { text, bytes: text.as_bytes(), at: 0, block: usize::MAX, ends: 0, has_doubt: false }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Behind a member of the outermost object: whether it was the last. Else the next name follows.
    #[inline]
    fn ends_member(&mut self) -> Option<bool> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'}' => Some(true),
            b',' => {
                self.skip_space();
                Some(false)
            }
            _ => None,
        }
    }

    /// A string without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        self.skip_plain();
        if self.peek()? != b'"' {
            return None;
        }
        let end = self.at;
        self.at += 1;
        self.text.get(start..end)
    }

    /// Checks a string that nobody reads, behind its opening quote.
    fn pass_string(&mut self) -> Option<()> {
        loop {
            self.skip_plain();
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let escape = self.peek()?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        // Whether surrogates pair up does not matter to serde_json where nobody reads the text.
                        b'u' => {
                            let digits = self.bytes.get(self.at..self.at + 4)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            // U+D800 to U+DFFF: it may be half of a character.
                            self.has_doubt |=
                                matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
                            self.at += 4;
                        }
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }

    /// Moves to the next quote, backslash or control character; to the end when there is none.
    #[inline]
    fn skip_plain(&mut self) {
        while self.at < self.bytes.len() {
            let block = self.at / BLOCK_BYTES;
            if block != self.block {
                self.look_at(block);
            }
            let ahead = self.ends >> (self.at % BLOCK_BYTES);
            if ahead != 0 {
                self.at += ahead.trailing_zeros() as usize;
                return;
            }
            self.at = (block + 1) * BLOCK_BYTES;
        }
        self.at = self.bytes.len();
    }

    /// Apart, for most strings end in the block they begin in.
    #[inline(never)]
    fn look_at(&mut self, block: usize) {
        self.block = block;
        self.ends = ends(&self.bytes[block * BLOCK_BYTES..]);
    }

    /// Checks one value of any kind, whole.
    fn value(&mut self) -> Option<()> {
        // Open brackets, the innermost in the lowest bit: 1 for an object.
        let (mut open, mut depth) = (0_u64, 0_u32);
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => self.pass_string()?,
                b'{' | b'[' => {
                    let is_object = byte == b'{';
                    self.skip_space();
                    if self.peek()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return None;
                        }
                        depth += 1;
                        open = open << 1 | u64::from(is_object);
                        if is_object {
                            self.pass_name()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => self.number(byte)?,
                _ => return None,
            }
            // A value ended; so may those around it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.skip_space();
                let byte = self.peek()?;
                self.at += 1;
                let in_object = open & 1 == 1;
                match byte {
                    b',' => {
                        self.skip_space();
                        if in_object {
                            self.pass_name()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return None,
                }
                open >>= 1;
                depth -= 1;
            }
        }
    }

    /// The name of a member that nobody reads, up to its value.
    fn pass_name(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.pass_string()?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Some(())
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(rest).then(|| self.at += rest.len())
    }

    /// A number behind its first byte (RFC 8259, section 6).
    fn number(&mut self, first: u8) -> Option<()> {
        let start = self.at;
        let first = if first == b'-' {
            let digit = self.peek()?;
            self.at += 1;
            digit
        } else {
            first
        };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.has_doubt = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        self.has_doubt |= self.at - start > DIGITS_SURE;
        // A digit behind a leading zero fails where the end of the value is looked for.
        Some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let start = self.at;
        self.digits();
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of everything, short enough to be cut and changed at every byte.
    const RICH: &str = r#" { "specversion":"1.0" , "type":"t", "source":"/s/é","id":"1","subject":"a b",
"time":"2026-11-22T14:12:03Z","dataschema":"urn:x","datacontenttype":"application/json","traceparent":"00-1-2-03",
"ext":-0.5e+3,"flag":false,"none":null,"list":[[],{},[1,{"k":[true]},"\u00e9\\\"\/"]],
"data":{"a":[10,2.50,-7E-1],"b":{"c":"ü\n","":{}}} } "#;

    /// The promise: what is accepted is accepted by serde_json as well, and the same.
    #[track_caller]
    fn check(text: &str) {
        if let Some(scanned) = scan(text) {
            let read = serde_json::from_str::<Attributes<'_>>(text);
            assert_eq!(read.ok().as_ref(), Some(&scanned), "{text:?}");
        }
    }

    #[track_caller]
    fn check_taken(text: &str, taken: bool) {
        check(text);
        assert_eq!(scan(text).is_some(), taken, "{text:?}");
    }

    fn deep(depth: usize) -> String {
        format!(r#"{{"data":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_producers_send_is_taken_and_what_is_odd_is_left_to_serde_json() {
        check_taken(RICH, true);
        check_taken("{}", true);
        check_taken("{ } ", true);
        check_taken(r#"{"data":null,"data_base64":"AA=="}"#, true);
        check_taken(r#"{"x":1,"x":2}"#, true);
        check_taken(r#"{"data":"\ud800"}"#, true);
        check_taken(&deep(64), true);
        check_taken(&deep(65), false);
        check_taken(&deep(1_000), false);
        check_taken(&format!(r#"{{"data":"{}"}}"#, "x".repeat(1 << 20)), true);
        for odd in [
            "",
            " ",
            "hello",
            "[]",
            "null",
            "\u{feff}{}",
            "{",
            "{}}",
            "{,}",
            r#"{"id"}"#,
            r#"{"id":}"#,
            r#"{"id":"1",}"#,
            r#"{"id":"1" "source":"s"}"#,
            r#"{"id":"1","id":"1"}"#,
            r#"{"data":1,"data":null}"#,
            r#"{"data":null,"data":null}"#,
            r#"{"id":null}"#,
            r#"{"id":1}"#,
            r#"{"id":"a\u0041"}"#,
            r#"{"i\u0064":"1"}"#,
            "{\"id\":\"a\u{1f}\"}",
            "{\"data\":\"a\tb\"}",
            "{\"data\":\"a\0b\"}",
            r#"{"data":"\x"}"#,
            r#"{"data":"\u12g4"}"#,
            r#"{"data":"\u12"#,
            r#"{"data":01}"#,
            r#"{"data":-}"#,
            r#"{"data":+1}"#,
            r#"{"data":1.}"#,
            r#"{"data":.5}"#,
            r#"{"data":1e}"#,
            r#"{"data":1e+}"#,
            r#"{"data":nul}"#,
            r#"{"data":nulll}"#,
            r#"{"data":True}"#,
            r#"{"data":[1,]}"#,
            r#"{"data":[1}}"#,
            r#"{"data":{"a":1]}"#,
            r#"{"data":{"a"}}"#,
            r#"{"data":{"a":1,}}"#,
            r#"{"data":{1:1}}"#,
        ] {
            check_taken(odd, false);
        }
    }

    #[test]
    fn an_event_cut_or_changed_at_any_byte_is_never_taken_where_serde_json_refuses() {
        let bytes = RICH.as_bytes();
        let mut taken = 0_u32;
        let mut check = |bytes: &[u8]| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                check(text);
                taken += u32::from(scan(text).is_some());
            }
        };
        for at in 0..=bytes.len() {
            check(&bytes[..at]);
            check(&bytes[at..]);
            let (head, tail) = bytes.split_at(at);
            for byte in b"\"\\{}[]:,0-.eEtnu \n\0\x1f\x7f\x80\xc3" {
                check(&[head, &[*byte], tail].concat());
                if let Some((_, tail)) = tail.split_first() {
                    check(&[head, &[*byte], tail].concat());
                    check(&[head, tail].concat());
                }
            }
        }
        // Most changes inside of texts and spaces leave an event an event: this compared real readings.
        assert!(taken > 1_000, "{taken}");
    }

    #[test]
    fn a_special_byte_is_found_at_any_place_behind_any_byte() {
        for length in 0..20 {
            for before in [b'a', b'!', b'#', b'[', b']', b' ', 0x7f, 0x21] {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut text = vec![before; length];
                    text.push(special);
                    text.extend([before, b'"', b'\\', 0, before, before, before, before, before]);
                    let text = String::from_utf8(text).unwrap();
                    let mut scanner = Scanner::new(&text);
                    scanner.skip_plain();
                    assert_eq!(scanner.at, length, "{text:?}");
                }
            }
        }
    }

    /// JSON and what is nearly JSON.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?",
            "\"([a-zé\u{7f}\u{fffe}𝄞 /]|\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fA-F]{4}){0,12}\"",
            "[0-9a-z\"\\\\,:\u{0}-\u{20}]{0,3}",
        ];
        leaf.prop_recursive(5, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
                proptest::collection::vec(("[a-z\\\\]{0,3}", inner), 0..4).prop_map(|items| {
                    let items: Vec<_> = items.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                    format!("{{{}}}", items.join(","))
                }),
            ]
        })
    }

    fn name() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "dataschema",
            "datacontenttype",
            "data",
            "data_base64",
            "traceparent",
            "x",
            "ID",
            "datax",
            "i\\u0064",
        ])
    }

    fn plain() -> impl Strategy<Value = String> {
        "\"[a-zA-Z0-9:/.é -]{0,24}\""
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn any_event_reads_as_serde_json_reads_it(
            members in proptest::collection::vec((name(), prop_oneof![3 => plain(), 1 => value()]), 0..9),
            ending in prop_oneof![8 => Just("}"), 1 => Just(""), 1 => Just(",}"), 1 => Just("}x")],
        ) {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            check(&format!("{{{}{ending}", members.join(", ")));
        }

        #[test]
        fn any_data_is_judged_as_serde_json_judges_it(data in value()) {
            let text = format!(r#"{{"data":{data}}}"#);
            check(&text);
            // Here nothing is odd but the nesting, which stays below the limit: no valid event is given up.
            prop_assert_eq!(scan(&text).is_some(), serde_json::from_str::<Attributes<'_>>(&text).is_ok(), "{:?}", text);
        }
    }
}
