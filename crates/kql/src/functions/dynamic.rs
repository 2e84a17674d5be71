//! Dynamic values: paths into them, arrays, bags and sets.

use super::eval::{Internal, Out, Row};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use super::{Context, Naming, Refusal};
use crate::Type;
use datafusion::logical_expr::Expr;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Elements of an array that a function makes: the language's own bound on arrays.
pub(super) const ELEMENTS_MAX: usize = 1_048_576;

/// Looks for one key in a bag without building the rest; the text of its value is borrowed.
struct Find<'k>(&'k str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a bag")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        struct IsKey<'k>(&'k str);
        impl<'de> DeserializeSeed<'de> for IsKey<'_> {
            type Value = bool;
            fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
                d.deserialize_str(self)
            }
        }
        impl Visitor<'_> for IsKey<'_> {
            type Value = bool;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, v: &str) -> Result<bool, E> {
                Ok(v == self.0)
            }
        }
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsKey(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Looks for one element of an array; a negative position counts from the end.
struct Nth(i64);

impl<'de> Visitor<'de> for Nth {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items: Vec<&'de RawValue> = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        let at = if self.0 < 0 { self.0 + items.len() as i64 } else { self.0 };
        Ok(usize::try_from(at).ok().and_then(|at| items.get(at).copied()))
    }
}

/// Walks into a JSON text: the arguments after the first are names and positions.
fn path<'a>(r: &'a Row<'a>) -> Out<'a> {
    let mut here: &str = r.text(0);
    for at in 1..r.count() {
        let mut json = serde_json::Deserializer::from_str(here);
        let found = match r.long(at) {
            Some(position) if here.trim_start().starts_with('[') => json.deserialize_seq(Nth(position)),
            None if !r.is_null(at) && here.trim_start().starts_with('{') => json.deserialize_map(Find(r.text(at))),
            _ => return Out::Null,
        };
        match found {
            Ok(Some(value)) => here = value.get(),
            _ => return Out::Null,
        }
    }
    if here == "null" || here.is_empty() { Out::Null } else { Out::Str(here) }
}

/// The type of what a dynamic value holds.
fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Long(_) => "long",
        Json::Real(_) => "double",
        Json::Text(_) => "string",
        Json::Array(_) => "array",
        Json::Bag(_) => "dictionary",
    }
}

/// The description of a value that `buildschema` gives. Nesting is bounded by what the parser lets through.
pub(super) fn shape(value: &Json, depth: usize) -> Json {
    match value {
        Json::Bag(items) if depth < 64 => {
            Json::Bag(items.iter().map(|(k, v)| (k.clone(), shape(v, depth + 1))).collect())
        }
        Json::Array(items) if depth < 64 => {
            let inner = items.iter().map(|v| shape(v, depth + 1)).fold(None, |a, b| Some(joined(a, b)));
            Json::Bag(vec![("`indexer`".to_owned(), inner.unwrap_or(Json::Array(Vec::new())))])
        }
        other => Json::Text(type_of(other).to_owned()),
    }
}

/// One description that fits what either of two fits.
pub(super) fn joined(a: Option<Json>, b: Json) -> Json {
    match (a, b) {
        (None, b) => b,
        (Some(Json::Bag(mut items)), Json::Bag(others)) => {
            for (key, value) in others {
                match items.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, slot)) => *slot = joined(Some(std::mem::replace(slot, Json::Null)), value),
                    None => items.push((key, value)),
                }
            }
            Json::Bag(items)
        }
        (Some(a), b) if a == b => a,
        (Some(Json::Array(mut kinds)), b) => {
            let others = if let Json::Array(others) = b { others } else { vec![b] };
            for other in others {
                if !kinds.contains(&other) {
                    kinds.push(other);
                }
            }
            Json::Array(kinds)
        }
        (Some(a), Json::Array(kinds)) => joined(Some(Json::Array(vec![a])), Json::Array(kinds)),
        (Some(a), b) => Json::Array(vec![a, b]),
    }
}

