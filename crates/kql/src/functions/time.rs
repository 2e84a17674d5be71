//! Dates and lengths of time: microseconds since 1970 UTC, from year 1 to year 9999.

use super::convert::{cast, null};
use super::eval::{Out, Row};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use super::{Context, Naming, Refusal};
use crate::Type;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use std::fmt::Write;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// 0001-01-01 and the last microsecond of 9999.
pub(super) const LEAST: i64 = -62_135_596_800 * SECOND;
const GREATEST: i64 = 253_402_300_800 * SECOND - 1;

/// A date and time of day, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// Microseconds since midnight.
    pub(super) time: i64,
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Howard Hinnant's days_from_civil.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl Civil {
    pub(super) fn of(micros: i64) -> Self {
        let days = micros.div_euclid(DAY);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z - era * 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Self { year, month, day: doy - (153 * mp + 2) / 5 + 1, time: micros.rem_euclid(DAY) }
    }

    pub(super) fn micros(self) -> Option<i64> {
        if !(1..=9999).contains(&self.year) || !(1..=12).contains(&self.month) {
            return None;
        }
        if !(1..=month_days(self.year, self.month)).contains(&self.day) || !(0..DAY).contains(&self.time) {
            return None;
        }
        Some(days_of(self.year, self.month, self.day) * DAY + self.time)
    }

    /// The same day of another month, or its last day.
    fn add_months(self, months: i64) -> Option<i64> {
        let count = (self.year * 12 + self.month - 1).checked_add(months)?;
        let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
        if !(1..=9999).contains(&year) {
            return None;
        }
        Self { year, month, day: self.day.min(month_days(year, month)), time: self.time }.micros()
    }

    fn day_of_year(self) -> i64 {
        days_of(self.year, self.month, self.day) - days_of(self.year, 1, 1) + 1
    }
}

pub(super) fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn valid(micros: i64) -> Option<i64> {
    (LEAST..=GREATEST).contains(&micros).then_some(micros)
}

/// `2015-12-14T02:03:04.1234500Z`.
pub(super) fn datetime_text(micros: i64) -> String {
    let c = Civil::of(micros);
    let seconds = c.time / SECOND;
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z",
        c.year,
        c.month,
        c.day,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        c.time % SECOND * 10
    )
}

/// `-1.02:03:04.5000000`: days and the fraction only where there are any.
pub(super) fn timespan_text(micros: i64) -> String {
    let size = micros.unsigned_abs();
    let (day, second) = (DAY.unsigned_abs(), SECOND.unsigned_abs());
    let mut out = String::with_capacity(20);
    if micros < 0 {
        out.push('-');
    }
    // Writing to a string cannot fail.
    if size >= day {
        let _ = write!(out, "{}.", size / day);
    }
    let seconds = size % day / second;
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if !size.is_multiple_of(second) {
        let _ = write!(out, ".{:07}", size % second * 10);
    }
    out
}

/// Reads digits; what it read is cut off `text`.
fn digits(text: &mut &str, most: usize) -> Option<i64> {
    let size = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(size)?;
    *text = rest;
    number.parse().ok()
}

fn eat(text: &mut &str, what: &str) -> bool {
    text.strip_prefix(what).map(|rest| *text = rest).is_some()
}

/// A fraction of a second after its point, in microseconds; further digits are cut off.
fn fraction(text: &mut &str) -> i64 {
    let size = text.bytes().take_while(u8::is_ascii_digit).count();
    let Some((number, rest)) = text.split_at_checked(size) else { return 0 };
    *text = rest;
    let six: String = number.chars().chain("000000".chars()).take(6).collect();
    six.parse().unwrap_or(0)
}

/// `hh:mm[:ss[.f]]` with `AM` or `PM`, in microseconds.
fn clock(text: &mut &str) -> Option<i64> {
    let mut hour = digits(text, 2)?;
    let mut time = 0;
    if eat(text, ":") {
        time += digits(text, 2).filter(|m| *m < 60)? * MINUTE;
        if eat(text, ":") {
            time += digits(text, 2).filter(|s| *s < 60)? * SECOND;
            if eat(text, ".") {
                time += fraction(text);
            }
        }
    }
    let trimmed = text.trim_start();
    let half = trimmed.get(..2).map(str::to_ascii_uppercase);
    if let Some(half @ ("AM" | "PM")) = half.as_deref() {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half == "PM" { 12 } else { 0 };
        *text = trimmed.get(2..)?;
    }
    (hour < 24).then_some(hour * HOUR + time)
}

