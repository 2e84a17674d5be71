//! What constants mean: text with escapes, times, spans of time, numbers.

use super::lexer::unit_microseconds;

/// The text that a token in quotes stands for; a token that does not end gives what is there.
#[must_use]
pub fn text_value(token: &str) -> String {
    let token = token.strip_prefix(['h', 'H']).unwrap_or(token);
    for fence in ["```", "~~~"] {
        if let Some(inside) = token.strip_prefix(fence) {
            return inside.strip_suffix(fence).unwrap_or(inside).to_owned();
        }
    }
    let verbatim = token.starts_with('@');
    let token = token.strip_prefix('@').unwrap_or(token);
    let Some(quote) = token.chars().next().filter(|c| matches!(c, '\'' | '"')) else { return token.to_owned() };
    let inside = token.get(1..).unwrap_or_default();
    if verbatim {
        let inside = inside.strip_suffix(quote).unwrap_or(inside);
        return inside.replace(&format!("{quote}{quote}"), &quote.to_string());
    }
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c == quote {
            break;
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('0') => out.push('\0'),
            Some(x @ ('u' | 'x' | 'U')) => {
                let digits = match x {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let code: String = chars.clone().take(digits).take_while(char::is_ascii_hexdigit).collect();
                for _ in 0..code.len() {
                    chars.next();
                }
                out.push(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// A word for an escape that the language does not know, in a token in quotes.
#[must_use]
pub fn bad_escape(token: &str) -> Option<char> {
    let token = token.strip_prefix(['h', 'H']).unwrap_or(token);
    if !token.starts_with(['\'', '"']) {
        return None;
    }
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let next = chars.next()?;
            if !"\\\"'ntrabfv0uxU01234567".contains(next) {
                return Some(next);
            }
        }
    }
    None
}

/// Microseconds of `1.5h`, `2d`, `3ticks`.
#[must_use]
pub fn timespan_token(token: &str) -> Option<i64> {
    let split = token.find(|c: char| c.is_alphabetic())?;
    let (number, unit) = token.split_at_checked(split)?;
    let scale = unit_microseconds(unit)?;
    if let (Ok(whole), true) = (number.parse::<i64>(), scale >= 1.0) {
        return whole.checked_mul(scale as i64);
    }
    let value = number.parse::<f64>().ok()? * scale;
    (value.abs() < i64::MAX as f64).then_some(value.trunc() as i64)
}

/// Microseconds of what stands in `timespan(…)`: `1d`, `1.02:03:04.5`, `03:04`, a number of days.
#[must_use]
pub fn timespan_value(text: &str) -> Option<i64> {
    let text = unquote(text.trim());
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    let micros = if text.contains(':') {
        clock(text)?
    } else if let Some(span) = timespan_token(&text.replace(' ', "")) {
        span
    } else {
        text.parse::<i64>().ok()?.checked_mul(86_400_000_000)?
    };
    Some(if negative { -micros } else { micros })
}

/// `[d.]hh:mm[:ss[.fffffff]]`.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (first, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = match first.split_once('.') {
        Some((days, hours)) => (days.parse::<i64>().ok()?, hours.parse::<i64>().ok()?),
        None => (0, first.parse::<i64>().ok()?),
    };
    let minutes = minutes.parse::<i64>().ok().filter(|m| (0..60).contains(m))?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole = whole.parse::<i64>().ok().filter(|s| (0..60).contains(s))?;
    if !(0..24).contains(&hours) && days != 0 {
        return None;
    }
    let seconds =
        days.checked_mul(86_400)?.checked_add(hours.checked_mul(3_600)?)?.checked_add(minutes * 60 + whole)?;
    seconds.checked_mul(1_000_000)?.checked_add(fraction_micros(fraction)?)
}

/// Microseconds of the digits after a point.
fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let six: String = digits.chars().chain(std::iter::repeat('0')).take(6).collect();
    six.parse().ok()
}

fn unquote(text: &str) -> &str {
    let inside = text.strip_prefix(['\'', '"']).and_then(|t| t.strip_suffix(['\'', '"']));
    inside.unwrap_or(text)
}