pub(super) const INTERNAL: &[Internal] = &[
    Internal { name: "kql_range_of", ret: Ret::Is(Type::Dynamic), nulls: false, eval: ranged },
    Internal {
        name: "kql_json_at",
        ret: Ret::Is(Type::Text),
        nulls: true,
        eval: |r| at_path(&r.json(1), r.text(0)).map_or(Out::Null, |v| Out::Text(v.text())),
    },
    Internal { name: "kql_path", ret: Ret::Is(Type::Dynamic), nulls: true, eval: path },
    Internal {
        name: "kql_dynamic_parsed",
        ret: Ret::Is(Type::Dynamic),
        nulls: true,
        eval: |r| {
            let text = r.text(0).trim();
            let whole = serde_json::from_str::<IgnoredAny>(text).is_ok();
            match text {
                "" | "null" => Out::Null,
                // JSON stays as it is written: it is read where it is used.
                json if whole => Out::Str(json),
                _ => Out::json(&Json::Text(r.text(0).to_owned())),
            }
        },
    },
    Internal {
        name: "kql_dynamic_is_null",
        ret: Ret::Is(Type::Bool),
        nulls: true,
        eval: |r| Out::Bool(matches!(r.text(0).trim(), "" | "null")),
    },
    Internal {
        name: "kql_dynamic_type",
        ret: Ret::Is(Type::Text),
        nulls: true,
        eval: |r| Out::Str(type_of(&r.json(0))),
    },
    Internal {
        name: "kql_dynamic_key",
        ret: Ret::Is(Type::Guid),
        nulls: true,
        eval: |r| Out::text(Some(r.json(0).text())),
    },
    Internal {
        name: "kql_members",
        ret: Ret::Is(Type::Dynamic),
        nulls: true,
        eval: |r| {
            let mut out = Vec::new();
            for at in 0..r.count() {
                match r.json(at) {
                    Json::Array(items) => out.extend(items),
                    Json::Null => {}
                    other => out.push(other),
                }
            }
            Out::Text(Json::Array(out).json())
        },
    },
];

use Param::{Any, Dynamic, Json as AnyJson, Long, LongConstant, Summable, Text};
const DYNAMIC: Ret = Ret::Is(Type::Dynamic);
const LONG: Ret = Ret::Is(Type::Long);
const BOOL: Ret = Ret::Is(Type::Bool);
const NONE: Naming = Naming::None;

fn array(items: Vec<Json>) -> Out<'static> {
    Out::Text(Json::Array(items).json())
}

/// The array of an argument; anything else gives null.
macro_rules! items {
    ($r:expr, $at:expr) => {
        match $r.json($at).into_array() {
            Some(items) => items,
            None => return Out::Null,
        }
    };
}

macro_rules! bag {
    ($r:expr, $at:expr) => {
        match $r.json($at).into_bag() {
            Some(items) => items,
            None => return Out::Null,
        }
    };
}

fn packed<'a>(r: &'a Row<'a>) -> Out<'a> {
    let mut items: Vec<(String, Json)> = Vec::with_capacity(r.count() / 2);
    for at in (0..r.count().saturating_sub(1)).step_by(2) {
        let (key, value) = (r.json(at).text(), r.json(at + 1));
        match items.iter_mut().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = value,
            None => items.push((key, value)),
        }
    }
    Out::Text(Json::Bag(items).json())
}

/// Elements moved by some places; a negative count moves the other way.
fn rotated<'a>(r: &'a Row<'a>, left: bool) -> Out<'a> {
    let mut items = items!(r, 0);
    let Some(by) = r.long(1) else { return Out::Null };
    if !items.is_empty() {
        let by = if left { by } else { by.saturating_neg() };
        let places = by.rem_euclid(items.len() as i64) as usize;
        items.rotate_left(places);
    }
    array(items)
}

fn shifted<'a>(r: &'a Row<'a>, left: bool) -> Out<'a> {
    let items = items!(r, 0);
    let Some(by) = r.long(1) else { return Out::Null };
    let by = if left { by } else { by.saturating_neg() };
    let fill = if r.count() > 2 { r.json(2) } else { Json::Null };
    let moved = (0..items.len() as i64)
        .map(|at| usize::try_from(at.saturating_add(by)).ok().and_then(|from| items.get(from)).unwrap_or(&fill).clone())
        .collect();
    array(moved)
}

/// A position, from the end if negative, within `0..=size`.
fn place(at: i64, size: usize) -> usize {
    let at = if at < 0 { at.saturating_add(size as i64) } else { at };
    usize::try_from(at).unwrap_or(0).min(size)
}