/// What stands after the time of day: nothing, `Z`, a name of UTC, or an offset, in microseconds east.
fn offset(text: &str) -> Option<i64> {
    let text = text.trim();
    if matches!(text, "" | "Z" | "z" | "GMT" | "UTC") {
        return Some(0);
    }
    let (sign, mut rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let hours = digits(&mut rest, 2)?;
    eat(&mut rest, ":");
    let minutes = if rest.is_empty() { 0 } else { digits(&mut rest, 2)? };
    (rest.is_empty() && hours <= 14 && minutes < 60).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

fn month_name(text: &str) -> Option<i64> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let short = text.get(..3)?.to_ascii_lowercase();
    NAMES.iter().position(|n| *n == short).and_then(|at| i64::try_from(at + 1).ok())
}

/// Reads a date and time in the forms that `todatetime` takes: ISO 8601 and its looser kin, RFC 822, RFC 850,
/// `month/day/year`, and a month's name between day and year.
pub(super) fn parse_datetime(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    let mut rest = text;
    // A weekday's name says nothing that the date does not.
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && month_name(text).is_none() {
        rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches([',', ' ']);
    }
    let named_first = month_name(rest);
    let (year, month, day) = if let Some(month) = named_first {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start();
        let day = digits(&mut rest, 2)?;
        rest = rest.trim_start_matches([',', ' ']);
        (digits(&mut rest, 4)?, month, day)
    } else {
        let digits_first = rest.bytes().take_while(u8::is_ascii_digit).count();
        let first = digits(&mut rest, 4)?;
        if digits_first >= 4 {
            let separator = if rest.starts_with('/') { "/" } else { "-" };
            if eat(&mut rest, separator) {
                let month = digits(&mut rest, 2)?;
                let day = if eat(&mut rest, separator) { digits(&mut rest, 2)? } else { 1 };
                (first, month, day)
            } else if digits_first == 8 {
                (first, digits(&mut rest, 2)?, digits(&mut rest, 2)?)
            } else if digits_first == 4 {
                (first, 1, 1)
            } else {
                return None;
            }
        } else if eat(&mut rest, "/") {
            let day = digits(&mut rest, 2)?;
            eat(&mut rest, "/").then_some(())?;
            (digits(&mut rest, 4)?, first, day)
        } else {
            rest = rest.trim_start_matches(['-', ' ']);
            let month = month_name(rest)?;
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches(['-', ' ']);
            (digits(&mut rest, 4)?, month, first)
        }
    };
    let year = if year < 100 && digits_in_year(text, year) { year + if year < 50 { 2000 } else { 1900 } } else { year };
    let mut time = 0;
    let separated = rest.trim_start_matches(['T', 't', ' ']);
    if separated.len() < rest.len() && !separated.is_empty() {
        rest = separated;
        time = clock(&mut rest)?;
    }
    let east = offset(rest)?;
    valid(Civil { year, month, day, time }.micros()? - east)
}

/// Whether a year was written with two digits.
fn digits_in_year(text: &str, year: i64) -> bool {
    !text.contains(&format!("{year:04}"))
}

/// Reads a length of time: `d.hh:mm:ss.f`, `hh:mm`, or a number with a unit (`1d`, `2.5h`, `10ms`).
pub(super) fn parse_timespan(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let value = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => {
            let (number, unit) = text.split_at_checked(at)?;
            let number: f64 = number.trim().parse().ok()?;
            let micros = number * unit_micros(unit)?;
            (micros.abs() < 9.2e18).then_some(micros.round() as i64)?
        }
        None => {
            let mut rest = text;
            let first = digits(&mut rest, 8)?;
            if rest.is_empty() {
                // A bare number counts days.
                first.checked_mul(DAY)?
            } else {
                let (days, hours) = if eat(&mut rest, ".") { (first, digits(&mut rest, 2)?) } else { (0, first) };
                eat(&mut rest, ":").then_some(())?;
                let minutes = digits(&mut rest, 2)?;
                let mut micros = 0;
                if eat(&mut rest, ":") {
                    micros += digits(&mut rest, 2)? * SECOND;
                    if eat(&mut rest, ".") {
                        micros += fraction(&mut rest);
                    }
                }
                if !rest.is_empty() || hours > 23 || minutes > 59 {
                    return None;
                }
                days.checked_mul(DAY)?.checked_add(hours * HOUR + minutes * MINUTE + micros)?
            }
        }
    };
    value.checked_mul(sign)
}

