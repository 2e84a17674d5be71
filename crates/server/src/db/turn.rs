//! Brings the columns of a tenant, or of the server, from plain to sealed or back, before anything else uses them.
//!
//! The table `db_seals` says what they are sealed with and whether the last turn came to its end; until it has, each
//! start goes on with it. A turn looks for rows of the other form, so one that was cut off begins again without harm.
//! Rows are changed in groups, each in a transaction; afterwards the pages that plain text lay in are given back.

use super::columns::{self, Column, SEALED, Whose};
use super::seal::SEALED as PREFIX;
use super::{Db, DbError, Dialect, Sealer, Statement};
use garrison_model::TenantId;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeSet;

/// Rows of SQLite changed in one transaction: some megabytes with the longest documents.
const STEP: usize = 200;
/// Blocks of PostgreSQL (8 KiB each, long texts beside them) changed in one transaction.
const BLOCKS: i64 = 16;
const ALL_SEALED: &str = "Sealed";
const ALL_PLAIN: &str = "Plain";
const UNDER_WAY: &str = "Turning";

fn failed() -> impl FnOnce(sqlx::Error) -> DbError {
    DbError::step("seal control data")
}

/// See [`Db::seal_with`].
pub(super) async fn turn(db: &Db, tenant: Option<&TenantId>, sealer: &Sealer) -> Result<u64, DbError> {
    let (wanted, digest) = (if sealer.is_sealing() { ALL_SEALED } else { ALL_PLAIN }, columns::digest());
    let known = known(db, sealer).await?;
    if let Some((key, state, _)) = &known
        && state != ALL_PLAIN
        && sealer.key_name() != Some(key)
    {
        return Err(DbError::Key {
            of: tenant.map_or_else(|| "the server".to_owned(), |tenant| format!("tenant `{tenant}`")),
            known: key.clone(),
            given: sealer.key_name().map_or_else(|| "none".to_owned(), |key| format!("key `{key}`")),
            file: if tenant.is_some() { "lake.key" } else { "keys/tenants.kek" },
        });
    }
    match &known {
        None if wanted == ALL_PLAIN => return Ok(0),
        Some((_, state, columns)) if state == wanted && (wanted == ALL_PLAIN || *columns == digest) => return Ok(0),
        _ => {}
    }
    // Rows that an earlier turn changed may have left pages behind.
    let again = known.is_some_and(|(_, state, _)| state == UNDER_WAY);
    note(db, sealer, UNDER_WAY, &digest).await?;
    let tables: BTreeSet<&str> = SEALED.iter().filter(|c| is_of(c, tenant)).map(|c| c.table).collect();
    let (mut changed, mut touched) = (0, Vec::new());
    for table in tables {
        let rows = table_turn(db, table, tenant, sealer).await?;
        changed += rows;
        if rows > 0 || again {
            touched.push(table);
        }
    }
    if !touched.is_empty() {
        clean(db, &touched).await?;
    }
    note(db, sealer, wanted, &digest).await?;
    Ok(changed)
}

fn is_of(column: &Column, tenant: Option<&TenantId>) -> bool {
    matches!(column.whose, Whose::Tenant(_)) == tenant.is_some()
}

async fn known(db: &Db, sealer: &Sealer) -> Result<Option<(String, String, String)>, DbError> {
    let row = sqlx::query("SELECT key_name, state, columns FROM db_seals WHERE scope = $1")
        .bind(sealer.scope().to_owned())
        .fetch_optional(db.pool())
        .await?;
    Ok(row.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).transpose()?)
}

async fn note(db: &Db, sealer: &Sealer, state: &str, digest: &str) -> Result<(), DbError> {
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO db_seals (scope, key_name, state, columns) VALUES ($1, $2, $3, $4) ON CONFLICT (scope) DO UPDATE \
         SET key_name = excluded.key_name, state = excluded.state, columns = excluded.columns",
    )
    .bind(sealer.scope().to_owned())
    .bind(sealer.key_name().unwrap_or_default().to_owned())
    .bind(state.to_owned())
    .bind(digest.to_owned())
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    db.sync().await
}

/// Goes through a table by the engine's own number of a row, so that no part of it is looked at twice.
enum Walk {
    /// By the row's number; rows after this one.
    Sqlite { after: i64 },
    /// By blocks of the table's file, which new versions of rows are appended to: from this one to the last.
    Postgres { block: i64, blocks: i64 },
}

