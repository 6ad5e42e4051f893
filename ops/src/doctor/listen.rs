//! Whether the HTTP API can listen where the settings say.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use super::Finding;

/// Listens for a moment; `is_running` says whether an engine has the data folder, for then it has the address too.
pub(super) fn examine(address: SocketAddr, is_running: bool) -> Finding {
    judge(address, TcpListener::bind(address).map(drop), is_running)
}

fn judge(address: SocketAddr, bound: Result<(), Error>, is_running: bool) -> Finding {
    let check = "listen address";
    let Err(error) = bound else { return Finding::ok(check, format!("`{address}` is free")) };
    let hint = match error.kind() {
        ErrorKind::AddrInUse if is_running => {
            return Finding::ok(check, format!("`{address}` is in use, as by the engine that has the data folder"));
        }
        ErrorKind::AddrInUse => "stop what listens there, or name another address by `--listen`",
        ErrorKind::PermissionDenied => "name a port from 1024 on by `--listen`",
        _ => "name an address of this machine by `--listen`, such as 127.0.0.1:7717",
    };
    Finding::failed(check, format!("`{address}` cannot be listened on: {error}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn an_address_that_another_has_fails_with_the_remedy() {
        let held = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = held.local_addr().expect("it is bound");
        let found = examine(address, false);
        assert_eq!(found.verdict, Verdict::Failed, "{found:?}");
        assert!(found.found.contains(&address.to_string()), "{found:?}");
        assert!(found.remedy.is_some_and(|remedy| remedy.contains("--listen")));
        assert_eq!(examine(address, true).verdict, Verdict::Ok, "the engine of the data folder has it");
        drop(held);
        assert_eq!(examine(address, false).verdict, Verdict::Ok);
        // 192.0.2.0/24 is for documentation: no machine has such an address.
        let foreign = examine("192.0.2.1:7717".parse().expect("an address"), true);
        assert_eq!(foreign.verdict, Verdict::Failed, "{foreign:?}");
    }
}
