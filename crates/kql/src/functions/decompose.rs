//! Series taken apart: lines through them, their periods, and trend, season and rest, of which the rest tells what is
//! unusual.
//!
//! ```text
//! series ── trend (mean, or line of least squares) ──▶ what is left ── season (median of each phase) ──▶ residual
//!                                                                                                         │
//!           score = how far a residual lies outside a range of quantiles, in widths of that range ◀────────┘
//! ```
//!
//! The classical additive decomposition with the median in the place of the mean (as in Cleveland et al., "STL", 1990,
//! robust variant), and Tukey's fences ("Exploratory Data Analysis", 1977). Where the vendor does not publish a formula,
//! ours is said at its function; scores may differ from the vendor's, the names of the columns do not.

use super::Naming;
use super::eval::{Out, Row};
use super::json::Json;
use super::series::numbers;
use super::signature::{Function, Param, Ret};
use crate::Type;

use Param::{Any, Dynamic, Long, Real, Text};
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);

/// Values of a series whose periods are looked for: the work grows with the square. A year of hours fits.
const PERIODS_LENGTH_MAX: usize = 10_000;
/// Values of any series taken apart here: a little above the vendor's bound on an array.
const LENGTH_MAX: usize = 1 << 20;
/// Periods that one call gives or tests, as at the vendor.
const PERIODS_MAX: usize = 16;
/// The shortest period that is looked for unasked: a shorter one is noise more often than a season.
const PERIOD_MIN: usize = 3;

/// The parts of a function that gives several values, with their types; the call itself gives a bag of them.
pub(crate) fn parts(name: &str) -> Option<&'static [(&'static str, Type)]> {
    use Type::{Dynamic as D, Long as L, Real as R};
    Some(match name {
        "series_stats" => {
            &[("min", R), ("min_idx", L), ("max", R), ("max_idx", L), ("avg", R), ("stdev", R), ("variance", R)]
        }
        "series_fit_line" => {
            &[("rsquare", R), ("slope", R), ("variance", R), ("rvariance", R), ("interception", R), ("line_fit", D)]
        }
        "series_fit_2lines" => &[
            ("rsquare", R),
            ("split_idx", L),
            ("variance", R),
            ("rvariance", R),
            ("line_fit", D),
            ("right_rsquare", R),
            ("right_slope", R),
            ("right_interception", R),
            ("right_variance", R),
            ("right_rvariance", R),
            ("left_rsquare", R),
            ("left_slope", R),
            ("left_interception", R),
            ("left_variance", R),
            ("left_rvariance", R),
        ],
        "series_decompose" | "series_decompose_forecast" => {
            &[("baseline", D), ("seasonal", D), ("trend", D), ("residual", D)]
        }
        "series_decompose_anomalies" => &[("ad_flag", D), ("ad_score", D), ("baseline", D)],
        "series_periods_detect" | "series_periods_validate" => &[("periods", D), ("scores", D)],
        _ => return None,
    })
}

fn bag(items: Vec<(&str, Json)>) -> Json {
    Json::Bag(items.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn list(values: impl Iterator<Item = Option<f64>>) -> Json {
    Json::Array(values.map(|v| v.map_or(Json::Null, Json::from_real)).collect())
}

fn series(r: &Row) -> Option<Vec<Option<f64>>> {
    numbers(&r.json(0)).filter(|v| !v.is_empty() && v.len() <= LENGTH_MAX).map(|values| {
        // What is no finite number is missing: one infinity would make every mean and line meaningless.
        values.into_iter().map(|v| v.filter(|v| v.is_finite())).collect()
    })
}

fn text_at(r: &Row, at: usize, otherwise: &str) -> String {
    let given = if at < r.count() { r.text(at) } else { "" };
    if given.is_empty() { otherwise.to_owned() } else { given.to_ascii_lowercase() }
}

fn real_at(r: &Row, at: usize, otherwise: f64) -> f64 {
    if at < r.count() { r.real(at).filter(|v| v.is_finite()).unwrap_or(otherwise) } else { otherwise }
}

fn count_at(r: &Row, at: usize) -> usize {
    if at < r.count() { r.long(at).and_then(|v| usize::try_from(v).ok()).unwrap_or(0) } else { 0 }
}

/// The sums that a line of least squares needs, of points taken one by one.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    place: f64,
    value: f64,
    places: f64,
    values: f64,
    both: f64,
}

/// A line of least squares, and how well it fits.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    start: f64,
    /// Sum of the squared distances from the mean, and from the line.
    total: f64,
    rest: f64,
    count: f64,
}

