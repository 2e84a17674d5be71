//! The section `oidc` of the configuration.

use super::reader::Reader;
use crate::access::oidc::{OidcSettings, issuer_check, role_read};

pub(super) fn read(reader: &mut Reader, into: &mut Option<OidcSettings>) {
    reader.section("oidc", |r| {
        let mut all = OidcSettings {
            name: "OpenID".to_owned(),
            role_claim: "groups".to_owned(),
            scopes: vec!["email".to_owned()],
            ..OidcSettings::default()
        };
        for (key, needed, place) in [
            ("issuer", true, &mut all.issuer),
            ("client_id", true, &mut all.client_id),
            ("name", false, &mut all.name),
            ("role_claim", false, &mut all.role_claim),
        ] {
            match r.text(key) {
                Some(text) if !text.is_empty() && text.len() <= 300 => *place = text,
                Some(_) => r.problem(key, "must have 1 to 300 characters"),
                None if needed => r.problem(key, "is missing"),
                None => {}
            }
        }
        if !all.issuer.is_empty()
            && let Err(what) = issuer_check(&all.issuer)
        {
            r.problem("issuer", what);
        }
        all.client_secret_file = r.text("client_secret_file").map(Into::into);
        all.default_role = r.text("default_role");
        all.url = r.text("url");
        if let Some(url) = &all.url
            && let Err(what) = issuer_check(url)
        {
            r.problem("url", what);
        }
        if let Some(domains) = r.texts("domains") {
            all.domains = domains;
        }
        if let Some(scopes) = r.texts("scopes") {
            all.scopes = scopes;
        }
        for (value, role) in r.pairs("roles") {
            if let Err(what) = role_read(&role) {
                r.problem("roles", what);
            }
            all.roles.insert(value, role);
        }
        if all.roles.is_empty() && all.default_role.is_none() {
            r.problem("roles", "is empty, and there is no `default_role`: nobody could sign in");
        }
        *into = Some(all);
    });
}
