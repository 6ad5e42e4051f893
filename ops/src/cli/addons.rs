//! `lifeline show addons`: what is deployed, in the table that `sveltosctl show addons` prints, so that scripts made for
//! the one read the other.
//!
//! The last column names the EventTrigger: here it deploys itself, where Sveltos makes a ClusterProfile of it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeline_projections::reads::OwnedObjectRow;

use crate::terminal::table::{Cell, Column, Table};

/// Which rows are wanted, in the words of `sveltosctl`.
pub struct Filter<'a> {
    /// Namespace of the cluster.
    pub namespace: Option<&'a str>,
    /// Name of the cluster.
    pub cluster: Option<&'a str>,
    /// `KIND/NAME` of what deployed it.
    pub profile: Option<&'a str>,
}

impl Filter<'_> {
    /// Whether a row is wanted. What is not applied yet is not deployed.
    pub fn wants(&self, row: &OwnedObjectRow) -> bool {
        let (namespace, name) = row.cluster.split_once('/').unwrap_or(("", &row.cluster));
        row.time.is_some()
            && self.namespace.is_none_or(|wanted| wanted == namespace)
            // The other commands write clusters as `namespace/name`.
            && self.cluster.is_none_or(|wanted| wanted == name || wanted == row.cluster)
            && self.profile.is_none_or(|wanted| wanted == profile(row))
    }
}

/// The table. `wide` adds the column that newer releases of `sveltosctl` print.
pub fn table(rows: &[OwnedObjectRow], zone: &TimeZone, wide: bool) -> Table {
    let heads = ["CLUSTER", "RESOURCE TYPE", "NAMESPACE", "NAME", "VERSION", "TIME"];
    let mut heads: Vec<&'static str> = heads.to_vec();
    heads.extend(wide.then_some("DEPLOYMENT TYPE"));
    heads.push("PROFILES");
    let columns: Vec<Column> = heads.into_iter().map(Column::word).collect();
    let mut table = Table::new(&columns);
    for row in rows {
        let object = &row.object;
        let mut cells: Vec<Cell> = vec![
            row.cluster.as_str().into(),
            format!("{}:{}", object.group, object.kind).into(),
            object.namespace.as_deref().unwrap_or_default().into(),
            object.name.as_str().into(),
            "N/A".into(),
            row.time.as_deref().map(|time| local(time, zone)).unwrap_or_default().into(),
        ];
        cells.extend(wide.then(|| "Managed cluster".into()));
        cells.push(profile(row).into());
        table.push(cells);
    }
    table
}

fn profile(row: &OwnedObjectRow) -> String {
    format!("EventTrigger/{}", row.trigger)
}

/// A time as Go prints it: `2025-02-04 14:12:03 +0100 CET`.
fn local(time: &str, zone: &TimeZone) -> String {
    let parsed: Result<Timestamp, _> = time.parse();
    let local = parsed.map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string());
    local.unwrap_or_else(|_| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeline_projections::reads::ObjectRow;

    fn row(kind: &str, namespace: Option<&str>, name: &str, time: Option<&str>) -> OwnedObjectRow {
        let object = ObjectRow {
            group: String::new(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
            uid: None,
        };
        OwnedObjectRow {
            object,
            cluster: "default/clusterapi-workload".into(),
            trigger: "manage-namespace".into(),
            source: "s".into(),
            subject: "x".into(),
            offset: 1,
            time: time.map(str::to_owned),
        }
    }

    #[test]
    fn the_table_is_drawn_as_sveltosctl_draws_it() {
        let rows = [
            row("Secret", Some("projectsveltos"), "sveltos-nats", Some("2025-02-04T13:06:36Z")),
            row("Namespace", None, "mgianluc", Some("2025-02-04T13:12:03.123Z")),
        ];
        let zone = TimeZone::get("Europe/Rome").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1)));
        let drawn = table(&rows, &zone, false).render_framed();
        let drawn = drawn.replace(" +01 ", " CET ");
        let expected = "\
+-----------------------------+---------------+----------------+--------------+---------+-------------------------------+-------------------------------+
|           CLUSTER           | RESOURCE TYPE |   NAMESPACE    |     NAME     | VERSION |             TIME              |           PROFILES            |
+-----------------------------+---------------+----------------+--------------+---------+-------------------------------+-------------------------------+
| default/clusterapi-workload | :Secret       | projectsveltos | sveltos-nats | N/A     | 2025-02-04 14:06:36 +0100 CET | EventTrigger/manage-namespace |
| default/clusterapi-workload | :Namespace    |                | mgianluc     | N/A     | 2025-02-04 14:12:03 +0100 CET | EventTrigger/manage-namespace |
+-----------------------------+---------------+----------------+--------------+---------+-------------------------------+-------------------------------+
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn filters_speak_of_the_cluster_and_of_the_profile() {
        let check = |namespace, cluster, profile, expected| {
            let filter = Filter { namespace, cluster, profile };
            assert_eq!(filter.wants(&row("Namespace", None, "x", Some("2025-02-04T13:06:36Z"))), expected);
        };
        check(None, None, None, true);
        check(Some("default"), Some("clusterapi-workload"), Some("EventTrigger/manage-namespace"), true);
        check(Some("other"), None, None, false);
        check(None, Some("default"), None, false);
        check(None, None, Some("ClusterProfile/manage-namespace"), false);
        let filter = Filter { namespace: None, cluster: None, profile: None };
        assert!(!filter.wants(&row("Namespace", None, "x", None)), "intended is not deployed");
    }
}
