"""Runs SQL for the benchmark: one JSON request a line on standard input, one JSON answer a line on standard output.

DuckDB stays open over all requests. The answer's rows are told as a count and a checksum, made after the clock stopped.
"""

import datetime
import json
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


def main():
    setup = json.loads(sys.stdin.readline())
    peer = DuckDb(setup["tables"], setup["threads"])
    print(json.dumps({"name": peer.name}), flush=True)
    for line in sys.stdin:
        try:
            seconds, rows = peer.run(json.loads(line)["sql"])
            answer = {"seconds": seconds, "rows": len(rows), "checksum": str(checksum(rows))}
        except Exception as error:  # noqa: BLE001: whatever it is, the benchmark tells it
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