impl Sums {
    fn add(&mut self, place: f64, value: f64) {
        self.count += 1.0;
        self.place += place;
        self.value += value;
        self.places += place * place;
        self.values += value * value;
        self.both += place * value;
    }

    fn without(self, other: Self) -> Self {
        Self {
            count: self.count - other.count,
            place: self.place - other.place,
            value: self.value - other.value,
            places: self.places - other.places,
            values: self.values - other.values,
            both: self.both - other.both,
        }
    }

    fn line(self) -> Option<Line> {
        if self.count < 1.0 {
            return None;
        }
        let (place, value) = (self.place / self.count, self.value / self.count);
        let spread = self.places - self.count * place * place;
        let total = (self.values - self.count * value * value).max(0.0);
        let both = self.both - self.count * place * value;
        let slope = if spread > 0.0 { both / spread } else { 0.0 };
        Some(Line {
            slope,
            start: value - slope * place,
            total,
            rest: (total - slope * both).max(0.0),
            count: self.count,
        })
    }
}

impl Line {
    fn at(&self, place: f64) -> f64 {
        self.start + self.slope * place
    }
    fn per_point(&self, squares: f64) -> f64 {
        if self.count > 1.0 { squares / (self.count - 1.0) } else { 0.0 }
    }
    fn fit(&self) -> f64 {
        if self.total > 0.0 { 1.0 - self.rest / self.total } else { 1.0 }
    }
}

/// Sums of the points before each place, and of all at the end. Values are taken from their mean, so that large ones do
/// not cancel each other out.
fn running(values: &[Option<f64>], mean: f64) -> Vec<Sums> {
    let mut sums = vec![Sums::default()];
    let mut now = Sums::default();
    for (at, value) in values.iter().enumerate() {
        if let Some(value) = value {
            now.add(at as f64, value - mean);
        }
        sums.push(now);
    }
    sums
}

fn mean(values: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 }
}

fn line(values: &[Option<f64>]) -> Option<Line> {
    let mean = mean(values);
    let mut line = running(values, mean).last()?.line()?;
    line.start += mean;
    Some(line)
}

fn fit_line<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let Some(line) = line(&values) else { return Out::Null };
    Out::json(&bag(vec![
        ("rsquare", Json::Real(line.fit())),
        ("slope", Json::Real(line.slope)),
        ("variance", Json::Real(line.per_point(line.total))),
        ("rvariance", Json::Real(line.per_point(line.rest))),
        ("interception", Json::Real(line.start)),
        ("line_fit", list((0..values.len()).map(|at| Some(line.at(at as f64))))),
    ]))
}

/// Two lines, the second from `split_idx` on: of all splits the one that leaves the least squares.
fn fit_two_lines<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let mean = mean(&values);
    let sums = running(&values, mean);
    let Some((all, whole)) = sums.last().and_then(|s| Some((*s, s.line()?))) else { return Out::Null };
    let best = sums
        .iter()
        .enumerate()
        .filter(|(_, left)| left.count >= 2.0 && all.count - left.count >= 2.0)
        .filter_map(|(at, left)| Some((at, left.line()?, all.without(*left).line()?)))
        .min_by(|a, b| (a.1.rest + a.2.rest).total_cmp(&(b.1.rest + b.2.rest)));
    let (split, left, right) = best.unwrap_or((0, whole, whole));
    let rest = if split == 0 { whole.rest } else { left.rest + right.rest };
    let fit = if whole.total > 0.0 { 1.0 - rest / whole.total } else { 1.0 };
    let drawn = (0..values.len()).map(|at| Some(mean + if at < split { &left } else { &right }.at(at as f64)));
    Out::json(&bag(vec![
        ("rsquare", Json::Real(fit)),
        ("split_idx", Json::Long(split as i64)),
        ("variance", Json::Real(whole.per_point(whole.total))),
        ("rvariance", Json::Real(whole.per_point(rest))),
        ("line_fit", list(drawn)),
        ("right_rsquare", Json::Real(right.fit())),
        ("right_slope", Json::Real(right.slope)),
        ("right_interception", Json::Real(right.start + mean)),
        ("right_variance", Json::Real(right.per_point(right.total))),
        ("right_rvariance", Json::Real(right.per_point(right.rest))),
        ("left_rsquare", Json::Real(left.fit())),
        ("left_slope", Json::Real(left.slope)),
        ("left_interception", Json::Real(left.start + mean)),
        ("left_variance", Json::Real(left.per_point(left.total))),
        ("left_rvariance", Json::Real(left.per_point(left.rest))),
    ]))
}

