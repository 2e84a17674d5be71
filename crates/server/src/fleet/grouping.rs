//! What device groups look at, of one device or of all.

use super::Fleet;
use super::record::DeviceRecord;
use crate::access::group::GroupFacts;
use garrison_model::DeviceId;

fn facts(record: &DeviceRecord) -> GroupFacts<'_> {
    GroupFacts {
        host_name: &record.facts.host_name,
        os_platform: &record.facts.os_platform,
        os_distribution: &record.facts.os_distribution,
        os_version: &record.facts.os_version,
        tags: &record.tags,
    }
}

impl Fleet {
    /// Looks at one device; `None` if there is none.
    pub fn group_facts<T>(&self, id: &DeviceId, look: impl FnOnce(&GroupFacts<'_>) -> T) -> Option<T> {
        self.devices().get(id).map(|e| look(&facts(&e.record)))
    }

    /// Looks at every device; the list is locked meanwhile, so only look.
    pub fn group_facts_walk(&self, mut look: impl FnMut(&DeviceId, &GroupFacts<'_>)) {
        for (id, e) in self.devices().iter() {
            look(id, &facts(&e.record));
        }
    }
}
