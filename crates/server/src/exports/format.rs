//! Records as receivers read them: JSON with a signature, CEF in syslog frames, OCSF. Pure.
//!
//! Sources: CEF is ArcSight's Common Event Format, version 0; frames are RFC 5425, section 4.3, around messages of
//! RFC 5424; OCSF is version 1.3.0, classes 2003 (Compliance Finding) and 2004 (Detection
//! Finding).

use super::{Record, What};
use garrison_model::Severity;
use ring::hmac;
use serde_json::{Value, json};

/// Version of the OCSF schema that is written.
pub const OCSF_VERSION: &str = "1.3.0";

/// The body of a webhook's request.
pub fn body(records: &[Record]) -> Vec<u8> {
    let items: Vec<Value> = records
        .iter()
        .map(|r| json!({"id": r.id, "kind": r.what.as_str(), "time": r.time, "isSnapshot": r.snapshot, "data": r.data}))
        .collect();
    serde_json::to_vec(&json!({ "version": 1, "items": items })).unwrap_or_default()
}

/// Value of the header `X-Garrison-Signature`: HMAC-SHA256 over the time in seconds, a full stop and the body.
pub fn signature(secret: &[u8], seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    format!("t={seconds},v1={}", hex::encode(context.sign().as_ref()))
}

/// Text in the head of CEF: a bar and a backslash are escaped, and no line ends.
fn head(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\r', '\n'], " ")
}

/// Text in a value of CEF's extension.
fn value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n")
}

/// CEF's severity, 0 to 10.
fn cef_severity(severity: Severity) -> u8 {
    match severity {
        Severity::High => 9,
        Severity::Medium => 6,
        Severity::Low => 3,
        Severity::Informational | Severity::Unspecified => 1,
    }
}

fn cef(r: &Record) -> String {
    let class = if r.rule.is_empty() { r.what.as_str() } else { &r.rule };
    let mut out = format!(
        "CEF:0|Garrison|Garrison|{}|{}|{}|{}|externalId={} rt={} cat={}",
        env!("CARGO_PKG_VERSION"),
        head(class),
        head(&r.title),
        cef_severity(r.severity),
        value(&r.id),
        r.at / 1_000,
        r.what.as_str(),
    );
    for (key, text) in [("dvchost", &r.host), ("dvc_id", &r.host_id), ("outcome", &r.status), ("msg", &r.text)] {
        // `dvc_id` is no key of the dictionary; custom text goes into `cs1` with its label.
        match (key, text.is_empty()) {
            (_, true) => {}
            ("dvc_id", _) => out.push_str(&format!(" cs1Label=machineId cs1={}", value(text))),
            _ => out.push_str(&format!(" {key}={}", value(text))),
        }
    }
    out
}

/// A message of RFC 5424 in a frame of RFC 5425: its length in bytes, a space, the message.
pub fn frame(r: &Record, host: &str) -> Vec<u8> {
    let level = match r.severity {
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Informational | Severity::Unspecified => 6,
    };
    // Facility 10: security.
    let message = format!("<{}>1 {} {host} garrison - {} - {}", 10 * 8 + level, r.time, r.what.as_str(), cef(r));
    let mut out = format!("{} ", message.len()).into_bytes();
    out.extend_from_slice(message.as_bytes());
    out
}

fn millis(time: Option<&Value>) -> Value {
    let text = time.and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
    text.map_or(Value::Null, |t| t.as_millisecond().into())
}

fn ocsf_severity(severity: Severity) -> u8 {
    match severity {
        Severity::High => 4,
        Severity::Medium => 3,
        Severity::Low => 2,
        Severity::Informational => 1,
        Severity::Unspecified => 0,
    }
}

fn metadata(r: &Record) -> Value {
    json!({
        "version": OCSF_VERSION, "uid": r.id,
        "product": {"name": "Garrison", "vendor_name": "Garrison", "version": env!("CARGO_PKG_VERSION")},
    })
}

fn line(event: &Value) -> Vec<u8> {
    let mut out = serde_json::to_vec(event).unwrap_or_default();
    out.push(b'\n');
    out
}

/// A line of OCSF: a recommendation is a Compliance Finding, all else a Detection Finding.
pub fn ocsf(r: &Record) -> Vec<u8> {
    if r.what == What::Recommendations && r.data.get("recommendation").is_some() { compliance(r) } else { detection(r) }
}