fn sliced<'a>(r: &'a Row<'a>) -> Out<'a> {
    let items = items!(r, 0);
    let (Some(from), Some(to)) = (r.long(1), r.long(2)) else { return Out::Null };
    let to = if to < 0 { to.saturating_add(items.len() as i64) } else { to };
    let (from, to) = (place(from, items.len()), place(to.saturating_add(1).max(0), items.len()));
    array(items.get(from..to).unwrap_or_default().to_vec())
}

fn parted<'a>(r: &'a Row<'a>) -> Out<'a> {
    let items = items!(r, 0);
    let cuts: Vec<i64> = match r.json(1) {
        Json::Long(at) => vec![at],
        Json::Array(list) => list.iter().filter_map(|j| if let Json::Long(n) = j { Some(*n) } else { None }).collect(),
        _ => return Out::Null,
    };
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().map(|c| place(c, items.len())).chain([items.len()]) {
        out.push(Json::Array(items.get(from..cut.max(from)).unwrap_or_default().to_vec()));
        from = cut.max(from);
    }
    array(out)
}

fn index_of<'a>(r: &'a Row<'a>) -> Out<'a> {
    let items = items!(r, 0);
    let wanted = r.json(1);
    let start = if r.count() > 2 { place(r.long(2).unwrap_or(0), items.len()) } else { 0 };
    let size =
        if r.count() > 3 { r.long(3).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX) } else { usize::MAX };
    let nth = if r.count() > 4 { r.long(4).unwrap_or(1).max(1) as usize } else { 1 };
    let found = items.iter().enumerate().skip(start).take(size).filter(|(_, i)| same(i, &wanted)).nth(nth - 1);
    Out::Long(found.map_or(-1, |(at, _)| at as i64))
}

/// Whether two values are equal; numbers by what they count.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Long(a), Json::Real(b)) | (Json::Real(b), Json::Long(a)) => *a as f64 == *b,
        (a, b) => a == b,
    }
}

/// Numbers by size, then texts, then the rest; what is missing comes last whichever way is sorted.
fn order(a: &Json, b: &Json) -> std::cmp::Ordering {
    let rank = |j: &Json| match j {
        Json::Long(_) | Json::Real(_) => 0,
        Json::Text(_) => 1,
        _ => 2,
    };
    match (a, b) {
        (Json::Long(a), Json::Long(b)) => a.cmp(b),
        (Json::Text(a), Json::Text(b)) => a.cmp(b),
        (a, b) if rank(a) == 0 && rank(b) == 0 => a.real().unwrap_or(f64::NAN).total_cmp(&b.real().unwrap_or(f64::NAN)),
        (a, b) => rank(a).cmp(&rank(b)).then_with(|| a.json().cmp(&b.json())),
    }
}

fn sorted<'a>(r: &'a Row<'a>, descending: bool) -> Out<'a> {
    let mut items = items!(r, 0);
    items.sort_by(|a, b| match (a.is_null(), b.is_null()) {
        (false, false) if descending => order(b, a),
        (false, false) => order(a, b),
        (a, b) => a.cmp(&b),
    });
    array(items)
}

/// A set keeps the order in which its members came first.
fn set_of(items: impl IntoIterator<Item = Json>) -> (Vec<Json>, HashSet<String>) {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for item in items {
        if seen.insert(item.json()) {
            out.push(item);
        }
    }
    (out, seen)
}

fn keyed(items: &[Json]) -> HashSet<String> {
    items.iter().map(Json::json).collect()
}

fn combined<'a>(r: &'a Row<'a>, keep: fn(bool) -> bool) -> Out<'a> {
    let (mut items, _) = set_of(items!(r, 0));
    for at in 1..r.count() {
        let other = keyed(&items!(r, at));
        items.retain(|i| keep(other.contains(&i.json())));
    }
    array(items)
}

fn keys(value: &Json, prefix: &str, out: &mut Vec<Json>, depth: usize) {
    // Nesting is bounded by what the parser lets through; this bound says so again.
    if depth > 128 {
        return;
    }
    match value {
        Json::Bag(items) => {
            for (key, inner) in items {
                let path = format!("{prefix}['{key}']");
                out.push(Json::Text(path.clone()));
                keys(inner, &path, out, depth + 1);
            }
        }
        Json::Array(items) => {
            out.push(Json::Text(format!("{prefix}[0]")));
            for inner in items.iter().take(1) {
                keys(inner, &format!("{prefix}[0]"), out, depth + 1);
            }
        }
        _ => {}
    }
}

