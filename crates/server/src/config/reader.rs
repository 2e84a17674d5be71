//! Reads a TOML table key by key and gathers every problem on the way.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

pub(super) struct Reader {
    table: toml::Table,
    path: String,
    problems: Vec<String>,
}

impl Reader {
    pub(super) fn new(table: toml::Table) -> Self {
        Self { table, path: String::new(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, key: &str, what: &str) {
        self.problems.push(format!("{}{key}: {what}", self.path));
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            toml::Value::String(text) => Some(text),
            _ => {
                self.problem(key, "must be a text");
                None
            }
        }
    }

    pub(super) fn truth(&mut self, key: &str) -> Option<bool> {
        match self.table.remove(key)? {
            toml::Value::Boolean(value) => Some(value),
            _ => {
                self.problem(key, "must be true or false");
                None
            }
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let found = match self.table.remove(key)? {
            toml::Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        if found.is_none() {
            self.problem(key, "must be a list of texts");
        }
        found
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        match self.table.remove(key)? {
            toml::Value::Integer(number) if range.contains(&number) => Some(number),
            _ => {
                self.problem(key, &format!("must be a whole number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    pub(super) fn number<T: TryFrom<i64>>(&mut self, key: &str, range: RangeInclusive<i64>, into: &mut T) {
        if let Some(number) = self.integer(key, range).and_then(|n| T::try_from(n).ok()) {
            *into = number;
        }
    }

    pub(super) fn address(&mut self, key: &str, into: &mut SocketAddr) {
        let Some(text) = self.text(key) else { return };
        match text.parse() {
            Ok(address) => *into = address,
            Err(_) => self.problem(key, "must be an address and port, such as `127.0.0.1:9080`"),
        }
    }

    pub(super) fn section(&mut self, key: &str, read: impl FnOnce(&mut Reader)) {
        let table = match self.table.remove(key) {
            None => return,
            Some(toml::Value::Table(table)) => table,
            Some(_) => return self.problem(key, "must be a section"),
        };
        let mut inner =
            Reader { table, path: format!("{}{key}.", self.path), problems: std::mem::take(&mut self.problems) };
        read(&mut inner);
        inner.unknown();
        self.problems = inner.problems;
    }

    /// A section of sections with names of the operator's choice.
    pub(super) fn sections(&mut self, key: &str, mut read: impl FnMut(&str, &mut Reader)) {
        self.section(key, |outer| {
            let names: Vec<String> = outer.table.keys().cloned().collect();
            for name in names {
                outer.section(&name, |inner| read(&name, inner));
            }
        });
    }

    /// A section of texts under names of the operator's choice.
    pub(super) fn pairs(&mut self, key: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        self.section(key, |inner| {
            let names: Vec<String> = inner.table.keys().cloned().collect();
            for name in names {
                if let Some(text) = inner.text(&name) {
                    all.push((name, text));
                }
            }
        });
        all
    }

    fn unknown(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            self.problem(key, "is not known");
        }
    }

    pub(super) fn finish(mut self) -> Result<(), Vec<String>> {
        self.unknown();
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}