/// Microseconds since 1970 UTC of what stands in `datetime(…)`: ISO 8601 in its usual cuts, and the forms that people
/// write in rules (`12/31/2023 23:59`).
#[must_use]
pub fn datetime_value(text: &str) -> Option<i64> {
    use jiff::civil::{Date, DateTime, Time};
    let text = unquote(text.trim()).trim();
    let (body, offset) = zone(text)?;
    let (date, time) = match body.find(['T', ' ', 't']) {
        Some(at) => (body.get(..at)?, body.get(at + 1..)?.trim()),
        None => (body, ""),
    };
    let numbers: Vec<&str> = date.split(['-', '/', '.']).collect();
    let number = |text: &&str| text.parse::<i16>().ok();
    let date = match numbers.as_slice() {
        [y] if y.len() == 4 => Date::new(number(y)?, 1, 1).ok()?,
        [all] if all.len() == 8 => {
            Date::new(all.get(..4)?.parse().ok()?, all.get(4..6)?.parse().ok()?, all.get(6..)?.parse().ok()?).ok()?
        }
        [y, m] if y.len() == 4 => Date::new(number(y)?, m.parse().ok()?, 1).ok()?,
        [y, m, d] if y.len() == 4 => Date::new(number(y)?, m.parse().ok()?, d.parse().ok()?).ok()?,
        [m, d, y] if y.len() == 4 => Date::new(number(y)?, m.parse().ok()?, d.parse().ok()?).ok()?,
        _ => return None,
    };
    let (clock, half_day) = match time.get(time.len().saturating_sub(2)..).map(str::to_ascii_lowercase).as_deref() {
        Some("am") => (time.get(..time.len() - 2)?.trim(), Some(0)),
        Some("pm") => (time.get(..time.len() - 2)?.trim(), Some(12)),
        _ => (time, None),
    };
    let mut parts = clock.split(':');
    let hours: i8 = parts.next().filter(|h| !h.is_empty()).map_or(Some(0), |h| h.parse().ok())?;
    let minutes: i8 = parts.next().map_or(Some(0), |m| m.parse().ok())?;
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return None;
    }
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let hours = match half_day {
        Some(half) => (hours % 12).checked_add(half)?,
        None => hours,
    };
    let nanos = i32::try_from(fraction_micros(fraction)?).ok()? * 1_000;
    let time = Time::new(hours, minutes, seconds.parse().ok()?, nanos).ok()?;
    let stamp = DateTime::from_parts(date, time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    stamp.as_microsecond().checked_sub(offset)
}

/// Splits `Z`, `+02:00` off; the offset in microseconds.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(body) = text.strip_suffix(['Z', 'z']) {
        return Some((body.trim_end(), 0));
    }
    let Some(at) = text.rfind(['+', '-']).filter(|at| text.get(..*at).is_some_and(|b| b.contains(':'))) else {
        return Some((text, 0));
    };
    let (body, zone) = text.split_at_checked(at)?;
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse::<i64>().ok()?),
        _ => return None,
    };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    (hours < 15 && minutes < 60).then_some((body.trim_end(), sign * (hours * 60 + minutes) * 60_000_000))
}

/// A guid as the language writes it: lower-case with hyphens.
#[must_use]
pub fn guid_value(text: &str) -> Option<String> {
    uuid::Uuid::try_parse(unquote(text.trim())).ok().map(|id| id.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_mean_what_they_say() {
        for (token, value) in [
            ("'a\\'b\\n\\x41\\u00e9'", "a'b\nAé"),
            ("@\"c:\\x\"\"y\"", "c:\\x\"y"),
            ("h'secret'", "secret"),
            ("```a'\nb```", "a'\nb"),
        ] {
            assert_eq!(text_value(token), value, "{token}");
        }
        for (text, micros) in [
            ("1.5h", Some(5_400_000_000)),
            ("1.02:03:04.5", Some(93_784_500_000)),
            ("-00:01", Some(-60_000_000)),
            ("2", Some(172_800_000_000)),
            ("x", None),
        ] {
            assert_eq!(timespan_value(text), micros, "{text}");
        }
        for (text, micros) in [
            ("2020-01-01", Some(1_577_836_800_000_000)),
            ("2020-01-01T02:00:00+02:00", Some(1_577_836_800_000_000)),
            ("2020-01-01 00:00:00.1234567", Some(1_577_836_800_123_456)),
            ("1/1/2020 12:00 AM", Some(1_577_836_800_000_000)),
            ("2020-13-01", None),
            ("", None),
        ] {
            assert_eq!(datetime_value(text), micros, "{text}");
        }
    }
}
