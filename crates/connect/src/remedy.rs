//! Does what the server asks about the machine's antimalware. The server names one of a few deeds; which program does it,
//! and with which arguments, is decided here.

use crate::antimalware::{ClamAv, Service, scan_note};
use crate::layout::Layout;
use crate::supervise::{OUTPUT_BYTES_MAX, Output, last_line, run_within};
use garrison_wire::connect::remedy::Remedy;
use garrison_wire::connect::v1;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A first set of signatures has some 300 MB, which a slow line brings in this time.
const UPDATE_MAX: Duration = Duration::from_mins(30);
/// A scan of the places below; large homes take long.
const SCAN_MAX: Duration = Duration::from_hours(2);
/// A service of its kind is started at once and reads its signatures after that.
const START_MAX: Duration = Duration::from_mins(2);
/// How long a started service's process may take to be there, and how often is looked.
const PROCESS_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// Places of a quick scan: where what was brought in by others is first put, and where what starts by itself lies.
const QUICK: [&str; 12] = [
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/run",
    "/root",
    "/home",
    "/usr/local",
    "/opt",
    "/etc",
    "/var/spool/cron",
    "/var/www",
    "/srv",
];
/// Infected files that are named.
const NAMED_MAX: usize = 5;
/// What `clamscan` and `clamdscan` end with where something was found.
const FOUND: i32 = 1;

/// Remedies that were asked for, and what became of them: in memory, since one that is asked for again does no harm.
#[derive(Debug, Default)]
pub struct Remedies(Vec<v1::RemedyReport>);

/// Reports that are kept; the server has eight of a machine.
const REPORTS_MAX: usize = 16;

impl Remedies {
    /// Takes one in; false where it was taken already.
    pub fn begin(&mut self, id: &str) -> bool {
        if self.0.iter().any(|r| r.id == id) {
            return false;
        }
        while self.0.len() >= REPORTS_MAX {
            self.0.remove(0);
        }
        self.0.push(v1::RemedyReport { id: id.to_owned(), phase: "working".to_owned(), detail: String::new() });
        true
    }

    /// Notes how one ended.
    pub fn end(&mut self, id: &str, result: Result<String, String>) {
        if let Some(report) = self.0.iter_mut().find(|r| r.id == id) {
            let (phase, detail) = match result {
                Ok(detail) => ("done", detail),
                Err(detail) => ("failed", detail),
            };
            (report.phase, report.detail) = (phase.to_owned(), detail.chars().take(500).collect());
        }
    }

    /// All reports.
    pub fn reports(&self) -> Vec<v1::RemedyReport> {
        self.0.clone()
    }
}

/// Does it; what came of it in words, either way.
pub fn perform(remedy: Remedy, layout: &Layout, stop: &AtomicBool) -> Result<String, String> {
    let clamav = ClamAv::find(layout).ok_or("there is no antimalware here that is known")?;
    perform_on(remedy, &clamav, layout, stop)
}

fn perform_on(remedy: Remedy, clamav: &ClamAv<'_>, layout: &Layout, stop: &AtomicBool) -> Result<String, String> {
    match remedy {
        Remedy::Update => update(clamav, stop),
        Remedy::SwitchOn => switch_on(clamav, layout, stop),
        Remedy::Scan => scan(clamav, layout, stop),
    }
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command
}

fn ran(command: &mut Command, longest: Duration, stop: &AtomicBool) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    run_within(command, "", longest, stop).map_err(|e| format!("{name}: {e}"))
}

/// Words of a command that failed.
fn why(output: &Output) -> String {
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let text: String = last_line(text).chars().filter(|c| !c.is_control()).collect();
    output
        .code
        .map_or_else(|| format!("it was ended by a signal: {text}"), |code| format!("it ended with {code}: {text}"))
}

fn update(clamav: &ClamAv<'_>, stop: &AtomicBool) -> Result<String, String> {
    let freshclam = clamav.program("freshclam").ok_or("freshclam is not installed")?;
    // Its own log is held by the service that may run beside.
    let output = ran(quiet(&freshclam).args(["--stdout", "--log=/dev/null"]), UPDATE_MAX, stop)?;
    if output.ok {
        return Ok("signatures are up to date".to_owned());
    }
    // Its last line only says that it failed; the first error says why.
    let error = output.stdout.lines().find_map(|l| l.strip_prefix("ERROR:")).map(str::trim);
    let error = error.map(|e| e.chars().filter(|c| !c.is_control()).take(300).collect());
    Err(format!("freshclam: {}", error.unwrap_or_else(|| why(&output))))
}

