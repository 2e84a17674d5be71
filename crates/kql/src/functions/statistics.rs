//! Distributions, and units of measure.

use super::Naming;
use super::eval::{Out, Row};
use super::signature::{Function, Param, Ret};
use crate::Type;

use Param::{Real, Text};
const REAL: Ret = Ret::Is(Type::Real);

/// The regularised incomplete beta function by its continued fraction (Lentz's method).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if a <= 0.0 || b <= 0.0 || !(0.0..=1.0).contains(&x) {
        return f64::NAN;
    }
    if x == 0.0 || x == 1.0 {
        return x;
    }
    let front = (libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_below(1.0 - x, b, a, front);
    }
    beta_below(x, a, b, front)
}

fn beta_below(x: f64, a: f64, b: f64, front: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let (mut c, mut d) = (1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0)).abs().max(TINY));
    let mut sum = d;
    // Converges within a few hundred steps for any argument that a query can hold.
    for step in 1..=500u32 {
        let m = f64::from(step);
        for numerator in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 + numerator * d;
            d = 1.0 / if d.abs() < TINY { TINY } else { d };
            c = 1.0 + numerator / c;
            c = if c.abs() < TINY { TINY } else { c };
            sum *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * sum / a
}

fn inverse_beta(p: f64, a: f64, b: f64) -> Option<f64> {
    if a <= 0.0 || b <= 0.0 {
        return Some(f64::NAN);
    }
    if !(0.0..=1.0).contains(&p) {
        return None;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if beta(middle, a, b) < p { low = middle } else { high = middle }
    }
    Some(f64::midpoint(low, high))
}

/// How many of a common measure a unit is.
fn converted(r: &Row, units: &[(&str, f64)]) -> Option<f64> {
    let size = |name: &str| units.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    Some(r.real(0)? * size(r.text(1))? / size(r.text(2))?)
}

const LENGTHS: &[(&str, f64)] = &[
    ("Nanometer", 1e-9),
    ("Micrometer", 1e-6),
    ("Millimeter", 1e-3),
    ("Centimeter", 1e-2),
    ("Decimeter", 0.1),
    ("Meter", 1.0),
    ("Kilometer", 1e3),
    ("Inch", 0.0254),
    ("Foot", 0.3048),
    ("Yard", 0.9144),
    ("Mile", 1609.344),
    ("NauticalMile", 1852.0),
];
const MASSES: &[(&str, f64)] = &[
    ("Milligram", 1e-6),
    ("Gram", 1e-3),
    ("Kilogram", 1.0),
    ("Tonne", 1e3),
    ("Pound", 0.453_592_37),
    ("Ounce", 0.028_349_523_125),
];
const SPEEDS: &[(&str, f64)] =
    &[("MeterPerSecond", 1.0), ("KilometerPerHour", 1.0 / 3.6), ("MilePerHour", 0.44704), ("Knot", 1852.0 / 3600.0)];
const ANGLES: &[(&str, f64)] = &[
    ("Radian", 1.0),
    ("Degree", std::f64::consts::PI / 180.0),
    ("Gradian", std::f64::consts::PI / 200.0),
    ("Arcminute", std::f64::consts::PI / 10_800.0),
    ("Arcsecond", std::f64::consts::PI / 648_000.0),
    ("Revolution", std::f64::consts::TAU),
];
const VOLUMES: &[(&str, f64)] = &[
    ("Milliliter", 1e-6),
    ("Centiliter", 1e-5),
    ("Deciliter", 1e-4),
    ("Liter", 1e-3),
    ("CubicMeter", 1.0),
    ("CubicCentimeter", 1e-6),
    ("CubicFoot", 0.028_316_846_592),
    ("UsGallon", 0.003_785_411_784),
];
const ENERGIES: &[(&str, f64)] = &[
    ("Joule", 1.0),
    ("Kilojoule", 1e3),
    ("Calorie", 4.184),
    ("Kilocalorie", 4184.0),
    ("WattHour", 3600.0),
    ("KilowattHour", 3.6e6),
    ("ElectronVolt", 1.602_176_634e-19),
];

fn temperature(r: &Row) -> Option<f64> {
    let value = r.real(0)?;
    let kelvin = match r.text(1) {
        "Kelvin" => value,
        "DegreeCelsius" => value + 273.15,
        "DegreeFahrenheit" => (value + 459.67) / 1.8,
        _ => return None,
    };
    Some(match r.text(2) {
        "Kelvin" => kelvin,
        "DegreeCelsius" => kelvin - 273.15,
        "DegreeFahrenheit" => kelvin * 1.8 - 459.67,
        _ => return None,
    })
}

macro_rules! unit {
    ($name:literal, $units:ident, $example:literal) => {
        Function::row(
            $name,
            Naming::None,
            &[Real, Text, Text],
            REAL,
            "Converts between two units of measure.",
            $example,
            |r| Out::real(converted(r, $units)),
        )
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::row(
        "beta_cdf",
        Naming::None,
        &[Real, Real, Real],
        REAL,
        "The cumulative beta distribution.",
        "beta_cdf(0.9, 10.0, 20.0)",
        |r| match (r.real(0), r.real(1), r.real(2)) {
            (Some(x), Some(a), Some(b)) => Out::Real(beta(x, a, b)),
            _ => Out::Null,
        },
    ),
    Function::row(
        "beta_inv",
        Naming::None,
        &[Real, Real, Real],
        REAL,
        "The inverse of the cumulative beta distribution.",
        "beta_inv(0.1, 10.0, 20.0)",
        |r| match (r.real(0), r.real(1), r.real(2)) {
            (Some(p), Some(a), Some(b)) => Out::real(inverse_beta(p, a, b)),
            _ => Out::Null,
        },
    ),
    unit!("convert_length", LENGTHS, "convert_length(1.2, 'Meter', 'Foot')"),
    unit!("convert_mass", MASSES, "convert_mass(1.2, 'Kilogram', 'Pound')"),
    unit!("convert_speed", SPEEDS, "convert_speed(1.2, 'MeterPerSecond', 'Knot')"),
    unit!("convert_angle", ANGLES, "convert_angle(1.2, 'Degree', 'Radian')"),
    unit!("convert_volume", VOLUMES, "convert_volume(1.2, 'Liter', 'CubicMeter')"),
    unit!("convert_energy", ENERGIES, "convert_energy(1.2, 'Joule', 'WattHour')"),
    Function::row(
        "convert_temperature",
        Naming::None,
        &[Real, Text, Text],
        REAL,
        "Converts between two units of temperature.",
        "convert_temperature(1.2, 'Kelvin', 'DegreeCelsius')",
        |r| Out::real(temperature(r)),
    ),
];
