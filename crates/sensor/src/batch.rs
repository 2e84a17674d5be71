//! The batches being built: one builder a hunting table, and when they are closed. Pure: `now` comes in.

use arrow::array::RecordBatch;
use garrison_telemetry::builders::{
    DeviceEventsBuilder, DeviceFileEventsBuilder, DeviceImageLoadEventsBuilder, DeviceInfoBuilder,
    DeviceLogonEventsBuilder, DeviceNetworkEventsBuilder, DeviceNetworkInfoBuilder, DeviceProcessEventsBuilder,
};
use std::time::Duration;

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $builder:ident = $name:literal,)+) => {
        /// One builder a table.
        #[derive(Debug, Default)]
        pub struct Tables {
            $($(#[$doc])* pub $field: $builder,)+
        }

        impl Tables {
            /// Rows in all builders.
            pub fn rows(&self) -> usize {
                [$(self.$field.len()),+].iter().sum()
            }

            /// Rows of the fullest builder and bytes of the largest.
            fn fullest(&self) -> (usize, usize) {
                let rows = [$(self.$field.len()),+].into_iter().max().unwrap_or(0);
                let bytes = [$(self.$field.bytes()),+].into_iter().max().unwrap_or(0);
                (rows, bytes)
            }

            /// The rows as batches with the names of their tables; the builders are empty afterwards.
            pub fn finish(&mut self) -> Vec<(&'static str, RecordBatch)> {
                let mut batches = Vec::new();
                $(if !self.$field.is_empty() {
                    batches.push(($name, self.$field.finish()));
                })+
                batches
            }
        }
    };
}

tables! {
    /// Processes first, so that whoever reads in order knows a process before what it did.
    process: DeviceProcessEventsBuilder = "DeviceProcessEvents",
    /// Log-ons.
    logon: DeviceLogonEventsBuilder = "DeviceLogonEvents",
    /// Other events.
    events: DeviceEventsBuilder = "DeviceEvents",
    /// Files.
    file: DeviceFileEventsBuilder = "DeviceFileEvents",
    /// Connections.
    network: DeviceNetworkEventsBuilder = "DeviceNetworkEvents",
    /// Libraries.
    image: DeviceImageLoadEventsBuilder = "DeviceImageLoadEvents",
    /// The device.
    info: DeviceInfoBuilder = "DeviceInfo",
    /// Its network.
    network_info: DeviceNetworkInfoBuilder = "DeviceNetworkInfo",
}

/// When batches are closed.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Longest wait of a row.
    pub flush: Duration,
    /// Rows of one batch.
    pub rows_max: usize,
    /// Bytes of one batch.
    pub bytes_max: usize,
}

/// Decides when to close.
#[derive(Debug)]
pub struct Closer {
    limits: BatchLimits,
    first_row: Option<Duration>,
    calls: usize,
}

/// Sizes are added up every so many calls: there are hundreds of columns. A batch overshoots by as many rows at most.
const LOOK_EVERY: usize = 16;

impl Closer {
    /// With these limits.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, first_row: None, calls: 0 }
    }

    /// Whether the builders are to be closed now. Called after each observation.
    pub fn due(&mut self, tables: &Tables, now: Duration) -> bool {
        if tables.rows() == 0 {
            return false;
        }
        let since = *self.first_row.get_or_insert(now);
        self.calls += 1;
        if now.saturating_sub(since) >= self.limits.flush {
            return true;
        }
        if self.calls % LOOK_EVERY != 1 {
            return false;
        }
        let (rows, bytes) = tables.fullest();
        rows >= self.limits.rows_max || bytes >= self.limits.bytes_max
    }

    /// They were closed.
    pub fn closed(&mut self) {
        self.first_row = None;
        self.calls = 0;
    }

    /// How long the caller may sleep.
    pub fn wait(&self, now: Duration) -> Duration {
        match self.first_row {
            Some(since) => (since + self.limits.flush).saturating_sub(now),
            None => self.limits.flush.max(Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_telemetry::rows;

    #[test]
    fn a_batch_closes_by_time_rows_or_bytes() {
        let limits = BatchLimits { flush: Duration::from_millis(100), rows_max: 3, bytes_max: 1_000 };
        let (mut tables, mut closer) = (Tables::default(), Closer::new(limits));
        let ms = Duration::from_millis;
        assert!(!closer.due(&tables, ms(0)));
        let row = rows::DeviceProcessEvents { file_name: Some("sh"), ..Default::default() };
        tables.process.append(&row);
        assert!(!closer.due(&tables, ms(10)));
        assert_eq!(closer.wait(ms(60)), ms(50));
        assert!(closer.due(&tables, ms(110)));
        assert_eq!(tables.finish().len(), 1);
        closer.closed();
        (0..3).for_each(|_| tables.process.append(&row));
        assert!(closer.due(&tables, ms(200)), "by rows");
        tables.finish();
        closer.closed();
        let long = "x".repeat(2_000);
        tables.network.append(&rows::DeviceNetworkEvents { remote_url: Some(&long), ..Default::default() });
        assert!(closer.due(&tables, ms(300)), "by bytes");
        assert_eq!(tables.finish()[0].0, "DeviceNetworkEvents");
        assert_eq!(tables.rows(), 0);
    }
}
