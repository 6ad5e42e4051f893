//! Paths with slashes, and URLs. No file is ever looked at.

use gotmpl::Value;

use super::{Answer, Function, expect_map, map, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("base", 1, |a| Ok(string(base(&text_of(&a[0]))))),
    Function::exactly("dir", 1, |a| Ok(string(dir(&text_of(&a[0]))))),
    Function::exactly("clean", 1, |a| Ok(string(clean(&text_of(&a[0]))))),
    Function::exactly("ext", 1, |a| Ok(string(ext(&text_of(&a[0]))))),
    Function::exactly("isAbs", 1, |a| Ok(Value::Bool(text_of(&a[0]).starts_with('/')))),
    Function::exactly("osBase", 1, |a| Ok(string(base(&text_of(&a[0]))))),
    Function::exactly("osDir", 1, |a| Ok(string(dir(&text_of(&a[0]))))),
    Function::exactly("osClean", 1, |a| Ok(string(clean(&text_of(&a[0]))))),
    Function::exactly("osExt", 1, |a| Ok(string(ext(&text_of(&a[0]))))),
    Function::exactly("osIsAbs", 1, |a| Ok(Value::Bool(text_of(&a[0]).starts_with('/')))),
    Function::exactly("urlParse", 1, |a| Ok(url_parse(&text_of(&a[0])))),
    Function::exactly("urlJoin", 1, url_join),
];

fn base(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".".to_owned(),
        "" => "/".to_owned(),
        trimmed => trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned(),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or("", |dot| &name[dot..])
}

/// The shortest path of the same meaning, as Go's `path.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn url_parse(url: &str) -> Value {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (scheme, rest) = rest.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", rest));
    let (authority, path, opaque) = match rest.strip_prefix("//") {
        Some(rest) => {
            let slash = rest.find('/').unwrap_or(rest.len());
            (&rest[..slash], &rest[slash..], "")
        }
        None if !scheme.is_empty() && !rest.starts_with('/') => ("", "", rest),
        None => ("", rest, ""),
    };
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let hostname = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let parts = [
        ("scheme", scheme),
        ("host", host),
        ("hostname", hostname),
        ("path", path),
        ("query", query),
        ("opaque", opaque),
        ("fragment", fragment),
        ("userinfo", userinfo),
    ];
    map(parts.into_iter().map(|(name, part)| (name.into(), string(part))))
}

fn url_join(arguments: &[Value]) -> Answer {
    let parts = expect_map(&arguments[0])?;
    let part = |name: &str| parts.get(name).map(text_of).unwrap_or_else(|| "".into());
    let mut url = String::new();
    let (scheme, host, path, query) = (part("scheme"), part("host"), part("path"), part("query"));
    let (opaque, fragment, userinfo) = (part("opaque"), part("fragment"), part("userinfo"));
    if !scheme.is_empty() {
        url.push_str(&format!("{scheme}:"));
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            url.push_str("//");
        }
        if !userinfo.is_empty() {
            url.push_str(&format!("{userinfo}@"));
        }
        url.push_str(&host);
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        url.push_str(&path);
    } else {
        url.push_str(&opaque);
    }
    if !query.is_empty() {
        url.push_str(&format!("?{query}"));
    }
    if !fragment.is_empty() {
        url.push_str(&format!("#{fragment}"));
    }
    Ok(string(url))
}
