//! The peer: rsigma on the same rules and events.

use crate::events::Event;
use anyhow::Context;
use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::LogSource;
use std::collections::BTreeMap;

pub struct Peer {
    engine: Engine,
}

impl Peer {
    pub fn load(texts: &[(String, String)]) -> anyhow::Result<Self> {
        let mut engine = Engine::new();
        let (mut loaded, mut refused) = (0, 0);
        let mut rules = Vec::new();
        for (name, text) in texts {
            let collection = rsigma_parser::parse_sigma_yaml(text).with_context(|| format!("cannot read `{name}`"))?;
            rules.extend(collection.rules);
        }
        for rule in &rules {
            if engine.add_rule(rule).is_ok() {
                loaded += 1;
            } else {
                refused += 1;
            }
        }
        println!("rsigma: {loaded} rules loaded, {refused} refused\n");
        Ok(Self { engine })
    }

    /// Events a second, and matches by rule. Events are parsed before the clock starts, as ours are columns before.
    pub fn run(&self, events: &[Event], routed: bool) -> (f64, BTreeMap<String, usize>) {
        let values: Vec<serde_json::Value> = events
            .iter()
            .map(|event| {
                let fields = event.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
                serde_json::Value::Object(fields.collect())
            })
            .collect();
        let source = LogSource {
            category: Some("process_creation".to_owned()),
            product: Some("windows".to_owned()),
            ..LogSource::default()
        };
        let started = crate::detect::cpu_seconds();
        let mut found = BTreeMap::new();
        for value in &values {
            let event = JsonEvent::borrow(value);
            let results = if routed {
                self.engine.evaluate_with_logsource(&event, &source)
            } else {
                self.engine.evaluate(&event)
            };
            for result in results {
                *found.entry(result.header.rule_id.unwrap_or_default()).or_default() += 1;
            }
        }
        (values.len() as f64 / (crate::detect::cpu_seconds() - started), found)
    }
}