fn switch_on(clamav: &ClamAv<'_>, layout: &Layout, stop: &AtomicBool) -> Result<String, String> {
    let Some((service, process)) = clamav.missing_service() else {
        return Err("it is not known how its services are started here".to_owned());
    };
    let missing = |what: &str| format!("{what} is not there");
    let output = match service {
        Service::Unit(unit) => {
            let systemctl = clamav.program("systemctl").ok_or_else(|| missing("systemctl"))?;
            ran(quiet(&systemctl).args(["enable", "--now", unit]), START_MAX, stop)?
        }
        Service::Script(path) => ran(quiet(&layout.of_host(path)).arg("start"), START_MAX, stop)?,
    };
    if !output.ok {
        return Err(format!("{process}: {}", why(&output)));
    }
    // A unit whose conditions do not hold is not started, and that is no failure to systemd.
    let until = Instant::now() + PROCESS_MAX;
    while crate::products::processes(layout, &HashSet::from([process])).is_empty() {
        if Instant::now() >= until || stop.load(Ordering::Relaxed) {
            return Err(format!(
                "{process} was started and does not run: without signatures it does not, else its log says why"
            ));
        }
        std::thread::sleep(LOOK);
    }
    Ok(format!("{process} runs"))
}

fn scan(clamav: &ClamAv<'_>, layout: &Layout, stop: &AtomicBool) -> Result<String, String> {
    let (scanner, by_daemon) = clamav.scanner().ok_or("neither clamdscan nor clamscan is installed")?;
    let mut command = quiet(&scanner);
    command.args(["--infected", "--no-summary"]);
    if by_daemon {
        command.args(["--fdpass", "--multiscan"]);
        if let Some(configuration) = clamav.configuration() {
            command.arg("--config-file").arg(configuration);
        }
    } else {
        command.args(["--recursive", "--database"]).arg(clamav.signatures());
    }
    command.args(QUICK.iter().map(|p| layout.of_host(p)).filter(|p| p.is_dir()));
    let begun = Instant::now();
    let output = ran(&mut command, SCAN_MAX, stop)?;
    if !output.ok && output.code != Some(FOUND) {
        return Err(format!("the scan did not end well: {}", why(&output)));
    }
    scan_note(layout).map_err(|e| format!("scanned, and its time cannot be written: {e}"))?;
    let seconds = begun.elapsed().as_secs().max(1);
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let found: Vec<String> = output.stdout.lines().filter_map(|l| l.strip_suffix(" FOUND")).map(clean).collect();
    if found.is_empty() {
        return Ok(format!("scanned in {seconds} s, nothing found"));
    }
    let named = found.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = if found.len() > NAMED_MAX { "; and more" } else { "" };
    // Of a longer list only the beginning is kept.
    let least = if output.stdout.len() >= OUTPUT_BYTES_MAX { "at least " } else { "" };
    Ok(format!("scanned in {seconds} s, {least}{} infected: {named}{more}", found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::antimalware::tests::{house, lay, process};

    fn done(remedy: Remedy, layout: &Layout) -> Result<String, String> {
        perform_on(remedy, &ClamAv::find_as(layout, true).unwrap(), layout, &AtomicBool::new(false))
    }

    #[test]
    fn each_remedy_runs_its_program_and_tells_what_came_of_it() {
        let (_folder, layout) = house();
        assert!(perform(Remedy::Scan, &layout, &AtomicBool::new(false)).is_err());
        lay(&layout, "/usr/sbin/clamd", "");
        for remedy in Remedy::ALL {
            done(remedy, &layout).unwrap_err();
        }
        lay(&layout, "/usr/bin/freshclam", "#!/bin/sh\necho \"$@\" >&2\nexit 0\n");
        assert_eq!(done(Remedy::Update, &layout).unwrap(), "signatures are up to date");
        let reason = "#!/bin/sh\necho trying\necho 'ERROR: no such host'\necho 'ERROR: Update failed.'\nexit 11\n";
        lay(&layout, "/usr/bin/freshclam", reason);
        assert_eq!(done(Remedy::Update, &layout).unwrap_err(), "freshclam: no such host");
        lay(&layout, "/usr/bin/freshclam", "#!/bin/sh\necho no mirror\necho\nexit 5\n");
        assert_eq!(done(Remedy::Update, &layout).unwrap_err(), "freshclam: it ended with 5: no mirror");
        // By the scanner alone while the daemon does not run.
        lay(&layout, "/tmp/x", "");
        lay(&layout, "/usr/bin/clamscan", "#!/bin/sh\nexit 0\n");
        lay(
            &layout,
            "/usr/bin/clamdscan",
            "#!/bin/sh\nfor i in 1 2 3 4 5 6; do echo \"/tmp/$i: Own FOUND\"; done\nexit 1\n",
        );
        assert!(done(Remedy::Scan, &layout).unwrap().ends_with("nothing found"));
        process(&layout, 10, "clamd");
        let told = done(Remedy::Scan, &layout).unwrap();
        assert!(told.contains("6 infected: /tmp/1: Own; ") && told.ends_with("/tmp/5: Own; and more"), "{told}");
        let scanned = crate::antimalware::ClamAv::find_as(&layout, true).unwrap().look();
        assert!(scanned.quick_scan_time > 0);
        assert_eq!(scanned.remedies, ["update", "scan"]);
        lay(&layout, "/usr/bin/clamdscan", "#!/bin/sh\necho cannot connect >&2\nexit 2\n");
        assert!(done(Remedy::Scan, &layout).unwrap_err().contains("ended with 2: cannot connect"));
        let many =
            "#!/bin/sh\ni=0; while [ $i -lt 4000 ]; do echo \"/tmp/file$i: Own FOUND\"; i=$((i+1)); done\nexit 1\n";
        lay(&layout, "/usr/bin/clamdscan", many);
        assert!(done(Remedy::Scan, &layout).unwrap().contains(", at least "));
        // One that writes without end fills no memory and is not ended by it.
        lay(&layout, "/usr/bin/clamdscan", "#!/bin/sh\nhead -c 3000000 /dev/zero\nexit 0\n");
        assert!(done(Remedy::Scan, &layout).unwrap().ends_with("nothing found"));
    }

    #[test]
    fn protection_is_switched_on_by_the_service_that_is_missing() {
        let (_folder, layout) = house();
        lay(&layout, "/usr/sbin/clamd", "");
        let started = format!("mkdir -p {0}/proc/77; echo clamd > {0}/proc/77/comm", layout.host.display());
        lay(&layout, "/etc/init.d/clamav-daemon", &format!("#!/bin/sh\n[ \"$1\" = start ] || exit 9\n{started}\n"));
        assert_eq!(done(Remedy::SwitchOn, &layout).unwrap(), "clamd runs");
        assert!(done(Remedy::SwitchOn, &layout).is_err(), "on access is switched on where systemd and paths are there");
        lay(&layout, "/run/systemd/system/x", "");
        lay(&layout, "/usr/lib/systemd/system/clamav-clamonacc.service", "");
        assert!(done(Remedy::SwitchOn, &layout).is_err());
        lay(&layout, "/etc/clamav/clamd.conf", "OnAccessIncludePath /home\n");
        let started = started.replace("77", "78").replace("clamd", "clamonacc");
        let asks = "[ \"$*\" = \"enable --now clamav-clamonacc.service\" ] || exit 9";
        lay(&layout, "/usr/bin/systemctl", &format!("#!/bin/sh\n{asks}\n{started}\n"));
        assert_eq!(done(Remedy::SwitchOn, &layout).unwrap(), "clamonacc runs");
        assert!(done(Remedy::SwitchOn, &layout).is_err(), "all runs");
    }

    #[test]
    fn a_remedy_is_taken_once_and_a_stopped_connector_ends_it() {
        let mut all = Remedies::default();
        assert!(all.begin("a") && !all.begin("a"));
        all.end("a", Err("x".repeat(9_000)));
        all.end("never", Ok(String::new()));
        assert_eq!((all.reports()[0].phase.as_str(), all.reports()[0].detail.len()), ("failed", 500));
        for n in 0..40 {
            assert!(all.begin(&format!("{n}")));
        }
        assert_eq!(all.reports().len(), REPORTS_MAX);
        let (_folder, layout) = house();
        lay(&layout, "/usr/sbin/clamd", "");
        lay(&layout, "/usr/bin/clamscan", "#!/bin/sh\nexec sleep 600\n");
        let clamav = ClamAv::find_as(&layout, true).unwrap();
        let ended = perform_on(Remedy::Scan, &clamav, &layout, &AtomicBool::new(true));
        assert!(ended.unwrap_err().contains("the connector was stopped"));
    }
}
