//! One line of words for one row: what the device's timeline, the attack story and the terminal show first.
//!
//! A line starts with what was done and ends with on what; who did it stands in a column of its own.

use serde_json::{Map, Value};

/// Characters of a line: about what a wide screen shows; the row itself has the rest.
const LINE_CHARS_MAX: usize = 240;

type Row = Map<String, Value>;

fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str).filter(|t| !t.is_empty())
}

fn extra<'a>(row: &'a Row, key: &str) -> Option<&'a Value> {
    row.get("AdditionalFields").and_then(|fields| fields.get(key)).filter(|v| !v.is_null())
}

fn extra_text(row: &Row, key: &str) -> Option<String> {
    extra(row, key).map(words)
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn path(row: &Row) -> &str {
    text(row, "FolderPath").or_else(|| text(row, "FileName")).unwrap_or("a file")
}

fn process(row: &Row) -> String {
    let line = text(row, "ProcessCommandLine").or_else(|| text(row, "FolderPath")).or_else(|| text(row, "FileName"));
    line.unwrap_or("a process").to_owned()
}

/// `address:port`, with brackets around an IPv6 address; the name in front, if one is known.
fn endpoint(row: &Row, address: &str, port: &str) -> String {
    let address = text(row, address).unwrap_or("unknown address");
    let shown = match row.get(port).and_then(Value::as_i64) {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    };
    match text(row, "RemoteUrl") {
        Some(name) => format!("{name} ({shown})"),
        None => shown,
    }
}

fn remote(row: &Row) -> String {
    let protocol = text(row, "Protocol").map(|p| format!(" over {}", p.to_uppercase())).unwrap_or_default();
    format!("{}{protocol}", endpoint(row, "RemoteIP", "RemotePort"))
}

fn bytes(row: &Row) -> String {
    let number = |key| extra(row, key).and_then(Value::as_i64);
    match (number("BytesSent"), number("BytesReceived")) {
        (None, None) => String::new(),
        (sent, received) => {
            format!(", {} sent, {} received", bytes_text(sent.unwrap_or(0)), bytes_text(received.unwrap_or(0)))
        }
    }
}

/// A size for people, in powers of 1,000.
pub fn bytes_text(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes.max(0) as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn arrow(row: &Row, old: &str, new: &str) -> String {
    match (extra_text(row, old), extra_text(row, new)) {
        (Some(old), Some(new)) => format!(" from {old} to {new}"),
        (None, Some(new)) => format!(" to {new}"),
        _ => String::new(),
    }
}

fn target(row: &Row) -> String {
    let name = text(row, "FileName")
        .map(str::to_owned)
        .or_else(|| extra_text(row, "TargetFileName"))
        .or_else(|| extra_text(row, "TargetProcessName"));
    let pid = extra_text(row, "TargetProcessId")
        .or_else(|| row.get("ProcessId").and_then(Value::as_i64).map(|pid| pid.to_string()));
    match (name, pid) {
        (Some(name), Some(pid)) => format!("{name} ({pid})"),
        (Some(name), None) => name,
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "another process".to_owned(),
    }
}

fn who(row: &Row) -> String {
    text(row, "AccountName").unwrap_or("unknown user").to_owned()
}

fn logon(row: &Row, verb: &str) -> String {
    let from = text(row, "RemoteIP").or_else(|| text(row, "RemoteDeviceName"));
    let from = from.map(|f| format!(" from {f}")).unwrap_or_default();
    let how = text(row, "LogonType").or_else(|| text(row, "Protocol")).map(|t| format!(", {t}")).unwrap_or_default();
    let why = text(row, "FailureReason").map(|r| format!(": {r}")).unwrap_or_default();
    format!("{verb} of {}{from}{how}{why}", who(row))
}

fn dns(row: &Row) -> String {
    let name = extra_text(row, "DnsQuery").or_else(|| text(row, "RemoteUrl").map(str::to_owned));
    let kind = extra_text(row, "DnsType").map(|t| format!(" {t}")).unwrap_or_default();
    let answers = extra_text(row, "DnsAnswers").filter(|a| !a.is_empty()).map(|a| format!(" → {a}"));
    format!("asked DNS for {}{kind}{}", name.unwrap_or_else(|| "a name".into()), answers.unwrap_or_default())
}

/// The line for a row of a hunting table. An action that is not known here still gets a readable line.
pub fn summary(table: &str, row: &Row) -> String {
    let action = text(row, "ActionType").unwrap_or("");
    let line = match action {
        "ProcessCreated" => format!("started {}", process(row)),
        "ProcessFound" => format!("was already running: {}", process(row)),
        "ProcessTerminated" => {
            let code = extra_text(row, "ExitCode").map(|c| format!(" with exit code {c}")).unwrap_or_default();
            format!("ended {}{code}", process(row))
        }
        "ConnectionSuccess" => format!("connected to {}", remote(row)),
        "ConnectionAttempt" => format!("tried to connect to {}", remote(row)),
        "ConnectionFailed" => format!("could not connect to {}", remote(row)),
        "InboundConnectionAccepted" => {
            format!("accepted a connection from {} on port {}", remote(row), number(row, "LocalPort"))
        }
        "ListeningConnectionCreated" => format!("listens on {}", endpoint(row, "LocalIP", "LocalPort")),
        "ConnectionClosed" => format!("closed the connection to {}{}", remote(row), bytes(row)),
        "UdpSent" => format!("sent UDP to {}{}", endpoint(row, "RemoteIP", "RemotePort"), bytes(row)),
        "DnsQueryResponse" => dns(row),
        "FileCreated" => format!("created {}", path(row)),
        "FileModified" => format!("wrote to {}", path(row)),
        "FileRenamed" => match text(row, "PreviousFolderPath").or_else(|| text(row, "PreviousFileName")) {
            Some(old) => format!("renamed {old} to {}", path(row)),
            None => format!("renamed a file to {}", path(row)),
        },
        "FileDeleted" => format!("deleted {}", path(row)),
        "FilePermissionChanged" => format!("changed the mode of {}{}", path(row), arrow(row, "OldMode", "Mode")),
        "FileOwnerChanged" => format!("changed the owner of {}{}", path(row), arrow(row, "OldOwner", "Owner")),
        "FileRead" => format!("read {}", path(row)),
        "LogonSuccess" => logon(row, "log-on"),
        "LogonFailed" => logon(row, "failed log-on"),
        "LogonAttempted" => logon(row, "attempted log-on"),
        "PtraceCall" => format!("attached to {} with ptrace", target(row)),
        "ProcessMemoryWrite" => format!("wrote into the memory of {}", target(row)),
        "KernelModuleLoaded" => format!("loaded the kernel module {}", path(row)),
        "BpfProgramLoaded" => {
            format!(
                "loaded the BPF program {}",
                text(row, "FileName").map_or_else(
                    || extra_text(row, "ProgramName").unwrap_or_else(|| "(unnamed)".into()),
                    str::to_owned
                )
            )
        }
        "MountCreated" => {
            let source = extra_text(row, "Source").map(|s| format!("{s} on ")).unwrap_or_default();
            format!("mounted {source}{}", path(row))
        }
        "UserIdChanged" => format!(
            "changed its user{}",
            arrow(row, "OldUid", "Uid")
                + &extra_text(row, "EffectiveUid").map(|u| format!(", effective {u}")).unwrap_or_default()
        ),
        "CapabilitiesChanged" => format!(
            "changed its capabilities{}",
            extra_text(row, "Capabilities").map(|c| format!(" to {c}")).unwrap_or_default()
        ),
        "SignalSent" => {
            format!("sent signal {} to {}", extra_text(row, "Signal").unwrap_or_else(|| "?".into()), target(row))
        }
        "MemoryFileExecuted" => format!("executed from memory: {}", process(row)),
        "DeletedFileExecuted" => format!("executed a deleted file: {}", process(row)),
        "PreloadEnvironment" => format!(
            "started with a preloading environment{}",
            extra_text(row, "Environment").map(|e| format!(": {e}")).unwrap_or_default()
        ),
        "ImageLoaded" => format!("loaded {}", path(row)),
        "" => match table {
            "DeviceInfo" => format!(
                "device facts: {} {}",
                text(row, "OSDistribution").unwrap_or("unknown system"),
                text(row, "OSVersion").unwrap_or("")
            ),
            "DeviceNetworkInfo" => {
                format!("network adapter {}", text(row, "NetworkAdapterName").unwrap_or("(unnamed)"))
            }
            "SensorLossEvents" => {
                format!("{} rows lost: {}", number(row, "LostRows"), text(row, "Cause").unwrap_or("unknown cause"))
            }
            "AlertInfo" | "BehaviorInfo" => format!("alert: {}", text(row, "Title").unwrap_or("")),
            other => format!("a row of {other}"),
        },
        other => match text(row, "FolderPath").or_else(|| text(row, "ProcessCommandLine")) {
            Some(object) => format!("{}: {object}", spaced(other)),
            None => spaced(other),
        },
    };
    cut(&line, LINE_CHARS_MAX)
}

fn number(row: &Row, column: &str) -> String {
    row.get(column).and_then(Value::as_i64).map_or_else(|| "?".to_owned(), |n| n.to_string())
}

/// `SomeNewAction` as `some new action`.
fn spaced(action: &str) -> String {
    let mut out = String::with_capacity(action.len() + 8);
    for c in action.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Cuts at a character, marks the cut, and turns control characters (a terminal would obey them) into spaces.
pub fn cut(line: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(line.len().min(chars_max * 4));
    for (n, c) in line.chars().enumerate() {
        if n == chars_max {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(table: &str, row: Value, expected: &str) {
        let Value::Object(row) = row else { panic!("a row is an object") };
        assert_eq!(summary(table, &row), expected);
    }

    #[test]
    fn rows_read_as_sentences() {
        check(
            "DeviceProcessEvents",
            json!({"ActionType": "ProcessCreated", "ProcessCommandLine": "sh -c id", "FileName": "sh"}),
            "started sh -c id",
        );
        check(
            "DeviceNetworkEvents",
            json!({"ActionType": "ConnectionSuccess", "RemoteIP": "::1", "RemotePort": 4444, "Protocol": "Tcp"}),
            "connected to [::1]:4444 over TCP",
        );
        check(
            "DeviceNetworkEvents",
            json!({"ActionType": "ConnectionClosed", "RemoteIP": "10.1.2.3", "RemotePort": 443,
                   "AdditionalFields": {"BytesSent": 1_250_000, "BytesReceived": 12}}),
            "closed the connection to 10.1.2.3:443, 1.2 MB sent, 12 B received",
        );
        check(
            "DeviceFileEvents",
            json!({"ActionType": "FilePermissionChanged", "FolderPath": "/tmp/x",
                   "AdditionalFields": {"OldMode": "0644", "Mode": "4755"}}),
            "changed the mode of /tmp/x from 0644 to 4755",
        );
        check(
            "DeviceLogonEvents",
            json!({"ActionType": "LogonFailed", "AccountName": "root", "RemoteIP": "10.0.0.9", "FailureReason": "wrong password"}),
            "failed log-on of root from 10.0.0.9: wrong password",
        );
        check(
            "DeviceNetworkEvents",
            json!({"ActionType": "DnsQueryResponse", "AdditionalFields": {"DnsQuery": "a.example", "DnsType": "A", "DnsAnswers": ["1.2.3.4", "1.2.3.5"]}}),
            "asked DNS for a.example A → 1.2.3.4, 1.2.3.5",
        );
        check("DeviceEvents", json!({"ActionType": "SomethingNew"}), "something new");
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        check(
            "DeviceProcessEvents",
            json!({"ActionType": "ProcessCreated", "ProcessCommandLine": "x\u{1b}[2Jy\nz"}),
            "started x [2Jy z",
        );
    }

    #[test]
    fn every_action_has_words_even_without_columns() {
        for action in [
            "ProcessCreated",
            "ProcessTerminated",
            "ProcessFound",
            "ConnectionSuccess",
            "ConnectionAttempt",
            "ConnectionFailed",
            "InboundConnectionAccepted",
            "ListeningConnectionCreated",
            "ConnectionClosed",
            "UdpSent",
            "DnsQueryResponse",
            "FileCreated",
            "FileModified",
            "FileRenamed",
            "FileDeleted",
            "FilePermissionChanged",
            "FileOwnerChanged",
            "FileRead",
            "LogonSuccess",
            "LogonFailed",
            "LogonAttempted",
            "PtraceCall",
            "ProcessMemoryWrite",
            "KernelModuleLoaded",
            "BpfProgramLoaded",
            "MountCreated",
            "UserIdChanged",
            "CapabilitiesChanged",
            "SignalSent",
            "MemoryFileExecuted",
            "DeletedFileExecuted",
            "PreloadEnvironment",
            "ImageLoaded",
        ] {
            let Value::Object(row) = json!({"ActionType": action}) else { unreachable!() };
            let line = summary("DeviceEvents", &row);
            assert!(line.len() > 4 && !line.eq_ignore_ascii_case(&spaced(action)), "{action}: {line}");
        }
    }
}
