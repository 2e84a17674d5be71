//! A statement put together from parts, with numbered places for its values.
//!
//! `sqlx`'s own builder writes `?` for any database, which PostgreSQL does not read; `$1` is read by both engines.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

/// A value of a place.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Text of a statement and its values. Only the program's own words are pushed as text.
#[derive(Debug, Clone)]
pub struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// Begins with this text.
    pub fn new(text: &str) -> Self {
        Self { sql: text.to_owned(), values: Vec::new() }
    }

    /// Adds text.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.sql.push_str(text);
        self
    }

    /// Adds a value's place.
    pub fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push_str(&format!("${}", self.values.len()));
        self
    }

    /// Adds the places of values, with commas between them.
    pub fn push_list<V: Into<Value>>(&mut self, values: impl Iterator<Item = V>) -> &mut Self {
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    /// The statement, ready to run.
    pub fn build(self) -> Query<'static, Any, AnyArguments> {
        self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.sql)), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        })
    }
}
