//! Dates of the proleptic Gregorian calendar in UTC, for the time modifiers.

use crate::detection::TimePart;

/// Days since 1970-01-01 of a date (Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01 (same source).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// One part of a time in microseconds since 1970. Weeks are those of ISO 8601.
pub(crate) fn part(micros: i64, part: TimePart) -> f64 {
    let seconds = micros.div_euclid(1_000_000);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let value = match part {
        TimePart::Minute => of_day / 60 % 60,
        TimePart::Hour => of_day / 3_600,
        TimePart::Day => day,
        TimePart::Month => month,
        TimePart::Year => year,
        TimePart::Week => {
            // The week belongs to the year that its Thursday lies in; 1970-01-01 was a Thursday.
            let thursday = days + 3 - (days + 3).rem_euclid(7);
            let first = days_from_civil(civil_from_days(thursday).0, 1, 1);
            (thursday - first) / 7 + 1
        }
    };
    value as f64
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn format(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let fraction = micros.rem_euclid(1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// Reads `2026-11-23`, with a time after `T` or a space, a fraction, and `Z` or an offset.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let field = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let separator = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|b| allowed.contains(b));
    if !separator(4, b"-/") || !separator(7, b"-/") {
        return None;
    }
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * 86_400;
    if text.len() == 10 {
        return Some(midnight * 1_000_000);
    }
    if !separator(10, b"T t") || !separator(13, b":") {
        return None;
    }
    let (hour, minute) = (field(11, 13)?, field(14, 16)?);
    let second = if separator(16, b":") { field(17, 19)? } else { 0 };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(if separator(16, b":") { 19 } else { 16 }..)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        micros = format!("{:0<6.6}", &fraction[..digits]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] if [a, b, c, d].iter().all(|x| x.is_ascii_digit()) => {
            let digit = |x: &u8| i64::from(x - b'0');
            let seconds = (digit(a) * 10 + digit(b)) * 3_600 + (digit(c) * 10 + digit(d)) * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some((midnight + hour * 3_600 + minute * 60 + second - offset) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back() {
        for text in ["2026-11-23T22:32:11.000005Z", "1969-12-31T23:59:59.999999Z", "2000-02-29T00:00:00.000000Z"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-11-23T01:00:00+01:00"), parse("2026-11-23 00:00:00"));
        assert_eq!(parse("2026-13-01"), None);
        assert_eq!(parse("2026-11-23Tx"), None);
        assert_eq!(parse("ümlaut-1-1"), None);
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        for (date, week) in [("2026-01-01", 1.0), ("2027-01-01", 53.0), ("2024-12-30", 1.0), ("2026-11-23", 48.0)] {
            assert_eq!(part(parse(date).unwrap(), TimePart::Week), week, "{date}");
        }
    }
}
