//! Requests as browsers, probes, proxies and attackers send them.

use super::*;

/// Whether a request to `target` with these headers may go on, and if not, why.
fn asked_of(
    listen: &str,
    allowed: &[&str],
    proven: bool,
    version: Version,
    target: &str,
    headers: &[(&str, &str)],
) -> &'static str {
    let allowed = allowed.iter().map(|name| Allowed::parse(name).expect("a name")).collect();
    let hosts = Hosts::new(listen.parse().expect("an address"), allowed);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::try_from(*name).expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    match hosts.check(version, &target.parse().expect("a target"), &map, proven) {
        Ok(()) => "fine",
        Err(Refusal::Unnamed(_)) => "unnamed",
        Err(Refusal::Foreign { .. }) => "foreign",
        Err(Refusal::Page { .. }) => "page",
    }
}

#[test]
fn only_the_names_of_the_machine_reach_a_loopback_listener() {
    let check = |host: &str, expected: &str| {
        for listen in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            for proven in [false, true] {
                let got = asked_of(listen, &[], proven, Version::HTTP_11, "/v1/status", &[("host", host)]);
                assert_eq!(got, expected, "{host} on {listen}");
            }
        }
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1:7717",
        "127.8.9.10:1",
        "localhost",
        "LOCALHOST:65535",
        "localhost.:80",
        "a.localhost",
        "[::1]",
        "[::1]:7717",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]:7717",
        "localhost:",
    ] {
        check(host, "fine");
    }
    for host in [
        "evil.example",
        "evil.example:7717",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0.0.0.0:7717",
        "[::]:7717",
        "10.0.0.5:7717",
        "notlocalhost",
        "engine",
    ] {
        check(host, "foreign");
    }
    for host in [
        "",
        ":7717",
        "localhost:port",
        "localhost:99999",
        "localhost:+1",
        "[::1",
        "::1",
        "[::1]x",
        "user@localhost",
        "a b",
        "localhost/",
        "localhost,evil.example",
        "loc%61lhost",
        "löcalhost",
        &"a".repeat(254),
    ] {
        check(host, "unnamed");
    }
}

#[test]
fn a_listener_for_others_has_names_that_no_page_can_have() {
    let check = |host: &str, open: &str| {
        let ask = |proven| {
            asked_of("0.0.0.0", &["engine.example.com"], proven, Version::HTTP_11, "/metrics", &[("host", host)])
        };
        assert_eq!((ask(false), ask(true)), (open, "fine"), "{host}");
    };
    // The kubelet and Prometheus ask the address of the pod.
    for host in ["10.0.0.5:7717", "[fd00::5]:7717", "localhost:7717", "lifeline", "lifeline.prod.svc:7717"] {
        check(host, "fine");
    }
    for host in ["lifeline.prod.svc.cluster.local", "engine.internal", "engine.example.com:443"] {
        check(host, "fine");
    }
    for host in ["evil.example", "lifeline.dev", "svc.evil.example", "engine.example.com.evil.example"] {
        check(host, "foreign");
    }
}

