//! Metrics as Prometheus text (exposition format 0.0.4): one list of what there is. Names of agents, people and servers
//! never stand here, and neither do names of tasks.

use std::{
    fmt::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ambit_engine::{Gauges, Histogram, Metrics};

use super::Shared;

/// What the server's files take, and what is left for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Storage {
    /// The bytes of the database and of what stands beside it.
    pub database_bytes: u64,
    /// The bytes that are free where the state directory is.
    pub free_bytes: u64,
}

/// Looks at the server's files.
pub type MeasureStorage = Arc<dyn Fn() -> Storage + Send + Sync>;

/// One metric, as the reference describes it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name: `ambit_`, what is measured, and its unit.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// By what it is told apart. Every value is always there, also before anything was counted.
    pub labels: &'static [&'static str],
    read: Read,
}

/// What kind of metric it is, and where its value comes from.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// Only grows, since the start of the server.
    Counter(fn(&Reading<'_>) -> u64),
    /// Only grows, one for each set of labels.
    Counters(fn(&Reading<'_>) -> Series),
    /// May go up and down.
    Gauge(fn(&Reading<'_>) -> u64),
    /// Always 1; the labels say something.
    Info(fn() -> &'static str),
    /// In seconds.
    Histogram(fn(&Metrics) -> &Histogram),
}

/// Counts, each with the values of its labels.
type Series = Vec<(Vec<&'static str>, u64)>;

/// What there is to tell, read in one moment.
struct Reading<'a> {
    metrics: &'a Metrics,
    gauges: Gauges,
    storage: Storage,
    is_ready: bool,
    strangers_refused: u64,
    runners: u64,
    authority_ends_in: Duration,
    clock_behind: Duration,
}

impl Metric {
    /// Returns the word of the exposition format for what kind of metric it is.
    pub const fn kind(&self) -> &'static str {
        match self.read {
            Read::Counter(_) | Read::Counters(_) => "counter",
            Read::Gauge(_) | Read::Info(_) => "gauge",
            Read::Histogram(_) => "histogram",
        }
    }

    fn write(&self, reading: &Reading<'_>, text: &mut String) {
        let (name, kind) = (self.name, self.kind());
        line(text, format_args!("# HELP {name} {}", self.help));
        line(text, format_args!("# TYPE {name} {kind}"));
        match self.read {
            Read::Counter(read) | Read::Gauge(read) => {
                line(text, format_args!("{name} {}", read(reading)));
            }
            Read::Counters(read) => {
                for (values, count) in read(reading) {
                    let labels = labels(self.labels, &values);
                    line(text, format_args!("{name}{{{labels}}} {count}"));
                }
            }
            Read::Info(read) => {
                let labels = labels(self.labels, &[read()]);
                line(text, format_args!("{name}{{{labels}}} 1"));
            }
            Read::Histogram(read) => {
                let (buckets, all, sum) = read(reading.metrics).read();
                for (bound, count) in buckets {
                    let bound = bound.as_secs_f64();
                    line(
                        text,
                        format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"),
                    );
                }
                line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {all}"));
                line(text, format_args!("{name}_sum {}", sum.as_secs_f64()));
                line(text, format_args!("{name}_count {all}"));
            }
        }
    }
}

/// Returns all metrics as text.
pub(super) fn text(shared: &Shared) -> String {
    let control = &shared.control;
    let moment = (control.clock)();
    let left = control.keys_in_force().expires_at().since(moment.now);
    let behind = moment.now.since(moment.wall);
    let reading = Reading {
        metrics: control.handle.metrics(),
        // What can't be read is told as nothing; that it can't be is told by `ambit_ready`.
        gauges: control.handle.gauges().unwrap_or_default(),
        storage: (control.measure_storage)(),
        is_ready: control.handle.ready().is_ok(),
        strangers_refused: control.strangers_refused.load(Ordering::Relaxed),
        runners: shared.presences.count(),
        authority_ends_in: Duration::from_millis(left.as_millis()),
        clock_behind: Duration::from_millis(behind.as_millis()),
    };
    let mut text = String::with_capacity(16 * 1024);
    for metric in METRICS {
        metric.write(&reading, &mut text);
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

fn labels(names: &[&str], values: &[&str]) -> String {
    let pairs = names.iter().zip(values);
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    pairs.join(",")
}

fn by_one(counts: impl Iterator<Item = (&'static str, u64)>) -> Series {
    counts.map(|(name, count)| (vec![name], count)).collect()
}

/// Every metric, in the order of the page.
pub const METRICS: [Metric; 27] = [
    Metric {
        name: "ambit_build_info",
        help: "The version of this binary.",
        labels: &["version"],
        read: Read::Info(|| env!("CARGO_PKG_VERSION")),
    },
    Metric {
        name: "ambit_ready",
        help: "1 when an estate is in force, the log takes records, and there is room for them.",
        labels: &[],
        read: Read::Gauge(|it| it.is_ready.into()),
    },
    Metric {
        name: "ambit_decisions_total",
        help: "Decisions by what was asked and the answer. `other` are refusals of people, of requests that never became an act, and those that share a record.",
        labels: &["action", "outcome"],
        read: Read::Counters(|it| {
            let all = it.metrics.decisions();
            all.map(|(action, outcome, count)| (vec![action, outcome], count))
                .collect()
        }),
    },
    Metric {
        name: "ambit_denials_total",
        help: "Denials by the code of their reason.",
        labels: &["reason"],
        read: Read::Counters(|it| by_one(it.metrics.denials())),
    },
    Metric {
        name: "ambit_decisions_coalesced_total",
        help: "Denials of floods and repeated holds, which share a record. They are among all decisions.",
        labels: &[],
        read: Read::Counter(|it| it.metrics.coalesced.get()),
    },
    Metric {
        name: "ambit_acts_total",
        help: "Permitted acts by how they ended. Nobody knows whether an `unknown` one happened.",
        labels: &["end"],
        read: Read::Counters(|it| by_one(it.metrics.ends())),
    },
    Metric {
        name: "ambit_call_added_seconds",
        help: "What Ambit adds to a call: from the parsed request to its answer, without the waits for the upstream.",
        labels: &[],
        read: Read::Histogram(|it| &it.added),
    },
    Metric {
        name: "ambit_acts_under_way",
        help: "Permitted acts whose end is not written yet.",
        labels: &[],
        read: Read::Gauge(|it| it.gauges.acts_under_way),
    },
    Metric {
        name: "ambit_acts_unknown",
        help: "Acts of which nobody knows whether they happened, over the whole log.",
        labels: &[],
        read: Read::Gauge(|it| it.gauges.acts_unknown),
    },
    Metric {
        name: "ambit_holds_waiting",
        help: "Held acts that wait for a person.",
        labels: &[],
        read: Read::Gauge(|it| it.gauges.holds_waiting),
    },
    Metric {
        name: "ambit_approvals_total",
        help: "People's answers to held acts.",
        labels: &["verdict"],
        read: Read::Counters(|it| by_one(it.metrics.approvals())),
    },
    Metric {
        name: "ambit_tasks_live",
        help: "Live tasks.",
        labels: &[],
        read: Read::Gauge(|it| it.gauges.tasks_live),
    },
    Metric {
        name: "ambit_tasks_started_total",
        help: "Tasks that started, children among them.",
        labels: &[],
        read: Read::Counter(|it| it.metrics.tasks_started.get()),
    },
    Metric {
        name: "ambit_runners_present",
        help: "Runners whose connection is open.",
        labels: &[],
        read: Read::Gauge(|it| it.runners),
    },
    Metric {
        name: "ambit_revocations_total",
        help: "Revocations by what they took authority from.",
        labels: &["target"],
        read: Read::Counters(|it| by_one(it.metrics.revocations())),
    },
    Metric {
        name: "ambit_revocation_seconds",
        help: "From the durable record of a revocation until every door had acknowledged it.",
        labels: &[],
        read: Read::Histogram(|it| &it.revocation),
    },
    Metric {
        name: "ambit_crossings_total",
        help: "Acts that were under way when a revocation took effect.",
        labels: &[],
        read: Read::Counter(|it| it.metrics.crossings.get()),
    },
    Metric {
        name: "ambit_svids_issued_total",
        help: "SVIDs that runs of agents got, by their kind.",
        labels: &["kind"],
        read: Read::Counters(|it| by_one(it.metrics.svids())),
    },
    Metric {
        name: "ambit_tokens_issued_total",
        help: "Tokens by their kind.",
        labels: &["kind"],
        read: Read::Counters(|it| by_one(it.metrics.tokens())),
    },
    Metric {
        name: "ambit_strangers_refused_total",
        help: "Requests to the gateway that identified nobody. They are in no record.",
        labels: &[],
        read: Read::Counter(|it| it.strangers_refused),
    },
    Metric {
        name: "ambit_connections_refused_total",
        help: "Connections to the gateway that ended in the handshake. They are in no record.",
        labels: &[],
        read: Read::Counter(|it| it.metrics.connections_refused.get()),
    },
    Metric {
        name: "ambit_requests_turned_away_total",
        help: "Requests of known callers that the gateway's edge turned away before they became an act.",
        labels: &[],
        read: Read::Counter(|it| it.metrics.turned_away.get()),
    },
    Metric {
        name: "ambit_log_records",
        help: "Records in the log.",
        labels: &[],
        read: Read::Gauge(|it| it.gauges.log_records),
    },
    Metric {
        name: "ambit_database_bytes",
        help: "What the database takes, with its journal and its reserve.",
        labels: &[],
        read: Read::Gauge(|it| it.storage.database_bytes),
    },
    Metric {
        name: "ambit_state_free_bytes",
        help: "What is free on the disk of the state directory.",
        labels: &[],
        read: Read::Gauge(|it| it.storage.free_bytes),
    },
    Metric {
        name: "ambit_authority_expires_in_seconds",
        help: "How long the certificate that vouches for workloads is still good.",
        labels: &[],
        read: Read::Gauge(|it| it.authority_ends_in.as_secs()),
    },
    Metric {
        name: "ambit_clock_behind_seconds",
        help: "How far the machine's clock is behind the log's time, which waits for it. More than 2: the clock was ahead and was set back, and authority ends as much too early.",
        labels: &[],
        read: Read::Gauge(|it| it.clock_behind.as_secs()),
    },
];
