//! Reading a text column whichever way it is encoded.

use arrow::array::{Array, ArrayRef, DictionaryArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Int32Type};

/// A text column, plain or dictionary-encoded.
#[derive(Debug, Clone, Copy)]
pub enum TextColumn<'a> {
    /// Plain.
    Plain(&'a StringArray),
    /// Dictionary; the values are plain.
    Dictionary(&'a DictionaryArray<Int32Type>, &'a StringArray),
    /// Large offsets.
    Large(&'a LargeStringArray),
    /// Views.
    View(&'a StringViewArray),
}

impl<'a> TextColumn<'a> {
    /// `None` if the column holds no text.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_any().downcast_ref().map(Self::Plain),
            DataType::LargeUtf8 => array.as_any().downcast_ref().map(Self::Large),
            DataType::Utf8View => array.as_any().downcast_ref().map(Self::View),
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>()?;
                let values = dictionary.values().as_any().downcast_ref::<StringArray>()?;
                Some(Self::Dictionary(dictionary, values))
            }
            _ => None,
        }
    }

    /// The value of a row.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row)),
            Self::Large(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row)),
            Self::View(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row)),
            Self::Dictionary(d, values) => {
                if row >= d.len() || !d.is_valid(row) {
                    return None;
                }
                let key = usize::try_from(d.keys().value(row)).ok()?;
                (key < values.len() && values.is_valid(key)).then(|| values.value(key))
            }
        }
    }
}
