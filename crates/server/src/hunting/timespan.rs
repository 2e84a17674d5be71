//! ISO 8601 time spans of requests: a duration back from now, or an interval.

use super::TimeRange;
use super::error::HuntError;
use garrison_model::Micros;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};

/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 100;

/// Reads `P30D`, `start/end`, `start/duration` or `duration/end`. The end is not included.
pub fn parse(text: &str, now: Micros) -> Result<TimeRange, HuntError> {
    let invalid = || HuntError::Timespan(text.chars().filter(|c| !c.is_control()).take(TEXT_BYTES_MAX).collect());
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid());
    }
    let range = match text.trim().split_once('/') {
        None => {
            let from = shift(now, text.trim(), false).ok_or_else(invalid)?;
            TimeRange { from: Some(from), to: None }
        }
        Some((first, second)) => {
            let (from, to) = match (time(first), time(second)) {
                (Some(from), Some(to)) => (from, to),
                (Some(from), None) => (from, shift(from, second, true).ok_or_else(invalid)?),
                (None, Some(to)) => (shift(to, first, false).ok_or_else(invalid)?, to),
                (None, None) => return Err(invalid()),
            };
            TimeRange { from: Some(from), to: Some(to) }
        }
    };
    match (range.from, range.to) {
        (Some(from), Some(to)) if from > to => Err(invalid()),
        _ => Ok(range),
    }
}

fn time(text: &str) -> Option<Micros> {
    let text = text.trim();
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        // Without an offset it is UTC; a date is its beginning.
        let local = text
            .parse::<civil::DateTime>()
            .ok()
            .or_else(|| text.parse::<civil::Date>().ok().map(|date| date.at(0, 0, 0, 0)))?;
        local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })?;
    Some(Micros(stamp.as_microsecond()))
}

fn shift(from: Micros, duration: &str, forward: bool) -> Option<Micros> {
    let span: Span = duration.trim().parse().ok()?;
    if !duration.trim().starts_with(['P', 'p']) || span.is_negative() {
        return None;
    }
    let start = Timestamp::from_microsecond(from.0).ok()?.to_zoned(TimeZone::UTC);
    let end = if forward { start.checked_add(span) } else { start.checked_sub(span) };
    end.ok().map(|zoned| Micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        let at = |text: &str| time(text).unwrap().0;
        let now = at("2026-11-25T12:00:00Z");
        for (text, from, to) in [
            ("P7D", "2026-11-18T12:00:00Z", None),
            ("PT90M", "2026-11-25T10:30:00Z", None),
            ("P1M", "2026-10-25T12:00:00Z", None),
            ("2026-11-01/2026-11-02", "2026-11-01T00:00:00Z", Some("2026-11-02T00:00:00Z")),
            ("2026-11-01T10:00:00+02:00/PT1H", "2026-11-01T08:00:00Z", Some("2026-11-01T09:00:00Z")),
            ("P1D/2026-11-02T06:00:00Z", "2026-11-01T06:00:00Z", Some("2026-11-02T06:00:00Z")),
        ] {
            let found = parse(text, Micros(now)).unwrap();
            assert_eq!((found.from.map(|t| t.0), found.to.map(|t| t.0)), (Some(at(from)), to.map(at)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "P".repeat(1_000);
        for text in ["", "/", "30d", "-P1D", "P-1D", "P1D/P1D", "2026-11-02/2026-11-01", "P99999999999D", "1h", &long] {
            assert!(matches!(parse(text, Micros(0)), Err(HuntError::Timespan(_))), "{text}");
        }
    }
}