/// For each lag up to half of the series how alike the series is to itself so much later, from -1 to 1: the
/// autocorrelation r(k) times √(n / (n - k)), which stands between its two usual estimates and gives what the vendor's
/// page shows for its example.
fn alike(values: &[Option<f64>]) -> Vec<f64> {
    if values.len() > PERIODS_LENGTH_MAX {
        return vec![];
    }
    let mean = mean(values);
    let centered: Vec<f64> = values.iter().map(|v| v.map_or(0.0, |v| v - mean)).collect();
    let size = centered.len() as f64;
    let whole: f64 = centered.iter().map(|v| v * v).sum();
    if whole <= 0.0 {
        return vec![];
    }
    (0..=centered.len() / 2 + 1)
        .map(|lag| {
            let later = centered.get(lag..).unwrap_or_default();
            let shared: f64 = centered.iter().zip(later).map(|(a, b)| a * b).sum();
            shared / whole * (size / (size - lag as f64).max(1.0)).sqrt()
        })
        .collect()
}

/// The score of a period: how alike the series is to itself there, if it is more so than beside it.
fn score(alike: &[f64], period: f64) -> f64 {
    let lag = period.round();
    if !(2.0..1e9).contains(&lag) {
        return 0.0;
    }
    let at = lag as usize;
    let [Some(before), Some(here), Some(after)] = [at - 1, at, at + 1].map(|i| alike.get(i)) else { return 0.0 };
    // Within Bartlett's band a peak is what noise gives too: it is none.
    let band = 1.96 / (2.0 * alike.len() as f64).sqrt();
    if here > before && here >= after && *here > band { *here } else { 0.0 }
}

/// Periods with their scores, the best first. A multiple of a found one that is not more alike says nothing new.
fn periods(alike: &[f64], from: usize, to: usize, count: usize) -> Vec<(usize, f64)> {
    let last = alike.len().saturating_sub(1).min(to.saturating_add(1));
    let mut found: Vec<(usize, f64)> =
        (from.max(2)..last).map(|lag| (lag, score(alike, lag as f64))).filter(|(_, s)| *s > 0.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut kept: Vec<(usize, f64)> = vec![];
    for (lag, score) in found {
        if kept.len() >= count {
            break;
        }
        if !kept.iter().any(|(k, _)| lag % k == 0) {
            kept.push((lag, score));
        }
    }
    kept
}

/// The best period of a series as it is, or with its outermost values drawn in, whichever is clearer: one leap hides
/// the season of the others, and a season that is itself a rare leap shows only in the series as it is.
fn best_period(values: &[Option<f64>]) -> Option<(usize, f64)> {
    let mut known: Vec<f64> = values.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&known, 0.05), quantile(&known, 0.95));
    let drawn: Vec<Option<f64>> = values.iter().map(|v| v.map(|v| v.max(low).min(high))).collect();
    let best = |values: &[Option<f64>]| periods(&alike(values), PERIOD_MIN, values.len() / 2, 1).first().copied();
    let (plain, drawn) = (best(values), best(&drawn));
    if drawn.map_or(0.0, |d| d.1) > plain.map_or(0.0, |p| p.1) { drawn } else { plain }
}

fn scored(found: Vec<(f64, f64)>) -> Out<'static> {
    let periods = list(found.iter().map(|(p, _)| Some(*p)));
    Out::json(&bag(vec![("periods", periods), ("scores", list(found.iter().map(|(_, s)| Some(*s))))]))
}

fn detect<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let bound = |at: usize| real_at(r, at, 0.0).clamp(0.0, LENGTH_MAX as f64);
    let (from, to) = (bound(1).ceil() as usize, bound(2).floor() as usize);
    let found = periods(&alike(&values), from, to, count_at(r, 3).min(PERIODS_MAX));
    scored(found.into_iter().map(|(p, s)| (p as f64, s)).collect())
}

fn validate<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let alike = alike(&values);
    scored((1..r.count().min(PERIODS_MAX + 1)).filter_map(|at| r.real(at)).map(|p| (p, score(&alike, p))).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// A quantile of sorted values, between its neighbours.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize));
    low.zip(high).map_or(0.0, |(l, h)| l + (h - l) * place.fract())
}

/// The median of each phase of a period, which a single outlier does not move.
fn season(values: &[Option<f64>], period: usize) -> Vec<f64> {
    (0..period)
        .map(|phase| middle(values.iter().skip(phase).step_by(period.max(1)).flatten().copied().collect()))
        .collect()
}

/// What is asked of a decomposition.
struct How {
    /// Negative: find it; 0: none; else the period.
    seasonality: f64,
    trend: String,
    /// Values at the end that are not learnt from.
    test: usize,
    /// The least score of a period that is found.
    threshold: f64,
}