fn unit_micros(unit: &str) -> Option<f64> {
    Some(match unit {
        "d" | "day" | "days" => DAY as f64,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR as f64,
        "m" | "min" | "minute" | "minutes" => MINUTE as f64,
        "s" | "sec" | "second" | "seconds" => SECOND as f64,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1000.0,
        "micro" | "micros" | "microsecond" | "microseconds" => 1.0,
        "tick" | "ticks" => 0.1,
        _ => return None,
    })
}

/// The start of the day, week (from Sunday), month or year, some of these later.
fn start(unit: char, micros: i64, count: i64) -> Option<i64> {
    let c = Civil { time: 0, ..Civil::of(micros) };
    match unit {
        'd' => c.micros()?.checked_add(count.checked_mul(DAY)?),
        'w' => {
            let midnight = micros.div_euclid(DAY);
            // 1970-01-01 was a Thursday.
            let sunday = midnight - (midnight + 4).rem_euclid(7);
            sunday.checked_add(count.checked_mul(7)?)?.checked_mul(DAY)
        }
        'm' => Civil { day: 1, ..c }.add_months(count),
        _ => Civil { day: 1, month: 1, ..c }.add_months(count.checked_mul(12)?),
    }
}

fn starting<'a>(r: &'a Row<'a>, unit: char) -> Out<'a> {
    let count = if r.count() > 1 { r.long(1) } else { Some(0) };
    Out::long(r.long(0).zip(count).and_then(|(t, n)| start(unit, t, n)).and_then(valid))
}

fn ending<'a>(r: &'a Row<'a>, unit: char) -> Out<'a> {
    let count = if r.count() > 1 { r.long(1) } else { Some(0) };
    // The last microsecond before the next one starts.
    Out::long(r.long(0).zip(count).and_then(|(t, n)| start(unit, t, n.checked_add(1)?)).and_then(|t| valid(t - 1)))
}

/// A part of a date by its name.
fn part(name: &str, micros: i64) -> Option<i64> {
    let c = Civil::of(micros);
    Some(match name.to_ascii_lowercase().as_str() {
        "year" => c.year,
        "quarter" => (c.month - 1) / 3 + 1,
        "month" => c.month,
        "week_of_year" | "weekofyear" | "week" => iso_week(c),
        "day" | "dayofmonth" => c.day,
        "dayofyear" => c.day_of_year(),
        "hour" => c.time / HOUR,
        "minute" => c.time / MINUTE % 60,
        "second" => c.time / SECOND % 60,
        "millisecond" => c.time % SECOND / 1000,
        "microsecond" => c.time % SECOND,
        "nanosecond" => c.time % SECOND * 1000,
        _ => return None,
    })
}

/// The week of the year by ISO 8601.
fn iso_week(c: Civil) -> i64 {
    let weekday = (days_of(c.year, c.month, c.day) + 3).rem_euclid(7);
    let week = (c.day_of_year() - 1 - weekday + 10).div_euclid(7);
    let long_year = |y: i64| {
        let p = |y: i64| (y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)).rem_euclid(7);
        p(y) == 4 || p(y - 1) == 3
    };
    let weeks = |y| if long_year(y) { 53 } else { 52 };
    if week < 1 {
        weeks(c.year - 1)
    } else if week > weeks(c.year) {
        1
    } else {
        week
    }
}

