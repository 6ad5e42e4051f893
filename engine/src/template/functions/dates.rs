//! Dates. `now` is the time the event was recorded, so every replay says the same; all times are UTC.
//!
//! A time is a string: what `now` gives prints as Go prints a time, and RFC 3339 (a CloudEvent's `time`) is read as well. A
//! number is seconds since 1970. Anything else is an error (sprig would silently take the time of the rendering).

use gotmpl::Value;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Answer, Function, expect_text, now_unix_nanos, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("now", 0, |_| Ok(shown(recorded_at()?))),
    Function::exactly("date", 2, |a| Ok(string(formatted(&text_of(&a[0]), time_of(&a[1])?)))),
    Function::exactly("dateInZone", 3, date_in_zone),
    Function::exactly("date_in_zone", 3, date_in_zone),
    Function::exactly("dateModify", 2, date_modify),
    Function::exactly("date_modify", 2, date_modify),
    Function::exactly("mustDateModify", 2, date_modify),
    Function::exactly("must_date_modify", 2, date_modify),
    Function::exactly("htmlDate", 1, |a| Ok(string(formatted("2006-01-02", time_of(&a[0])?)))),
    Function::exactly("htmlDateInZone", 2, |a| date_in_zone(&[string("2006-01-02"), a[0].clone(), a[1].clone()])),
    Function::exactly("unixEpoch", 1, |a| Ok(string(time_of(&a[0])?.as_second().to_string()))),
    Function::exactly("toDate", 2, to_date),
    Function::exactly("mustToDate", 2, to_date),
    Function::exactly("ago", 1, ago),
    Function::exactly("duration", 1, |a| Ok(string(go_duration(seconds_of(&a[0])?)))),
    Function::exactly("durationRound", 1, duration_round),
];

fn recorded_at() -> Result<Timestamp, String> {
    Timestamp::from_nanosecond(i128::from(now_unix_nanos())).map_err(|error| error.to_string())
}

/// The time the event was recorded, as RFC 3339.
pub(in super::super) fn now_rfc3339() -> String {
    recorded_at().map(|time| time.to_string()).unwrap_or_default()
}

fn shown(time: Timestamp) -> Value {
    string(formatted("2006-01-02 15:04:05.999999999 -0700 MST", time))
}

fn time_of(value: &Value) -> Result<Timestamp, String> {
    let out_of_range = |error: jiff::Error| error.to_string();
    match value {
        Value::Int(seconds) => Timestamp::from_second(*seconds).map_err(out_of_range),
        Value::String(text) => {
            let rfc3339 = text.parse::<Timestamp>().ok();
            let shown = || {
                let civil = text.strip_suffix(" +0000 UTC")?.replacen(' ', "T", 1);
                format!("{civil}Z").parse::<Timestamp>().ok()
            };
            rfc3339.or_else(shown).ok_or_else(|| format!("`{text}` is no time, expected RFC 3339"))
        }
        other => Err(format!("wants a time, not {}", super::described(other))),
    }
}

fn date_in_zone(arguments: &[Value]) -> Answer {
    match &*text_of(&arguments[2]) {
        "UTC" | "Local" | "" | "GMT" | "Etc/UTC" => {
            Ok(string(formatted(&text_of(&arguments[0]), time_of(&arguments[1])?)))
        }
        zone => Err(format!("zone `{zone}` is not known: zones change with the machine, so all times are UTC")),
    }
}

fn date_modify(arguments: &[Value]) -> Answer {
    let duration = parse_duration(expect_text(&arguments[0])?)?;
    time_of(&arguments[1])?.checked_add(duration).map(shown).map_err(|error| error.to_string())
}

fn ago(arguments: &[Value]) -> Answer {
    Ok(string(go_duration(recorded_at()?.as_second() - time_of(&arguments[0])?.as_second())))
}

fn seconds_of(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(seconds) => Ok(*seconds),
        Value::Float(seconds) => Ok(*seconds as i64),
        Value::String(text) => text.parse().map_err(|_| format!("`{text}` is no number of seconds")),
        other => Err(format!("wants seconds, not {}", super::described(other))),
    }
}

/// As Go prints a duration of whole seconds: `1h2m3s`.
fn go_duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let total = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Go's syntax: `-1.5h`, `2h45m`, `300ms`.
fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no duration, expected something like `-1h30m`");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut nanos = 0f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanos += amount
            * match &rest[..unit_end] {
                "h" => 3.6e12,
                "m" => 6e10,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" => 1e3,
                "ns" => 1.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    if nanos > i64::MAX as f64 {
        return Err(wrong());
    }
    Ok(SignedDuration::from_nanos(if negative { -(nanos as i64) } else { nanos as i64 }))
}

fn duration_round(arguments: &[Value]) -> Answer {
    let seconds = match &arguments[0] {
        Value::String(text) => parse_duration(text)?.as_secs(),
        Value::Int(nanos) => nanos / 1_000_000_000,
        other => return Err(format!("wants a duration, not {}", super::described(other))),
    };
    const UNITS: [(i64, &str); 6] =
        [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let size = seconds.abs();
    let rounded =
        UNITS.into_iter().find(|(unit, _)| size >= *unit).map(|(unit, name)| format!("{}{name}", size / unit));
    Ok(string(rounded.unwrap_or_else(|| "0s".to_owned())))
}

/// The parts of Go's reference time, longest first where one begins another.
const PARTS: [&str; 33] = [
    "January",
    "Monday",
    "2006",
    "-07:00",
    "Z07:00",
    "-0700",
    "Z0700",
    "Jan",
    "Mon",
    "MST",
    "002",
    "-07",
    "_2",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
    ".000000000",
    ".000000",
    ".000",
    ".999999999",
    ".999999",
    ".999",
];

fn next_part(layout: &str) -> Option<&'static str> {
    PARTS.into_iter().find(|part| layout.starts_with(part))
}