/// A series taken apart.
struct Decomposed {
    values: Vec<Option<f64>>,
    seasonal: Vec<f64>,
    trend: Vec<f64>,
    learnt: usize,
}

impl Decomposed {
    fn of(values: Vec<Option<f64>>, how: &How) -> Self {
        let learnt = values.len().saturating_sub(how.test);
        let train = values.get(..learnt).unwrap_or_default();
        let fitted = line(train);
        let level = mean(train);
        let trend: Vec<f64> = (0..values.len())
            .map(|at| match how.trend.as_str() {
                "none" => 0.0,
                "linefit" => fitted.map_or(level, |l| l.at(at as f64)),
                _ => level,
            })
            .collect();
        let period = if how.seasonality < 0.0 {
            // A slope would drown the season, so it is taken away first whatever the trend is to be.
            let flat: Vec<Option<f64>> = train
                .iter()
                .enumerate()
                .map(|(at, v)| v.map(|v| v - fitted.map_or(0.0, |l| l.at(at as f64))))
                .collect();
            best_period(&flat).filter(|(_, s)| *s >= how.threshold).map_or(0, |(p, _)| p)
        } else {
            how.seasonality.round().min(LENGTH_MAX as f64) as usize
        };
        let left: Vec<Option<f64>> = train.iter().zip(&trend).map(|(v, t)| v.map(|v| v - t)).collect();
        // A period that is not seen twice is no season.
        let phases = if period >= 2 && period <= learnt / 2 { season(&left, period) } else { vec![0.0] };
        let seasonal = phases.iter().cycle().take(values.len()).copied().collect();
        Self { values, seasonal, trend, learnt }
    }

    fn baseline(&self) -> impl Iterator<Item = f64> + '_ {
        self.seasonal.iter().zip(&self.trend).map(|(s, t)| s + t)
    }

    fn residual(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        self.values.iter().zip(self.baseline()).map(|(v, b)| v.map(|v| v - b))
    }

    fn bag(&self) -> Json {
        bag(vec![
            ("baseline", list(self.baseline().map(Some))),
            ("seasonal", list(self.seasonal.iter().copied().map(Some))),
            ("trend", list(self.trend.iter().copied().map(Some))),
            ("residual", list(self.residual())),
        ])
    }
}

fn decompose<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let how = How {
        seasonality: real_at(r, 1, -1.0),
        trend: text_at(r, 2, "avg"),
        test: count_at(r, 3),
        threshold: real_at(r, 4, 0.6),
    };
    Out::json(&Decomposed::of(values, &how).bag())
}

fn forecast<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let how = How {
        test: count_at(r, 1),
        seasonality: real_at(r, 2, -1.0),
        trend: text_at(r, 3, "linefit"),
        threshold: real_at(r, 4, 0.6),
    };
    Out::json(&Decomposed::of(values, &how).bag())
}

fn seasonal<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let given = real_at(r, 1, -1.0);
    let found = if given > 0.0 {
        given.round().min(LENGTH_MAX as f64) as usize
    } else {
        best_period(&values).map_or(0, |(p, _)| p)
    };
    if found < 2 || found > values.len() {
        return Out::json(&list(values.iter().map(|_| Some(0.0))));
    }
    let phases = season(&values, found);
    Out::json(&list(phases.iter().cycle().take(values.len()).copied().map(Some)))
}

/// A residual's score is its distance from the range between two quantiles (10 and 90 of 100, or 25 and 75 as Tukey
/// has them), in widths of the range, with the sign of its side; it is unusual from `threshold` on.
fn anomalies<'a>(r: &'a Row<'a>) -> Out<'a> {
    let Some(values) = series(r) else { return Out::Null };
    let threshold = real_at(r, 1, 1.5).abs();
    let edge = if text_at(r, 5, "ctukey") == "tukey" { 0.25 } else { 0.1 };
    let how = How {
        seasonality: real_at(r, 2, -1.0),
        trend: text_at(r, 3, "avg"),
        test: count_at(r, 4),
        threshold: real_at(r, 6, 0.6),
    };
    let apart = Decomposed::of(values, &how);
    let mut learnt: Vec<f64> = apart.residual().take(apart.learnt).flatten().collect();
    learnt.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&learnt, edge), quantile(&learnt, 1.0 - edge));
    let size = apart.values.iter().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    let none = size * 1e-9;
    let mut width = high - low;
    if width <= none {
        // A series that hardly ever moves has no width, and its one leap is what is looked for: its spread stands in.
        let level = learnt.iter().sum::<f64>() / learnt.len().max(1) as f64;
        width = (learnt.iter().map(|v| (v - level).powi(2)).sum::<f64>() / learnt.len().max(1) as f64).sqrt();
    }
    let width = width.max(none);
    let scores: Vec<Option<f64>> = apart
        .residual()
        .map(|v| {
            v.map(|v| match () {
                () if v > high + none => (v - high) / width,
                () if v < low - none => (v - low) / width,
                () => 0.0,
            })
        })
        .collect();
    let flag = |s: &Option<f64>| match s {
        Some(s) if *s >= threshold && *s > 0.0 => Json::Long(1),
        Some(s) if *s <= -threshold && *s < 0.0 => Json::Long(-1),
        _ => Json::Long(0),
    };
    Out::json(&bag(vec![
        ("ad_flag", Json::Array(scores.iter().map(flag).collect())),
        ("ad_score", list(scores.into_iter())),
        ("baseline", list(apart.baseline().map(Some))),
    ]))
}