#[test]
fn names_are_allowed_exactly_or_below_a_domain() {
    let check = |allowed: &str, host: &str, expected: &str| {
        let got = asked_of("127.0.0.1", &[allowed], false, Version::HTTP_11, "/", &[("host", host)]);
        assert_eq!(got, expected, "{host} where {allowed} is allowed");
    };
    check("engine.example.com", "ENGINE.example.com.:99", "fine");
    check("engine.example.com", "a.engine.example.com", "foreign");
    check("*.example.com", "a.b.example.com", "fine");
    check("*.example.com", "example.com", "foreign");
    check("*.example.com", "evilexample.com", "foreign");
    check("10.0.0.5", "10.0.0.5:7717", "fine");
    check("fd00::5", "[fd00::5]:7717", "fine");
    for wrong in ["", "*", "*.", "*.10.0.0.5", "https://a", "a:1", "a/b", "*a.b", "a b"] {
        assert_eq!(Allowed::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_request_names_whom_it_asks_once() {
    let check = |version: Version, target: &str, hosts: &[&str], expected: &str| {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let got = asked_of("127.0.0.1", &[], false, version, target, &headers);
        assert_eq!(got, expected, "{version:?} {target} {hosts:?}");
    };
    check(Version::HTTP_11, "/livez", &[], "unnamed");
    check(Version::HTTP_11, "/livez", &["localhost", "localhost"], "unnamed");
    check(Version::HTTP_11, "/livez", &["localhost", "evil.example"], "unnamed");
    check(Version::HTTP_10, "/livez", &[], "fine");
    check(Version::HTTP_10, "/livez", &["localhost", "localhost"], "unnamed");
    check(Version::HTTP_10, "/livez", &["evil.example"], "foreign");
    // The target outweighs the header, but does not replace it.
    check(Version::HTTP_11, "http://localhost:7717/livez", &["localhost:7717"], "fine");
    check(Version::HTTP_11, "http://localhost/livez", &["proxy.example"], "fine");
    check(Version::HTTP_11, "http://evil.example/livez", &["localhost:7717"], "foreign");
    check(Version::HTTP_11, "http://localhost/livez", &[], "unnamed");
    check(Version::HTTP_11, "http://user@localhost/livez", &["localhost"], "unnamed");
    check(Version::HTTP_10, "http://evil.example/livez", &[], "foreign");
}

#[test]
fn a_page_of_another_site_is_refused() {
    let check = |host: &str, headers: &[(&str, &str)], expected: &str| {
        let headers = [&[("host", host)], headers].concat();
        for proven in [false, true] {
            let got = asked_of("127.0.0.1", &["engine.example.com"], proven, Version::HTTP_11, "/metrics", &headers);
            assert_eq!(got, expected, "{headers:?}");
        }
    };
    let own = "127.0.0.1:7717";
    check(own, &[("origin", "http://127.0.0.1:7717")], "fine");
    check(own, &[("origin", "https://127.0.0.1:7717"), ("sec-fetch-site", "same-origin")], "fine");
    check("localhost", &[("origin", "http://localhost:80")], "fine");
    check("engine.example.com", &[("origin", "https://engine.example.com")], "fine");
    check(own, &[("origin", "https://engine.example.com:8443"), ("sec-fetch-site", "cross-site")], "fine");
    check(own, &[("sec-fetch-site", "none")], "fine");
    for origin in [
        "null",
        "",
        "https://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:3000",
        "http://localhost:7717",
        "127.0.0.1:7717",
        "file://127.0.0.1:7717",
        "http://127.0.0.1:7717/",
        "http://127.0.0.1:7717 http://evil.example",
    ] {
        check(own, &[("origin", origin)], "page");
    }
    check(own, &[("origin", "http://127.0.0.1:7717"), ("origin", "https://evil.example")], "page");
    for site in ["cross-site", "same-site", "", "anything"] {
        check(own, &[("sec-fetch-site", site)], "page");
    }
    check(own, &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], "page");
    // Without a host there is nothing that the page could be the same as.
    let nobody = [("origin", "http://localhost")];
    assert_eq!(asked_of("127.0.0.1", &[], false, Version::HTTP_10, "/", &nobody), "page");
}

#[test]
fn a_refusal_says_what_to_do() {
    let hosts = Hosts::new(Ipv4Addr::LOCALHOST.into(), Vec::new());
    let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("Evil.example:7717"))]);
    let first = hosts.check(Version::HTTP_11, &Uri::from_static("/"), &headers, false).unwrap_err().to_string();
    assert!(
        first.starts_with("`evil.example` is no name of this engine\nhint: ask by 127.0.0.1 or localhost"),
        "{first}"
    );
    assert!(first.contains("--allowed-hosts evil.example"), "{first}");
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
    let page = hosts.check(Version::HTTP_11, &Uri::from_static("/"), &headers, false).unwrap_err().to_string();
    assert!(page.contains("`Origin: https://evil.example`") && page.contains("hint: "), "{page}");
}
