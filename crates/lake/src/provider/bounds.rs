//! Bounds of files as the query engine's pruning wants them: one array a column, one value a file.

use crate::files::ActiveFile;
use crate::spec::TIME_COLUMN;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use std::collections::HashSet;
use std::sync::Arc;

/// Bounds that the Delta log holds.
pub(super) struct FileBounds<'a>(pub(super) &'a [Arc<ActiveFile>]);

#[derive(Clone, Copy)]
enum End {
    Least,
    Greatest,
}

impl FileBounds<'_> {
    fn bound(&self, column: &str, end: End) -> Option<ArrayRef> {
        let pick = |pair: Option<(i64, i64)>| {
            pair.map(|(low, high)| match end {
                End::Least => low,
                End::Greatest => high,
            })
        };
        if column == TIME_COLUMN {
            let times: TimestampMicrosecondArray = self
                .0
                .iter()
                .map(|file| pick(file.stats.time_min.zip(file.stats.time_max).map(|(low, high)| (low.0, high.0))))
                .collect();
            return Some(Arc::new(times.with_timezone("UTC")));
        }
        if self.0.iter().any(|file| file.stats.text.contains_key(column)) {
            let texts: StringArray = self
                .0
                .iter()
                .map(|file| {
                    file.stats.text.get(column).map(|(low, high)| match end {
                        End::Least => low.as_str(),
                        End::Greatest => high.as_str(),
                    })
                })
                .collect();
            return Some(Arc::new(texts));
        }
        if self.0.iter().any(|file| file.stats.numbers.contains_key(column)) {
            let numbers: Int64Array = self.0.iter().map(|file| pick(file.stats.numbers.get(column).copied())).collect();
            return Some(Arc::new(numbers));
        }
        None
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, End::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, End::Greatest)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts: UInt64Array = self.0.iter().map(|file| file.stats.nulls.get(&column.name).copied()).collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.0.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
