//! Simple predicates on columns, the same for rows in memory and rows in files.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use garrison_model::Micros;
use garrison_telemetry::TextColumn;

/// A condition on one column. A null never passes, except for [`Test::IsNull`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Column.
    pub column: String,
    /// Condition.
    pub test: Test,
}

impl Filter {
    /// A condition on a column.
    pub fn new(column: impl Into<String>, test: Test) -> Self {
        Self { column: column.into(), test }
    }
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// This text exactly.
    Equals(String),
    /// One of these texts exactly.
    In(Vec<String>),
    /// This text, ASCII letters in any case.
    EqualsIgnoreCase(String),
    /// Contains this text, in any case.
    Contains(String),
    /// Starts with this text, in any case.
    StartsWith(String),
    /// Ends with this text, in any case.
    EndsWith(String),
    /// This number (long and int columns).
    Number(i64),
    /// A number between these, both included.
    NumberBetween(i64, i64),
    /// Null.
    IsNull,
    /// Not null.
    IsNotNull,
}

impl Test {
    /// Exact texts that the value must be one of, if the test is of that kind: what statistics and bloom filters
    /// can answer.
    pub(crate) fn exact(&self) -> Option<&[String]> {
        match self {
            Self::Equals(text) => Some(std::slice::from_ref(text)),
            Self::In(texts) => Some(texts),
            _ => None,
        }
    }

    fn text(&self, value: &str, folded: &str) -> bool {
        match self {
            Self::Equals(text) => value == text,
            Self::In(texts) => texts.iter().any(|text| text == value),
            Self::EqualsIgnoreCase(text) => value.eq_ignore_ascii_case(text),
            Self::Contains(_) => value.to_lowercase().contains(folded),
            Self::StartsWith(_) => starts_with(value, folded),
            Self::EndsWith(_) => value.to_lowercase().ends_with(folded),
            Self::Number(_) | Self::NumberBetween(..) | Self::IsNull => false,
            Self::IsNotNull => true,
        }
    }

    fn folded(&self) -> String {
        match self {
            Self::Contains(text) | Self::StartsWith(text) | Self::EndsWith(text) => text.to_lowercase(),
            _ => String::new(),
        }
    }

    fn number(&self, value: i64) -> bool {
        match self {
            Self::Number(number) => value == *number,
            Self::NumberBetween(low, high) => (*low..=*high).contains(&value),
            Self::IsNotNull => true,
            _ => false,
        }
    }
}

fn starts_with(value: &str, folded: &str) -> bool {
    value.chars().flat_map(char::to_lowercase).zip(folded.chars()).filter(|(a, b)| a == b).count()
        == folded.chars().count()
}

/// All conditions of a scan, time range included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    pub(crate) from: Option<Micros>,
    pub(crate) to: Option<Micros>,
    pub(crate) filters: Vec<Filter>,
}

impl Condition {
    /// Columns that are looked at.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = self.filters.iter().map(|filter| filter.column.as_str()).collect();
        if self.from.is_some() || self.to.is_some() {
            columns.push(crate::spec::TIME_COLUMN);
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Which rows pass.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> BooleanArray {
        let mut pass = vec![true; rows.num_rows()];
        if self.from.is_some() || self.to.is_some() {
            let (from, to) = (self.from.map_or(i64::MIN, |t| t.0), self.to.map(|t| t.0));
            match rows
                .column_by_name(crate::spec::TIME_COLUMN)
                .and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>())
            {
                Some(times) => {
                    for (row, pass) in pass.iter_mut().enumerate() {
                        let time = times.value(row);
                        *pass = times.is_valid(row) && time >= from && to.is_none_or(|to| time < to);
                    }
                }
                None => pass.fill(false),
            }
        }
        for filter in &self.filters {
            apply(&filter.test, rows.column_by_name(&filter.column), &mut pass);
        }
        BooleanArray::from(pass)
    }
}

fn apply(test: &Test, array: Option<&ArrayRef>, pass: &mut [bool]) {
    let Some(array) = array else {
        if *test != Test::IsNull {
            pass.fill(false);
        }
        return;
    };
    if *test == Test::IsNull {
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && is_null(array, row);
        }
        return;
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        // Each distinct value is looked at once.
        let values = dictionary.values();
        let mut verdicts = vec![true; values.len()];
        apply(test, Some(values), &mut verdicts);
        let keys = dictionary.normalized_keys();
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && array.is_valid(row) && keys.get(row).is_some_and(|key| verdicts.get(*key) == Some(&true));
        }
    } else if let Some(texts) = TextColumn::new(array) {
        let folded = test.folded();
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && texts.get(row).is_some_and(|value| test.text(value, &folded));
        }
    } else if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && numbers.is_valid(row) && test.number(numbers.value(row));
        }
    } else if let Some(numbers) = array.as_primitive_opt::<Int32Type>() {
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && numbers.is_valid(row) && test.number(i64::from(numbers.value(row)));
        }
    } else {
        for (row, pass) in pass.iter_mut().enumerate() {
            *pass = *pass && *test == Test::IsNotNull && array.is_valid(row);
        }
    }
}

fn is_null(array: &ArrayRef, row: usize) -> bool {
    match array.as_any_dictionary_opt() {
        Some(dictionary) => {
            array.is_null(row) || dictionary.normalized_keys().get(row).is_none_or(|k| dictionary.values().is_null(*k))
        }
        None => array.is_null(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn each_test_means_what_it_says_for_plain_and_dictionary_text() {
        let plain: ArrayRef =
            Arc::new(StringArray::from(vec![Some("/bin/Bash"), Some("bash"), None, Some("ÄHRE"), Some("")]));
        let dictionary: ArrayRef = Arc::new(plain.as_string::<i32>().iter().collect::<DictionaryArray<Int32Type>>());
        let cases: Vec<(Test, [bool; 5])> = vec![
            (Test::Equals("bash".into()), [false, true, false, false, false]),
            (Test::In(vec![String::new(), "bash".into()]), [false, true, false, false, true]),
            (Test::EqualsIgnoreCase("BASH".into()), [false, true, false, false, false]),
            (Test::Contains("BASH".into()), [true, true, false, false, false]),
            (Test::StartsWith("äH".into()), [false, false, false, true, false]),
            (Test::StartsWith(String::new()), [true, true, false, true, true]),
            (Test::EndsWith("/bASH".into()), [true, false, false, false, false]),
            (Test::Number(1), [false; 5]),
            (Test::IsNull, [false, false, true, false, false]),
            (Test::IsNotNull, [true, true, false, true, true]),
        ];
        for (test, expected) in cases {
            for array in [&plain, &dictionary] {
                let mut pass = vec![true; 5];
                apply(&test, Some(array), &mut pass);
                assert_eq!(pass, expected, "{test:?} on {:?}", array.data_type());
            }
        }
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
        let mut pass = vec![true; 3];
        apply(&Test::NumberBetween(2, 3), Some(&numbers), &mut pass);
        assert_eq!(pass, [false, false, true]);
        apply(&Test::Number(3), None, &mut pass);
        assert_eq!(pass, [false; 3], "an absent column is null in every row");
    }
}
