//! Repair: damaged records are fetched again from the streams they came from, and written in their old places.
//!
//! Start at [`repair`]. What was in a hole is found out by the engine's `refetch`, what is proven by the log's own
//! `repair`; here the two meet, on a folder that no engine has. Damaged files are kept beside the new ones.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::cluster::kube::KubeCluster;
use lifeline_engine::intake::jetstream::Source;
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::{self, Connection, JetStream, Message, assign};
use lifeline_engine::refetch::{self, Context, Found, Refetched};
use lifeline_engine::rules::{Cluster, Clusters};
use lifeline_projections::fact::plain_subject;
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Offset, OsDisk};
use serde::{Deserialize, Serialize};

use super::verify::checkpoint;
use super::{DamagedPlace, Error, damage, folder, refused};
use crate::data;
use crate::reach::ConnectionSource;
use crate::settings::{ClusterKind, Config};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether every message that was in a damaged place is in the log again.
    pub complete: bool,
    /// The places that were damaged.
    pub damage: Vec<DamagedPlace>,
    /// What is there now, offset by offset.
    pub records: Vec<Repaired>,
    /// What should be known beside it.
    pub remarks: Vec<String>,
    /// The damaged files, kept for a closer look.
    pub kept_files: Vec<String>,
    /// What does not read back even now.
    pub remaining: Vec<DamagedPlace>,
}

/// What became of one damaged record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Its offset.
    pub offset: u64,
    /// What was achieved.
    pub outcome: Outcome,
    /// What is there now, in a sentence.
    pub what: String,
}

/// What was achieved for one damaged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Byte for byte what was lost: the record behind it remembers its checksum.
    Proven,
    /// The message is the stream's; that the record is byte for byte the lost one is not proven.
    Replaced,
    /// Messages are lost for good; the gap is recorded.
    Gap,
    /// Lost for good, and recorded again by the engine where it can be.
    Lost,
}

/// The servers that hold the streams, by cluster and stream.
struct Servers(BTreeMap<(String, String), Nats>);

impl Source for Servers {
    fn message<'a>(
        &'a self,
        cluster: &'a str,
        stream: &'a str,
        sequence: u64,
    ) -> BoxFuture<'a, Result<Option<Message>, intake::Error>> {
        match self.0.get(&(cluster.to_owned(), stream.to_owned())) {
            Some(nats) => nats.message(stream, sequence).boxed(),
            None => async { Ok(None) }.boxed(),
        }
    }
}

/// Repairs the log of the stopped engine that ran with these settings; `say` gets the progress. With `accept_loss` it goes on
/// although a stream that the log was recorded from is nowhere.
///
/// # Errors
/// When there is no log, an engine has it, or the server cannot be asked: then nothing was changed. [`Error::Log`] after
/// that, when the disk refuses.
pub fn repair(config: &Config, accept_loss: bool, say: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let data = config.data.as_path();
    let failed = refused(data);
    let disk = OsDisk::open(&folder(data)?).map_err(&failed)?;
    let (mut log, recovery) = Log::open(disk, data::log_options()).map_err(&failed)?;
    let reader = log.reader();
    say(&format!("verifying {} records", reader.end().get() - reader.start().get()));
    let damage = damage(&reader, &recovery, say).map_err(&failed)?;
    let mut report = Report {
        complete: true,
        damage: damage.iter().map(DamagedPlace::of).collect(),
        records: Vec::new(),
        remarks: Vec::new(),
        kept_files: Vec::new(),
        remaining: Vec::new(),
    };
    if damage.is_empty() {
        log.close().map_err(&failed)?;
        return Ok(report);
    }

    let checkpoint = checkpoint(data)?.and_then(Result::ok);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let refetched = runtime.block_on(async {
        let connection = connection(config).await?;
        let urls: Vec<&str> = connection.servers.iter().map(|server| server.url.as_str()).collect();
        say(&format!("asking {}", urls.join(", ")));
        let own = Cluster::own(config.cluster_labels.clone());
        let (servers, filters) = connect(&connection, &own.full_name(), &log, accept_loss, &mut report.remarks).await?;
        say("fetching what was in the damaged places");
        let clusters = Clusters::new(vec![own]);
        let context = Context { clusters, filters, checkpoint: checkpoint.as_ref() };
        Ok::<Refetched, Error>(refetch::refetch(&reader, &context, &servers).await?)
    })?;

    let (mut proven, mut replaced) = (BTreeSet::new(), BTreeSet::new());
    for place in &damage {
        // A damaged header or trailer hits no record; its segment is rewritten all the same.
        let offsets = place.offsets.start..place.offsets.end.max(place.offsets.start.next());
        let repaired = log.repair(offsets, &mut |offset| refetched.replacements.get(&offset).cloned());
        let repaired = repaired.map_err(&failed)?;
        proven.extend(repaired.proven);
        replaced.extend(repaired.replaced);
        report.kept_files.extend(repaired.kept_files);
    }
    for hole in refetched.holes {
        report.remarks.extend(hole.remarks.iter().map(|remark| format!("records {}: {remark}", range(&hole.offsets))));
        for (offset, found) in (hole.offsets.start.get()..).zip(hole.found) {
            report.records.push(said(offset, found, proven.contains(&Offset::from(offset))));
        }
    }
    let unproven = report.records.iter().any(|record| record.outcome != Outcome::Proven);
    if let Some(state) = checkpoint.filter(|state| unproven && state.watermark() > damage[0].offsets.start) {
        report.remarks.push(format!(
            "the checkpoint of the state reflects offset {}, from before the damage: it is kept and still knows what the log lost",
            state.watermark()
        ));
    }
    let reader = log.reader();
    let remaining = reader.verify(&mut |_| {}).map_err(&failed)?;
    report.remaining = remaining.iter().map(DamagedPlace::of).collect();
    report.complete = report.remaining.is_empty() && report.records.iter().all(|record| record.outcome != Outcome::Gap);
    log.close().map_err(&failed)?;
    Ok(report)
}