fn add(unit: &str, count: i64, micros: i64) -> Option<i64> {
    let c = Civil::of(micros);
    let step = |size: i64| micros.checked_add(count.checked_mul(size)?);
    let moved = match unit.to_ascii_lowercase().as_str() {
        "year" => c.add_months(count.checked_mul(12)?),
        "quarter" => c.add_months(count.checked_mul(3)?),
        "month" => c.add_months(count),
        "week" => step(7 * DAY),
        "day" => step(DAY),
        "hour" => step(HOUR),
        "minute" => step(MINUTE),
        "second" => step(SECOND),
        "millisecond" => step(1000),
        "microsecond" => step(1),
        "nanosecond" => micros.checked_add(count / 1000),
        _ => None,
    };
    valid(moved?)
}

/// How many borders of a unit lie between two dates.
fn difference(unit: &str, a: i64, b: i64) -> Option<i64> {
    let (ca, cb) = (Civil::of(a), Civil::of(b));
    let per = |size: i64| a.div_euclid(size) - b.div_euclid(size);
    let months = |c: Civil| c.year * 12 + c.month - 1;
    Some(match unit.to_ascii_lowercase().as_str() {
        "year" => ca.year - cb.year,
        "quarter" => months(ca).div_euclid(3) - months(cb).div_euclid(3),
        "month" => months(ca) - months(cb),
        "week" => (start('w', a, 0)? - start('w', b, 0)?) / (7 * DAY),
        "day" => per(DAY),
        "hour" => per(HOUR),
        "minute" => per(MINUTE),
        "second" => per(SECOND),
        "millisecond" => per(1000),
        "microsecond" => a - b,
        "nanosecond" => (a - b).checked_mul(1000)?,
        _ => return None,
    })
}

/// Writes a date by a pattern of `y M d h H m s f F t`; other characters stand for themselves.
fn format_datetime(micros: i64, pattern: &str) -> Option<String> {
    let c = Civil::of(micros);
    let hour = c.time / HOUR;
    let mut out = String::new();
    for (letter, count) in runs(pattern) {
        let padded = |v: i64| if count >= 2 { format!("{v:02}") } else { v.to_string() };
        let piece = match letter {
            'y' if count <= 2 => padded(c.year % 100),
            'y' => format!("{:0count$}", c.year),
            'M' => padded(c.month),
            'd' => padded(c.day),
            'H' => padded(hour),
            'h' => padded((hour + 11) % 12 + 1),
            'm' => padded(c.time / MINUTE % 60),
            's' => padded(c.time / SECOND % 60),
            'f' => fraction_text(c.time, count, false)?,
            'F' => fraction_text(c.time, count, true)?,
            't' => (if hour < 12 { "AM" } else { "PM" }).chars().take(count).collect(),
            other if other.is_alphabetic() && other != 'T' && other != 'Z' => return None,
            other => other.to_string().repeat(count),
        };
        out.push_str(&piece);
    }
    Some(out)
}

fn fraction_text(micros: i64, count: usize, trimmed: bool) -> Option<String> {
    let all = format!("{:06}0", micros.rem_euclid(SECOND));
    let cut = all.get(..count)?;
    Some(if trimmed { cut.trim_end_matches('0') } else { cut }.to_owned())
}

/// Writes a length of time by a pattern of `d h H m s f F`.
fn format_timespan(micros: i64, pattern: &str) -> Option<String> {
    let size = i64::try_from(micros.unsigned_abs()).ok()?;
    let mut out = String::new();
    if micros < 0 {
        out.push('-');
    }
    for (letter, count) in runs(pattern) {
        let padded = |v: i64| format!("{v:0count$}");
        let piece = match letter {
            'd' => padded(size / DAY),
            'h' | 'H' => padded(size / HOUR % 24),
            'm' => padded(size / MINUTE % 60),
            's' => padded(size / SECOND % 60),
            'f' => fraction_text(size, count, false)?,
            'F' => fraction_text(size, count, true)?,
            other if other.is_alphabetic() => return None,
            other => other.to_string().repeat(count),
        };
        out.push_str(&piece);
    }
    Some(out)
}

