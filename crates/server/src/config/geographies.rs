//! The sections `geographies` and `tenant` of the configuration.

use super::reader::Reader;
use crate::plane::geographies::{Geographies, GeographySettings, root, root_check};
use garrison_model::{Geography, location_key};

fn root_read(r: &mut Reader, key: &str, into: &mut String) {
    let Some(text) = r.text(key) else { return };
    match root_check(&text) {
        Ok(()) => *into = text.trim_end_matches('/').to_owned(),
        Err(what) => r.problem(key, what),
    }
}

pub(super) fn read(reader: &mut Reader, all: &mut Geographies) {
    reader.sections("geographies", |key, r| {
        let Ok(code) = Geography::new(key) else {
            r.problem("", "is no code of a geography; write 2 to 16 letters, digits and `-`, such as `CA`");
            return;
        };
        let mut settings = all.known.get(&code).cloned().unwrap_or_else(|| GeographySettings {
            name: code.to_string(),
            locations: vec![code.as_str().to_ascii_lowercase().replace('-', "")],
            lake: root(code.as_str(), "lake"),
            control: root(code.as_str(), "control"),
            database: None,
            encryption: None,
        });
        if let Some(name) = r.text("name") {
            settings.name = name.chars().take(128).collect();
        }
        if let Some(locations) = r.texts("locations") {
            for location in locations {
                match location_key(&location) {
                    Some(key) if settings.locations.contains(&key) => {}
                    Some(key) => settings.locations.push(key),
                    None => r.problem("locations", "must be names of 1 to 64 letters, digits and dashes"),
                }
            }
        }
        root_read(r, "lake", &mut settings.lake);
        root_read(r, "control", &mut settings.control);
        if let Some(url) = r.text("database") {
            settings.database = Some(url);
        }
        if let Some(sealed) = r.truth("encryption") {
            settings.encryption = Some(sealed);
        }
        all.known.insert(code, settings);
    });
    reader.section("tenant", |r| {
        if let Some(text) = r.text("geography") {
            match Geography::new(&text) {
                Ok(code) => all.first_tenant = Some(code),
                Err(_) => r.problem("geography", "is no code of a geography, such as `EU`"),
            }
        }
    });
}
