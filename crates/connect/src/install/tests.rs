//! Installs in a folder of their own, with a sensor that is a script.

use super::package::tests::{pack, signed};
use super::*;
use crate::supervise::Keeper;
use std::path::PathBuf;
use std::time::Duration;

/// A sensor that enrols, runs (waiting for what never comes, so that it forks nothing that could be counted) and is as
/// healthy as it was packed to be.
fn script(healthy: bool) -> String {
    let code = if healthy { 0 } else { 6 };
    format!(
        "#!/bin/sh\nverb=$1\nwhile [ $# -gt 0 ]; do case $1 in --state-dir) state=$2 ;; esac; shift; done\n\
         case $verb in\nenrol) read token; case $token in ge1_*) echo '{{\"device\":\"abc\"}}' > $state/identity.json ;; \
         *) echo 'bad token' >&2; exit 3 ;; esac; mkfifo $state/never ;;\nrun) read nothing < $state/never ;;\n\
         health) echo '{{\"health_issues\":[\"is ill\"]}}'; exit {code} ;;\n\
         version) echo '{{\"app_version\":\"9.9\"}}' ;;\nesac\n"
    )
}

fn package_of(script: &str) -> Vec<u8> {
    pack(&[("bin/garrison-sensor", script.as_bytes(), 0o755, tar::EntryType::Regular)])
}

/// Hands out bytes as they are, however wrong.
#[derive(Debug)]
struct Shelf {
    bytes: Vec<u8>,
    token: Result<String, Failure>,
    fetched: u32,
}

impl Source for Shelf {
    fn fetch(&mut self, _: &Package, into: &Path) -> Result<(), Failure> {
        self.fetched += 1;
        std::fs::write(into, &self.bytes).map_err(|e| Failure::io(ExtensionCode::DownloadFailed, "write", into, &e))
    }

    fn token(&mut self, _: u64) -> Result<String, Failure> {
        self.token.clone()
    }

    fn server(&self) -> String {
        "127.0.0.1:1".to_owned()
    }
}

struct Machine {
    folder: tempfile::TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // No test leaves a process behind, however it ends.
        let _ = Keeper::new(&self.layout()).stop();
    }
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn layout(&self) -> Layout {
        let root = self.folder.path();
        let layout = Layout { state: root.join("state"), prefix: root.join("prefix"), host: root.join("host") };
        crate::identity::make_state(&layout.state).unwrap();
        std::fs::create_dir_all(&layout.prefix).unwrap();
        layout
    }

    fn open(&self, bytes: &[u8]) -> Installer<Shelf> {
        let shelf = Shelf { bytes: bytes.to_vec(), token: Ok("ge1_x".to_owned()), fetched: 0 };
        let settings = Settings { health_max: Duration::from_millis(1), ..Settings::default() };
        Installer::open(&self.layout(), settings, shelf, Arc::default()).unwrap()
    }

    /// Every path below the prefix, in order.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path: PathBuf = entry.path();
                out.push(path.strip_prefix(root).unwrap().display().to_string());
                if !path.is_symlink() && path.is_dir() {
                    walk(&path, root, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.layout().prefix, &self.layout().prefix, &mut out);
        out.sort();
        out
    }
}

