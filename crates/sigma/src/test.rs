//! One test on one value, straightforwardly: the meaning that the compiled matcher must agree with, used where speed is
//! of no matter.

use crate::calendar;
use crate::detection::{Likeness, Test};
use crate::pattern::fold;
use crate::value::Value;

/// Whether a test holds on a value that is present.
pub(crate) fn holds(test: &Test, value: &Value<'_>) -> bool {
    match test {
        Test::Text(pattern) if pattern.cased => pattern.matches(value.text.as_bytes()),
        Test::Text(pattern) => pattern.matches(fold(&value.text).as_bytes()),
        Test::Number(number) => {
            *value.text == *number.text || number.whole.is_some_and(|whole| *value.text == whole.to_string())
        }
        Test::Compare(order, bound) => value.number().is_some_and(|number| order.holds(number, *bound)),
        Test::Regex(expression) => expression.is_match(&value.text),
        Test::Network(network) => {
            value.text.trim().parse::<std::net::IpAddr>().is_ok_and(|address| in_network(network, address))
        }
        Test::Time(part, order, bound) => {
            value.micros().is_some_and(|micros| order.holds(calendar::part(micros, *part), *bound))
        }
        Test::AnyOf(forms) => forms.iter().any(|form| holds(form, value)),
        Test::Exists(wanted) => *wanted,
        Test::Null | Test::Field { .. } => false,
    }
}

/// IPv4 addresses in IPv6 clothing (`::ffff:10.0.0.1`) are in IPv4 networks too.
fn in_network(network: &ipnet::IpNet, address: std::net::IpAddr) -> bool {
    network.contains(&address) || network.contains(&address.to_canonical())
}

/// Compares two fields' values.
pub(crate) fn alike(left: &str, right: &str, how: Likeness, cased: bool) -> bool {
    if !cased && how == Likeness::Equal && left.is_ascii() && right.is_ascii() {
        return left.eq_ignore_ascii_case(right);
    }
    if !cased {
        return alike(&fold(left), &fold(right), how, true);
    }
    match how {
        Likeness::Equal => left == right,
        Likeness::Starts => left.starts_with(right),
        Likeness::Ends => left.ends_with(right),
        Likeness::Contains => left.contains(right),
    }
}
