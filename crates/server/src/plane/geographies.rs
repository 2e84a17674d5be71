//! The geographies of this server: the six that every server knows and those that the operator configures, each with
//! the roots of what rests there.

use super::PlaneError;
use garrison_model::{BuiltIn, GEOGRAPHIES, Geography, location_key};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Geographies that may be configured beside the six: a folder and a check each, and nobody has more.
pub const GEOGRAPHIES_MAX: usize = 64;

/// One geography.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeographySettings {
    /// Name for people.
    pub name: String,
    /// Locations in it, as `location_key` writes them.
    pub locations: Vec<String>,
    /// Root of the lakes of its tenants; a relative path lies in the data folder.
    pub lake: String,
    /// Root of their control data; the same.
    pub control: String,
    /// Address of the PostgreSQL database that holds their control data; without it, a file under `control`, or the
    /// server's own PostgreSQL database.
    pub database: Option<String>,
    /// Whether their data is sealed, where it differs from the server's setting.
    pub encryption: Option<bool>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geographies {
    /// By code.
    pub known: BTreeMap<Geography, GeographySettings>,
    /// Where the server's first tenant is to rest, whatever the location of its first subscription.
    pub first_tenant: Option<Geography>,
}

impl Default for Geographies {
    fn default() -> Self {
        let known = GEOGRAPHIES.iter().filter_map(|b| Some((Geography::new(b.code).ok()?, built_in(b)))).collect();
        Self { known, first_tenant: None }
    }
}

fn built_in(b: &BuiltIn) -> GeographySettings {
    GeographySettings {
        name: b.name.to_owned(),
        locations: b.locations.iter().map(|l| (*l).to_owned()).collect(),
        lake: root(b.code, "lake"),
        control: root(b.code, "control"),
        database: None,
        encryption: None,
    }
}

/// Where something of a geography rests unless the operator says otherwise.
pub fn root(code: &str, what: &str) -> String {
    format!("geographies/{}/{what}", code.to_ascii_lowercase())
}

/// What is wrong with a root, if anything.
pub fn root_check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 1_024 || text.contains(['\0', '\n']) {
        return Err("must be a path of 1 to 1024 characters");
    }
    if text.contains("://") {
        return Err("must be a folder; object stores cannot be used here yet");
    }
    let plain = Path::new(text).components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if plain { Ok(()) } else { Err("must be a path without `.` and `..`") }
}

impl Geographies {
    /// What is wrong between them: a location in two of them, a root that lies in another one. Relative roots lie in
    /// the data folder.
    pub fn problems(&self, data: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        if self.known.len() > GEOGRAPHIES_MAX {
            problems.push(format!("geographies: at most {GEOGRAPHIES_MAX} are kept"));
        }
        let mut locations: BTreeMap<&str, &Geography> = BTreeMap::new();
        let mut roots: Vec<(PathBuf, &Geography, &str)> = Vec::new();
        let mut databases: BTreeMap<&str, &Geography> = BTreeMap::new();
        for (code, g) in &self.known {
            for location in &g.locations {
                if let Some(other) = locations.insert(location, code) {
                    problems.push(format!("geographies.{code}.locations: `{location}` lies in {other} too"));
                }
            }
            if let Some(url) = &g.database {
                if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                    problems.push(format!("geographies.{code}.database: must be an address `postgres://…`"));
                }
                if let Some(other) = databases.insert(url, code) {
                    problems.push(format!("geographies.{code}.database: is that of {other} too"));
                }
            }
            for (what, root) in [("lake", &g.lake), ("control", &g.control)] {
                let path = data.join(root);
                for (other, owner, theirs) in &roots {
                    if path.starts_with(other) || other.starts_with(&path) {
                        problems.push(format!(
                            "geographies.{code}.{what}: `{root}` and geographies.{owner}.{theirs} are one place, or one \
                             lies in the other"
                        ));
                    }
                }
                roots.push((path, code, what));
            }
        }
        if let Some(first) = self.first_tenant.as_ref().filter(|g| !self.known.contains_key(g)) {
            problems.push(format!("tenant.geography: there is no geography `{first}`; there are {}", self.list()));
        }
        problems
    }

    /// Their codes, for people.
    pub fn list(&self) -> String {
        self.known.keys().map(Geography::as_str).collect::<Vec<_>>().join(", ")
    }

    /// One of them.
    pub fn get(&self, geography: &Geography) -> Result<&GeographySettings, PlaneError> {
        self.known
            .get(geography)
            .ok_or_else(|| PlaneError::GeographyUnknown { asked: geography.to_string(), known: self.list() })
    }

    /// The geography that a location lies in.
    pub fn of_location(&self, location: &str) -> Result<&Geography, PlaneError> {
        let key = location_key(location);
        let found = key.and_then(|key| self.known.iter().find(|(_, g)| g.locations.contains(&key)));
        found
            .map(|(code, _)| code)
            .ok_or_else(|| PlaneError::Location { location: location.chars().take(64).collect(), known: self.list() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_to_its_geography() {
        let all = Geographies::default();
        for (location, code) in [
            ("West Europe", Some("EU")),
            ("uksouth", Some("UK")),
            ("us-east-1", Some("US")),
            ("eu-west-2", Some("UK")),
            ("Switzerland", Some("CH")),
            ("canadacentral", None),
            ("../etc", None),
            ("", None),
        ] {
            assert_eq!(all.of_location(location).ok().map(Geography::as_str), code, "{location}");
        }
        assert_eq!(all.list(), "AU, CH, EU, IN, UK, US");
        assert!(all.problems(Path::new("/x")).is_empty());
    }

    #[test]
    fn roots_are_folders_of_their_own() {
        for (root, well) in [
            ("geographies/eu/lake", true),
            ("/srv/eu/lake", true),
            ("", false),
            ("../eu", false),
            ("/srv/./eu", true),
            ("/srv/../eu", false),
            ("s3://bucket", false),
            ("a\0b", false),
        ] {
            assert_eq!(root_check(root).is_ok(), well, "{root:?}");
        }
        let mut all = Geographies::default();
        let eu = Geography::new("EU").unwrap();
        all.known.get_mut(&eu).unwrap().lake = "geographies/us".to_owned();
        all.first_tenant = Geography::new("CA").ok();
        for (code, url) in [("EU", "postgres://db/x"), ("UK", "postgres://db/x"), ("IN", "sqlite:x")] {
            all.known.get_mut(&Geography::new(code).unwrap()).unwrap().database = Some(url.to_owned());
        }
        let problems = all.problems(Path::new("/x")).join("\n");
        for told in
            ["geographies.US.lake", "tenant.geography", "geographies.UK.database: is", "geographies.IN.database: must"]
        {
            assert!(problems.contains(told), "{told}: {problems}");
        }
    }
}