/// Removes the key that a path names: `a`, or `$.a.b`.
fn without(items: &mut Vec<(String, Json)>, key: &str) {
    if let Some(path) = key.strip_prefix("$.") {
        if let Some((first, rest)) = path.split_once('.') {
            if let Some((_, Json::Bag(inner))) = items.iter_mut().find(|(k, _)| k == first) {
                without(inner, &format!("$.{rest}"));
            }
            return;
        }
        items.retain(|(k, _)| k != path);
        return;
    }
    items.retain(|(k, _)| k != key);
}

fn at_path<'j>(value: &'j Json, path: &str) -> Option<&'j Json> {
    let mut here = value;
    for step in steps(path) {
        here = match (here, step) {
            (Json::Bag(items), Step::Key(key)) => items.iter().find(|(k, _)| *k == key).map(|(_, v)| v)?,
            (Json::Array(items), Step::At(at)) => items.get(at)?,
            _ => return None,
        };
    }
    Some(here)
}

enum Step {
    Key(String),
    At(usize),
}

/// The steps of a path like `$.a['b'][0]`.
fn steps(path: &str) -> Vec<Step> {
    let mut out = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((index, after)) = inner.split_once(']') else { break };
            let name = index.trim_matches(['\'', '"']);
            out.push(name.parse().map_or_else(|_| Step::Key(name.to_owned()), Step::At));
            rest = after;
        } else {
            let inner = rest.strip_prefix('.').unwrap_or(rest);
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            let Some((name, after)) = inner.split_at_checked(end) else { break };
            if name.is_empty() {
                break;
            }
            out.push(Step::Key(name.to_owned()));
            rest = after;
        }
    }
    out
}

/// With a type as the third argument, the text is converted; the type arrives as its name.
fn extract_json(_: &Context, types: &[Type], mut args: Vec<Expr>) -> Result<Expr, Refusal> {
    let target = if args.len() > 2 { args.pop() } else { None };
    let target = target.as_ref().and_then(super::convert::literal_text).and_then(super::strings::named_type);
    let args = args.into_iter().zip(types).map(|(e, k)| super::cast(*k, Type::Text, e)).collect();
    let found = super::eval::known("kql_json_at", args);
    Ok(super::cast(Type::Text, target.unwrap_or(Type::Text), found))
}

/// A row of numbers, or of moments, from start to end by a step.
fn range(_: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
    let kinds = types.to_vec();
    let real = kinds.iter().any(|k| matches!(k, Type::Real | Type::Decimal));
    let args = args
        .into_iter()
        .zip(kinds)
        .map(|(e, k)| match k {
            Type::Int => super::cast(k, if real { Type::Real } else { Type::Long }, e),
            Type::Long | Type::Decimal if real => super::cast(k, Type::Real, e),
            _ => e,
        })
        .collect();
    Ok(super::eval::known("kql_range_of", args))
}

