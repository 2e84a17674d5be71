//! One page of a list: rows, and how many there are on all pages.
//!
//! The text that words are looked for in is sealed, so a search opens it row by row, in the order of the list, and asks
//! the database only for what the other filters leave. It looks at [`SEARCHED_MAX`] rows at most, and refuses more: a
//! list that silently leaves something out would be worse than one that wants to be narrowed.

use super::list::Paging;
use super::{CaseError, Incidents};
use crate::db::Statement;
use crate::db::columns::Column;
use futures::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// Rows that one search opens: about a second of one core.
pub const SEARCHED_MAX: i64 = 50_000;
/// Words of a search; more make it no better.
const WORDS_MAX: usize = 8;

/// Every word must be there, in whichever case.
fn words(q: &str) -> Vec<String> {
    q.to_lowercase().split_whitespace().take(WORDS_MAX).map(str::to_owned).collect()
}

impl Incidents {
    /// Rows of a page, one more than its limit if there are more, and the number of rows on all pages. `fill` adds the
    /// tenant's id and the other filters.
    pub(super) async fn page(
        &self,
        search: Column,
        q: Option<&str>,
        fill: impl Fn(&mut Statement),
        paging: Paging<'_>,
    ) -> Result<(Vec<AnyRow>, i64), CaseError> {
        let words = q.map(words).unwrap_or_default();
        if !words.is_empty() {
            return self.page_searched(search, &words, fill, paging).await;
        }
        let from = format!(" FROM {} WHERE tenant_id = ", search.table);
        let mut count = Statement::new("SELECT COUNT(*) AS n");
        fill(count.push(&from));
        let total = count.build().fetch_one(self.shared.db.pool()).await?.try_get("n")?;
        let mut query = Statement::new("SELECT *");
        fill(query.push(&from));
        paging.beyond(query.push(" AND "));
        paging.order(&mut query, paging.limit as i64 + 1);
        Ok((query.build().fetch_all(self.shared.db.pool()).await?, total))
    }

    async fn page_searched(
        &self,
        search: Column,
        words: &[String],
        fill: impl Fn(&mut Statement),
        paging: Paging<'_>,
    ) -> Result<(Vec<AnyRow>, i64), CaseError> {
        let id = if paging.id_is_number { "CAST(id AS TEXT)" } else { "id" };
        let mut query = Statement::new("SELECT ");
        query.push(id).push(" AS found, search, CASE WHEN ");
        paging.beyond(&mut query);
        query.push(" THEN 1 ELSE 0 END AS beyond FROM ").push(search.table).push(" WHERE tenant_id = ");
        fill(&mut query);
        paging.order(&mut query, SEARCHED_MAX + 1);
        let (seal, query) = (self.seal(), query.build());
        let mut rows = query.fetch(self.shared.db.pool());
        let (mut looked_at, mut total, mut ids) = (0, 0, Vec::new());
        while let Some(row) = rows.try_next().await? {
            looked_at += 1;
            if looked_at > SEARCHED_MAX {
                return Err(CaseError::SearchTooWide);
            }
            let text = seal.get(&row, search)?;
            if !words.iter().all(|word| text.contains(word)) {
                continue;
            }
            total += 1;
            if ids.len() <= paging.limit && row.try_get::<i64, _>("beyond")? == 1 {
                ids.push(row.try_get::<String, _>("found")?);
            }
        }
        drop(rows);
        if ids.is_empty() {
            return Ok((Vec::new(), total));
        }
        let mut query = Statement::new("SELECT *, ");
        query
            .push(id)
            .push(" AS found FROM ")
            .push(search.table)
            .push(" WHERE tenant_id = ")
            .push_bind(self.tenant().as_str().to_owned());
        query.push(" AND ").push(id).push(" IN (").push_list(ids.iter().cloned()).push(")");
        let mut found = HashMap::with_capacity(ids.len());
        for row in query.build().fetch_all(self.shared.db.pool()).await? {
            found.insert(row.try_get::<String, _>("found")?, row);
        }
        Ok((ids.iter().filter_map(|id| found.remove(id)).collect(), total))
    }
}