impl Walk {
    async fn begin(db: &Db, table: &str) -> Result<Self, DbError> {
        if db.dialect() == Dialect::Sqlite {
            return Ok(Self::Sqlite { after: i64::MIN });
        }
        let sql = "SELECT pg_relation_size(CAST(CAST($1 AS TEXT) AS regclass)) / \
                   CAST(current_setting('block_size') AS BIGINT) + 1";
        let blocks = sqlx::query_scalar(sql).bind(table.to_owned()).fetch_one(db.pool()).await.map_err(failed())?;
        Ok(Self::Postgres { block: 0, blocks })
    }

    /// How a row's number is read, and how a row is found by it.
    fn place(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Sqlite { .. } => ("CAST(rowid AS TEXT)", "rowid = CAST(", " AS INTEGER)"),
            Self::Postgres { .. } => ("CAST(ctid AS TEXT)", "ctid = CAST(", " AS tid)"),
        }
    }

    /// What a step looks at.
    fn bounds(&self) -> String {
        match self {
            Self::Sqlite { after } => format!(" AND rowid > {after} ORDER BY rowid LIMIT {STEP}"),
            Self::Postgres { block, .. } => {
                let to = block + BLOCKS;
                format!(" AND ctid >= CAST('({block},0)' AS tid) AND ctid < CAST('({to},0)' AS tid)")
            }
        }
    }

    /// Goes on behind a step; false at the end.
    fn next(&mut self, rows: usize, last: Option<&str>) -> bool {
        match self {
            Self::Sqlite { after } => {
                *after = last.and_then(|place| place.parse().ok()).unwrap_or(i64::MAX);
                rows >= STEP
            }
            Self::Postgres { block, blocks } => {
                *block += BLOCKS;
                *block < *blocks
            }
        }
    }
}

async fn table_turn(db: &Db, table: &str, tenant: Option<&TenantId>, sealer: &Sealer) -> Result<u64, DbError> {
    let columns: Vec<Column> = columns::of_table(table).collect();
    let mut walk = Walk::begin(db, table).await?;
    let (place, here, end) = walk.place();
    let names: Vec<&str> = columns.iter().map(|c| c.name).collect();
    let other = |name: &&str| {
        let is = if sealer.is_sealing() { "<>" } else { "=" };
        format!("({name} <> '' AND SUBSTR({name}, 1, {}) {is} '{PREFIX}')", PREFIX.len())
    };
    let others = names.iter().map(other).collect::<Vec<_>>().join(" OR ");
    let mut changed = 0;
    loop {
        let mut tx = db.write().await?;
        let mut query = Statement::new("SELECT ");
        query.push(place).push(" AS turned_row, ").push(&names.join(", ")).push(" FROM ").push(table);
        query.push(" WHERE (").push(&others).push(")");
        if let (Some(tenant), Some(Whose::Tenant(whose))) = (tenant, columns.first().map(|c| c.whose)) {
            query.push(" AND ").push(whose).push(" = ").push_bind(tenant.as_str().to_owned());
        }
        query.push(&walk.bounds());
        let rows = query.build().fetch_all(tx.conn()).await.map_err(failed())?;
        let mut last = None;
        for row in &rows {
            let place: String = row.try_get("turned_row")?;
            let mut update = Statement::new("UPDATE ");
            update.push(table).push(" SET ");
            let mut first = true;
            for column in &columns {
                let Some(value) = row.try_get::<Option<String>, _>(column.name)? else { continue };
                let text = sealer.put(*column, &sealer.open(*column, value)?)?;
                update.push(if first { "" } else { ", " }).push(column.name).push(" = ").push_bind(text);
                first = false;
            }
            update.push(" WHERE ").push(here).push_bind(place.clone()).push(end);
            update.build().execute(tx.conn()).await.map_err(failed())?;
            last = Some(place);
        }
        tx.commit().await?;
        changed += rows.len() as u64;
        if !walk.next(rows.len(), last.as_deref()) {
            return Ok(changed);
        }
    }
}

