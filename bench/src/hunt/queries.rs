//! What hunters ask, and the same in the peer's SQL. `{1d}` in SQL stands for the time that many days before the end of
//! the data. A word search of the language is `ILIKE` there, which is faster than the exact expression and finds the
//! same rows in these data; answers are compared, so a query for which that fails says so.

use super::data::{END, device_id, rare_hash};

/// A query.
pub struct Query {
    pub name: &'static str,
    pub kql: String,
    pub sql: String,
    /// Only the number of rows is compared: which ones are given is open.
    pub any_rows: bool,
}

const DAY: i64 = 86_400_000_000;

fn query(name: &'static str, kql: &str, sql: &str) -> Query {
    let mut sql = sql.replace("{device}", &device_id(40)).replace("{hash}", &rare_hash());
    for days in [1, 3, 7] {
        let seconds = (END - days * DAY) / 1_000_000;
        sql = sql.replace(&format!("{{{days}d}}"), &format!("make_timestamptz({seconds}000000)"));
    }
    let kql = kql.replace("{device}", &device_id(40)).replace("{hash}", &rare_hash());
    Query { name, kql, sql, any_rows: false }
}

/// The needle of the issue.
pub const NEEDLE: &str = "needle";
/// The first rows of a table.
pub const TAKE: &str = "take 100";
/// What a device did in a day.
pub const TIMELINE: &str = "timeline of a device";

