//! Obeys orders: installs the sensor, updates it, leaves it, or off-boards the machine.
//!
//! One order at a time, one step at a time; what is next is decided by [`course`], written to the [`journal`], and only
//! then done. Versions lie side by side in folders of their own and a link names the one in use, so that going back is
//! one rename and never a second unpacking.

pub mod course;
pub mod journal;
pub mod package;

use crate::host;
use crate::identity::IdentityFileError;
use crate::layout::Layout;
use crate::supervise::{Keeper, last_line, run};
use course::{Back, Course, Failure, Leave, Outcome, Step};
use garrison_model::ExtensionCode;
use garrison_wire::connect::order::Deed;
use garrison_wire::connect::v1;
use journal::{Installed, Journal, Package, Work};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the sensor's identity in its state folder.
const SENSOR_IDENTITY: &str = "identity.json";
/// Free bytes wanted beside what a package unpacks to: logs and the sensor's queue need a beginning.
const SPARE_BYTES: u64 = 64 << 20;
/// A package unpacks to less than this many times its size.
const UNPACKED_TIMES: u64 = 4;
/// How often a new sensor is asked whether it is healthy.
const HEALTH_LOOK: Duration = Duration::from_millis(500);

/// What an install needs from outside the machine.
pub trait Source {
    /// Brings a package into a file; bytes that are there already are not fetched again.
    fn fetch(&mut self, package: &Package, into: &Path) -> Result<(), Failure>;
    /// A token that enrols the sensor, once.
    fn token(&mut self, generation: u64) -> Result<String, Failure>;
    /// Gateway that the sensor connects to.
    fn server(&self) -> String;
}

/// How installs are done.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a new sensor may take to become healthy.
    pub health_max: Duration,
    /// Keys that packages must be signed with; none where none were pinned at enrolment.
    pub package_keys: Vec<ed25519_dalek::VerifyingKey>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { health_max: Duration::from_mins(1), package_keys: Vec::new() }
    }
}

/// Obeys orders on one machine.
#[derive(Debug)]
pub struct Installer<S> {
    layout: Layout,
    settings: Settings,
    source: S,
    keeper: Keeper,
    journal: Journal,
    stop: Arc<AtomicBool>,
    healthy: Result<(), Failure>,
}

fn io(otherwise: ExtensionCode, what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |e| Failure::io(otherwise, what, path, &e)
}

/// Removes a file or folder; one that is not there is removed.
fn remove(path: &Path) -> std::io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(kind) => kind,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if kind.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

fn gone(path: &Path) -> Result<(), Failure> {
    remove(path).map_err(io(ExtensionCode::UninstallFailed, "remove", path))
}

/// Removes a folder and those above it that are empty then, up to the prefix. `/opt` and its like are the system's.
fn remove_empty(from: &Path, prefix: &Path) {
    let of_system = |f: &Path| prefix == Path::new("/") && f.parent() == Some(prefix);
    for folder in from.ancestors().take_while(|f| *f != prefix && f.starts_with(prefix) && !of_system(f)) {
        // Not empty, or not there: both end it.
        if std::fs::remove_dir(folder).is_err() && folder.exists() {
            return;
        }
    }
}

