//! When what we connect with, and what we show to others, expires.

use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject;
use jiff::Timestamp;

use super::Finding;
use crate::settings::Config;
use crate::tls::validity::validity;

/// Less than this many days are worth a warning.
const DAYS_LEFT_MIN: i64 = 14;

/// The certificate of the HTTP API; nothing where it has none.
pub(super) fn of_the_api(config: &Config) -> Vec<Finding> {
    let Some(files) = &config.tls else { return Vec::new() };
    let check = "certificate of the HTTP API";
    match std::fs::read(&files.certificate) {
        Ok(pem) => of_pem(check, &pem),
        Err(error) => vec![Finding::failed(
            check,
            format!("`{}` cannot be read: {error}", files.certificate.display()),
            "name a file that the engine may read by `--tls-cert`",
        )],
    }
}

/// Each certificate of a PEM text.
pub(super) fn of_pem(check: &str, pem: &[u8]) -> Vec<Finding> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    certificates.iter().map(|certificate| judge(check, certificate, Timestamp::now())).collect()
}

/// A certificate at a time.
pub(super) fn judge(check: &str, der: &[u8], now: Timestamp) -> Finding {
    let Some(validity) = validity(der) else {
        return Finding::failed(check, "is no certificate", "give a PEM file with an X.509 certificate");
    };
    if now < *validity.start() {
        return Finding::failed(
            check,
            format!("is not valid before {}", validity.start()),
            "check the clock of this machine",
        );
    }
    expiry(check, *validity.end(), now)
}

/// Something that expires.
pub(super) fn expiry(check: &str, end: Timestamp, now: Timestamp) -> Finding {
    let days = (end.as_second() - now.as_second()).div_euclid(86_400);
    if end <= now {
        Finding::failed(
            check,
            format!("expired at {end}"),
            "renew it; a file that changes is read again without a restart",
        )
    } else if days < DAYS_LEFT_MIN {
        Finding::warning(check, format!("expires at {end}, in {days} days"), "renew it in time")
    } else {
        Finding::ok(check, format!("is valid until {end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::tls::tests::Authority;

    #[test]
    fn a_certificate_is_judged_by_its_dates() {
        let der = Authority::new().issue_for(&["engine"], (2026, 1, 1), (2026, 3, 1)).certificate_der();
        let check = |now: &str, verdict: Verdict, found: &str| {
            let finding = judge("certificate", &der, now.parse().unwrap());
            assert_eq!((finding.verdict, finding.found.contains(found)), (verdict, true), "{now}: {finding:?}");
        };
        check("2025-12-31T00:00:00Z", Verdict::Failed, "not valid before");
        check("2026-01-15T00:00:00Z", Verdict::Ok, "valid until 2026-03-01");
        check("2026-02-25T00:00:00Z", Verdict::Warning, "in 4 days");
        check("2026-03-02T00:00:00Z", Verdict::Failed, "expired at 2026-03-01");
    }
}