/// A Compliance Finding: the recommendation is the control, the machine the resource.
fn compliance(r: &Record) -> Vec<u8> {
    let text = |key: &str| r.data.get(key).and_then(Value::as_str).unwrap_or_default();
    // Of the finding 1 is New, 3 Suppressed, 4 Resolved; of the check 1 is Pass, 2 Warning (no result), 3 Fail, 99 Other.
    let (status, check) = match r.status.as_str() {
        "Healthy" => (4, 1),
        "Unhealthy" => (1, 3),
        "Exempt" => (3, 99),
        _ => (0, 2),
    };
    // 1 is Create, 2 Update, 3 Close.
    let activity = match (text("before"), status) {
        ("", _) => 1,
        (_, 4) => 3,
        _ => 2,
    };
    let mut event = json!({
        "activity_id": activity, "category_uid": 2, "class_uid": 2003, "type_uid": 200_300 + activity,
        "time": r.at / 1_000, "severity_id": ocsf_severity(r.severity), "status_id": status, "message": r.title,
        "compliance": {
            "control": r.rule, "standards": ["Garrison endpoint protection"], "status": r.status, "status_id": check,
            "status_detail": text("reason"),
        },
        "finding_info": {
            "uid": r.subject, "title": text("title"), "desc": text("description"), "types": [r.what.as_str()],
            "modified_time": r.at / 1_000,
        },
        "resources": [{"uid": text("resourceId"), "name": r.host, "type": "machine"}],
        "metadata": metadata(r),
        "unmapped": {"isSnapshot": r.snapshot, "before": r.data.get("before"), "findings": r.data.get("findings")},
    });
    let fixes: Vec<&str> = r
        .data
        .get("findings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|f| f.get("fix").and_then(Value::as_str))
        .collect();
    if !fixes.is_empty() {
        event["remediation"] = json!({ "desc": fixes.join("; ") });
    }
    event["device"] = json!({"uid": r.host_id, "hostname": r.host, "type_id": 1});
    line(&event)
}

fn detection(r: &Record) -> Vec<u8> {
    let severity = ocsf_severity(r.severity);
    let status = match r.status.as_str() {
        "New" => 1,
        "InProgress" => 2,
        "Resolved" => 4,
        _ => 0,
    };
    let created = r.data.get("alertCreationTime");
    // 1 is Create, 2 Update, 3 Close.
    let activity = match (status, created == r.data.get("lastUpdateTime")) {
        (4, _) => 3,
        (_, true) => 1,
        _ => 2,
    };
    let techniques: Vec<Value> = r
        .data
        .get("mitreTechniques")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|t| json!({"technique": {"uid": t}, "version": "ATT&CK"}))
        .collect();
    let mut finding = json!({
        "uid": r.subject, "title": r.title, "desc": r.text, "types": [r.what.as_str()],
        "created_time": millis(created), "modified_time": r.at / 1_000,
        "first_seen_time": millis(r.data.get("firstEventTime")), "last_seen_time": millis(r.data.get("lastEventTime")),
    });
    if let Some(finding) = finding.as_object_mut() {
        finding.retain(|_, v| !v.is_null());
        if !techniques.is_empty() {
            finding.insert("attacks".to_owned(), techniques.into());
        }
    }
    let mut event = json!({
        "activity_id": activity, "category_uid": 2, "class_uid": 2004, "type_uid": 200_400 + activity,
        "time": r.at / 1_000, "severity_id": severity, "status_id": status, "is_alert": r.what == What::Alerts,
        "message": r.title, "finding_info": finding,
        "metadata": metadata(r),
        "unmapped": {"isSnapshot": r.snapshot},
    });
    if !r.host_id.is_empty() {
        event["device"] = json!({"uid": r.host_id, "hostname": r.host, "type_id": 1});
    }
    line(&event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: "a1@5".to_owned(),
            subject: "a1".to_owned(),
            what: What::Alerts,
            at: 5_000_000,
            time: "2026-11-26T10:00:00.000000Z".to_owned(),
            snapshot: false,
            severity: Severity::High,
            rule: "r|1".to_owned(),
            title: "A | bar\\\nand a line".to_owned(),
            text: "a=b\\c\nd".to_owned(),
            status: "New".to_owned(),
            host: "www=1".to_owned(),
            host_id: "m1".to_owned(),
            data: json!({"alertCreationTime": "2026-11-26T10:00:00Z", "lastUpdateTime": "2026-11-26T10:00:00Z",
                "mitreTechniques": ["T1059.004"]}),
        }
    }

    #[test]
    fn hostile_text_cannot_break_out_of_its_field() {
        let line = cef(&record());
        let begin = format!("CEF:0|Garrison|Garrison|{}|r\\|1|A \\| bar\\\\ and a line|9|", env!("CARGO_PKG_VERSION"));
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.ends_with("dvchost=www\\=1 cs1Label=machineId cs1=m1 outcome=New msg=a\\=b\\\\c\\nd"), "{line}");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_frame_begins_with_the_length_of_its_message_in_bytes() {
        let mut r = record();
        r.title = "Grüße".to_owned();
        let frame = String::from_utf8(frame(&r, "server")).unwrap();
        let (length, message) = frame.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), message.len());
        assert!(
            message.starts_with("<83>1 2026-11-26T10:00:00.000000Z server garrison - Alerts - CEF:0|"),
            "{message}"
        );
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?"; our prefix is part of the data.
        let signed = signature(b"Jefe", 7, b"x");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(signed, format!("t=7,v1={}", hex::encode(hmac::sign(&key, b"7.x").as_ref())));
        let known = hmac::sign(&key, b"what do ya want for nothing?");
        assert!(hex::encode(known.as_ref()).starts_with("5bdcc146bf60754e6a042426089575c7"));
    }

    #[test]
    fn an_alert_is_a_detection_finding() {
        let line = ocsf(&record());
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&event["class_uid"], &event["type_uid"], &event["severity_id"]),
            (&2004.into(), &200_401.into(), &4.into())
        );
        assert_eq!(event["finding_info"]["attacks"][0]["technique"]["uid"], "T1059.004");
        assert_eq!((&event["metadata"]["version"], &event["metadata"]["uid"]), (&"1.3.0".into(), &"a1@5".into()));
        assert_eq!(line.split(|b| *b == b'\n').count(), 2);
        let mut closed = record();
        closed.status = "Resolved".to_owned();
        assert_eq!(serde_json::from_slice::<Value>(&ocsf(&closed)).unwrap()["type_uid"], 200_403);
    }
    #[test]
    fn a_recommendation_is_a_compliance_finding() {
        let of = |state: &str, before: Value| {
            let r = Record {
                what: What::Recommendations,
                status: state.to_owned(),
                rule: "edr-installed".to_owned(),
                data: json!({"recommendation": "edr-installed", "title": "T", "description": "D", "reason": "why",
                    "resourceId": "/subscriptions/s", "state": state, "before": before,
                    "findings": [{"code": "PlanMissing", "message": "m", "fix": "set Plan 1"}]}),
                ..record()
            };
            serde_json::from_slice::<Value>(&ocsf(&r)).unwrap()
        };
        for (state, before, activity, status, check) in [
            ("Unhealthy", Value::Null, 1, 1, 3),
            ("Unhealthy", "Healthy".into(), 2, 1, 3),
            ("Healthy", "Unhealthy".into(), 3, 4, 1),
            ("Exempt", "Unhealthy".into(), 2, 3, 99),
            ("NotApplicable", "Healthy".into(), 2, 0, 2),
        ] {
            let event = of(state, before);
            assert_eq!((event["class_uid"].as_i64(), event["category_uid"].as_i64()), (Some(2003), Some(2)));
            assert_eq!(event["type_uid"].as_i64(), Some(200_300 + activity), "{state}");
            assert_eq!(event["status_id"].as_i64(), Some(status), "{state}");
            let compliance = &event["compliance"];
            assert_eq!(
                (compliance["status_id"].as_i64(), &compliance["control"]),
                (Some(check), &"edr-installed".into())
            );
            assert!(!compliance["standards"].as_array().unwrap().is_empty(), "the class requires it");
            assert_eq!(event["remediation"]["desc"], "set Plan 1");
            assert_eq!(event["resources"][0]["uid"], "/subscriptions/s");
        }
        // A test's record has no recommendation in it.
        let test = Record { what: What::Recommendations, ..record() };
        assert_eq!(serde_json::from_slice::<Value>(&ocsf(&test)).unwrap()["class_uid"], 2004);
    }
}