impl<S: Source> Installer<S> {
    /// Reads the journal and goes on where it was.
    pub fn open(
        layout: &Layout,
        settings: Settings,
        source: S,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, IdentityFileError> {
        let mut journal = Journal::load(&layout.journal())?;
        if let Some(work) = &mut journal.work {
            work.course = work.course.clone().resumed();
        }
        let keeper = Keeper::new(layout);
        Ok(Self { layout: layout.clone(), settings, source, keeper, journal, stop, healthy: Ok(()) })
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Where packages and tokens come from.
    pub fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// Whether an order is under way.
    pub fn is_working(&self) -> bool {
        self.journal.work.as_ref().is_some_and(|w| !w.course.is_over())
    }

    /// Takes an order: it is on the disk when this returns, and obeyed by [`Self::advance`]. An order that is under way
    /// is finished first by the caller.
    pub fn take(&mut self, order: &v1::Order, deed: Deed) -> Result<(), Failure> {
        let former = self.layout.current_version();
        self.journal.take(order, deed, former);
        if deed == Deed::Remove {
            // The extension is no more; what it installed stays, and is taken over if it comes back.
            self.journal.installed = None;
        }
        self.store()
    }

    fn store(&self) -> Result<(), Failure> {
        let path = self.layout.journal();
        self.journal.store(&path).map_err(io(ExtensionCode::Internal, "write", &path))
    }

    /// Does one step of the order under way; false when there is nothing to do, or the connector is to stop.
    pub fn advance(&mut self) -> Result<bool, Failure> {
        let Some(work) = self.journal.work.clone().filter(|w| !w.course.is_over()) else { return Ok(false) };
        if self.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let Some(outcome) = self.step(&work) else { return Ok(false) };
        if let Outcome::Ill(failure) = &outcome {
            tracing::warn!(order = work.generation, course = ?work.course, %failure, "a step failed");
        }
        let former = work.course.clone();
        let next = work.course.next(outcome);
        self.note(&former, &next);
        if let Some(work) = &mut self.journal.work {
            work.course = next;
        }
        self.store()?;
        Ok(true)
    }

    /// What the journal says of what is installed, after a step.
    fn note(&mut self, former: &Course, next: &Course) {
        let Some(work) = &self.journal.work else { return };
        let version = self.layout.current_version();
        match (former, next) {
            (Course::Forward(Step::Check), Course::Done) => {
                let version = version.or_else(|| self.foreign_version()).unwrap_or_default();
                self.journal.installed = Some(Installed { version, passive: work.passive, adopted: true });
                self.healthy = Ok(());
                if self.is_foreign() {
                    self.keeper.watch_foreign();
                }
            }
            (Course::Forward(_), Course::Done) => {
                let version = version.unwrap_or_default();
                self.journal.installed = Some(Installed { version, passive: work.passive, adopted: false });
                self.healthy = Ok(());
            }
            (Course::Leave(_), Course::Done) => self.journal.installed = None,
            _ => {}
        }
    }

    fn step(&mut self, work: &Work) -> Option<Outcome> {
        let done = |result: Result<(), Failure>| Some(result.map_or_else(Outcome::Ill, |()| Outcome::Well));
        let Some(package) = work.package.clone().or_else(|| (!matches!(work.course, Course::Forward(_))).then(nothing))
        else {
            let failure = Failure::new(ExtensionCode::InvalidArguments, "the order names no package");
            return Some(Outcome::Ill(failure));
        };
        match &work.course {
            Course::Forward(Step::Check) => Some(self.check(&package).unwrap_or_else(Outcome::Ill)),
            Course::Forward(Step::Fetch) => done(self.fetch(&package)),
            Course::Forward(Step::Unpack) => done(self.unpack(&package)),
            Course::Forward(Step::Enrol) => done(self.enrol(work.generation, &package)),
            Course::Forward(Step::Stop) => done(self.keeper.stop()),
            Course::Forward(Step::Switch) => done(self.switch(Some(&package.version))),
            Course::Forward(Step::Start) => done(self.keeper.start()),
            Course::Forward(Step::Health) => self.await_health(),
            Course::Forward(Step::Clean) => done(self.clean()),
            Course::Back(Back::Stop, _) => done(self.keeper.stop()),
            Course::Back(Back::Switch, _) => done(self.switch(work.former.as_deref())),
            Course::Back(Back::Start, _) => done(if work.former.is_some() { self.keeper.start() } else { Ok(()) }),
            Course::Back(Back::Remove, _) => done(self.clean()),
            Course::Leave(Leave::Stop) => done(self.end_sensor()),
            Course::Leave(Leave::Forget) => done(self.forget_sensor()),
            Course::Leave(Leave::Files) => done(self.remove_files()),
            Course::Done | Course::Failed(_) => None,
        }
    }

    /// Room, folder, and a sensor that is there already.
    fn check(&mut self, package: &Package) -> Result<Outcome, Failure> {
        if package.architecture != host::architecture() {
            let detail = format!("the package is for `{}`, this is `{}`", package.architecture, host::architecture());
            return Err(Failure::new(ExtensionCode::InvalidArguments, detail));
        }
        if !package::is_version(&package.version)
            || package.sha256.len() != 64
            || package.size > package::PACKAGE_BYTES_MAX
        {
            return Err(Failure::new(ExtensionCode::InvalidArguments, "the order's package is none"));
        }
        package::vouched(package, &self.settings.package_keys)?;
        let enrolled = self.layout.sensor_state().join(SENSOR_IDENTITY).exists();
        // Somebody else's sensor that is enrolled is taken over as it is; a second one would fight with it.
        if enrolled && self.is_foreign() {
            return Ok(Outcome::Finished);
        }
        // The very version is there and well: an extension that comes back, or an order that was given again.
        if enrolled
            && self.layout.current_version().as_deref() == Some(package.version.as_str())
            && self.keeper.health().is_ok()
        {
            return Ok(Outcome::Finished);
        }
        let versions = self.layout.versions();
        let wanted = package.size.saturating_mul(UNPACKED_TIMES).saturating_add(SPARE_BYTES);
        for path in [&versions, &self.layout.state] {
            let free = host::disk_free(path);
            if free < wanted {
                let detail = format!("`{}` has {free} bytes free, {wanted} are wanted", path.display());
                return Err(Failure::new(ExtensionCode::NoSpace, detail));
            }
        }
        std::fs::create_dir_all(&versions).map_err(io(ExtensionCode::InstallPathSetup, "make folder", &versions))?;
        let permissions =
            std::fs::metadata(&versions).map_err(io(ExtensionCode::InstallPathSetup, "read", &versions))?;
        if std::os::unix::fs::PermissionsExt::mode(&permissions.permissions()) & 0o022 != 0 {
            let detail = format!("others may write into `{}`", versions.display());
            return Err(Failure::new(ExtensionCode::InstallPathPermissions, detail));
        }
        Ok(Outcome::Well)
    }

    fn downloaded(&self, package: &Package) -> std::path::PathBuf {
        self.layout.downloads().join(&package.sha256)
    }

    fn fetch(&mut self, package: &Package) -> Result<(), Failure> {
        let folder = self.layout.downloads();
        std::fs::create_dir_all(&folder).map_err(io(ExtensionCode::Internal, "make folder", &folder))?;
        let file = self.downloaded(package);
        if file.exists() && package::verify(&file, package).is_ok() {
            return Ok(());
        }
        let fetched = self.source.fetch(package, &file).and_then(|()| package::verify(&file, package));
        if let Err(failure) = &fetched
            && failure.code != ExtensionCode::DownloadFailed
        {
            // What is not the package is not gone on with; half of it is, at the next try.
            let _ = remove(&file);
        }
        fetched
    }

    fn unpack(&mut self, package: &Package) -> Result<(), Failure> {
        let file = self.downloaded(package);
        // Verified again: the file may be another one since, and the disk is not trusted more than the network.
        package::vouched(package, &self.settings.package_keys)?;
        package::verify(&file, package)?;
        let folder = self.layout.version(&package.version);
        // The version in use with other bytes under the same number: it may not be taken away under the running one.
        if self.layout.current_version().as_deref() == Some(package.version.as_str()) {
            self.keeper.stop()?;
        }
        let new = self.layout.versions().join(format!(".{}.new", package.version));
        for path in [&new, &folder] {
            remove(path).map_err(io(ExtensionCode::InstallFailed, "remove", path))?;
        }
        let unpacked = package::unpack(&file, &new).and_then(|()| {
            if Layout::program(&new).is_file() {
                return std::fs::rename(&new, &folder).map_err(io(ExtensionCode::InstallFailed, "rename", &new));
            }
            Err(Failure::new(ExtensionCode::CorruptInstall, "the package holds no `bin/garrison-sensor`"))
        });
        if unpacked.is_err() {
            let _ = remove(&new);
        }
        unpacked
    }

    fn enrol(&mut self, generation: u64, package: &Package) -> Result<(), Failure> {
        if self.layout.sensor_state().join(SENSOR_IDENTITY).exists() {
            return Ok(());
        }
        let state = self.layout.sensor_state();
        std::fs::create_dir_all(&state).map_err(io(ExtensionCode::OnboardingFailed, "make folder", &state))?;
        let token = self.source.token(generation)?;
        let program = Layout::program(&self.layout.version(&package.version));
        let server = self.source.server();
        // The token goes in by stdin: the words of a command can be read by every user.
        let mut command = self.keeper.sensor(&program, &["enrol", "--server", &server, "--token", "-"]);
        let output = run(&mut command, &format!("{token}\n"))
            .map_err(|e| Failure::io(ExtensionCode::OnboardingFailed, "run", &program, &e))?;
        if output.ok {
            return Ok(());
        }
        Err(Failure::new(ExtensionCode::OnboardingFailed, last_line(&output.stderr)))
    }

    /// Lets the link name a version, or none: beside, then renamed over, so that there is never none in between.
    fn switch(&mut self, version: Option<&str>) -> Result<(), Failure> {
        let link = self.layout.current();
        let failed = |e| Failure::io(ExtensionCode::InstallFailed, "switch", &self.layout.current(), &e);
        let Some(version) = version else { return remove(&link).map_err(failed) };
        let beside = self.layout.versions().join(".current.new");
        remove(&beside).map_err(failed)?;
        std::os::unix::fs::symlink(version, &beside).map_err(failed)?;
        std::fs::rename(&beside, &link).map_err(failed)
    }

    /// Waits until the new sensor is healthy; `None` if the connector is to stop meanwhile.
    fn await_health(&mut self) -> Option<Outcome> {
        let until = Instant::now() + self.settings.health_max;
        loop {
            let why = match self.keeper.health() {
                Ok(()) => return Some(Outcome::Well),
                Err(why) => why,
            };
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if Instant::now() >= until {
                let seconds = self.settings.health_max.as_secs();
                let detail = format!("after {seconds} s: {why}");
                return Some(Outcome::Ill(Failure::new(ExtensionCode::Unhealthy, detail)));
            }
            self.keeper.tick();
            std::thread::sleep(HEALTH_LOOK.min(self.settings.health_max));
        }
    }

    /// Removes downloads and every version but the one in use.
    fn clean(&mut self) -> Result<(), Failure> {
        gone(&self.layout.downloads())?;
        let versions = self.layout.versions();
        let current = self.layout.current_version();
        let Ok(entries) = std::fs::read_dir(&versions) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if current.is_none() || (name != "current" && Some(&*name) != current.as_deref()) {
                gone(&entry.path())?;
            }
        }
        if current.is_none() {
            remove_empty(&versions, &self.layout.prefix);
        }
        Ok(())
    }

    /// Ends the sensor for good, one that was taken over too.
    fn end_sensor(&mut self) -> Result<(), Failure> {
        self.keeper.stop()?;
        self.keeper.forget_unit()?;
        if self.is_foreign() { self.keeper.stop_foreign() } else { Ok(()) }
    }

    /// Whether the sensor of this machine is one that others installed.
    fn is_foreign(&self) -> bool {
        self.layout.current_version().is_none() && self.layout.foreign_sensor().exists()
    }

    /// Identity, disk queue, content and socket of the sensor.
    fn forget_sensor(&mut self) -> Result<(), Failure> {
        for folder in [self.layout.sensor_state(), self.layout.sensor_run()] {
            gone(&folder)?;
            if let Some(above) = folder.parent() {
                remove_empty(above, &self.layout.prefix);
            }
        }
        Ok(())
    }

    fn remove_files(&mut self) -> Result<(), Failure> {
        if self.is_foreign() {
            // It was installed by others, by a package manager most likely: its files are theirs to remove.
            tracing::info!("the sensor was installed by others: its program stays, it is off-boarded");
        }
        let versions = self.layout.versions();
        for path in [self.layout.downloads(), self.layout.sensor_log(), versions.clone()] {
            gone(&path)?;
        }
        if let Some(above) = versions.parent() {
            remove_empty(above, &self.layout.prefix);
        }
        Ok(())
    }

    fn foreign_version(&self) -> Option<String> {
        let program = self.layout.foreign_sensor();
        let output = run(&mut self.keeper.sensor(&program, &["version", "--output", "json"]), "").ok()?;
        let value: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        value.get("app_version")?.as_str().map(|t| t.chars().take(40).collect())
    }

    /// Starts the sensor that is installed, unless an order will. One that lost its identity (the disk was cloned) waits for
    /// the order that gives it another.
    pub fn resume(&mut self) {
        let enrolled = self.layout.sensor_state().join(SENSOR_IDENTITY).exists();
        if self.is_working() || !enrolled {
            return;
        }
        if self.is_foreign() && self.journal.installed.is_some() {
            self.keeper.watch_foreign();
        }
        if self.layout.current_version().is_none() {
            return;
        }
        if let Err(failure) = self.keeper.resume() {
            tracing::error!(%failure, "the sensor cannot be started");
            self.healthy = Err(failure);
        }
    }

    /// Time passes: looks after the sensor between orders.
    pub fn tick(&mut self) {
        if self.is_working() {
            return;
        }
        if let Some(failure) = self.keeper.tick() {
            self.healthy = Err(failure);
        } else if self.healthy.is_err() && self.keeper.health().is_ok() {
            self.healthy = Ok(());
        }
    }

    /// Ends the sensor with the connector, where the connector keeps it.
    pub fn shut_down(&mut self) {
        if self.keeper.is_of_systemd() {
            return;
        }
        if let Err(failure) = self.keeper.stop() {
            tracing::warn!(%failure, "the sensor could not be stopped");
        }
    }

    /// Throws away what a cloned disk brought along of the sensor's identity.
    pub fn forget_clone(&mut self) -> Result<(), Failure> {
        self.keeper.stop()?;
        let path = self.layout.sensor_state().join(SENSOR_IDENTITY);
        gone(&path)?;
        self.journal = Journal::default();
        gone(&self.layout.journal())
    }

    /// What is told of the extension.
    pub fn report(&self) -> Option<v1::ExtensionReport> {
        let j = &self.journal;
        let work = j.work.as_ref();
        if work.is_none() && j.installed.is_none() {
            return None;
        }
        let sensor_identity = self.layout.sensor_state().join(SENSOR_IDENTITY);
        let device_id = crate::identity::read_small(&sensor_identity).ok().flatten().and_then(|bytes| {
            let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            value.get("device")?.as_str().map(str::to_owned)
        });
        let failure = j.failure().cloned().or_else(|| self.healthy.as_ref().err().cloned());
        Some(v1::ExtensionReport {
            name: work.map_or_else(|| "Sensor.Linux".to_owned(), |w| w.extension.clone()),
            generation: work.map_or(0, |w| w.generation),
            phase: match work.map(|w| &w.course) {
                None | Some(Course::Done) => "done",
                Some(Course::Failed(_)) => "failed",
                Some(_) => "working",
            }
            .to_owned(),
            code: failure.as_ref().map_or(0, |f| u32::from(f.code.number())),
            detail: failure.map_or(String::new(), |f| f.detail),
            version: j.installed.as_ref().map_or(String::new(), |i| i.version.clone()),
            device_id: device_id.unwrap_or_default(),
            healthy: j.installed.is_some() && self.healthy.is_ok(),
            passive: j.installed.as_ref().is_some_and(|i| i.passive),
            adopted: j.installed.as_ref().is_some_and(|i| i.adopted),
        })
    }
}

/// Stands for the package of orders that have none.
fn nothing() -> Package {
    Package {
        version: String::new(),
        architecture: String::new(),
        size: 0,
        sha256: String::new(),
        signature: String::new(),
    }
}

#[cfg(test)]
mod tests;
