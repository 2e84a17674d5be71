//! What a query costs: read from its plan's figures, while it runs and after.

use super::Interface;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Plans are trees of some dozen operators; deeper ones are not walked further.
const DEPTH_MAX: usize = 512;

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, ToSchema)]
pub enum RunState {
    /// With its answer.
    Completed,
    /// With an error.
    Failed,
    /// Somebody cancelled it, or went away.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// It was not let in.
    Refused,
}

impl RunState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::TimedOut => "TimedOut",
            Self::Refused => "Refused",
        }
    }
}

/// How heavy a query was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, ToSchema)]
pub enum Usage {
    /// Nobody notices it.
    Low,
    /// Fine now and then.
    Medium,
    /// Worth a shorter time or a narrower filter.
    High,
}

impl Usage {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }

    /// By processor time and memory: a query an analyst waits for without noticing is low, one that keeps a core busy
    /// for a quarter of a minute or takes half a gigabyte is high.
    #[must_use]
    pub const fn of(cpu_ms: u64, memory_bytes: u64) -> Self {
        if cpu_ms >= 15_000 || memory_bytes >= 512 << 20 {
            Self::High
        } else if cpu_ms >= 2_000 || memory_bytes >= 64 << 20 {
            Self::Medium
        } else {
            Self::Low
        }
    }
}

/// The report on one query.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// The run.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The door it came through.
    pub interface: Interface,
    /// Who asked.
    pub user: String,
    /// How it ended.
    pub state: RunState,
    /// How heavy it was.
    pub usage: Usage,
    /// What it read and took.
    #[serde(flatten)]
    pub figures: Figures,
    /// Rows of the answer.
    pub rows_returned: u64,
    /// Bytes of the answer's columns.
    pub bytes_returned: u64,
    /// Tables it read.
    pub tables: Vec<String>,
}

/// Progress of a query that runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The run.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long ago.
    pub elapsed_ms: u64,
    /// Its text.
    pub query: String,
    /// `Planning`, `Running` or `Writing`.
    pub state: &'static str,
    /// What it has read and taken so far.
    #[serde(flatten)]
    pub figures: Figures,
    /// Rows of the answer so far.
    pub rows_found: u64,
}

/// Progress of a query on the event stream of its user.
#[derive(Debug, Clone, PartialEq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressEvent {
    /// The run.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// `Planning`, `Running`, `Writing`, or `Ended`, which comes once.
    pub state: &'static str,
    /// How long ago it began.
    pub elapsed_ms: u64,
    /// What it has read and taken so far.
    #[serde(flatten)]
    pub figures: Figures,
    /// Rows of the answer so far.
    pub rows_found: u64,
}

impl From<Progress> for ProgressEvent {
    fn from(p: Progress) -> Self {
        Self { id: p.id, state: p.state, elapsed_ms: p.elapsed_ms, figures: p.figures, rows_found: p.rows_found }
    }
}

/// Figures of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Rows that were looked at.
    pub rows_scanned: u64,
    /// Bytes read from files.
    pub bytes_scanned: u64,
    /// Files of the tables.
    pub files_total: u64,
    /// Files that their bounds did not rule out.
    pub files_read: u64,
    /// Of those, the files that are through.
    pub files_done: u64,
    /// Row groups that statistics and bloom filters did not rule out.
    pub row_groups_read: u64,
    /// Most bytes of memory at once.
    pub memory_peak_bytes: u64,
    /// Bytes that went through the disk because memory was short.
    pub spilled_bytes: u64,
    /// Processor time of its operators.
    pub cpu_ms: u64,
    /// Parts of files that are to be read and that are through: the engine may cut a large file into several.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) parts: (u64, u64),
}

impl Figures {
    /// Adds what a plan's operators have counted.
    pub(crate) fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        let mut nanoseconds = 0;
        self.walk(plan, &mut nanoseconds, 0);
        self.cpu_ms += nanoseconds / 1_000_000;
    }

    /// Files read so far, by the share of their parts that is through.
    pub(crate) fn count_files(&mut self, total: u64, read: u64) {
        let (parts, through) = self.parts;
        (self.files_total, self.files_read) = (total, read);
        self.files_done = match parts {
            0 => 0,
            parts => read.saturating_mul(through.min(parts)) / parts,
        };
    }

    fn walk(&mut self, plan: &Arc<dyn ExecutionPlan>, nanoseconds: &mut u64, depth: usize) {
        let children = plan.children();
        let source = plan.downcast_ref::<DataSourceExec>();
        if let Some((config, _)) = source.and_then(|s| s.downcast_to_file_source::<ParquetSource>()) {
            self.parts.0 += config.file_groups.iter().map(|group| group.len() as u64).sum::<u64>();
        }
        if let Some(metrics) = plan.metrics() {
            let mut decoded = Decoded::default();
            for metric in metrics.iter() {
                match metric.value() {
                    MetricValue::ElapsedCompute(time) => *nanoseconds += time.value() as u64,
                    MetricValue::SpilledBytes(count) => self.spilled_bytes += count.value() as u64,
                    MetricValue::OutputRows(count) => decoded.output += count.value() as u64,
                    MetricValue::Count { name, count } => match name.as_ref() {
                        "bytes_scanned" => self.bytes_scanned += count.value() as u64,
                        "files_processed" => decoded.parts_through += count.value() as u64,
                        "pushdown_rows_pruned" => decoded.pruned += count.value() as u64,
                        _ => {}
                    },
                    MetricValue::PruningMetrics { name, pruning_metrics } => match name.as_ref() {
                        "row_groups_pruned_statistics" => decoded.by_statistics += pruning_metrics.matched() as u64,
                        "row_groups_pruned_bloom_filter" => {
                            decoded.bloom_ruled_out += pruning_metrics.pruned() as u64;
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
            self.parts.1 += decoded.parts_through;
            if children.is_empty() {
                self.rows_scanned += decoded.output + decoded.pruned;
                self.row_groups_read += decoded.by_statistics.saturating_sub(decoded.bloom_ruled_out);
            }
        }
        if depth < DEPTH_MAX {
            for child in children {
                self.walk(child, nanoseconds, depth + 1);
            }
        }
    }
}

/// Figures of one scan.
#[derive(Default)]
struct Decoded {
    output: u64,
    pruned: u64,
    by_statistics: u64,
    bloom_ruled_out: u64,
    parts_through: u64,
}
