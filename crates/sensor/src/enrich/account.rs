//! Names of users, from /etc/passwd. Directory services (LDAP, SSSD) may take seconds to answer, so they are never
//! asked from here: a user only they know goes by number.

use hashbrown::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Users kept: a host with more local users is no server that we know of.
const USERS_MAX: usize = 65_536;
/// Largest passwd file that is read.
const PASSWD_BYTES_MAX: u64 = 16 << 20;
/// How often the file's times are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A user as rows name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Number, as text.
    pub sid: Box<str>,
    /// Name, if it has one here.
    pub name: Option<Box<str>>,
}

/// The users of this host.
#[derive(Debug)]
pub struct Accounts {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    looked: Option<Duration>,
    by_uid: HashMap<u32, Arc<Account>, ahash::RandomState>,
    named: HashMap<Box<str>, u32, ahash::RandomState>,
}

impl Accounts {
    /// Users of this passwd file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stamp: None, looked: None, by_uid: HashMap::default(), named: HashMap::default() }
    }

    /// The user of a number; `now` is any monotonic time.
    pub fn by_uid(&mut self, uid: u32, now: Duration) -> Arc<Account> {
        self.refresh(now);
        if let Some(account) = self.by_uid.get(&uid) {
            return Arc::clone(account);
        }
        let account = Arc::new(Account { sid: uid.to_string().into(), name: None });
        if self.by_uid.len() < USERS_MAX {
            self.by_uid.insert(uid, Arc::clone(&account));
        }
        account
    }

    /// The number of a name.
    pub fn uid_of(&mut self, name: &str, now: Duration) -> Option<u32> {
        self.refresh(now);
        self.named.get(name).copied()
    }

    fn refresh(&mut self, now: Duration) {
        if self.looked.is_some_and(|l| now.saturating_sub(l) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let Ok(meta) = std::fs::metadata(&self.path) else { return };
        let stamp = meta.modified().ok().map(|t| (t, meta.len()));
        if stamp == self.stamp && stamp.is_some() || meta.len() > PASSWD_BYTES_MAX {
            return;
        }
        let Ok(bytes) = std::fs::read(&self.path) else { return };
        self.stamp = stamp;
        self.by_uid.clear();
        self.named.clear();
        for line in String::from_utf8_lossy(&bytes).lines().take(USERS_MAX) {
            let mut fields = line.split(':');
            let (Some(name), _, Some(uid)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Ok(uid) = uid.parse::<u32>() else { continue };
            if name.is_empty() || name.starts_with('#') || name.len() > 256 {
                continue;
            }
            // The first name of a number is its name, as for the C library.
            self.by_uid
                .entry(uid)
                .or_insert_with(|| Arc::new(Account { sid: uid.to_string().into(), name: Some(name.into()) }));
            self.named.entry(name.into()).or_insert(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_file_and_unknown_users_go_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\nbad\nx:y:z\n").unwrap();
        let mut accounts = Accounts::new(&path);
        assert_eq!(accounts.by_uid(0, Duration::ZERO).name.as_deref(), Some("root"));
        assert_eq!(*accounts.by_uid(7, Duration::ZERO), Account { sid: "7".into(), name: None });
        std::fs::write(&path, "root:x:0:0::/root:/bin/sh\nweb:x:7:7::/:/bin/sh\n").unwrap();
        assert_eq!(accounts.by_uid(7, Duration::from_millis(10)).name, None, "not looked at yet");
        assert_eq!(accounts.by_uid(7, Duration::from_secs(2)).name.as_deref(), Some("web"));
        assert_eq!(accounts.uid_of("web", Duration::from_secs(2)), Some(7));
    }
}
