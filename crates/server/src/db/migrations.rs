//! Brings the tables up to date: numbered files of `schema/migrations`, each applied once, in order.

use super::{Db, DbError, Dialect};
use sqlx::{AssertSqlSafe, Row as _};

struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../../../../schema/migrations/", $name, ".sql")),
        }),+]
    };
}

/// One line a file. Applied files are never changed.
const MIGRATIONS: &[Migration] = migrations![
    1 "0001_identity",
    2 "0002_fleet",
    10 "0010_cases",
    11 "0011_detection",
    20 "0020_hunting",
    21 "0021_custom_detections",
    30 "0030_plane",
    31 "0031_metering",
