//! The queries that come with the program: files of `content/hunting`, one TOML file a query.

use rust_embed::RustEmbed;
use std::sync::LazyLock;
use utoipa::ToSchema;

#[derive(RustEmbed)]
#[folder = "../../content/hunting/"]
#[include = "*.toml"]
struct Files;

/// A query of the library.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LibraryQuery {
    /// Id; the file's name.
    pub id: String,
    /// Title.
    pub title: String,
    /// What it finds, and what to look at then.
    pub description: String,
    /// ATT&CK tactics.
    pub tactics: Vec<String>,
    /// ATT&CK techniques.
    pub techniques: Vec<String>,
    /// The query.
    pub query: String,
}

static LIBRARY: LazyLock<Vec<LibraryQuery>> = LazyLock::new(|| {
    let mut queries: Vec<LibraryQuery> = Files::iter()
        .filter_map(|name| {
            let file = Files::get(&name)?;
            let text = std::str::from_utf8(&file.data).ok()?;
            match toml::from_str(text) {
                Ok(query) => Some(query),
                Err(error) => {
                    tracing::error!(file = %name, %error, "a query of the library cannot be read");
                    None
                }
            }
        })
        .collect();
    queries.sort_by(|a, b| a.title.cmp(&b.title).then_with(|| a.id.cmp(&b.id)));
    queries
});

/// All queries, by title.
#[must_use]
pub fn library() -> &'static [LibraryQuery] {
    &LIBRARY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_library_is_whole() {
        let files: Vec<_> = Files::iter().collect();
        assert_eq!(library().len(), files.len(), "a file cannot be read");
        for query in library() {
            assert!(files.contains(&format!("{}.toml", query.id).into()), "{} is not its file's name", query.id);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(query.id.chars().all(plain), "{}", query.id);
            assert!(!query.title.is_empty() && query.title.chars().count() <= 100, "{}", query.id);
            assert!(!query.description.is_empty() && !query.query.trim().is_empty(), "{}", query.id);
            assert!(!query.tactics.is_empty(), "{}", query.id);
            assert!(query.techniques.iter().all(|t| t.starts_with('T')), "{}", query.id);
        }
    }
}
