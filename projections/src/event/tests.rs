//! Which messages are events, and which are none and why.

use super::time::is_common_time;
use super::*;

const LOGIN: &str = r#"{"specversion":"1.0","type":"auth.example.com.login","source":"auth.example.com",
    "id":"10001","subject":"mgianluc","datacontenttype":"application/json","data":{"message":"User mgianluc login"}}"#;

fn check(headers: &Headers<'_>, payload: &[u8], expected: Result<(&str, &str), &str>) {
    let got = CloudEvent::receive(headers, payload)
        .map(|event| (event.source.into_owned(), event.subject.into_owned()))
        .map_err(|error| error.to_string());
    let expected = expected.map(|(source, subject)| (source.to_owned(), subject.to_owned())).map_err(str::to_owned);
    assert_eq!(got, expected, "headers {headers:?} payload {}", String::from_utf8_lossy(payload));
}

#[test]
fn both_modes_are_told_apart_and_read() {
    check(&[], LOGIN.as_bytes(), Ok(("auth.example.com", "mgianluc")));
    check(
        &[("Content-Type", "Application/CloudEvents+JSON; charset=utf-8")],
        LOGIN.as_bytes(),
        Ok(("auth.example.com", "mgianluc")),
    );
    let binary = [
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "1"),
        ("Ce-Source", "https://a/b%20c"),
        ("ce-type", "t"),
        ("ce-subject", "\"quo\\\"ted\""),
    ];
    check(&binary, b"anything \xff", Ok(("https://a/b c", "quo\"ted")));
    let structured_wins = [("content-type", "application/cloudevents"), ("ce-specversion", "1.0")];
    check(&structured_wins, LOGIN.as_bytes(), Ok(("auth.example.com", "mgianluc")));
}

#[test]
fn what_leaves_open_which_event_it_is_is_refused_but_stays_readable_where_it_is_recorded() {
    let schedule = [("Nats-Schedule", "@at 2027-01-01T00:00:00Z"), ("Nats-Schedule-Target", "users")];
    let said =
        "it is a schedule of the NATS server (header `Nats-Schedule`), the message that it will publish is the event";
    check(&schedule, LOGIN.as_bytes(), Err(said));
    let published = [("Nats-Scheduler", "timers"), ("Nats-Schedule-Next", "purge")];
    check(&published, LOGIN.as_bytes(), Ok(("auth.example.com", "mgianluc")));
    let twice =
        [("ce-id", "1"), ("ce-source", "s"), ("ce-specversion", "1.0"), ("ce-type", "t"), ("CE-Type", "deleted")];
    check(&twice, b"", Err("attribute `type` is `deleted`, expected one header of this name"));
    // A structured event has its attributes in the payload, whatever a gateway put beside it.
    let beside = [("Content-Type", "application/cloudevents+json"), ("ce-type", "t"), ("ce-type", "u")];
    check(&beside, LOGIN.as_bytes(), Ok(("auth.example.com", "mgianluc")));
    assert!(CloudEvent::parse(&schedule, LOGIN.as_bytes()).is_ok() && CloudEvent::parse(&twice, b"").is_ok());
}

#[test]
fn an_attribute_beside_a_line_that_cannot_be_read_is_not_believed() {
    let binary = |more: &[(&'static str, &'static str)], expected: Result<(&str, &str), &str>| {
        let mut headers = vec![("ce-id", "1"), ("ce-source", "s"), ("ce-specversion", "1.0"), ("ce-type", "t")];
        headers.extend(more);
        check(&headers, b"", expected);
    };
    binary(&[("ce-subject", "j\u{fc}rgen"), ("X-Name", "j\u{fffd}rgen")], Ok(("s", "j\u{fc}rgen")));
    let said = "a header line cannot be read: `ce-subject: j\u{fffd}rgen`, expected `name: value` in UTF-8";
    binary(&[("ce-subject", "j\u{fffd}rgen")], Err(said));
    let said = "a header line cannot be read: `Content-Type: text/\u{fffd}`, expected `name: value` in UTF-8";
    binary(&[("Content-Type", "text/\u{fffd}")], Err(said));
    let said = "a header line cannot be read: `ce-sub ject: ann`, expected `name: value` in UTF-8";
    binary(&[("ce-sub ject", "ann")], Err(said));
    // A line feed within a value made two lines of it.
    let said = "a header line cannot be read: `b`, expected `name: value` in UTF-8";
    binary(&[("ce-subject", "a"), ("", "b")], Err(said));
    check(&[("", "no colon"), ("X-Name", "j\u{fffd}rgen")], LOGIN.as_bytes(), Ok(("auth.example.com", "mgianluc")));
}