fn formatted(layout: &str, time: Timestamp) -> String {
    let civil = time.to_zoned(TimeZone::UTC).datetime();
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let Some(part) = next_part(rest) else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push_str(&part_of(part, civil));
        rest = &rest[part.len()..];
    }
    out
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn part_of(part: &str, time: DateTime) -> String {
    let month = MONTHS[(time.month() as usize - 1).min(11)];
    let weekday = match time.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    };
    let hour_12 = (time.hour() + 11) % 12 + 1;
    match part {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => weekday.to_owned(),
        "Mon" => weekday[..3].to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:>2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{hour_12:02}"),
        "3" => hour_12.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "MST" => "UTC".to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07" => "+00".to_owned(),
        "Z07:00" | "Z0700" => "Z".to_owned(),
        fraction => {
            let digits = format!("{:09}", time.subsec_nanosecond());
            let kept = &digits[..fraction.len() - 1];
            let kept = if fraction.contains('9') { kept.trim_end_matches('0') } else { kept };
            if kept.is_empty() { String::new() } else { format!(".{kept}") }
        }
    }
}

/// `toDate "2006-01-02" "2026-11-22"`.
fn to_date(arguments: &[Value]) -> Answer {
    let (layout, text) = (text_of(&arguments[0]), text_of(&arguments[1]));
    parsed(&layout, &text).map(shown).ok_or_else(|| format!("`{text}` does not read as `{layout}`"))
}

fn parsed(layout: &str, text: &str) -> Option<Timestamp> {
    let (mut year, mut month, mut day) = (0i16, 1i8, 1i8);
    let (mut hour, mut minute, mut second, mut nanos) = (0i8, 0i8, 0i8, 0i32);
    let (mut afternoon, mut offset_seconds) = (None, 0i64);
    let (mut layout, mut text) = (layout, text);
    while let Some(first) = layout.chars().next() {
        let Some(part) = next_part(layout) else {
            text = text.strip_prefix(first)?;
            layout = &layout[first.len_utf8()..];
            continue;
        };
        layout = &layout[part.len()..];
        let mut take = |min: usize, max: usize| -> Option<i64> {
            let digits = text.bytes().take(max).take_while(u8::is_ascii_digit).count();
            let number = text.get(..digits).filter(|_| digits >= min)?.parse().ok();
            text = &text[digits..];
            number
        };
        match part {
            "2006" => year = take(4, 4)?.try_into().ok()?,
            "06" => year = (2000 + take(2, 2)?).try_into().ok()?,
            "01" => month = take(2, 2)?.try_into().ok()?,
            "1" => month = take(1, 2)?.try_into().ok()?,
            "02" => day = take(2, 2)?.try_into().ok()?,
            "2" => day = take(1, 2)?.try_into().ok()?,
            "_2" => {
                text = text.trim_start();
                let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
                day = text.get(..digits)?.parse().ok()?;
                text = &text[digits..];
            }
            "15" | "03" => hour = take(2, 2)?.try_into().ok()?,
            "3" => hour = take(1, 2)?.try_into().ok()?,
            "04" => minute = take(2, 2)?.try_into().ok()?,
            "4" => minute = take(1, 2)?.try_into().ok()?,
            "05" => second = take(2, 2)?.try_into().ok()?,
            "5" => second = take(1, 2)?.try_into().ok()?,
            "PM" | "pm" => {
                afternoon = Some(text.get(..2)?.eq_ignore_ascii_case("pm"));
                text = text.get(2..)?;
            }
            "January" | "Jan" => {
                let named = |name: &&str| text.starts_with(if part == "Jan" { &name[..3] } else { name });
                let at = MONTHS.iter().position(named)?;
                month = i8::try_from(at).ok()? + 1;
                text = text.get(if part == "Jan" { 3 } else { MONTHS[at].len() }..)?;
            }
            "MST" => text = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"))?,
            "Z07:00" | "Z0700" | "-07:00" | "-0700" | "-07" => {
                if part.starts_with('Z')
                    && let Some(rest) = text.strip_prefix('Z')
                {
                    text = rest;
                    continue;
                }
                let sign = match text.chars().next()? {
                    '+' => 1,
                    '-' => -1,
                    _ => return None,
                };
                let colon = usize::from(part.contains(':'));
                let hours: i64 = text.get(1..3)?.parse().ok()?;
                let minutes: i64 = if part == "-07" { 0 } else { text.get(3 + colon..5 + colon)?.parse().ok()? };
                text = text.get(if part == "-07" { 3 } else { 5 + colon }..)?;
                offset_seconds = sign * (hours * 3600 + minutes * 60);
            }
            fraction if fraction.starts_with('.') => {
                if let Some(rest) = text.strip_prefix('.') {
                    let digits = rest.bytes().take(9).take_while(u8::is_ascii_digit).count();
                    nanos = format!("{:0<9}", &rest[..digits]).parse().ok()?;
                    text = &rest[digits..];
                } else if fraction.contains('0') {
                    return None;
                }
            }
            _ => return None,
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let date = Date::new(year, month, day).ok()?;
    let time = Time::new(hour, minute, second, nanos).ok()?;
    let stamp = DateTime::from_parts(date, time).to_zoned(TimeZone::UTC).ok()?.timestamp();
    text.is_empty().then(|| stamp.checked_sub(SignedDuration::from_secs(offset_seconds)).ok()).flatten()
}
