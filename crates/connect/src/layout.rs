//! Where things lie. Everything that the connector writes is below the state folder or the prefix.

use std::path::{Path, PathBuf};

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The connector's own: identity, journal, downloads.
    pub state: PathBuf,
    /// What the sensor is installed under; `/` on a real machine.
    pub prefix: PathBuf,
    /// Where the host's file system is seen; `/`, or where a container has it mounted.
    pub host: PathBuf,
}

impl Layout {
    /// Folder of the sensor's versions.
    pub fn versions(&self) -> PathBuf {
        self.prefix.join("opt/garrison/sensor")
    }

    /// Folder of one version.
    pub fn version(&self, version: &str) -> PathBuf {
        self.versions().join(version)
    }

    /// The link to the version in use.
    pub fn current(&self) -> PathBuf {
        self.versions().join("current")
    }

    /// The version that the link names, if it is there.
    pub fn current_version(&self) -> Option<String> {
        let target = std::fs::read_link(self.current()).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// Where a sensor that somebody else installed would be.
    pub fn foreign_sensor(&self) -> PathBuf {
        self.prefix.join("usr/bin/garrison-sensor")
    }

    /// The sensor's state: the folder that it takes by itself, so that a sensor that was there before is found.
    pub fn sensor_state(&self) -> PathBuf {
        self.prefix.join("var/lib/garrison-sensor")
    }

    /// Folder of the sensor's control socket.
    pub fn sensor_run(&self) -> PathBuf {
        self.prefix.join("run/garrison-sensor")
    }

    /// The sensor's log where the connector supervises it.
    pub fn sensor_log(&self) -> PathBuf {
        self.state.join("sensor.log")
    }

    /// Names the program that the server laid on the machine, over SSH or a cloud's agent: it goes with everything else.
    pub fn placed(&self) -> PathBuf {
        self.state.join("placed")
    }

    /// The unit of the connector that the server wrote.
    pub fn connector_unit(&self) -> PathBuf {
        self.prefix.join("etc/systemd/system/garrison-connect.service")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal.json")
    }

    /// Packages on their way.
    pub fn downloads(&self) -> PathBuf {
        self.state.join("downloads")
    }

    /// The program of a folder of a version.
    pub fn program(folder: &Path) -> PathBuf {
        folder.join("bin/garrison-sensor")
    }

    /// A path of the host.
    pub fn of_host(&self, path: &str) -> PathBuf {
        self.host.join(path.trim_start_matches('/'))
    }
}
