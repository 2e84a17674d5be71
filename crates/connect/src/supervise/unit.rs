//! The sensor's unit, where systemd is PID 1 of the machine.
//!
//! Its text is that of the package's unit with the program's path in it, so that a sensor is confined alike whoever
//! installed it. systemd is asked with `systemctl show`, whose form is meant for programs.

use super::{last_line, run};
use crate::install::course::Failure;
use crate::layout::Layout;
use garrison_model::ExtensionCode;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unit's name.
pub const NAME: &str = "garrison-sensor.service";
/// The unit as packages bring it.
const PACKAGED: &str = include_str!("../../../../packaging/systemd/garrison-sensor.service");
/// What its program is there.
const PACKAGED_PROGRAM: &str = "/usr/bin/garrison-sensor";
const HEAD: &str = "# Written by garrison-connect; it goes when the machine is off-boarded.\n";

/// The unit of a sensor that the connector installed.
#[derive(Debug)]
pub struct Unit {
    file: PathBuf,
    systemctl: PathBuf,
}

/// What systemd says of the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// `ActiveState`.
    active: String,
    /// `SubState`.
    sub: String,
    /// `Result` of its last run.
    result: String,
    /// `LoadState`.
    load: String,
    /// Times that systemd started it anew by itself.
    pub restarts: u32,
}

impl State {
    fn parse(text: &str) -> Self {
        let of = |key: &str| {
            let value = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().trim().chars().take(40).collect::<String>()
        };
        Self {
            active: of("ActiveState"),
            sub: of("SubState"),
            result: of("Result"),
            load: of("LoadState"),
            restarts: of("NRestarts").parse().unwrap_or(0),
        }
    }

    /// Whether it runs, or is about to.
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Whether systemd knows a unit of this name, ours or a package's.
    pub fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// For people.
    pub fn words(&self) -> String {
        match (self.active.as_str(), self.result.as_str()) {
            ("", _) => "not known to systemd".to_owned(),
            (active, "" | "success") => format!("{active} ({})", self.sub),
            (active, result) => format!("{active} ({result})"),
        }
    }
}

impl Unit {
    /// The unit of a machine; `systemctl` is the program that talks to systemd.
    pub fn new(layout: &Layout, systemctl: &Path) -> Self {
        Self { file: layout.prefix.join("etc/systemd/system").join(NAME), systemctl: systemctl.to_owned() }
    }

    /// Whether the connector wrote a unit here.
    pub fn is_ours(&self) -> bool {
        std::fs::read_to_string(&self.file).is_ok_and(|text| text.starts_with(HEAD))
    }

    /// What systemd says of it; all empty where it says nothing.
    pub fn state(&self) -> State {
        let words = ["show", NAME, "--property=ActiveState,SubState,Result,LoadState,NRestarts"];
        run(Command::new(&self.systemctl).args(words), "").map(|o| State::parse(&o.stdout)).unwrap_or_default()
    }

    /// Whether our unit runs this program.
    pub fn runs(&self, program: &Path) -> bool {
        std::fs::read_to_string(&self.file).is_ok_and(|present| present == text(program)) && self.state().is_up()
    }

    fn systemctl(&self, words: &[&str], otherwise: ExtensionCode) -> Result<(), Failure> {
        let failed =
            |why: String| Failure::new(otherwise, format!("cannot run `systemctl {}`: {why}", words.join(" ")));
        let output = run(Command::new(&self.systemctl).args(words), "").map_err(|e| failed(e.to_string()))?;
        if output.ok { Ok(()) } else { Err(failed(last_line(&output.stderr))) }
    }

    /// Writes the unit, and lets it run what its program is now, at this boot and the next.
    pub fn start(&self, program: &Path) -> Result<(), Failure> {
        let text = text(program);
        if std::fs::read_to_string(&self.file).map_or(true, |present| present != text) {
            std::fs::write(&self.file, text)
                .map_err(|e| Failure::io(ExtensionCode::InstallFailed, "write", &self.file, &e))?;
        }
        // Each time: a connector that was killed may have written the file and said nothing.
        self.systemctl(&["daemon-reload"], ExtensionCode::InstallFailed)?;
        self.systemctl(&["enable", NAME], ExtensionCode::InstallFailed)?;
        self.systemctl(&["restart", NAME], ExtensionCode::InstallFailed)
    }

    /// Ends what it runs.
    pub fn stop(&self) -> Result<(), Failure> {
        self.systemctl(&["stop", NAME], ExtensionCode::UninstallFailed)
    }

    /// Removes it, if it is ours.
    pub fn forget(&self) -> Result<(), Failure> {
        if !self.is_ours() {
            return Ok(());
        }
        let otherwise = ExtensionCode::UninstallFailed;
        self.systemctl(&["disable", "--now", NAME], otherwise)?;
        std::fs::remove_file(&self.file).map_err(|e| Failure::io(otherwise, "remove", &self.file, &e))?;
        self.systemctl(&["daemon-reload"], otherwise)?;
        // A unit that failed would stay in systemd's memory after its file; one that did not cannot be reset.
        let _ = self.systemctl(&["reset-failed", NAME], otherwise);
        Ok(())
    }
}

fn text(program: &Path) -> String {
    format!("{HEAD}{}", PACKAGED.replace(PACKAGED_PROGRAM, &program.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_packages_with_another_program() {
        let text = text(Path::new("/opt/garrison/sensor/current/bin/garrison-sensor"));
        assert!(text.contains("\nExecStart=/opt/garrison/sensor/current/bin/garrison-sensor run\n"), "{text}");
        assert!(!text.contains(PACKAGED_PROGRAM));
        for wall in ["StartLimitIntervalSec=0", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "MemoryMax="] {
            assert!(text.contains(wall), "{wall}");
        }
    }

    #[test]
    fn what_systemd_says_is_read_and_anything_else_is_not_up() {
        let state =
            State::parse("NRestarts=7\nResult=exit-code\nLoadState=loaded\nActiveState=failed\nSubState=failed\n");
        assert_eq!((state.restarts, state.is_up(), state.words().as_str()), (7, false, "failed (exit-code)"));
        let state = State::parse("ActiveState=active\nSubState=running\nResult=success\nNRestarts=0\n");
        assert_eq!((state.is_up(), state.words().as_str()), (true, "active (running)"));
        for text in ["", "ActiveState", "NRestarts=-1\nActiveStateX=active", "\0=\u{7f}"] {
            let state = State::parse(text);
            assert_eq!((state.is_up(), state.restarts, state.words().as_str()), (false, 0, "not known to systemd"));
        }
    }
}