fn order(generation: u64, package: &Package) -> v1::Order {
    v1::Order {
        extension: "Sensor.Linux".to_owned(),
        generation,
        package: Some(v1::PackageName {
            name: "garrison-sensor".to_owned(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            size: package.size,
            sha256: package.sha256.clone(),
            signature: package.signature.clone(),
        }),
        ..v1::Order::default()
    }
}

fn obey(installer: &mut Installer<Shelf>, generation: u64, package: &Package, deed: Deed) -> Result<(), Failure> {
    installer.take(&order(generation, package), deed)?;
    finish(installer)
}

fn finish(installer: &mut Installer<Shelf>) -> Result<(), Failure> {
    while installer.advance()? {}
    assert!(!installer.is_working());
    installer.journal().failure().cloned().map_or(Ok(()), Err)
}

const WELL: [&str; 9] = [
    "opt",
    "opt/garrison",
    "opt/garrison/sensor",
    "opt/garrison/sensor/1.0",
    "opt/garrison/sensor/1.0/bin",
    "opt/garrison/sensor/1.0/bin/garrison-sensor",
    "opt/garrison/sensor/current",
    "run",
    "run/garrison-sensor",
];

fn program_files(machine: &Machine) -> Vec<String> {
    machine.files().into_iter().filter(|f| !f.starts_with("var")).collect()
}

#[test]
fn the_sensor_is_installed_and_off_boarding_leaves_the_folder_as_it_was() {
    let machine = Machine::new();
    let bytes = package_of(&script(true));
    let mut installer = machine.open(&bytes);
    obey(&mut installer, 1, &signed(&bytes, "1.0"), Deed::Install).unwrap();
    assert_eq!(program_files(&machine), WELL);
    let report = installer.report().unwrap();
    assert_eq!((report.phase.as_str(), report.version.as_str(), report.device_id.as_str()), ("done", "1.0", "abc"));
    assert!(report.healthy && !report.adopted);
    assert_eq!(installer.keeper.running_count(), 1);
    // The extension goes, the sensor stays; the extension comes back and takes it over.
    obey(&mut installer, 2, &signed(&bytes, "1.0"), Deed::Remove).unwrap();
    assert_eq!(installer.keeper.running_count(), 1);
    obey(&mut installer, 3, &signed(&bytes, "1.0"), Deed::Install).unwrap();
    assert!(installer.report().unwrap().adopted);
    assert_eq!((installer.source().fetched, installer.keeper.running_count()), (1, 1));
    obey(&mut installer, 4, &signed(&bytes, "1.0"), Deed::Offboard).unwrap();
    assert_eq!(installer.keeper.running_count(), 0);
    assert_eq!(machine.files(), Vec::<String>::new());
}

#[test]
fn a_clone_runs_no_sensor_without_an_identity_of_its_own() {
    let machine = Machine::new();
    let bytes = package_of(&script(true));
    let mut installer = machine.open(&bytes);
    obey(&mut installer, 1, &signed(&bytes, "1.0"), Deed::Install).unwrap();
    installer.forget_clone().unwrap();
    assert_eq!(installer.keeper.running_count(), 0);
    drop(installer);
    let mut installer = machine.open(&bytes);
    installer.resume();
    assert_eq!(installer.keeper.running_count(), 0);
    // The order that follows gives it one. (The script that stands for a sensor makes this file when it enrols.)
    std::fs::remove_file(machine.layout().sensor_state().join("never")).unwrap();
    obey(&mut installer, 1, &signed(&bytes, "1.0"), Deed::Install).unwrap();
    assert_eq!(installer.keeper.running_count(), 1);
}

#[test]
fn what_is_wrong_has_its_code_and_leaves_nothing() {
    let bytes = package_of(&script(true));
    let package = signed(&bytes, "1.0");
    let half = bytes[..bytes.len() / 2].to_vec();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let empty = pack(&[("readme", b"x", 0o644, tar::EntryType::Regular)]);
    let outside = pack(&[("../evil", b"x", 0o644, tar::EntryType::Regular)]);
    let ill = package_of(&script(false));
    let huge = Package { size: package::PACKAGE_BYTES_MAX, ..package.clone() };
    let foreign = Package { architecture: "z80".to_owned(), ..package.clone() };
    let named = Package { version: "../../x".to_owned(), ..package.clone() };
    use ExtensionCode as C;
    let cases = [
        (&half, package.clone(), C::PackageDamaged),
        (&other, package.clone(), C::SignatureWrong),
        (&empty, signed(&empty, "1.0"), C::CorruptInstall),
        (&outside, signed(&outside, "1.0"), C::PathInArchive),
        (&ill, signed(&ill, "1.0"), C::Unhealthy),
        (&bytes, foreign, C::InvalidArguments),
        (&bytes, named, C::InvalidArguments),
        (&bytes, huge, C::PackageDamaged),
    ];
    for (bytes, package, code) in cases {
        let machine = Machine::new();
        let mut installer = machine.open(bytes);
        let failure = obey(&mut installer, 1, &package, Deed::Install).unwrap_err();
        // A disk as large as the largest package asks for may not be there.
        assert!(failure.code == code || (code == C::PackageDamaged && failure.code == C::NoSpace), "{failure}");
        assert!(!program_files(&machine).iter().any(|f| f.contains("bin") || f.contains("current")), "{code}");
        assert_eq!(installer.keeper.running_count(), 0, "{code}");
    }
    let machine = Machine::new();
    let mut installer = machine.open(&bytes);
    installer.source().token = Err(Failure::new(C::OnboardingNotFound, "none"));
    assert_eq!(obey(&mut installer, 1, &package, Deed::Install).unwrap_err().code, C::OnboardingNotFound);
    installer.source().token = Ok("nonsense".to_owned());
    let failure = obey(&mut installer, 2, &package, Deed::Install).unwrap_err();
    assert_eq!((failure.code, failure.detail.as_str()), (C::OnboardingFailed, "bad token"));
}

#[test]
fn where_a_key_was_pinned_only_what_it_signed_is_fetched_at_all() {
    use garrison_wire::connect::package::Statement;
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let bytes = package_of(&script(true));
    let package = signed(&bytes, "1.0");
    let by = |key: &ed25519_dalek::SigningKey, version: &str| {
        let said = Statement {
            name: "garrison-sensor",
            version,
            architecture: &package.architecture,
            size: package.size,
            sha256: &package.sha256,
        };
        Package { signature: said.sign(key).unwrap().signature, ..package.clone() }
    };
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    for (package, well) in
        [(package.clone(), false), (by(&stranger, "1.0"), false), (by(&key, "0.9"), false), (by(&key, "1.0"), true)]
    {
        let machine = Machine::new();
        let mut installer = machine.open(&bytes);
        installer.settings.package_keys = vec![key.verifying_key()];
        let end = obey(&mut installer, 1, &package, Deed::Install);
        assert_eq!(end.map_err(|f| f.code), if well { Ok(()) } else { Err(ExtensionCode::SignatureWrong) });
        assert_eq!(installer.source().fetched, u32::from(well));
        assert!(well || machine.files().is_empty(), "not a byte was written");
    }
}

#[test]
fn a_version_that_is_ill_gives_way_to_the_one_before() {
    let machine = Machine::new();
    let (well, ill) = (package_of(&script(true)), package_of(&script(false)));
    let mut installer = machine.open(&well);
    obey(&mut installer, 1, &signed(&well, "1.0"), Deed::Install).unwrap();
    installer.source().bytes.clone_from(&ill);
    let failure = obey(&mut installer, 2, &signed(&ill, "2.0"), Deed::Install).unwrap_err();
    assert_eq!(failure.code, ExtensionCode::Unhealthy);
    assert!(failure.detail.contains("is ill"), "{failure}");
    assert_eq!(program_files(&machine), WELL, "the new version is gone, the one before is in use");
    assert_eq!(installer.keeper.running_count(), 1);
    assert!(installer.keeper.health().is_ok());
}

#[test]
fn a_sensor_of_others_is_taken_over_and_not_doubled() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new();
    let layout = machine.layout();
    let bytes = package_of(&script(true));
    std::fs::create_dir_all(layout.foreign_sensor().parent().unwrap()).unwrap();
    std::fs::write(layout.foreign_sensor(), script(true)).unwrap();
    std::fs::set_permissions(layout.foreign_sensor(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(layout.sensor_state()).unwrap();
    std::fs::write(layout.sensor_state().join(SENSOR_IDENTITY), "{\"device\":\"old\"}").unwrap();
    nix::unistd::mkfifo(&layout.sensor_state().join("never"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = layout.sensor_state();
    let start = || {
        let mut command = std::process::Command::new(layout.foreign_sensor());
        command.arg("run").arg("--state-dir").arg(&state).spawn().unwrap()
    };
    let mut first = start();
    let mut installer = machine.open(&bytes);
    obey(&mut installer, 1, &signed(&bytes, "1.0"), Deed::Install).unwrap();
    let report = installer.report().unwrap();
    assert_eq!((report.version.as_str(), report.device_id.as_str(), report.adopted), ("9.9", "old", true));
    assert!(report.healthy);
    assert_eq!((installer.source().fetched, installer.keeper.running_count()), (0, 0));
    assert!(!layout.versions().exists());

    // It is not ours to start: that it ended is told, by a connector that was started anew too.
    first.kill().unwrap();
    first.wait().unwrap();
    let mut installer = machine.open(&bytes);
    installer.resume();
    installer.tick();
    assert_eq!(installer.report().unwrap().code, u32::from(ExtensionCode::SensorStopped.number()));
    // Off-boarding ends it, and leaves the program to who brought it.
    let mut second = start();
    obey(&mut installer, 2, &nothing(), Deed::Offboard).unwrap();
    assert!(second.try_wait().unwrap().is_some(), "it was ended");
    assert!(layout.foreign_sensor().exists() && !layout.sensor_state().exists());
}

/// How many run, once as many as are expected do: a program that was just started has no command line for a moment.
fn running(keeper: &Keeper, expected: usize) -> usize {
    for _ in 0..200 {
        if keeper.running_count() == expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    keeper.running_count()
}

/// Kills the connector at every step, before and after the step's work, of an install over an older version, of one
/// that fails, and of off-boarding; the next start finishes or undoes it.
#[test]
fn a_kill_at_any_step_is_finished_or_undone_at_the_next_start() {
    let (old, new, ill) = (package_of(&script(true)), package_of(&(script(true) + "#2\n")), package_of(&script(false)));
    for (deed, bytes, version) in
        [(Deed::Install, &new, "2.0"), (Deed::Install, &ill, "2.0"), (Deed::Offboard, &new, "2.0")]
    {
        for work_is_done in [false, true] {
            let steps = if deed == Deed::Offboard { 4 } else { 12 };
            for killed_at in 0..steps {
                let machine = Machine::new();
                let mut installer = machine.open(&old);
                obey(&mut installer, 1, &signed(&old, "1.0"), Deed::Install).unwrap();
                installer.source().bytes.clone_from(bytes);
                installer.take(&order(2, &signed(bytes, version)), deed).unwrap();
                for _ in 0..killed_at {
                    installer.advance().unwrap();
                }
                if work_is_done && let Some(work) = installer.journal.work.clone().filter(|w| !w.course.is_over()) {
                    // The step is done and the journal does not say so yet.
                    let _ = installer.step(&work);
                }
                // Killed: the sensor outlives the connector, as a child of nobody.
                std::mem::forget(installer);
                let mut again = machine.open(bytes);
                let end = finish(&mut again);
                again.resume();
                let what = format!("{deed:?} of {version}, killed at {killed_at}, {work_is_done}: {end:?}");
                match (deed, bytes == &ill) {
                    (Deed::Offboard, _) => {
                        assert_eq!(
                            (end, machine.files().len(), again.keeper.running_count()),
                            (Ok(()), 0, 0),
                            "{what}"
                        );
                        continue;
                    }
                    (_, true) => assert_eq!(end.unwrap_err().code, ExtensionCode::Unhealthy, "{what}"),
                    (_, false) => assert_eq!(end, Ok(()), "{what}"),
                }
                let stays = if bytes == &ill { "1.0" } else { "2.0" };
                assert_eq!(again.layout.current_version().as_deref(), Some(stays), "{what}");
                assert_eq!(running(&again.keeper, 1), 1, "{what}");
                let versions = std::fs::read_dir(machine.layout().versions()).unwrap().count();
                assert_eq!(versions, 2, "one version and the link: {what}");
                assert!(!machine.layout().downloads().exists(), "{what}");
            }
        }
    }
}