/// Runs of the same character; no run is longer than a pattern may ask for.
fn runs(pattern: &str) -> Vec<(char, usize)> {
    let mut out: Vec<(char, usize)> = Vec::new();
    for c in pattern.chars().take(256) {
        match out.last_mut() {
            Some((last, count)) if *last == c => *count += 1,
            _ => out.push((c, 1)),
        }
    }
    out
}

/// A moment as a wall clock shows it in a place, and back.
fn zoned(r: &Row, to_local: bool) -> Option<i64> {
    let micros = r.long(0)?;
    let zone = jiff::tz::TimeZone::get(r.text(1)).ok()?;
    if to_local {
        let moment = jiff::Timestamp::from_microsecond(micros).ok()?;
        return valid(micros + i64::from(zone.to_offset(moment).seconds()) * SECOND);
    }
    let c = Civil::of(micros);
    let small = |v: i64| i8::try_from(v).ok();
    let local = jiff::civil::DateTime::new(
        i16::try_from(c.year).ok()?,
        small(c.month)?,
        small(c.day)?,
        small(c.time / HOUR)?,
        small(c.time / MINUTE % 60)?,
        small(c.time / SECOND % 60)?,
        i32::try_from(c.time % SECOND * 1000).ok()?,
    )
    .ok()?;
    valid(zone.to_ambiguous_timestamp(local).compatible().ok()?.as_microsecond())
}

fn unixtime(r: &Row, scale: f64) -> Option<i64> {
    // Whole numbers stay exact; a fraction of a second is kept to the microsecond.
    let value = match r.long(0) {
        Some(whole) if scale >= 1.0 => whole.checked_mul(scale as i64)?,
        Some(whole) => whole.div_euclid((1.0 / scale).round() as i64),
        None => {
            let value = r.real(0)? * scale;
            (value.abs() < 9.2e18).then_some(value.round() as i64)?
        }
    };
    valid(value)
}

fn make_datetime(r: &Row) -> Option<i64> {
    let at = |i: usize, otherwise: i64| if i < r.count() { r.real(i).map(|v| v as i64) } else { Some(otherwise) };
    let seconds = if r.count() > 5 { r.real(5)? } else { 0.0 };
    if !(0.0..60.0).contains(&seconds) {
        return None;
    }
    let (hour, minute) = (at(3, 0)?, at(4, 0)?);
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    let time = hour * HOUR + minute * MINUTE + (seconds * SECOND as f64).round() as i64;
    Civil { year: at(0, 1)?, month: at(1, 1)?, day: at(2, 1)?, time }.micros()
}

fn make_timespan(r: &Row) -> Option<i64> {
    let parts: Vec<f64> = (0..r.count()).map(|i| r.real(i)).collect::<Option<_>>()?;
    let (days, hours, minutes, seconds) = match parts.as_slice() {
        [h, m] => (0.0, *h, *m, 0.0),
        [h, m, s] => (0.0, *h, *m, *s),
        [d, h, m, s] => (*d, *h, *m, *s),
        _ => return None,
    };
    if hours >= 24.0 || minutes >= 60.0 || seconds >= 60.0 || parts.iter().any(|p| *p < 0.0) || days > 1e7 {
        return None;
    }
    let whole = days as i64 * DAY + hours as i64 * HOUR + minutes as i64 * MINUTE;
    Some(whole + (seconds * SECOND as f64).round() as i64)
}

fn moment(micros: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())), None)
}

/// `now(offset)` and `ago(offset)`: the query's own moment, moved.
fn shifted(context: &Context, types: &[Type], args: Vec<Expr>, back: bool) -> Result<Expr, Refusal> {
    let now = moment(context.now);
    let (Some(kind), Some(offset)) = (types.first(), args.into_iter().next()) else { return Ok(now) };
    if let Expr::Literal(ScalarValue::DurationMicrosecond(Some(by)), _) = &offset {
        let moved = if back { context.now.checked_sub(*by) } else { context.now.checked_add(*by) };
        return Ok(moved.and_then(valid).map_or_else(|| null(Type::Datetime), moment));
    }
    let op = if back { super::Binary::Subtract } else { super::Binary::Add };
    super::lower_binary(op, context, [Type::Datetime, *kind], [now, offset])
}

