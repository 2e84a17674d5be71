//! Telemetry from a seed, skewed as on real servers: a few programs make most of the rows, command lines vary.

use arrow::array::RecordBatch;
use garrison_model::Micros;
use garrison_telemetry::builders::DeviceProcessEventsBuilder;
use garrison_telemetry::rows;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Program, its usual parent, user, and how often.
const PROGRAMS: &[(&str, &str, &str, u32)] = &[
    ("/usr/bin/sh", "/usr/sbin/cron", "root", 30),
    ("/usr/bin/grep", "/usr/bin/bash", "deploy", 25),
    ("/usr/bin/sed", "/usr/bin/bash", "deploy", 18),
    ("/usr/bin/awk", "/usr/bin/sh", "monitor", 14),
    ("/usr/bin/cat", "/usr/bin/sh", "monitor", 14),
    ("/usr/bin/python3", "/usr/lib/systemd/systemd", "app", 9),
    ("/usr/bin/git", "/usr/bin/make", "build", 8),
    ("/usr/bin/gcc", "/usr/bin/make", "build", 8),
    ("/usr/bin/curl", "/usr/bin/bash", "monitor", 6),
    ("/usr/sbin/sshd", "/usr/sbin/sshd", "root", 4),
    ("/usr/bin/sudo", "/usr/bin/bash", "deploy", 3),
    ("/usr/bin/apt-get", "/usr/bin/bash", "root", 2),
    ("/usr/bin/systemctl", "/usr/bin/sudo", "root", 2),
    ("/usr/bin/tar", "/usr/sbin/cron", "backup", 2),
    ("/usr/bin/psql", "/usr/bin/bash", "postgres", 2),
];

/// Process-creation rows of a few hundred bytes.
pub fn process_rows(seed: u64, count: usize, start: Micros) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed);
    let total: u32 = PROGRAMS.iter().map(|p| p.3).sum();
    let mut builder = DeviceProcessEventsBuilder::new();
    for i in 0..count {
        let mut pick = random.random_range(0..total);
        let (path, parent, user, _) = PROGRAMS
            .iter()
            .find(|p| {
                let hit = pick < p.3;
                pick = pick.saturating_sub(p.3);
                hit
            })
            .unwrap_or(&PROGRAMS[0]);
        let name = path.rsplit('/').next().unwrap_or(path);
        let parent_name = parent.rsplit('/').next().unwrap_or(parent);
        let n: u32 = random.random_range(0..5000);
        let line = format!(
            "{name} --config /etc/{user}/service-{n}.conf --output /var/tmp/{user}/run-{}/result.log -v item{}",
            n % 97,
            n % 13
        );
        let parent_line = format!("{parent} -c /opt/{user}/jobs/job-{}.sh", n % 211);
        let pid = i64::from(random.random_range(300..4_000_000_u32));
        let key = format!("5eed5eed-{:x}-{pid:x}", seed.wrapping_mul(1_000_003).wrapping_add(i as u64));
        let hash = format!("{:064x}", u128::from(n % 40) * 7_919);
        builder.append(&rows::DeviceProcessEvents {
            timestamp: Some(Micros(start.0 + i as i64 * 100)),
            action_type: Some("ProcessCreated"),
            file_name: Some(name),
            folder_path: Some(path),
            sha256: Some(&hash),
            process_id: Some(pid),
            process_command_line: Some(&line),
            process_creation_time: Some(Micros(start.0 + i as i64 * 100)),
            account_name: Some(user),
            account_sid: Some("1000"),
            process_unique_id: Some(&key),
            initiating_process_file_name: Some(parent_name),
            initiating_process_folder_path: Some(parent),
            initiating_process_command_line: Some(&parent_line),
            initiating_process_id: Some(i64::from(n)),
            initiating_process_account_name: Some(user),
            initiating_process_unique_id: Some("5eed5eed-1-1"),
            ..rows::DeviceProcessEvents::default()
        });
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        let first = process_rows(7, 100, Micros(0));
        assert_eq!(first, process_rows(7, 100, Micros(0)));
        assert_ne!(first, process_rows(8, 100, Micros(0)));
        assert_eq!(first.num_rows(), 100);
    }
}