/// Gives back the pages that the other form lay in.
async fn clean(db: &Db, tables: &[&str]) -> Result<(), DbError> {
    let steps: Vec<String> = match db.dialect() {
        Dialect::Sqlite => vec!["VACUUM".to_owned(), "PRAGMA wal_checkpoint(TRUNCATE)".to_owned()],
        Dialect::Postgres => tables.iter().map(|table| format!("VACUUM FULL {table}")).collect(),
    };
    for sql in steps {
        sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await.map_err(DbError::step("give back pages"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use garrison_model::TenantId;

    const ROWS: usize = 1_037;

    async fn comments(db: &Db, tenant: &str, count: usize) {
        let mut tx = db.write().await.unwrap();
        for number in 0..count {
            let sql = "INSERT INTO incidents_comment (tenant_id, target, text, created_by, created) \
                       VALUES ($1, 'x', $2, '', 1)";
            let insert = sqlx::query(sql).bind(tenant.to_owned()).bind(format!("comment {number}"));
            insert.execute(tx.conn()).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn texts(db: &Db, tenant: &str) -> Vec<String> {
        let sql = "SELECT text FROM incidents_comment WHERE tenant_id = $1 ORDER BY id";
        sqlx::query_scalar(sql).bind(tenant.to_owned()).fetch_all(db.pool()).await.unwrap()
    }

    #[tokio::test]
    async fn a_turn_takes_all_rows_of_its_tenant_and_no_others_and_goes_on_after_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.db");
        let db = Db::open_file(&path).await.unwrap();
        let (own, other) = (TenantId::first(), TenantId::new("other").unwrap());
        comments(&db, "default", ROWS).await;
        comments(&db, "other", 3).await;
        let sealer = |byte, sealing| Sealer::new(&[byte; 32], "default", sealing);
        let is_sealed = |text: &String| text.starts_with(PREFIX);
        assert_eq!(db.seal_with(Some(&own), sealer(1, true)).await.unwrap(), ROWS as u64);
        let sealed = texts(&db, "default").await;
        assert!(sealed.len() == ROWS && sealed.iter().all(is_sealed));
        assert_eq!(texts(&db, "other").await[2], "comment 2");
        for (number, text) in sealed.into_iter().enumerate() {
            let text = db.seal(&own).open(columns::COMMENT_TEXT, text).unwrap();
            assert_eq!(text, format!("comment {number}"));
        }
        db.close().await;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            // The other tenant's three are there.
            assert!(!bytes.windows(11).any(|w| w == b"comment 100"));
        }
        let db = Db::open_file(&path).await.unwrap();
        assert_eq!(db.seal_with(Some(&own), sealer(1, true)).await.unwrap(), 0, "done is done");
        // Stopped in the middle: some rows are sealed, others not, and the state says so.
        sqlx::query("UPDATE incidents_comment SET text = 'plain', created_by = 'ann' WHERE id % 3 = 0")
            .execute(db.pool())
            .await
            .unwrap();
        sqlx::query("UPDATE db_seals SET state = 'Turning'").execute(db.pool()).await.unwrap();
        assert!(matches!(db.seal_with(Some(&own), sealer(2, true)).await, Err(DbError::Key { .. })));
        assert!(matches!(db.seal_with(Some(&own), Sealer::plain("default")).await, Err(DbError::Key { .. })));
        let rest = db.seal_with(Some(&own), sealer(1, true)).await.unwrap();
        assert!(rest > 300 && rest < 400, "{rest}");
        assert!(texts(&db, "default").await.iter().all(is_sealed));
        // Another list of columns, of another program: looked at anew.
        sqlx::query("UPDATE db_seals SET columns = 'x'").execute(db.pool()).await.unwrap();
        assert_eq!(db.seal_with(Some(&own), sealer(1, true)).await.unwrap(), 0);
        // And back; what is plain needs no key any more.
        assert_eq!(db.seal_with(Some(&own), sealer(1, false)).await.unwrap(), ROWS as u64);
        assert_eq!(texts(&db, "default").await[1], "comment 1");
        assert_eq!(db.seal_with(Some(&own), Sealer::plain("default")).await.unwrap(), 0);
        assert_eq!(db.seal_with(Some(&other), Sealer::new(&[3; 32], "other", true)).await.unwrap(), 3);
        db.seal_forget(&own).await.unwrap();
        assert_eq!(db.seal_with(Some(&own), sealer(2, true)).await.unwrap(), ROWS as u64, "a key of its own again");
    }
}