use Param::{Datetime, Long, Real, Text, TextConstant, Timespan};
const DATETIME: Ret = Ret::Is(Type::Datetime);
const INT: Ret = Ret::Is(Type::Int);

macro_rules! starts_and_ends {
    ($name:literal, $naming:ident, $run:ident, $unit:literal, $doc:literal, $example:literal) => {
        Function::row($name, Naming::$naming, &[Datetime, Long], DATETIME, $doc, $example, |r| $run(r, $unit))
            .optional(1)
    };
}

macro_rules! part_of {
    ($name:literal, $old:expr, $part:literal, $doc:literal, $example:literal) => {
        Function::row($name, Naming::None, &[Datetime], INT, $doc, $example, |r| {
            Out::long(r.long(0).and_then(|t| part($part, t)))
        })
        .alias($old)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::native(
        "now",
        Naming::None,
        &[Timespan],
        DATETIME,
        "The moment at which the query started, moved by a length of time if one is given.",
        "now(-1d)",
        |context, types, args| shifted(context, types, args, false),
    )
    .optional(1),
    Function::native(
        "ago",
        Naming::None,
        &[Timespan],
        DATETIME,
        "The moment a length of time before the query started.",
        "ago(1h)",
        |context, types, args| shifted(context, types, args, true),
    ),
    starts_and_ends!(
        "startofday",
        Argument,
        starting,
        'd',
        "The start of a day, some days later.",
        "startofday(now())"
    ),
    starts_and_ends!("startofweek", None, starting, 'w', "The start of a week, a Sunday.", "startofweek(now(), -1)"),
    starts_and_ends!("startofmonth", None, starting, 'm', "The start of a month.", "startofmonth(now())"),
    starts_and_ends!("startofyear", None, starting, 'y', "The start of a year.", "startofyear(now())"),
    starts_and_ends!("endofday", None, ending, 'd', "The last moment of a day.", "endofday(now())"),
    starts_and_ends!("endofweek", None, ending, 'w', "The last moment of a week, a Saturday.", "endofweek(now())"),
    starts_and_ends!("endofmonth", None, ending, 'm', "The last moment of a month.", "endofmonth(now())"),
    starts_and_ends!("endofyear", None, ending, 'y', "The last moment of a year.", "endofyear(now())"),
    Function::row(
        "dayofweek",
        Naming::None,
        &[Datetime],
        Ret::Is(Type::Timespan),
        "Days since the last Sunday, as a length of time.",
        "dayofweek(datetime(2015-12-14))",
        |r| Out::long(r.long(0).map(|t| (t.div_euclid(DAY) + 4).rem_euclid(7) * DAY)),
    ),
    part_of!("dayofmonth", &[], "day", "The day of the month.", "dayofmonth(datetime(2015-12-14))"),
    part_of!("dayofyear", &[], "dayofyear", "The day of the year.", "dayofyear(datetime(2015-12-14))"),
    part_of!("hourofday", &[], "hour", "The hour of the day.", "hourofday(datetime(2015-12-14 18:54))"),
    part_of!("week_of_year", &["weekofyear"], "week", "The week by ISO 8601.", "week_of_year(datetime(2020-12-31))"),
    part_of!("monthofyear", &["getmonth"], "month", "The month of the year.", "monthofyear(datetime(2015-12-14))"),
    part_of!("getyear", &[], "year", "The year of a date.", "getyear(datetime(2015-12-14))"),
    Function::row(
        "datetime_part",
        Naming::None,
        &[TextConstant, Datetime],
        INT,
        "A part of a date by its name: year, quarter, month, week_of_year, day, dayofyear, hour, minute, second or less.",
        "datetime_part('hour', datetime(2015-12-14 18:54))",
        |r| Out::long(r.long(1).and_then(|t| part(r.text(0), t))),
    )
    .alias(&["datepart"]),
    Function::row(
        "datetime_add",
        Naming::None,
        &[TextConstant, Long, Datetime],
        DATETIME,
        "Moves a date by a number of years, quarters, months, weeks, days, hours, minutes, seconds or less.",
        "datetime_add('month', 1, datetime(2017-01-31))",
        |r| Out::long(r.long(1).zip(r.long(2)).and_then(|(n, t)| add(r.text(0), n, t))),
    ),
    Function::row(
        "datetime_diff",
        Naming::None,
        &[TextConstant, Datetime, Datetime],
        Ret::Is(Type::Long),
        "Counts the borders of a unit of time between two dates.",
        "datetime_diff('day', datetime(2017-10-30), datetime(2017-10-01))",
        |r| Out::long(r.long(1).zip(r.long(2)).and_then(|(a, b)| difference(r.text(0), a, b))),
    ),
    Function::row(
        "datetime_utc_to_local",
        Naming::None,
        &[Datetime, Text],
        DATETIME,
        "What clocks in a time zone show at a moment.",
        "datetime_utc_to_local(now(), 'Europe/Paris')",
        |r| Out::long(zoned(r, true)),
    ),
    Function::row(
        "datetime_local_to_utc",
        Naming::None,
        &[Datetime, Text],
        DATETIME,
        "The moment at which clocks in a time zone show a time.",
        "datetime_local_to_utc(datetime(2020-02-02 20:02:20), 'Europe/Paris')",
        |r| Out::long(zoned(r, false)),
    ),
    Function::row(
        "datetime_list_timezones",
        Naming::None,
        &[],
        Ret::Is(Type::Dynamic),
        "The names of all time zones.",
        "datetime_list_timezones()",
        |_| {
            let names = jiff::tz::db().available().map(|n| Json::Text(n.as_str().to_owned())).collect();
            Out::json(&Json::Array(names))
        },
    ),
    Function::row(
        "make_datetime",
        Naming::OnlyArgument,
        &[Real, Real, Real, Real, Real, Real],
        DATETIME,
        "Makes a date of year, month, day, hour, minute and second.",
        "make_datetime(2017, 10, 1, 12, 10, 0.1)",
        |r| Out::long(make_datetime(r)),
    )
    .optional(3),
    Function::row(
        "make_timespan",
        Naming::OnlyArgument,
        &[Real, Real, Real, Real],
        Ret::Is(Type::Timespan),
        "Makes a length of time of hours and minutes, of seconds too, or of days, hours, minutes and seconds.",
        "make_timespan(1, 12, 30, 55.123)",
        |r| Out::long(make_timespan(r)),
    )
    .optional(2),
    Function::row(
        "format_datetime",
        Naming::Argument,
        &[Datetime, TextConstant],
        Ret::Is(Type::Text),
        "Writes a date by a pattern of y M d h H m s f F t.",
        "format_datetime(datetime(2015-12-14 02:03:04), 'yyyy-MM-dd HH:mm')",
        |r| Out::text(r.long(0).and_then(|t| format_datetime(t, r.text(1)))),
    ),
    Function::row(
        "format_timespan",
        Naming::Argument,
        &[Timespan, TextConstant],
        Ret::Is(Type::Text),
        "Writes a length of time by a pattern of d h H m s f F.",
        "format_timespan(1h, 'hh:mm')",
        |r| Out::text(r.long(0).and_then(|t| format_timespan(t, r.text(1)))),
    ),
    Function::row(
        "unixtime_seconds_todatetime",
        Naming::None,
        &[Param::Any],
        DATETIME,
        "The date a number of seconds after 1970 began.",
        "unixtime_seconds_todatetime(1546300800)",
        |r| Out::long(unixtime(r, 1e6)),
    ),
    Function::row(
        "unixtime_milliseconds_todatetime",
        Naming::None,
        &[Param::Any],
        DATETIME,
        "The date a number of milliseconds after 1970 began.",
        "unixtime_milliseconds_todatetime(1546300800000)",
        |r| Out::long(unixtime(r, 1e3)),
    ),
    Function::row(
        "unixtime_microseconds_todatetime",
        Naming::None,
        &[Param::Any],
        DATETIME,
        "The date a number of microseconds after 1970 began.",
        "unixtime_microseconds_todatetime(1546300800000000)",
        |r| Out::long(unixtime(r, 1.0)),
    ),
    Function::row(
        "unixtime_nanoseconds_todatetime",
        Naming::None,
        &[Param::Any],
        DATETIME,
        "The date a number of nanoseconds after 1970 began.",
        "unixtime_nanoseconds_todatetime(1546300800000000000)",
        |r| Out::long(unixtime(r, 1e-3)),
    ),
    Function::native(
        "around",
        Naming::None,
        &[Param::Any, Param::Any, Param::Any],
        Ret::Is(Type::Bool),
        "Says whether a value lies within a distance of another.",
        "around(now(), now(), 1m)",
        |context, types, args| {
            let ([kind, center, delta], Ok([value, middle, by])) = (types, <[Expr; 3]>::try_from(args)) else {
                return Err(Refusal::Count(3, 3));
            };
            let op = |op, a: Expr| super::lower_binary(op, context, [*center, *delta], [a, by.clone()]);
            let (low, high) = (op(super::Binary::Subtract, middle.clone())?, op(super::Binary::Add, middle.clone())?);
            let bound = super::binary(super::Binary::Add, [*center, *delta])?;
            let (low, high) = (cast(bound, *center, low), cast(bound, *center, high));
            super::lower_between(false, context, [*kind, *center, *center], [value, low, high])
        },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_many_forms() {
        for (text, expected) in [
            ("2014-11-08 15:05:02", Some("2014-11-08T15:05:02.0000000Z")),
            ("2014-05-25T08:20:03.123456Z", Some("2014-05-25T08:20:03.1234560Z")),
            ("2014-05-25T08:20:03.1234567+02:00", Some("2014-05-25T06:20:03.1234560Z")),
            ("2014-11-08 15:05", Some("2014-11-08T15:05:00.0000000Z")),
            ("2014-11-08", Some("2014-11-08T00:00:00.0000000Z")),
            ("2014-11", Some("2014-11-01T00:00:00.0000000Z")),
            ("2014", Some("2014-01-01T00:00:00.0000000Z")),
            ("20141108", Some("2014-11-08T00:00:00.0000000Z")),
            ("Sat, 8 Nov 2014 15:05:02 GMT", Some("2014-11-08T15:05:02.0000000Z")),
            ("Sat, 8 Nov 14 15:05:02 GMT", Some("2014-11-08T15:05:02.0000000Z")),
            ("8 Nov 14 15:05", Some("2014-11-08T15:05:00.0000000Z")),
            ("Saturday, 08-Nov-14 15:05:02 GMT", Some("2014-11-08T15:05:02.0000000Z")),
            ("11/08/2014 3:05:02 PM", Some("2014-11-08T15:05:02.0000000Z")),
            ("Nov 8, 2014", Some("2014-11-08T00:00:00.0000000Z")),
            ("0001-01-01", Some("0001-01-01T00:00:00.0000000Z")),
            ("9999-12-31T23:59:59.999999Z", Some("9999-12-31T23:59:59.9999990Z")),
            ("2023-02-29", None),
            ("2014-11-08 25:00", None),
            ("2014-11-08 rest", None),
            ("bad", None),
            ("", None),
        ] {
            assert_eq!(parse_datetime(text).map(datetime_text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, expected) in [
            ("1.02:03:04.5", Some("1.02:03:04.5000000")),
            ("00:00:01", Some("00:00:01")),
            ("-00:01", Some("-00:01:00")),
            ("14", Some("14.00:00:00")),
            ("1h", Some("01:00:00")),
            ("2.5d", Some("2.12:00:00")),
            ("10 tick", Some("00:00:00.0000010")),
            ("25:00", None),
            ("x", None),
        ] {
            assert_eq!(parse_timespan(text).map(timespan_text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_survives_the_way_there_and_back() {
        for days in (LEAST / DAY..=GREATEST / DAY).step_by(13) {
            assert_eq!(Civil::of(days * DAY).micros(), Some(days * DAY));
        }
    }

    #[test]
    fn weeks_are_counted_by_iso_8601() {
        for (date, week) in [("2020-12-31", 53), ("2021-01-01", 53), ("2021-01-04", 1), ("2018-12-31", 1)] {
            let t = parse_datetime(date).unwrap();
            assert_eq!(part("week_of_year", t), Some(week), "{date}");
        }
    }
}