fn ranged<'a>(r: &'a Row<'a>) -> Out<'a> {
    use arrow::datatypes::DataType;
    let timed = matches!(r.kind(0), DataType::Timestamp(_, _));
    let spanned = matches!(r.kind(0), DataType::Duration(_));
    if matches!(r.kind(0), DataType::Float64) {
        let (Some(from), Some(to)) = (r.real(0), r.real(1)) else { return Out::Null };
        let step = if r.count() > 2 { r.real(2).unwrap_or(0.0) } else { 1.0 };
        if step == 0.0 || !step.is_finite() {
            return Out::Null;
        }
        let count = ((to - from) / step).floor();
        let most = count.clamp(-1.0, (ELEMENTS_MAX - 1) as f64) as i64;
        return array((0..=most).map(|i| Json::Real(from + step * i as f64)).collect());
    }
    let (Some(from), Some(to)) = (r.long(0), r.long(1)) else { return Out::Null };
    let step = if r.count() > 2 {
        r.long(2).unwrap_or(0)
    } else if timed || spanned {
        super::time::HOUR
    } else {
        1
    };
    let mut out = Vec::new();
    let mut here = from;
    while step != 0 && out.len() < ELEMENTS_MAX && if step > 0 { here <= to } else { here >= to } {
        out.push(match (timed, spanned) {
            (true, _) => Json::Text(super::time::datetime_text(here)),
            (_, true) => Json::Text(super::time::timespan_text(here)),
            _ => Json::Long(here),
        });
        let Some(next) = here.checked_add(step) else { break };
        here = next;
    }
    array(out)
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::row(
        "array_length",
        NONE,
        &[Dynamic],
        LONG,
        "Counts the elements of an array.",
        "array_length(dynamic([1, 2]))",
        |r| Out::Long(items!(r, 0).len() as i64),
    )
    .alias(&["arraylength"]),
    Function::row(
        "array_concat",
        NONE,
        &[Dynamic],
        DYNAMIC,
        "Joins arrays.",
        "array_concat(dynamic([1]), dynamic([2]))",
        |r| {
            let mut out = Vec::new();
            for at in 0..r.count() {
                out.extend(items!(r, at));
            }
            array(out)
        },
    )
    .variadic(),
    Function::row(
        "array_iff",
        NONE,
        &[Dynamic, AnyJson, AnyJson],
        DYNAMIC,
        "Chooses for each element of an array of conditions.",
        "array_iff(dynamic([true, false]), 1, 2)",
        |r| {
            let pick = |value: Json, at: usize| match value {
                Json::Array(items) => items.get(at).cloned().unwrap_or(Json::Null),
                other => other,
            };
            let (yes, no) = (r.json(1), r.json(2));
            let out = items!(r, 0).into_iter().enumerate().map(|(at, condition)| match condition {
                Json::Null => Json::Null,
                Json::Bool(true) => pick(yes.clone(), at),
                Json::Bool(false) => pick(no.clone(), at),
                other => {
                    if other.real().unwrap_or(0.0) == 0.0 {
                        pick(no.clone(), at)
                    } else {
                        pick(yes.clone(), at)
                    }
                }
            });
            array(out.collect())
        },
    )
    .nulls()
    .alias(&["array_iif"]),
    Function::row(
        "array_index_of",
        NONE,
        &[Dynamic, AnyJson, Long, Long, LongConstant],
        LONG,
        "The position of a value in an array, or -1.",
        "array_index_of(dynamic(['a', 'b']), 'b')",
        index_of,
    )
    .optional(3),
    Function::row(
        "array_slice",
        NONE,
        &[Dynamic, Long, Long],
        DYNAMIC,
        "A part of an array; both ends belong to it.",
        "array_slice(dynamic([1, 2, 3]), 1, 2)",
        sliced,
    ),
    Function::row(
        "array_split",
        NONE,
        &[Dynamic, AnyJson],
        DYNAMIC,
        "Parts an array at one or several positions.",
        "array_split(dynamic([1, 2, 3]), 1)",
        parted,
    ),
    Function::row(
        "array_reverse",
        NONE,
        &[Dynamic],
        DYNAMIC,
        "Turns an array round.",
        "array_reverse(dynamic([1, 2]))",
        |r| array(items!(r, 0).into_iter().rev().collect()),
    ),
    Function::row(
        "array_rotate_left",
        NONE,
        &[Dynamic, Long],
        DYNAMIC,
        "Moves elements to the left and round.",
        "array_rotate_left(dynamic([1, 2, 3]), 1)",
        |r| rotated(r, true),
    ),
    Function::row(
        "array_rotate_right",
        NONE,
        &[Dynamic, Long],
        DYNAMIC,
        "Moves elements to the right and round.",
        "array_rotate_right(dynamic([1, 2, 3]), 1)",
        |r| rotated(r, false),
    ),
    Function::row(
        "array_shift_left",
        NONE,
        &[Dynamic, Long, AnyJson],
        DYNAMIC,
        "Moves elements to the left and fills up.",
        "array_shift_left(dynamic([1, 2, 3]), 1)",
        |r| shifted(r, true),
    )
    .optional(1),
    Function::row(
        "array_shift_right",
        NONE,
        &[Dynamic, Long, AnyJson],
        DYNAMIC,
        "Moves elements to the right and fills up.",
        "array_shift_right(dynamic([1, 2, 3]), 1)",
        |r| shifted(r, false),
    )
    .optional(1),
    Function::row(
        "array_sort_asc",
        NONE,
        &[Dynamic],
        DYNAMIC,
        "Sorts an array upwards.",
        "array_sort_asc(dynamic([2, 1]))",
        |r| sorted(r, false),
    ),
    Function::row(
        "array_sort_desc",
        NONE,
        &[Dynamic],
        DYNAMIC,
        "Sorts an array downwards.",
        "array_sort_desc(dynamic([1, 2]))",
        |r| sorted(r, true),
    ),
    Function::row("pack_array", NONE, &[AnyJson], DYNAMIC, "Makes an array of values.", "pack_array(1, 'a')", |r| {
        array((0..r.count()).map(|at| r.json(at)).collect())
    })
    .variadic()
    .nulls(),
    Function::row(
        "bag_pack",
        NONE,
        &[AnyJson, AnyJson],
        DYNAMIC,
        "Makes a bag of keys and values.",
        "bag_pack('a', 1)",
        packed,
    )
    .variadic()
    .nulls()
    .alias(&["pack", "pack_dictionary"]),
    Function::row("bag_keys", NONE, &[Dynamic], DYNAMIC, "The keys of a bag.", "bag_keys(dynamic({'a': 1}))", |r| {
        array(bag!(r, 0).into_iter().map(|(k, _)| Json::Text(k)).collect())
    }),
    Function::row(
        "bag_has_key",
        NONE,
        &[Dynamic, Text],
        BOOL,
        "Says whether a bag has a key, which may be a path.",
        "bag_has_key(dynamic({'a': 1}), 'a')",
        |r| {
            let bag = r.json(0);
            let Json::Bag(items) = &bag else { return Out::Null };
            let key = r.text(1);
            Out::Bool(if key.starts_with("$.") || key.starts_with("$[") {
                at_path(&bag, key).is_some()
            } else {
                items.iter().any(|(k, _)| k == key)
            })
        },
    ),
    Function::row(
        "bag_merge",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "Merges bags; of a key, the first value stays.",
        "bag_merge(dynamic({'a': 1}), dynamic({'b': 2}))",
        |r| {
            let mut out: Vec<(String, Json)> = Vec::new();
            for at in 0..r.count() {
                for (key, value) in r.json(at).into_bag().unwrap_or_default() {
                    if !out.iter().any(|(k, _)| *k == key) {
                        out.push((key, value));
                    }
                }
            }
            Out::Text(Json::Bag(out).json())
        },
    )
    .variadic(),
    Function::row(
        "bag_remove_keys",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "Removes keys from a bag.",
        "bag_remove_keys(dynamic({'a': 1}), dynamic(['a']))",
        |r| {
            let mut items = bag!(r, 0);
            for key in items!(r, 1) {
                without(&mut items, &key.text());
            }
            Out::Text(Json::Bag(items).json())
        },
    ),
    Function::row(
        "bag_set_key",
        NONE,
        &[Dynamic, Text, AnyJson],
        DYNAMIC,
        "Sets a key of a bag.",
        "bag_set_key(dynamic({}), 'a', 1)",
        |r| {
            let mut items = r.json(0).into_bag().unwrap_or_default();
            let (key, value) = (r.text(1), r.json(2));
            match items.iter_mut().find(|(k, _)| k == key) {
                Some(slot) => slot.1 = value,
                None => items.push((key.to_owned(), value)),
            }
            Out::Text(Json::Bag(items).json())
        },
    )
    .nulls(),
    Function::row(
        "bag_zip",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "Makes a bag of an array of keys and one of values.",
        "bag_zip(dynamic(['a']), dynamic([1]))",
        |r| {
            let mut values = items!(r, 1).into_iter();
            let out = items!(r, 0).into_iter().map(|k| (k.text(), values.next().unwrap_or(Json::Null)));
            Out::Text(Json::Bag(super::json::unique(out.collect())).json())
        },
    ),
    Function::row(
        "zip",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "Pairs the elements of arrays.",
        "zip(dynamic([1, 2]), dynamic(['a', 'b']))",
        |r| {
            let mut all = Vec::new();
            for at in 0..r.count() {
                all.push(items!(r, at));
            }
            let longest = all.iter().map(Vec::len).max().unwrap_or(0);
            let row = |at: usize| Json::Array(all.iter().map(|a| a.get(at).cloned().unwrap_or(Json::Null)).collect());
            array((0..longest).map(row).collect())
        },
    )
    .variadic(),
    Function::row(
        "repeat",
        Naming::Prefix("repeat"),
        &[AnyJson, Long],
        DYNAMIC,
        "An array of the same value some times.",
        "repeat(1, 3)",
        |r| {
            let Some(count) = r.long(1) else { return Out::Null };
            let count = usize::try_from(count).unwrap_or(0).min(ELEMENTS_MAX);
            let value = r.json(0);
            if value.json().len().saturating_mul(count) > super::eval::TEXT_BYTES_MAX {
                return Out::Null;
            }
            array(vec![value; count])
        },
    )
    .nulls(),
    Function::native(
        "range",
        NONE,
        &[Summable, Summable, Summable],
        DYNAMIC,
        "An array of evenly spaced values.",
        "range(1, 8, 3)",
        range,
    )
    .optional(1),
    Function::row(
        "set_union",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "The members of all sets.",
        "set_union(dynamic([1]), dynamic([2]))",
        |r| {
            let mut all = Vec::new();
            for at in 0..r.count() {
                all.extend(items!(r, at));
            }
            array(set_of(all).0)
        },
    )
    .variadic(),
    Function::row(
        "set_intersect",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "The members that every set has.",
        "set_intersect(dynamic([1, 2]), dynamic([2]))",
        |r| combined(r, |there| there),
    )
    .variadic(),
    Function::row(
        "set_difference",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "The members of the first set that no other has.",
        "set_difference(dynamic([1, 2]), dynamic([2]))",
        |r| combined(r, |there| !there),
    )
    .variadic(),
    Function::row(
        "set_equals",
        NONE,
        &[Dynamic, Dynamic],
        BOOL,
        "Says whether two sets have the same members.",
        "set_equals(dynamic([1, 2]), dynamic([2, 1]))",
        |r| Out::Bool(keyed(&items!(r, 0)) == keyed(&items!(r, 1))),
    ),
    Function::row(
        "set_has_element",
        NONE,
        &[Dynamic, AnyJson],
        BOOL,
        "Says whether a set has a member.",
        "set_has_element(dynamic([1, 2]), 2)",
        |r| {
            let wanted = r.json(1);
            Out::Bool(items!(r, 0).iter().any(|i| same(i, &wanted)))
        },
    ),
    Function::row(
        "jaccard_index",
        NONE,
        &[Dynamic, Dynamic],
        DYNAMIC,
        "How alike two sets are: common members over all.",
        "jaccard_index(dynamic([1, 2]), dynamic([2, 3]))",
        |r| {
            let (a, b) = (keyed(&items!(r, 0)), keyed(&items!(r, 1)));
            Out::json(&Json::from_real(a.intersection(&b).count() as f64 / a.union(&b).count() as f64))
        },
    ),
    Function::row(
        "treepath",
        Naming::Prefix("tree"),
        &[Dynamic],
        DYNAMIC,
        "The paths of everything in a bag.",
        "treepath(dynamic({'a': {'b': 1}}))",
        |r| {
            let mut out = Vec::new();
            keys(&r.json(0), "", &mut out, 0);
            array(out)
        },
    ),
    Function::row(
        "dynamic_to_json",
        NONE,
        &[AnyJson],
        Ret::Is(Type::Text),
        "The JSON text of a value, keys sorted.",
        "dynamic_to_json(dynamic({'b': 1, 'a': 2}))",
        |r| {
            fn ordered(value: Json) -> Json {
                match value {
                    Json::Bag(items) => {
                        let mut items: Vec<_> = items.into_iter().map(|(k, v)| (k, ordered(v))).collect();
                        items.sort_by(|a, b| a.0.cmp(&b.0));
                        Json::Bag(items)
                    }
                    Json::Array(items) => Json::Array(items.into_iter().map(ordered).collect()),
                    other => other,
                }
            }
            Out::Text(ordered(r.json(0)).json())
        },
    ),
    Function::native(
        "extract_json",
        NONE,
        &[Param::TextConstant, Text, Any],
        Ret::Named(2),
        "What stands at a path of a JSON text.",
        "extract_json('$.a', '{\"a\":1}')",
        extract_json,
    )
    .optional(1)
    .alias(&["extractjson"]),
];
