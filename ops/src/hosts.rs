//! By which names the API may be asked, and by which web pages: by none but its own.
//!
//! A browser on the machine of an operator reaches what the operator reaches. A page on the Internet can let the name
//! of its own server point to 127.0.0.1 (DNS rebinding), and is then allowed to read what answers there. What it cannot
//! change is the name: the browser sends it as `Host`. So a name that somebody else may hold in the DNS is refused.
//! Start at [`Hosts::check`]. Everything here is pure; it never resolves a name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Uri, Version};

/// A name in the DNS has at most this many characters (RFC 1035, 3.1).
const NAME_CHARACTERS_MAX: usize = 253;

/// How much of a header that is not understood is repeated.
const REPEATED_CHARACTERS_MAX: usize = 80;

/// What a browser says of where a request comes from (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Ends of names that nobody can register, so no page has such a name: loopback (RFC 6761), the local network (RFC
/// 6762, which includes the usual domain of a Kubernetes cluster), private networks (ICANN, 2024), and Services without
/// their domain.
const PRIVATE_ENDS: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];

/// A host as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address. It belongs to the one who is asked: no page can have it as its name and then move.
    Address(IpAddr),
    /// A name, in lower case and without the last dot.
    Name(String),
}

impl Host {
    /// A host without a port: `engine.example.com`, `10.0.0.1`, `[::1]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(Host::of_address);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Host::of_address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = !name.is_empty() && name.len() <= NAME_CHARACTERS_MAX;
        let is_sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        (fits && is_sound).then(|| Host::Name(name.to_ascii_lowercase()))
    }

    fn of_address(address: impl Into<IpAddr>) -> Host {
        Host::Address(address.into().to_canonical())
    }

    /// Whether it means the machine itself.
    fn is_loopback(&self) -> bool {
        match self {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether nobody else can hold it in the DNS of the Internet.
    fn is_private(&self) -> bool {
        match self {
            Host::Address(_) => true,
            Host::Name(name) => !name.contains('.') || PRIVATE_ENDS.iter().any(|end| name.ends_with(end)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// A host and its port, where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Authority> {
        // In an IPv6 address the last colon is inside of the brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| is_number)?) };
        Some(Authority { host: Host::parse(host)?, port })
    }
}

/// A name that an operator allows: exact, or `*.example.com` for all names that end with `.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// This host alone.
    Exact(Host),
    /// Names with this end, which begins with a dot.
    Below(String),
}

impl Allowed {
    /// What an operator wrote; `None` when it is no name. A scheme or a port makes it none: every port is meant.
    #[must_use]
    pub fn parse(text: &str) -> Option<Allowed> {
        if let Some(rest) = text.strip_prefix("*.") {
            return match Host::parse(rest)? {
                Host::Name(name) => Some(Allowed::Below(format!(".{name}"))),
                Host::Address(_) => None,
            };
        }
        // An IPv6 address is clear without brackets here, for no port follows.
        let address = text.parse::<Ipv6Addr>().ok().map(Host::of_address);
        address.or_else(|| Host::parse(text)).map(Allowed::Exact)
    }

    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Allowed::Exact(allowed), host) => allowed == host,
            (Allowed::Below(end), Host::Name(name)) => name.ends_with(end.as_str()),
            (Allowed::Below(_), Host::Address(_)) => false,
        }
    }
}

/// The names of an engine.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Whether only this machine can connect.
    loopback: bool,
    allowed: Vec<Allowed>,
}

/// Why a request is refused before anybody looks at what it asks. The text has its remedy as a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request does not say whom it asks, or says it in a way that HTTP does not allow (RFC 9112, 3.2).
    #[error("{0}\nhint: send exactly one `Host` header with the name of the engine, as every HTTP library does")]
    Unnamed(String),
    /// The name is none of this engine.
    #[error(
        "`{host}` is no name of this engine\nhint: ask by {}, or allow the name with `--allowed-hosts {host}`",
        if *.loopback { "127.0.0.1 or localhost" } else { "its address" }
    )]
    Foreign {
        /// The name.
        host: Host,
        /// Whether the engine listens for its own machine only.
        loopback: bool,
    },
    /// A web page asks that does not belong to the engine.
    #[error(
        "the request comes from a web page of another site (`{header}: {value}`)\nhint: ask with `lifeline` or curl; a page of your \
         own is let in by its name in `--allowed-hosts`; an address is to be typed, not followed as a link"
    )]
    Page {
        /// The header that shows it.
        header: &'static str,
        /// What it says.
        value: String,
    },
}