/// Data that no template can read is rejected at intake. Events with such data in old logs stay events; both have the same
/// reason.
#[test]
fn what_cannot_be_read_whole_is_no_event_and_stays_one_where_it_was_recorded() {
    let of = |data: &str| format!(r#"{{"specversion":"1.0","type":"t","source":"s","id":"1","data":{data}}}"#);
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let too_deep = Some("payload is nested deeper than `127` levels of JSON, the most that is read");
    for (data, expected) in [
        (nested(60), None),
        (nested(100), None),
        (nested(126), None),
        (nested(127), too_deep),
        (nested(200), too_deep),
        ("1e3".into(), None),
        ("\"\\u00e9\"".into(), None),
        ("1e999".into(), Some("number out of range")),
        (format!("{}.5", "9".repeat(400)), Some("number out of range")),
        ("9".repeat(400), None),
        ("\"\\ud800\"".into(), Some("hex escape")),
    ] {
        let payload = of(&data);
        let received = CloudEvent::receive(&[], payload.as_bytes()).map(drop).map_err(|error| error.to_string());
        let read = CloudEvent::to_map(&[], payload.as_bytes()).map(drop).map_err(|error| error.to_string());
        assert_eq!(received, read, "{payload}");
        match expected {
            None => assert_eq!(received, Ok(()), "{payload}"),
            Some(words) => {
                assert!(received.as_ref().is_err_and(|told| told.contains(words)), "{payload}: {received:?}")
            }
        }
        assert!(CloudEvent::parse(&[], payload.as_bytes()).is_ok(), "{payload}");
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-type", "t"),
            ("ce-source", "s"),
            ("ce-id", "1"),
            ("content-type", "text/json"),
        ];
        let in_binary = CloudEvent::receive(&headers, data.as_bytes()).map(drop).map_err(|error| error.to_string());
        assert_eq!(in_binary.is_err(), expected.is_some() && data != nested(127), "{data}: {in_binary:?}");
    }
}

