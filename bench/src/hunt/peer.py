"""Runs SQL for the benchmark: one JSON request a line on standard input, one JSON answer a line on standard output.

The engine stays open over all requests. The answer's rows are told as a count and a checksum, made after the clock stopped.
"""

import datetime
import json
import os
import sys
import time
import zlib


def cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6e}"
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        past = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return str((past.days * 86400 + past.seconds) * 1_000_000 + past.microseconds)
    return str(value)


def checksum(rows):
    total = 0
    for row in rows:
        total += zlib.crc32("\x1f".join(cell(value) for value in row).encode())
    return total & 0xFFFFFFFFFFFFFFFF


class DuckDb:
    def __init__(self, tables, threads):
        import duckdb

        self.name = f"DuckDB {duckdb.__version__}"
        self.connection = duckdb.connect()
        self.connection.execute(f"SET threads={threads}")
        self.connection.execute("SET TimeZone='UTC'")
        self.connection.execute("SET enable_progress_bar=false")
        try:
            self.connection.execute("SET parquet_metadata_cache=true")
        except duckdb.Error:
            pass
        for table, files in tables.items():
            listed = ", ".join("'" + file + "'" for file in files)
            self.connection.execute(
                f"CREATE VIEW {table} AS SELECT * FROM read_parquet([{listed}], hive_partitioning=false)"
            )

    def run(self, sql):
        start = time.perf_counter()
        answer = self.connection.execute(sql).to_arrow_table()
        seconds = time.perf_counter() - start
        rows = list(zip(*(column.to_pylist() for column in answer.columns))) if answer.num_columns else []
        return seconds, rows


# The few functions that ClickHouse calls otherwise.
CLICKHOUSE = [
    ('make_timestamptz(epoch_us("Timestamp") // 3600000000 * 3600000000)',
     'fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro("Timestamp"), 3600000000) * 3600000000)'),
    ("make_timestamptz(", "fromUnixTimestamp64Micro("),
    ("arg_max(", "argMax("),
    ("regexp_matches(", "match("),
]


class ClickHouse:
    def __init__(self, tables, threads):
        import chdb
        from chdb import session

        self.name = f"ClickHouse (chdb {chdb.__version__})"
        self.session = session.Session()
        self.session.query(f"SET max_threads = {threads}")
        self.session.query("SET session_timezone = 'UTC'")
        # As in the others' SQL: a name in a condition is the column, also where the answer has such a name.
        self.session.query("SET prefer_column_name_to_alias = 1")
        for table, files in tables.items():
            folder = os.path.commonpath(files) if len(files) > 1 else os.path.dirname(files[0])
            listed = ",".join(os.path.relpath(file, folder) for file in files)
            self.session.query(f"CREATE VIEW {table} AS SELECT * FROM file('{folder}/{{{listed}}}', 'Parquet')")

    def run(self, sql):
        import pyarrow

        for duckdb, clickhouse in CLICKHOUSE:
            sql = sql.replace(duckdb, clickhouse)
        start = time.perf_counter()
        answer = self.session.query(sql, "ArrowStream").bytes()
        seconds = time.perf_counter() - start
        if not answer:
            return seconds, []
        table = pyarrow.ipc.open_stream(answer).read_all()
        columns = [[cell.decode() if isinstance(cell, bytes) else cell for cell in c.to_pylist()] for c in table.columns]
        return seconds, list(zip(*columns))


def main():
    setup = json.loads(sys.stdin.readline())
    engines = {"duckdb": DuckDb, "clickhouse": ClickHouse}
    try:
        peer = engines[setup["engine"]](setup["tables"], setup["threads"])
    except ImportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"name": peer.name}), flush=True)
    for line in sys.stdin:
        try:
            seconds, rows = peer.run(json.loads(line)["sql"])
            answer = {"seconds": seconds, "rows": len(rows), "checksum": str(checksum(rows))}
        except Exception as error:  # noqa: BLE001: whatever it is, the benchmark tells it
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