/// All of them.
pub fn all() -> Vec<Query> {
    let mut all = vec![
        query(
            NEEDLE,
            r#"DeviceProcessEvents | where ProcessCommandLine has "zx9updater""#,
            "SELECT * FROM DeviceProcessEvents WHERE ProcessCommandLine ILIKE '%zx9updater%'",
        ),
        query(TAKE, "DeviceProcessEvents | take 100", "SELECT * FROM DeviceProcessEvents LIMIT 100"),
        query(
            TIMELINE,
            r#"DeviceProcessEvents | where Timestamp > ago(1d) and DeviceId == "{device}" | project Timestamp, FileName, ProcessId, ProcessCommandLine, InitiatingProcessFileName | order by Timestamp asc"#,
            r#"SELECT "Timestamp", FileName, ProcessId, ProcessCommandLine, InitiatingProcessFileName FROM DeviceProcessEvents WHERE "Timestamp" > {1d} AND DeviceId = '{device}' ORDER BY "Timestamp""#,
        ),
        query(
            "newest 100 of a program",
            r#"DeviceProcessEvents | where FileName == "sshd" | top 100 by Timestamp desc | project Timestamp, DeviceName, ProcessCommandLine"#,
            r#"SELECT "Timestamp", DeviceName, ProcessCommandLine FROM DeviceProcessEvents WHERE FileName = 'sshd' ORDER BY "Timestamp" DESC LIMIT 100"#,
        ),
        query(
            "tools in a day",
            r#"DeviceProcessEvents | where Timestamp > ago(1d) | where FileName in~ ("ncat", "socat", "nmap", "tcpdump") | summarize Runs = count(), Devices = dcount(DeviceId) by FileName"#,
            r#"SELECT FileName, count(*) AS Runs, count(DISTINCT DeviceId) AS Devices FROM DeviceProcessEvents WHERE "Timestamp" > {1d} AND lower(FileName) IN ('ncat', 'socat', 'nmap', 'tcpdump') GROUP BY FileName"#,
        ),
        query(
            "hash of a process",
            r#"DeviceProcessEvents | where SHA256 == "{hash}" | project Timestamp, DeviceName, FolderPath, ProcessCommandLine"#,
            r#"SELECT "Timestamp", DeviceName, FolderPath, ProcessCommandLine FROM DeviceProcessEvents WHERE SHA256 = '{hash}'"#,
        ),
        query(
            "address",
            r#"DeviceNetworkEvents | where RemoteIP == "203.0.113.77" | project Timestamp, DeviceName, RemotePort, InitiatingProcessCommandLine"#,
            r#"SELECT "Timestamp", DeviceName, RemotePort, InitiatingProcessCommandLine FROM DeviceNetworkEvents WHERE RemoteIP = '203.0.113.77'"#,
        ),
        query(
            "indicators in three tables",
            r#"union withsource=Source (DeviceProcessEvents | where SHA256 == "{hash}" | project Timestamp, DeviceId), (DeviceFileEvents | where SHA256 == "{hash}" | project Timestamp, DeviceId), (DeviceNetworkEvents | where RemoteIP == "203.0.113.77" | project Timestamp, DeviceId) | summarize Hits = count(), First = min(Timestamp), Last = max(Timestamp) by DeviceId"#,
            r#"SELECT DeviceId, count(*) AS Hits, min("Timestamp") AS "First", max("Timestamp") AS "Last" FROM (SELECT "Timestamp", DeviceId FROM DeviceProcessEvents WHERE SHA256 = '{hash}' UNION ALL SELECT "Timestamp", DeviceId FROM DeviceFileEvents WHERE SHA256 = '{hash}' UNION ALL SELECT "Timestamp", DeviceId FROM DeviceNetworkEvents WHERE RemoteIP = '203.0.113.77') GROUP BY DeviceId"#,
        ),
        query(
            "domain by a word",
            r#"DeviceNetworkEvents | where RemoteUrl has "zx9updater" | summarize Connections = count() by DeviceName, RemoteUrl"#,
            "SELECT DeviceName, RemoteUrl, count(*) AS Connections FROM DeviceNetworkEvents WHERE RemoteUrl ILIKE '%zx9updater%' GROUP BY DeviceName, RemoteUrl",
        ),
        query(
            "one of several words",
            r#"DeviceProcessEvents | where ProcessCommandLine has_any ("zx9updater", "mimipenguin", "linpeas", "pspy64", "chisel") | summarize Runs = count() by DeviceName, FileName"#,
            "SELECT DeviceName, FileName, count(*) AS Runs FROM DeviceProcessEvents WHERE ProcessCommandLine ILIKE '%zx9updater%' OR ProcessCommandLine ILIKE '%mimipenguin%' OR ProcessCommandLine ILIKE '%linpeas%' OR ProcessCommandLine ILIKE '%pspy64%' OR ProcessCommandLine ILIKE '%chisel%' GROUP BY DeviceName, FileName",
        ),
        query(
            "encoded commands in three days",
            r#"DeviceProcessEvents | where Timestamp > ago(3d) | where ProcessCommandLine contains "base64 -d | sh" | summarize Runs = count() by DeviceName"#,
            r#"SELECT DeviceName, count(*) AS Runs FROM DeviceProcessEvents WHERE "Timestamp" > {3d} AND ProcessCommandLine ILIKE '%base64 -d | sh%' GROUP BY DeviceName"#,
        ),
        query(
            "pattern in a day",
            r#"DeviceProcessEvents | where Timestamp > ago(1d) | where ProcessCommandLine matches regex @"(curl|wget) -s.*\| *(ba)?sh" | project Timestamp, DeviceName, ProcessCommandLine"#,
            r#"SELECT "Timestamp", DeviceName, ProcessCommandLine FROM DeviceProcessEvents WHERE "Timestamp" > {1d} AND regexp_matches(ProcessCommandLine, '(curl|wget) -s.*\| *(ba)?sh')"#,
        ),
        query(
            "programs of all time",
            "DeviceProcessEvents | summarize Runs = count() by FileName | sort by Runs desc, FileName asc | take 20",
            "SELECT FileName, count(*) AS Runs FROM DeviceProcessEvents GROUP BY FileName ORDER BY Runs DESC, FileName LIMIT 20",
        ),
        query(
            "rare programs",
            "DeviceProcessEvents | where Timestamp > ago(7d) | summarize Devices = dcount(DeviceId), Runs = count() by SHA256, FileName | where Devices <= 20",
            r#"SELECT SHA256, FileName, count(DISTINCT DeviceId) AS Devices, count(*) AS Runs FROM DeviceProcessEvents WHERE "Timestamp" > {7d} GROUP BY SHA256, FileName HAVING Devices <= 20"#,
        ),
        query(
            "connections by the hour",
            "DeviceNetworkEvents | where Timestamp > ago(7d) | summarize Connections = count() by bin(Timestamp, 1h), ActionType",
            r#"SELECT make_timestamptz(epoch_us("Timestamp") // 3600000000 * 3600000000) AS "Timestamp", ActionType, count(*) AS Connections FROM DeviceNetworkEvents WHERE "Timestamp" > {7d} GROUP BY 1, 2"#,
        ),
        query(
            "guessed passwords",
            r#"DeviceLogonEvents | where ActionType == "LogonFailed" | summarize Attempts = count(), Accounts = dcount(AccountName), Devices = dcount(DeviceId) by RemoteIP | sort by Attempts desc, RemoteIP asc | take 50"#,
            "SELECT RemoteIP, count(*) AS Attempts, count(DISTINCT AccountName) AS Accounts, count(DISTINCT DeviceId) AS Devices FROM DeviceLogonEvents WHERE ActionType = 'LogonFailed' GROUP BY RemoteIP ORDER BY Attempts DESC, RemoteIP LIMIT 50",
        ),
        query(
            "last log-on of each account",
            r#"DeviceLogonEvents | where ActionType == "LogonSuccess" | summarize arg_max(Timestamp, RemoteIP, DeviceName) by AccountName"#,
            r#"SELECT AccountName, max("Timestamp") AS "Timestamp", arg_max(RemoteIP, "Timestamp") AS RemoteIP, arg_max(DeviceName, "Timestamp") AS DeviceName FROM DeviceLogonEvents WHERE ActionType = 'LogonSuccess' GROUP BY AccountName"#,
        ),
        query(
            "what was run by sudo",
            r#"DeviceProcessEvents | where Timestamp > ago(3d) | where InitiatingProcessFileName == "sudo" | summarize Lines = array_length(make_set(ProcessCommandLine, 1000000)) by AccountName"#,
            r#"SELECT AccountName, count(DISTINCT ProcessCommandLine) AS Lines FROM DeviceProcessEvents WHERE "Timestamp" > {3d} AND InitiatingProcessFileName = 'sudo' GROUP BY AccountName"#,
        ),
        query(
            "downloads and their connections",
            r#"DeviceProcessEvents | where Timestamp > ago(1d) | where FileName in ("curl", "wget") | project DeviceId, ProcessUniqueId, ProcessCommandLine | join kind=inner (DeviceNetworkEvents | where Timestamp > ago(1d) | project DeviceId, InitiatingProcessUniqueId, RemoteIP, RemoteUrl) on DeviceId, $left.ProcessUniqueId == $right.InitiatingProcessUniqueId | summarize Connections = count() by RemoteUrl | sort by Connections desc, RemoteUrl asc | take 50"#,
            r#"SELECT coalesce(n.RemoteUrl, '') AS RemoteUrl, count(*) AS Connections FROM DeviceProcessEvents p JOIN DeviceNetworkEvents n ON p.DeviceId = n.DeviceId AND p.ProcessUniqueId = n.InitiatingProcessUniqueId WHERE p."Timestamp" > {1d} AND n."Timestamp" > {1d} AND p.FileName IN ('curl', 'wget') GROUP BY 1 ORDER BY Connections DESC, RemoteUrl LIMIT 50"#,
        ),
        query(
            "connections of a rare command",
            r#"DeviceProcessEvents | where ProcessCommandLine has "zx9updater" | project DeviceId, ProcessUniqueId | join kind=inner (DeviceNetworkEvents | project Timestamp, DeviceId, InitiatingProcessUniqueId, RemoteIP, RemotePort) on DeviceId, $left.ProcessUniqueId == $right.InitiatingProcessUniqueId | project Timestamp, DeviceId, RemoteIP, RemotePort"#,
            r#"SELECT n."Timestamp", p.DeviceId, n.RemoteIP, n.RemotePort FROM DeviceProcessEvents p JOIN DeviceNetworkEvents n ON p.DeviceId = n.DeviceId AND p.ProcessUniqueId = n.InitiatingProcessUniqueId WHERE p.ProcessCommandLine ILIKE '%zx9updater%'"#,
        ),
        query(
            "files in folders that start things",
            r#"DeviceFileEvents | where Timestamp > ago(7d) | where FolderPath startswith "/etc/cron" or FolderPath startswith "/etc/systemd/system" | summarize Files = count() by ActionType, InitiatingProcessFileName"#,
            r#"SELECT ActionType, InitiatingProcessFileName, count(*) AS Files FROM DeviceFileEvents WHERE "Timestamp" > {7d} AND (FolderPath ILIKE '/etc/cron%' OR FolderPath ILIKE '/etc/systemd/system%') GROUP BY ActionType, InitiatingProcessFileName"#,
        ),
        query(
            "devices of an odd port",
            "DeviceNetworkEvents | where RemotePort == 4444 | distinct DeviceName, RemoteIP",
            "SELECT DISTINCT DeviceName, RemoteIP FROM DeviceNetworkEvents WHERE RemotePort = 4444",
        ),
        query(
            "shells of servers",
            r#"DeviceProcessEvents | where Timestamp > ago(3d) | where InitiatingProcessFileName in ("nginx", "java", "node") and FileName in ("sh", "bash") | summarize Runs = count(), Last = max(Timestamp) by DeviceName, InitiatingProcessFileName"#,
            r#"SELECT DeviceName, InitiatingProcessFileName, count(*) AS Runs, max("Timestamp") AS "Last" FROM DeviceProcessEvents WHERE "Timestamp" > {3d} AND InitiatingProcessFileName IN ('nginx', 'java', 'node') AND FileName IN ('sh', 'bash') GROUP BY DeviceName, InitiatingProcessFileName"#,
        ),
        query(
            "a file's way through the estate",
            r#"DeviceFileEvents | where SHA256 == "{hash}" | summarize First = min(Timestamp), Files = count() by DeviceName, FolderPath"#,
            r#"SELECT DeviceName, FolderPath, min("Timestamp") AS "First", count(*) AS Files FROM DeviceFileEvents WHERE SHA256 = '{hash}' GROUP BY DeviceName, FolderPath"#,
        ),
        query(
            "busiest devices in a day",
            "DeviceProcessEvents | where Timestamp > ago(1d) | summarize Rows = count(), Programs = dcount(FileName) by DeviceName | sort by Rows desc, DeviceName asc | take 10",
            r#"SELECT DeviceName, count(*) AS "Rows", count(DISTINCT FileName) AS Programs FROM DeviceProcessEvents WHERE "Timestamp" > {1d} GROUP BY DeviceName ORDER BY "Rows" DESC, DeviceName LIMIT 10"#,
        ),
    ];
    for query in &mut all {
        // All columns: the tables differ in which empty ones they show.
        query.any_rows = matches!(query.name, NEEDLE | TAKE);
    }
    all
}