#[test]
fn what_is_no_cloudevent_says_why() {
    check(
        &[],
        b"hello",
        Err("payload is no JSON object with the attributes of a CloudEvent: expected value at line 1 column 1"),
    );
    check(&[], b"\xff\xfe", Err("payload is not valid UTF-8: byte 0 of 2"));
    check(&[], br#"{"specversion":"1.0","type":"t","source":"s"}"#, Err("attribute `id` is missing or empty"));
    check(
        &[],
        br#"{"specversion":"0.3","type":"t","source":"s","id":"1"}"#,
        Err("attribute `specversion` is `0.3`, expected `1.0`"),
    );
    check(
        &[],
        br#"{"specversion":"1.0","type":"t","source":"s","id":"1","time":"noon"}"#,
        Err("attribute `time` is `noon`, expected an RFC 3339 time"),
    );
    check(
        &[],
        br#"{"specversion":"1.0","type":"t","source":"s","id":"1","data":1,"data_base64":"e30="}"#,
        Err("`data` and `data_base64` are both there, expected one of them"),
    );
    check(
        &[],
        br#"{"specversion":"1.0","type":"t","source":"","id":"1"}"#,
        Err("attribute `source` is missing or empty"),
    );
    check(
        &[("content-type", "application/cloudevents-batch+json")],
        b"[]",
        Err(
            "content type `application/cloudevents-batch+json` is not supported, expected `application/cloudevents+json`",
        ),
    );
    check(
        &[("ce-specversion", "1.0"), ("ce-id", "%ff")],
        b"",
        Err("attribute `id` is `%ff`, expected percent-encoded UTF-8"),
    );
}

#[test]
fn a_missing_null_or_empty_subject_is_the_empty_one() {
    for subject in ["", r#","subject":null"#, r#","subject":"""#] {
        let event = format!(r#"{{"specversion":"1.0","type":"t","source":"s","id":"1"{subject}}}"#);
        check(&[], event.as_bytes(), Ok(("s", "")));
    }
}

#[test]
fn escaped_attributes_are_unescaped() {
    check(&[], br#"{"specversion":"1.0","type":"t","source":"s","id":"1","subject":"a\u002fb"}"#, Ok(("s", "a/b")));
}

#[test]
fn a_common_time_is_one_for_jiff_too_and_what_is_common_is_known() {
    #[track_caller]
    fn check(time: &str) -> bool {
        let common = is_common_time(time.as_bytes());
        assert!(!common || timestamp(time).is_some(), "{time}");
        common
    }
    for year in [0, 1, 4, 100, 1900, 1970, 2000, 2024, 2026, 2100, 9996, 9998, 9999] {
        for month in 0..=13 {
            for day in 0..=32 {
                let time = format!("{year:04}-{month:02}-{day:02}T23:59:59.999999999-23:59");
                let valid = jiff::civil::Date::new(year, month, day).is_ok() && (1..9999).contains(&year);
                assert_eq!(check(&time), valid, "{time}");
            }
        }
    }
    let time = "2026-11-22T14:12:03.123456789+01:00";
    for at in 0..time.len() {
        check(&time[..at]);
        for byte in 0x20..0x7f_u8 {
            check(&format!("{}{}{}", &time[..at], char::from(byte), &time[at + 1..]));
            check(&format!("{}{}{}", &time[..at], char::from(byte), &time[at..]));
        }
    }
    for common in ["2026-11-22T14:12:03Z", "2024-02-29T00:00:00.5Z", "2026-11-22T14:12:03-00:00", time] {
        assert!(check(common), "{common}");
    }
    for left in ["2026-11-22t14:12:03z", "2026-12-31T23:59:60Z", "2026-11-22T24:00:00Z", "2026-11-22T14:12Z"] {
        assert!(!check(left), "{left}");
    }
}

#[test]
fn templates_see_a_flat_map_in_both_modes() {
    let map = CloudEvent::to_map(&[], LOGIN.as_bytes()).unwrap();
    assert_eq!(map["data"]["message"], "User mgianluc login");
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "s"),
        ("ce-type", "t"),
        ("ce-tenant", "x"),
        ("Content-Type", "application/json"),
    ];
    let map = CloudEvent::to_map(&headers, br#"{"a":1}"#).unwrap();
    assert_eq!((&map["tenant"], &map["data"]["a"], &map["subject"]), (&"x".into(), &1.into(), &"".into()));
    // A float would hold 53 bits of it.
    let large = r#"{"a":123456789012345678901234567890}"#;
    let digits = Value::from("123456789012345678901234567890");
    assert_eq!(CloudEvent::to_map(&headers, large.as_bytes()).unwrap()["data"]["a"], digits);
    let structured = LOGIN.replace(r#"{"message":"User mgianluc login"}"#, large);
    assert_eq!(CloudEvent::to_map(&[], structured.as_bytes()).unwrap()["data"]["a"], digits);
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "s"),
        ("ce-type", "t"),
        ("Content-Type", "image/png"),
    ];
    let map = CloudEvent::to_map(&headers, &[0xff, 0x00]).unwrap();
    assert_eq!(map["data_base64"], "/wA=");
}

#[test]
fn an_attribute_that_is_no_string_is_named() {
    for (attribute, value) in [("id", "7"), ("subject", "true"), ("time", "[1]"), ("source", r#"{"a":1}"#)] {
        let mut event = serde_json::json!({"specversion": "1.0", "type": "login", "source": "auth", "id": "1"});
        event[attribute] = serde_json::from_str(value).expect("JSON");
        let payload = event.to_string();
        let error = CloudEvent::receive(&Vec::new(), payload.as_bytes()).expect_err(attribute);
        assert_eq!(error.to_string(), format!("attribute `{attribute}` is `{value}`, expected a string"));
    }
    // Null is as if it were not written.
    let payload = r#"{"specversion":"1.0","type":"login","source":"auth","id":"1","subject":null,"time":null}"#;
    assert!(CloudEvent::receive(&Vec::new(), payload.as_bytes()).is_ok());
}