macro_rules! entry {
    ($name:literal, $naming:expr, $params:expr, $optional:literal, $doc:literal, $example:literal, $f:expr) => {
        Function::row($name, $naming, $params, DYNAMIC, $doc, $example, $f).optional($optional)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    entry!(
        "series_stats",
        Naming::Prefix("series_stats"),
        &[Dynamic, Any],
        1,
        "The least, greatest, mean and spread of a series, each in a column.",
        "series_stats(dynamic([1, 2]))",
        super::series::stats
    ),
    entry!(
        "series_fit_line",
        Naming::Prefix("series_fit_line"),
        &[Dynamic],
        0,
        "The line through a series, and how well it fits.",
        "series_fit_line(dynamic([1, 2, 4]))",
        fit_line
    ),
    entry!(
        "series_fit_line_dynamic",
        Naming::None,
        &[Dynamic],
        0,
        "The line through a series, in a bag.",
        "series_fit_line_dynamic(dynamic([1, 2, 4]))",
        fit_line
    ),
    entry!(
        "series_fit_2lines",
        Naming::Prefix("series_fit_2lines"),
        &[Dynamic],
        0,
        "The two lines through a series, and where it breaks.",
        "series_fit_2lines(dynamic([1, 2, 3, 9, 8, 7]))",
        fit_two_lines
    ),
    entry!(
        "series_fit_2lines_dynamic",
        Naming::None,
        &[Dynamic],
        0,
        "The two lines through a series, in a bag.",
        "series_fit_2lines_dynamic(dynamic([1, 2, 3, 9, 8, 7]))",
        fit_two_lines
    ),
    entry!(
        "series_decompose",
        Naming::Prefix("series_decompose"),
        &[Dynamic, Real, Text, Long, Real],
        4,
        "Takes a series apart into trend, season and rest.",
        "series_decompose(dynamic([1, 2, 1, 2, 1, 2]), 2)",
        decompose
    ),
    entry!(
        "series_decompose_anomalies",
        Naming::Prefix("series_decompose_anomalies"),
        &[Dynamic, Real, Real, Text, Long, Text, Real],
        6,
        "Says which values of a series are unusual for its trend and season.",
        "series_decompose_anomalies(dynamic([1, 2, 1, 2, 30, 2]))",
        anomalies
    ),
    entry!(
        "series_decompose_forecast",
        Naming::Prefix("series_decompose_forecast"),
        &[Dynamic, Long, Real, Text, Real],
        3,
        "Says how a series would go on: its last values are foretold from those before.",
        "series_decompose_forecast(dynamic([1, 2, 3, 0, 0]), 2)",
        forecast
    ),
    entry!(
        "series_periods_detect",
        Naming::Prefix("series_periods_detect"),
        &[Dynamic, Real, Real, Long],
        0,
        "Finds the periods in which a series repeats itself.",
        "series_periods_detect(dynamic([1, 5, 1, 1, 5, 1, 1, 5, 1]), 2, 4, 1)",
        detect
    ),
    Function::row(
        "series_periods_validate",
        Naming::Prefix("series_periods_validate"),
        &[Dynamic, Real],
        DYNAMIC,
        "Says how well a series repeats itself in given periods.",
        "series_periods_validate(dynamic([1, 5, 1, 1, 5, 1, 1, 5, 1]), 3)",
        validate,
    )
    .variadic(),
    entry!(
        "series_seasonal",
        Naming::None,
        &[Dynamic, Long],
        1,
        "The part of a series that repeats itself.",
        "series_seasonal(dynamic([1, 3, 5, 2, 4, 6]), 3)",
        seasonal
    ),
];
