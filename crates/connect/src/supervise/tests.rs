//! The keeper where a unit runs the sensor: `systemctl` is a script that writes down what it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests end here")]

use super::unit::Unit;
use super::*;
use std::os::unix::fs::PermissionsExt as _;

struct Machine {
    folder: tempfile::TempDir,
    layout: Layout,
}

fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Beside, then renamed: a file that is open for writing anywhere cannot be run.
    let beside = path.with_extension("new");
    std::fs::write(&beside, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("root");
        let layout = Layout { state: prefix.join("state"), prefix: prefix.clone(), host: prefix.clone() };
        std::fs::create_dir_all(prefix.join("etc/systemd/system")).unwrap();
        let at = folder.path().display();
        script(
            &folder.path().join("systemctl"),
            &format!("echo \"$*\" >> {at}/said; case $1 in show) cat {at}/state;; esac"),
        );
        let machine = Self { folder, layout };
        machine.sensor(true);
        machine.state("active", 0);
        machine
    }

    /// The installed sensor's program, which only answers how it is.
    fn sensor(&self, healthy: bool) {
        let version = self.layout.version("1.0");
        script(&Layout::program(&version), if healthy { "echo '{}'" } else { "exit 6" });
        let _ = std::os::unix::fs::symlink("1.0", self.layout.current());
    }

    fn state(&self, active: &str, restarts: u32) {
        let text =
            format!("NRestarts={restarts}\nResult=success\nLoadState=loaded\nActiveState={active}\nSubState=x\n");
        std::fs::write(self.folder.path().join("state"), text).unwrap();
    }

    fn keeper(&self) -> Keeper {
        Keeper::with(&self.layout, Some(Unit::new(&self.layout, &self.folder.path().join("systemctl"))))
    }

    /// What systemd was told since the last time, without the questions.
    fn said(&self) -> Vec<String> {
        let path = self.folder.path().join("said");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        text.lines().filter(|l| !l.starts_with("show")).map(str::to_owned).collect()
    }

    fn unit(&self) -> PathBuf {
        self.layout.prefix.join("etc/systemd/system/garrison-sensor.service")
    }
}

/// As if the time to look again had come.
fn look(keeper: &mut Keeper) -> Option<String> {
    keeper.looked = None;
    keeper.tick().map(|f| f.to_string())
}

#[test]
fn a_unit_is_written_enabled_and_started_and_one_that_runs_is_left_alone() {
    let machine = Machine::new();
    machine.keeper().start().unwrap();
    assert_eq!(machine.said(), ["daemon-reload", "enable garrison-sensor.service", "restart garrison-sensor.service"]);

    machine.keeper().resume().unwrap();
    assert_eq!(machine.said(), Vec::<String>::new(), "a connector that starts anew does not touch the sensor");

    machine.state("inactive", 0);
    machine.keeper().resume().unwrap();
    assert!(machine.said().contains(&"restart garrison-sensor.service".to_owned()));

    machine.state("active", 0);
    std::fs::write(machine.unit(), "another text").unwrap();
    machine.keeper().resume().unwrap();
    assert!(machine.said().contains(&"daemon-reload".to_owned()), "a unit that was changed is written anew");
}

#[test]
fn a_unit_that_was_stopped_or_keeps_ending_is_told_and_one_that_is_well_again_is_not() {
    let machine = Machine::new();
    let mut keeper = machine.keeper();
    assert_eq!(look(&mut keeper), None, "nothing is installed yet");
    keeper.start().unwrap();
    assert_eq!(look(&mut keeper), None);

    machine.state("inactive", 0);
    let told = look(&mut keeper).unwrap();
    assert!(told.contains("systemctl start garrison-sensor.service"), "{told}");
    assert!(keeper.tick().is_some(), "between two looks the answer stays");
    machine.state("active", 0);
    keeper.start().unwrap();
    assert_eq!(keeper.tick().map(|f| f.to_string()), None, "and goes when the sensor is started");

    machine.state("active", 3);
    assert_eq!(look(&mut keeper), None, "it ended a few times and is well");
    machine.sensor(false);
    machine.state("active", 7);
    assert_eq!(look(&mut keeper), None, "four times since it was well");
    machine.state("activating", 8);
    let told = look(&mut keeper).unwrap();
    assert!(told.contains("ended 5 times"), "{told}");
    machine.sensor(true);
    machine.state("active", 9);
    assert_eq!(look(&mut keeper), None);
    // Somebody starts it by hand: systemd counts from nothing.
    machine.state("active", 1);
    assert_eq!(look(&mut keeper), None);
}

#[test]
fn only_our_unit_is_removed_and_a_taken_over_one_is_stopped() {
    let machine = Machine::new();
    let mut keeper = machine.keeper();
    std::fs::write(machine.unit(), "[Service]\nExecStart=/somebody/else\n").unwrap();
    keeper.stop().unwrap();
    keeper.forget_unit().unwrap();
    assert_eq!((machine.said(), machine.unit().exists()), (Vec::new(), true));
    keeper.stop_foreign().unwrap();
    assert_eq!(machine.said(), ["stop garrison-sensor.service"]);

    keeper.start().unwrap();
    machine.said();
    keeper.stop().unwrap();
    keeper.forget_unit().unwrap();
    assert_eq!(machine.said()[..2], ["stop garrison-sensor.service", "disable --now garrison-sensor.service"]);
    assert!(!machine.unit().exists());
}

#[test]
fn a_systemctl_that_fails_is_a_failure_with_its_words() {
    let machine = Machine::new();
    script(&machine.folder.path().join("systemctl"), "echo 'Access denied' >&2; exit 4");
    let failure = machine.keeper().start().unwrap_err().to_string();
    assert!(failure.contains("Access denied") && failure.contains("daemon-reload"), "{failure}");
    assert_eq!(machine.keeper().resume().unwrap_err().code, ExtensionCode::UninstallFailed);
}

#[test]
fn who_reads_the_program_is_not_the_sensor() {
    let machine = Machine::new();
    let program = machine.layout.foreign_sensor();
    script(&program, "while :; do sleep 0.1; done");
    let mut reader =
        Command::new("/bin/sh").args(["-c", "while :; do sleep 0.1; done", program.to_str().unwrap()]).spawn().unwrap();
    let mut reads = Command::new("tail").arg("-f").arg(&program).stdout(Stdio::null()).spawn().unwrap();
    let mut sensor = Command::new(&program).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while running(&program).is_empty() && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let found: Vec<i32> = running(&program).iter().map(|p| p.as_raw()).collect();
    let mut others = [&mut reader, &mut reads];
    let alive = others.iter_mut().all(|c| c.try_wait().unwrap().is_none());
    for child in others.into_iter().chain([&mut sensor]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!((found, alive), (vec![i32::try_from(sensor.id()).unwrap()], true));
}
