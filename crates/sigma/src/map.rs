//! Where a rule's words live: log sources become tables and rows of certain kinds, fields become columns or what is
//! computed from them.

mod hunting;
mod identity;

pub use hunting::HuntingMap;
pub use identity::IdentityMap;

use crate::rule::LogSource;
use std::borrow::Cow;

/// The operating system that a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// macOS.
    Macos,
}

impl Platform {
    /// From Sigma's `product`, or the start of `OSPlatform`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "linux" => Some(Self::Linux),
            "macos" => Some(Self::Macos),
            _ if lower.starts_with("windows") => Some(Self::Windows),
            _ if lower.starts_with("mac") => Some(Self::Macos),
            _ => None,
        }
    }
}

/// One table that holds the rows of a log source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The table.
    pub table: Cow<'static, str>,
    /// Rows must have one of these in `ActionType`; empty if all rows are meant.
    pub actions: Vec<Cow<'static, str>>,
    /// Only rows of this system; none if of all.
    pub platform: Option<Platform>,
}

/// What is computed from a column's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Derive {
    /// The value itself.
    Whole,
    /// A member of the JSON object that the value is; lists give each of their members.
    Json(Cow<'static, str>),
    /// One word of the command line, from 0, as a shell would split it.
    Argument(u8),
    /// The value with a text before it.
    Prefixed(&'static str),
    /// The words that stand for the value.
    Words(&'static [(&'static str, &'static [&'static str])]),
}

/// Where a field's value is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// In a column.
    Column(Cow<'static, str>, Derive),
    /// Every row of the route has these values.
    Constant(&'static [&'static str]),
}

impl Target {
    /// A column as it is.
    pub fn column(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Column(name.into(), Derive::Whole)
    }
}

/// Translates log sources and fields. Implementations are pure: equal questions have equal answers.
pub trait FieldMap: Send + Sync {
    /// The tables that hold a log source; empty if none does.
    fn routes(&self, source: &LogSource) -> Vec<Route>;
    /// Where a field is found in a table, any of several; empty if nowhere.
    fn field(&self, source: &LogSource, route: &Route, field: &str) -> Vec<Target>;
    /// Where keywords are looked for.
    fn keywords(&self, source: &LogSource, route: &Route) -> Vec<Target>;
    /// The column with the time of a row.
    fn time_column(&self) -> &'static str {
        "Timestamp"
    }
}