impl Hosts {
    /// The names of an engine that listens on this address, beside those that the operator allows.
    #[must_use]
    pub fn new(listen: IpAddr, allowed: Vec<Allowed>) -> Hosts {
        Hosts { loopback: listen.to_canonical().is_loopback(), allowed }
    }

    /// Whether a request may go on.
    ///
    /// An engine that only its machine can reach has the names of that machine. One that others can reach may have a
    /// name that it does not know, behind a Service or an Ingress; where `proven` says that the caller has to show a
    /// token anyway, any name will do, for a web page has no token. Where nobody has to (probes, `/metrics`, `--auth
    /// none`), the name must be one that no page can have.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, version: Version, target: &Uri, headers: &HeaderMap, proven: bool) -> Result<(), Refusal> {
        let asked = asked(version, target, headers)?;
        if let Some(Authority { host, .. }) = &asked
            && !self.is_name(host, proven)
        {
            return Err(Refusal::Foreign { host: host.clone(), loopback: self.loopback });
        }
        self.check_page(asked.as_ref(), headers)
    }

    fn is_name(&self, host: &Host, proven: bool) -> bool {
        let is_own = if self.loopback { host.is_loopback() } else { proven || host.is_private() };
        is_own || self.is_allowed(host)
    }

    fn is_allowed(&self, host: &Host) -> bool {
        self.allowed.iter().any(|allowed| allowed.matches(host))
    }

    /// A request that no page made has neither header; one of a page of the engine itself names the engine.
    fn check_page(&self, asked: Option<&Authority>, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |header, value: &HeaderValue| Err(Refusal::Page { header, value: shortened(value.as_bytes()) });
        let mut is_allowed = false;
        for origin in headers.get_all(header::ORIGIN) {
            let page = origin.to_str().ok().and_then(page);
            match page {
                Some((page, _)) if self.is_allowed(&page.host) => is_allowed = true,
                Some((page, usual)) if asked.is_some_and(|asked| is_same(asked, &page, usual)) => {}
                _ => return refused("Origin", origin),
            }
        }
        for site in headers.get_all(&FETCH_SITE) {
            // `same-site` is another port, or another name of the same domain: not the engine either.
            if !is_allowed && site != "same-origin" && site != "none" {
                return refused("Sec-Fetch-Site", site);
            }
        }
        Ok(())
    }
}

/// Whom a request asks. The target of a request outweighs `Host` (RFC 9112, 3.2.2), which has to be there all the same.
/// A client of HTTP/1.0 need not say it, and no browser is one.
fn asked(version: Version, target: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Refusal::Unnamed("the request has more than one `Host`".to_owned())),
        (None, None) if version == Version::HTTP_11 => {
            return Err(Refusal::Unnamed("the request has no `Host`".to_owned()));
        }
        (None, None) => None,
        (Some(host), None) => Some(named(host.as_bytes())?),
    };
    match target.authority() {
        Some(authority) => named(authority.as_str().as_bytes()).map(Some),
        None => Ok(host),
    }
}

fn named(bytes: &[u8]) -> Result<Authority, Refusal> {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| Authority::parse(text.trim_ascii()));
    parsed.ok_or_else(|| Refusal::Unnamed(format!("the request asks the host `{}`, which is none", shortened(bytes))))
}

/// The site of an `Origin`, and the port that its scheme has when none is named.
fn page(origin: &str) -> Option<(Authority, u16)> {
    let (scheme, authority) = origin.split_once("://")?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((Authority::parse(authority)?, port))
}

/// Whether a page is the engine's own. Its scheme may be another: in front of the engine may be somebody who speaks
/// TLS.
fn is_same(asked: &Authority, page: &Authority, usual: u16) -> bool {
    asked.host == page.host && asked.port.unwrap_or(usual) == page.port.unwrap_or(usual)
}

fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(REPEATED_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
