//! What binds an identity to one machine: hashes of its machine id and of what its firmware says of the hardware.
//!
//! Only hashes leave the machine and only hashes are stored: the machine id is a secret towards the network (systemd's
//! machine-id(5) asks for that), and serial numbers are nobody's business. Two parts are compared one by one, so that a
//! part that could not be read (firmware tables are root's) does not make another machine of the same one.

use super::v1;
use sha2::{Digest as _, Sha256};

fn hash(kind: &str, text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    // What firmware says when nobody filled it in names no machine; all zeros or all ones neither.
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let nameless = plain.is_empty()
        || plain.bytes().all(|b| b == b'0')
        || plain.bytes().all(|b| b == b'f')
        || matches!(plain.as_str(), "uninitialized" | "none" | "notspecified" | "tobefilledbyoem" | "defaultstring");
    if nameless {
        return String::new();
    }
    hex::encode(Sha256::digest(format!("garrison-machine-v1\n{kind}\n{text}")))
}

/// The binding of a machine: the text of `/etc/machine-id` and the UUID that its firmware gives; empty where there is
/// none.
pub fn of(machine_id: &str, hardware_uuid: &str) -> v1::Binding {
    v1::Binding { machine_id: hash("machine-id", machine_id), hardware: hash("hardware", hardware_uuid) }
}

/// Whether a binding names a machine at all.
pub fn is_bound(binding: &v1::Binding) -> bool {
    !binding.machine_id.is_empty() || !binding.hardware.is_empty()
}

/// Whether two bindings are of different machines: a part that both have differs.
pub fn differ(a: &v1::Binding, b: &v1::Binding) -> bool {
    let other = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    other(&a.machine_id, &b.machine_id) || other(&a.hardware, &b.hardware)
}

/// A binding as claimed, cut to what it can be: hashes, or nothing.
pub fn from_claim(binding: Option<v1::Binding>) -> v1::Binding {
    let hash = |text: String| {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) { text } else { String::new() }
    };
    let binding = binding.unwrap_or_default();
    v1::Binding { machine_id: hash(binding.machine_id), hardware: hash(binding.hardware) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_part_is_another_machine_and_a_missing_part_is_not() {
        let (id, uuid) = ("0123456789abcdef0123456789abcdef", "4C4C4544-0042-3510-8052-B4C04F4D3532");
        for (a, b, different) in [
            ((id, uuid), (id, uuid), false),
            ((id, uuid), (id, ""), false),
            ((id, uuid), ("", uuid), false),
            // A virtual machine cloned with its disk: new hardware, old machine id.
            ((id, uuid), (id, "5C4C4544-0042-3510-8052-B4C04F4D3532"), true),
            // A container or a reinstalled machine on the same hardware.
            ((id, uuid), ("1123456789abcdef0123456789abcdef", uuid), true),
            ((id, "00000000-0000-0000-0000-000000000000"), (id, uuid), false),
            (("uninitialized", uuid), (id, uuid), false),
        ] {
            assert_eq!(differ(&of(a.0, a.1), &of(b.0, b.1)), different, "{a:?} {b:?}");
        }
        assert!(!of(id, uuid).machine_id.contains(id));
        assert!(!is_bound(&of("", "")));
    }
}
