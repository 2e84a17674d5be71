//! Money: whole millionths of a currency, and the prices that make them. Nothing here is a float, nothing is rounded.
//!
//! A price of a machine-hour has at most six decimal places, so hours times price is a whole number of millionths. What
//! is taken in is counted in whole megabytes and its price of a gigabyte has at most three places, so a megabyte costs a
//! whole number of millionths too. Sums of lines are therefore the total, to the last digit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Millionths of one unit of a currency.
const SCALE: i128 = 1_000_000;
/// Greatest price of a unit: a million, so that no sum of a ledger leaves 128 bits.
const PRICE_MAX: i64 = 1_000_000_000_000;

/// An amount, in millionths of its currency's unit; written with six decimal places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub i128);

impl Money {
    /// So many units at a price in millionths.
    pub fn of(units: i64, unit_micros: i64) -> Self {
        Self(i128::from(units) * i128::from(unit_micros))
    }

    /// So often.
    #[must_use]
    pub fn times(self, by: i64) -> Self {
        Self(self.0.saturating_mul(i128::from(by)))
    }
}

impl std::ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, whole) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let scale = SCALE.unsigned_abs();
        write!(f, "{sign}{}.{:06}", whole / scale, whole % scale)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, rest) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
        digits(rest, 6).map(|micros| Self(sign * micros)).ok_or_else(|| serde::de::Error::custom("no amount"))
    }
}

/// Reads `12.34` as a whole number of the last of `places` decimal places.
fn digits(text: &str, places: usize) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(part) || part.len() > places || whole.len() > 24 {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

/// Reads a price of a machine-hour: decimal text with at most six places, not below 0 and not above a million.
/// The answer is in millionths.
pub fn hour_price_read(text: &str) -> Option<i64> {
    let micros = digits(text, 6).and_then(|m| i64::try_from(m).ok())?;
    (micros <= PRICE_MAX).then_some(micros)
}

/// Reads a price of a gigabyte: decimal text with at most three places. The answer is in millionths a megabyte.
pub fn gigabyte_price_read(text: &str) -> Option<i64> {
    // A thousandth a gigabyte is a millionth a megabyte.
    let micros = digits(text, 3).and_then(|m| i64::try_from(m).ok())?;
    (micros <= PRICE_MAX / 1_000).then_some(micros)
}

/// The codes of ISO 4217 that money is kept in today.
pub const CURRENCIES: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BHD", "BIF", "BMD",
    "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP", "CRC", "CUP",
    "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP",
    "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD",
    "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "LYD",
    "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN",
    "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB",
    "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL",
    "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VED", "VES",
    "VND", "VUV", "WST", "XAF", "XCD", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_are_read_exactly_or_refused() {
        for (text, micros) in [
            ("0.006849", Some(6_849)),
            ("0", Some(0)),
            ("15", Some(15_000_000)),
            ("1000000", Some(PRICE_MAX)),
            ("1000000.000001", None),
            ("0.0000001", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            ("1,5", None),
            ("", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(hour_price_read(text), micros, "{text}");
        }
        assert_eq!(gigabyte_price_read("2.3"), Some(2_300));
        assert_eq!(gigabyte_price_read("2.3001"), None);
    }

    #[test]
    fn amounts_are_written_with_six_places() {
        assert_eq!(Money::of(24, 20_550).to_string(), "0.493200");
        assert_eq!(Money(-1).to_string(), "-0.000001");
        assert_eq!(Money::of(i64::MAX, PRICE_MAX).to_string(), "9223372036854775807000000.000000");
        assert!(CURRENCIES.windows(2).all(|w| w[0] < w[1]));
    }

    proptest! {
        #[test]
        fn an_amount_is_read_as_it_was_written(micros in any::<i64>()) {
            let text = serde_json::to_string(&Money(i128::from(micros))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), Money(i128::from(micros)));
        }
    }
}
