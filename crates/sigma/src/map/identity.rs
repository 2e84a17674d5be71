//! Columns named as Sigma names its fields: for events of other systems, and to compare engines on raw events.

use super::{FieldMap, Route, Target};
use crate::rule::LogSource;
use std::borrow::Cow;

/// Every field is the column of its name.
#[derive(Debug, Clone, Default)]
pub struct IdentityMap {
    /// Columns in which keywords are looked for.
    pub keyword_columns: Vec<String>,
    /// Whether rules go to the table of their category (else service, else product) instead of one named `events`.
    pub by_category: bool,
}

impl FieldMap for IdentityMap {
    fn routes(&self, source: &LogSource) -> Vec<Route> {
        let named = source.category.as_ref().or(source.service.as_ref()).or(source.product.as_ref());
        let table = match named {
            Some(name) if self.by_category => Cow::Owned(name.clone()),
            _ => Cow::Borrowed("events"),
        };
        let platform = source.product.as_deref().and_then(super::Platform::parse).filter(|_| self.by_category);
        vec![Route { table, actions: Vec::new(), platform }]
    }

    fn field(&self, _: &LogSource, _: &Route, field: &str) -> Vec<Target> {
        vec![Target::column(field.to_owned())]
    }

    fn keywords(&self, _: &LogSource, _: &Route) -> Vec<Target> {
        self.keyword_columns.iter().map(|name| Target::column(name.clone())).collect()
    }
}
