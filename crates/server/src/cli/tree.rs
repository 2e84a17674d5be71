//! The attack story as an indented tree with box characters.

use super::output::{Printer, clean};
use garrison_model::{Activity, Alert, ProcessNode, StoryTree};
use std::collections::HashMap;

/// Deepest indentation that is drawn; deeper processes stay at it. A story has at most 512 processes.
const DEPTH_MAX: usize = 40;

/// Activities without an alert shown below one process with one, and below any other; more are counted.
const ACTIVITIES_MAX: usize = 5;
const ACTIVITIES_ELSEWHERE_MAX: usize = 2;

/// Processes shown below one although neither they nor what they started has an alert; more are counted.
const QUIET_CHILDREN_MAX: usize = 3;

/// Draws one tree; alerts stand beside their process or activity.
pub fn render(printer: &Printer, tree: &StoryTree, alerts: &[Alert]) -> Vec<String> {
    let by_id: HashMap<&str, &Alert> = alerts.iter().map(|a| (a.id.as_str(), a)).collect();
    let mut lines =
        vec![format!("{} {}", printer.paint("1", "device"), printer.paint("36", &clean(&tree.device.name)))];
    node(printer, &tree.root, "", "", &by_id, 0, &mut lines);
    lines
}

fn node(
    printer: &Printer,
    process: &ProcessNode,
    first: &str,
    rest: &str,
    alerts: &HashMap<&str, &Alert>,
    depth: usize,
    lines: &mut Vec<String>,
) {
    let time = process.creation_time.as_deref().and_then(|t| t.get(11..19)).unwrap_or("        ");
    let user = process.account_name.as_deref().map(clean).unwrap_or_default();
    let name = clean(&process.file_name);
    let command = process.command_line.as_deref().map(clean).unwrap_or_default();
    let used = first.chars().count() + name.chars().count() + 30;
    let command = cut(&command, printer.width.saturating_sub(used).max(20));
    let hot = !process.alert_ids.is_empty();
    lines.push(format!(
        "{}{} {} {} {} {}",
        printer.paint("2", first),
        printer.paint(if hot { "31;1" } else { "1" }, &name),
        printer.paint("2", &format!("({})", process.process_id)),
        printer.paint("2", time),
        printer.paint("35", &user),
        command
    ));
    let (children, folded) = children_shown(process);
    let has_more = !children.is_empty() || folded > 0;
    let below = format!("{rest}{}", if has_more { "│ " } else { "  " });
    for id in &process.alert_ids {
        alert_line(printer, &below, alerts.get(id.as_str()), lines);
    }
    // Children and activities in order of time would weave lines together; activities first reads better.
    let mut quiet = if hot { ACTIVITIES_MAX } else { ACTIVITIES_ELSEWHERE_MAX };
    let mut more = 0;
    for activity in &process.activities {
        if activity.alert_ids.is_empty() && quiet == 0 {
            more += 1;
            continue;
        }
        quiet -= usize::from(activity.alert_ids.is_empty());
        activity_line(printer, &below, activity, lines);
        // An alert of the process itself was said above.
        for id in activity.alert_ids.iter().filter(|id| !process.alert_ids.contains(id)) {
            alert_line(printer, &below, alerts.get(id.as_str()), lines);
        }
    }
    if more > 0 {
        lines.push(
            printer.paint("2", &format!("{below}  … and {more} more {}", plural(more, "activity", "activities"))),
        );
    }
    let count = children.len();
    for (i, child) in children.into_iter().enumerate() {
        let last = i + 1 == count && folded == 0;
        let (branch, space) = if depth >= DEPTH_MAX {
            ("", "")
        } else if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        node(printer, child, &format!("{rest}{branch}"), &format!("{rest}{space}"), alerts, depth + 1, lines);
    }
    if folded > 0 {
        let words = format!("{rest}└─ … and {folded} more {}", plural(folded, "process", "processes"));
        lines.push(printer.paint("2", &words));
    }
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Whether the process or anything that it started has an alert.
fn is_hot(process: &ProcessNode) -> bool {
    !process.alert_ids.is_empty()
        || process.activities.iter().any(|a| !a.alert_ids.is_empty())
        || process.children.iter().any(is_hot)
}

/// The children to draw, and how many processes are folded away.
fn children_shown(process: &ProcessNode) -> (Vec<&ProcessNode>, usize) {
    let mut quiet = QUIET_CHILDREN_MAX;
    let mut folded = 0;
    let mut shown = Vec::new();
    for child in &process.children {
        if is_hot(child) {
            shown.push(child);
        } else if quiet > 0 {
            quiet -= 1;
            shown.push(child);
        } else {
            folded += size(child);
        }
    }
    (shown, folded)
}

fn size(process: &ProcessNode) -> usize {
    1 + process.children.iter().map(size).sum::<usize>()
}

fn alert_line(printer: &Printer, below: &str, alert: Option<&&Alert>, lines: &mut Vec<String>) {
    if let Some(alert) = alert {
        let techniques = alert.mitre_techniques.iter().map(|t| clean(t)).collect::<Vec<_>>().join(" ");
        lines.push(format!(
            "{}  {} {} {} {}",
            printer.paint("2", below),
            printer.paint("31", "●"),
            printer.severity(alert.severity),
            clean(&alert.title),
            printer.paint("2", &techniques)
        ));
    }
}

fn activity_line(printer: &Printer, below: &str, activity: &Activity, lines: &mut Vec<String>) {
    let width = printer.width.saturating_sub(below.chars().count() + 4).max(20);
    let words = cut(&format!("{}: {}", clean(&activity.action_type), clean(&activity.summary)), width);
    lines.push(format!("{}  {} {words}", printer.paint("2", below), printer.paint("2", "·")));
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::super::output::Format;
    use super::*;
    use garrison_model::{DeviceId, DeviceRef};

    fn process(name: &str, pid: i64, children: Vec<ProcessNode>) -> ProcessNode {
        ProcessNode {
            process_unique_id: format!("0-0-{pid:x}"),
            process_id: pid,
            file_name: name.into(),
            folder_path: None,
            command_line: Some(format!("{name} --now")),
            sha256: None,
            account_name: Some("www-data".into()),
            creation_time: Some("2026-11-23T10:00:00.000000Z".into()),
            exit_time: None,
            alert_ids: vec![],
            activities: vec![],
            children,
        }
    }

    #[test]
    fn what_is_far_from_alerts_is_folded() {
        let children = (0..9).map(|n| process("ls", 10 + n, vec![])).collect();
        let tree = StoryTree {
            device: DeviceRef { id: DeviceId::new("ab".repeat(20)).unwrap(), name: "web-1".into() },
            root: process("bash", 1, children),
        };
        let printer = Printer { format: Format::Table, colour: false, width: 120 };
        let lines = render(&printer, &tree, &[]);
        assert_eq!(lines.len(), 2 + QUIET_CHILDREN_MAX + 1);
        assert_eq!(lines[5], "└─ … and 6 more processes");
    }

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let tree = StoryTree {
            device: DeviceRef { id: DeviceId::new("ab".repeat(20)).unwrap(), name: "web-1".into() },
            root: process(
                "apache2",
                1,
                vec![process("sh", 2, vec![process("id\x1b[2J", 3, vec![])]), process("sh", 4, vec![])],
            ),
        };
        let printer = Printer { format: Format::Table, colour: false, width: 120 };
        let lines = render(&printer, &tree, &[]).join("\n");
        assert_eq!(
            lines,
            "device web-1\napache2 (1) 10:00:00 www-data apache2 --now\n├─ sh (2) 10:00:00 www-data sh --now\n\
             │  └─ id\\x1b[2J (3) 10:00:00 www-data id\\x1b[2J --now\n└─ sh (4) 10:00:00 www-data sh --now"
        );
    }
}
