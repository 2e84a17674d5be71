//! Names that were meant: the nearest known names to one that is not known, and wildcards.

/// Candidates that are compared: hints are a courtesy, and must not cost more than the query.
const CANDIDATES_MAX: usize = 5_000;

/// A hint with the known names nearest to one that is not known.
pub(crate) fn hint<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let lower = wrong.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = known
        .take(CANDIDATES_MAX)
        .filter_map(|name| {
            let distance = distance(&lower, &name.to_lowercase(), allowed)?;
            Some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    let names: Vec<String> = near.iter().take(3).map(|(_, n)| format!("`{n}`")).collect();
    match names.len() {
        0 => None,
        1 => Some(format!("did you mean {}?", names.concat())),
        _ => Some(format!("did you mean one of {}?", names.join(", "))),
    }
}

/// Edits between two texts, if they are not more than allowed.
fn distance(a: &str, b: &str, allowed: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(128).collect(), b.chars().take(128).collect());
    if a.len().abs_diff(b.len()) > allowed {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(above.saturating_add(1));
            diagonal = above;
            left = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().filter(|d| *d <= allowed)
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{fits, hint};

    #[test]
    fn a_wildcard_fits_any_run_of_characters() {
        for (pattern, name, want) in [
            ("Device*", "DeviceInfo", true),
            ("*Info", "DeviceInfo", true),
            ("D*I*o", "DeviceInfo", true),
            ("Device*Info", "DeviceInfo", true),
            ("DeviceInfo*Info", "DeviceInfo", false),
            ("*", "", true),
            ("a*b", "ab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_nearest_name_is_the_hint() {
        let known = ["FileName", "FolderPath", "DeviceName"];
        assert_eq!(hint("Filename", known.into_iter()).as_deref(), Some("did you mean `FileName`?"));
        assert_eq!(hint("Nothing", known.into_iter()), None);
    }
}
