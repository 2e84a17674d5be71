//! Scalar types of the language, and how each lies in memory.

use arrow::datatypes::{DataType, TimeUnit};

/// A scalar type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(into = "&'static str")]
pub enum Type {
    /// `bool`.
    Bool,
    /// `int`: 32 bits.
    Int,
    /// `long`: 64 bits.
    Long,
    /// `real`: 64-bit floating point.
    Real,
    /// `decimal`.
    Decimal,
    /// `string`: has no null, absent text is empty.
    Text,
    /// `datetime`: UTC, to the microsecond.
    Datetime,
    /// `timespan`, to the microsecond.
    Timespan,
    /// `guid`: lower-case text with hyphens.
    Guid,
    /// `dynamic`: JSON text; null is an Arrow null.
    Dynamic,
    /// After an error: fits everything, so that one mistake is reported once.
    Unknown,
}

/// Digits and scale of a `decimal`.
pub const DECIMAL: (u8, i8) = (38, 10);

impl Type {
    /// The word for it in queries and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Long => "long",
            Self::Real => "real",
            Self::Decimal => "decimal",
            Self::Text => "string",
            Self::Datetime => "datetime",
            Self::Timespan => "timespan",
            Self::Guid => "guid",
            Self::Dynamic => "dynamic",
            Self::Unknown => "unknown",
        }
    }

    /// How a column of it lies in memory. Readers accept text as `Utf8`, `LargeUtf8`, `Utf8View` or a dictionary of
    /// these too; what the language computes itself is as told here.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Real => DataType::Float64,
            Self::Decimal => DataType::Decimal128(DECIMAL.0, DECIMAL.1),
            Self::Text | Self::Guid | Self::Dynamic | Self::Unknown => DataType::Utf8,
            Self::Datetime => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Timespan => DataType::Duration(TimeUnit::Microsecond),
        }
    }
}

impl From<Type> for &'static str {
    fn from(kind: Type) -> Self {
        kind.name()
    }
}