/// The servers that the settings name, as an engine with these settings finds them.
async fn connection(config: &Config) -> Result<Connection, Error> {
    let kube = match (config.cluster, &config.nats) {
        (ClusterKind::Kube, None) => {
            Some(KubeCluster::load(config.kubeconfig.as_deref(), None).await?.client().clone())
        }
        _ => None,
    };
    Ok(ConnectionSource::of(config, kube).load().await?)
}

/// The servers of a cluster by stream, and what is read of each stream.
async fn connect(
    connection: &Connection,
    cluster: &str,
    log: &Log,
    accept_loss: bool,
    remarks: &mut Vec<String>,
) -> Result<(Servers, BTreeMap<(String, String), Vec<String>>), Error> {
    let (mut servers, mut filters) = (BTreeMap::new(), BTreeMap::new());
    let mut urls = Vec::new();
    for server in &connection.servers {
        let (client, link) = server.connect().await?;
        let nats = Nats::new(client, server.url.clone(), link, server.domain.as_deref());
        let streams = nats.streams().await?;
        for reading in assign::assign(&server.wanted, &streams).readings {
            filters.insert((cluster.to_owned(), reading.stream), reading.filters);
        }
        for stream in streams {
            servers.entry((cluster.to_owned(), stream.name)).or_insert_with(|| nats.clone());
        }
        urls.push(server.url.clone());
    }
    // A damaged record may have been the only one to name a stream; what the others name is enough to know the server by.
    let mut recorded = Projection::default();
    let mut reader = log.reader().scan(Offset::ZERO);
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                if let Ok(fact) = lifeline_projections::fact::Fact::decode(record.payload) {
                    recorded.fold(record.offset, record.time_unix_nanos, &fact, &mut Vec::new());
                }
            }
            Ok(None) => break,
            Err(lifeline_store::Error::Damaged { offsets, .. }) => reader.seek(offsets.end),
            Err(source) => return Err(refetch::Error::Log(source).into()),
        }
    }
    for key in recorded.ground().streams.keys() {
        if let Some(subject) = plain_subject(&key.1) {
            remarks.push(format!("subject `{subject}` was read without a stream: its lost messages are nowhere else"));
        } else if !servers.contains_key(key) {
            let (stream, servers) = (key.1.clone(), urls.join(", "));
            if !accept_loss {
                return Err(Error::NoStream { stream, servers });
            }
            remarks.push(format!("stream {stream} does not exist at {servers}: its messages are taken as lost"));
        }
    }
    Ok((Servers(servers), filters))
}

fn said(offset: u64, found: Found, is_proven: bool) -> Repaired {
    let (outcome, what) = match found {
        Found::Message { stream, sequence } if is_proven => {
            (Outcome::Proven, format!("message {sequence} of stream {stream}, byte for byte what was lost"))
        }
        Found::Message { stream, sequence } => (
            Outcome::Replaced,
            format!(
                "message {sequence} of stream {stream}, decided by the rules that the log holds; its exact place is not proven"
            ),
        ),
        // A gap that was recorded as such before is found again, byte for byte.
        Found::Gap { stream, sequences } => (
            if is_proven { Outcome::Proven } else { Outcome::Gap },
            format!(
                "messages {} to {} of stream {stream} are lost for good, recorded as a gap",
                sequences.start,
                sequences.end - 1
            ),
        ),
        Found::Nothing { reason } => (
            Outcome::Lost,
            format!("{reason}; reconciliation observes outcomes again, the next start records the rules again"),
        ),
    };
    Repaired { offset, outcome, what }
}

fn range(offsets: &std::ops::Range<Offset>) -> String {
    format!("{} to {}", offsets.start, offsets.end.get().saturating_sub(1))
}
