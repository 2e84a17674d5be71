//! From texts to rules: documents, old collections, ids, references. One bad document never stops another.

use crate::Limits;
use crate::correlation;
use crate::detection::{self, Placeholders};
use crate::diagnostic::{Code, Diagnostic, shown};
use crate::rule::{self, Body, Level, LogSource, Rule, RuleIndex, RuleKind};
use crate::yaml::{self, Kind, Node};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// How to load rules.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// Values for the placeholders of `expand`, by name without percent signs.
    pub placeholders: Placeholders,
}

/// All rules that were given, usable or not, in the order given.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    by_id: HashMap<String, RuleIndex>,
    by_name: HashMap<String, RuleIndex>,
    pub(crate) limits: Limits,
}

impl RuleSet {
    /// Reads rules from named texts, each of one or more YAML documents. Every document becomes a [`Rule`], one that was
    /// refused too, with its diagnostics; the second value holds all diagnostics, also those of no rule.
    pub fn load<N, T>(sources: impl IntoIterator<Item = (N, T)>, options: &Options) -> (Self, Vec<Diagnostic>)
    where
        N: AsRef<str>,
        T: AsRef<str>,
    {
        let mut loader = Loader { options, set: Self::default(), loose: Vec::new() };
        loader.set.limits = options.limits.clone();
        for (name, text) in sources {
            loader.source(&Arc::from(name.as_ref()), text.as_ref());
        }
        loader.finish()
    }

    /// All rules, by [`RuleIndex`].
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// One rule.
    pub fn rule(&self, index: RuleIndex) -> Option<&Rule> {
        self.rules.get(index.0 as usize)
    }

    /// The rule with this id.
    pub fn find(&self, id: &str) -> Option<RuleIndex> {
        self.by_id.get(id).copied()
    }

    /// The rule that a correlation or filter means: by id, then by name.
    pub(crate) fn resolve(&self, reference: &str) -> Option<RuleIndex> {
        self.find(reference).or_else(|| self.by_name.get(reference).copied())
    }

    /// Rules by index with their position.
    pub fn iter(&self) -> impl Iterator<Item = (RuleIndex, &Rule)> {
        self.rules.iter().enumerate().map(|(index, rule)| (RuleIndex(index as u32), rule))
    }
}

struct Loader<'o> {
    options: &'o Options,
    set: RuleSet,
    loose: Vec<Diagnostic>,
}

impl Loader<'_> {
    fn source(&mut self, name: &Arc<str>, text: &str) {
        let mut global: Option<Node> = None;
        let mut previous: Option<Node> = None;
        for (document, line) in yaml::documents(text) {
            let node = match yaml::parse(document, line, &self.options.limits) {
                Ok(Some(node)) => node,
                Ok(None) => continue,
                Err(diagnostic) => {
                    self.refuse(name, document, line, diagnostic);
                    continue;
                }
            };
            if self.set.rules.len() >= self.options.limits.rules_max {
                let message = format!("more than {} documents were given", self.options.limits.rules_max);
                self.lose(name, Diagnostic::new(Code::TooManyRules, "", line, message));
                return;
            }
            let action = node.get("action").and_then(Node::scalar);
            let node = without(node, "action");
            let whole = match action.as_deref() {
                None => global.as_ref().map_or_else(|| node.clone(), |base| merged(base, &node)),
                Some("global") => {
                    global = Some(global.as_ref().map_or_else(|| node.clone(), |base| merged(base, &node)));
                    continue;
                }
                Some("reset") => {
                    global = None;
                    continue;
                }
                Some("repeat") => previous.as_ref().map_or_else(|| node.clone(), |base| merged(base, &node)),
                Some(other) => {
                    let message = format!("the action `{}` does not exist", shown(other));
                    self.refuse(name, document, line, Diagnostic::new(Code::UnknownAction, "action", line, message));
                    continue;
                }
            };
            previous = Some(whole.clone());
            self.document(name, document, line, &whole);
        }
    }

    fn lose(&mut self, name: &Arc<str>, mut diagnostic: Diagnostic) {
        diagnostic.source = name.to_string();
        self.loose.push(diagnostic);
    }

    /// A document that could not be read at all still shows up as a rule, so that its author sees why.
    fn refuse(&mut self, name: &Arc<str>, text: &str, line: u32, diagnostic: Diagnostic) {
        if self.set.rules.len() >= self.options.limits.rules_max {
            return self.lose(name, diagnostic);
        }
        let empty = Node { kind: Kind::Map(Vec::new()), line };
        let mut rule = self.metadata(name, text, line, &empty, &mut Vec::new());
        rule.title = "unreadable rule".to_owned();
        rule.diagnostics.push(diagnostic);
        self.admit(rule);
    }

    fn document(&mut self, name: &Arc<str>, text: &str, line: u32, node: &Node) {
        let mut remarks = Vec::new();
        let mut rule = self.metadata(name, text, line, node, &mut remarks);
        match self.body(node, &mut rule, &mut remarks) {
            Ok(body) => rule.body = body,
            Err(diagnostic) => remarks.push(diagnostic),
        }
        rule.diagnostics = remarks;
        self.admit(rule);
    }

    fn admit(&mut self, mut rule: Rule) {
        let index = RuleIndex(self.set.rules.len() as u32);
        if let Some(first) = self.set.by_id.get(&rule.id) {
            let first = &self.set.rules[first.0 as usize];
            let message =
                format!("the id `{}` is that of `{}` in `{}`", shown(&rule.id), shown(&first.title), first.source);
            rule.diagnostics.push(Diagnostic::new(Code::DuplicateId, "id", rule.line, message));
            rule.body = Body::None;
            // The refused rule needs an id of its own, so that it can be shown.
            rule.id = derived_id(&format!("{}\0{}\0{}", rule.source, index.0, rule.text));
        }
        self.set.by_id.insert(rule.id.clone(), index);
        if rule.body != Body::None
            && let Some(name) = rule.name.clone()
        {
            match self.set.by_name.entry(name) {
                Entry::Occupied(taken) => {
                    let message = format!("the name `{}` is taken", shown(taken.key()));
                    rule.diagnostics.push(Diagnostic::new(Code::DuplicateName, "name", rule.line, message));
                }
                Entry::Vacant(free) => {
                    free.insert(index);
                }
            }
        }
        for diagnostic in &mut rule.diagnostics {
            diagnostic.source = rule.source.to_string();
            diagnostic.rule.clone_from(&rule.id);
        }
        if !rule.is_usable() {
            rule.body = Body::None;
        }
        self.set.rules.push(rule);
    }

    fn metadata(&self, name: &Arc<str>, text: &str, line: u32, node: &Node, remarks: &mut Vec<Diagnostic>) -> Rule {
        const TITLE_CHARACTERS_MAX: usize = 256;
        let scalar = |key: &str| node.get(key).and_then(Node::scalar).unwrap_or_default();
        let list = |key: &str| node.get(key).map(Node::scalars).unwrap_or_default();
        let mut title = scalar("title");
        if title.chars().count() > TITLE_CHARACTERS_MAX {
            remarks.push(Diagnostic::new(Code::LongTitle, "title", line, "the title is too long"));
            title = title.chars().take(TITLE_CHARACTERS_MAX).collect();
        }
        let level_text = scalar("level");
        let level = Level::parse(&level_text).unwrap_or_else(|| {
            if !level_text.is_empty() {
                let message = format!("the level `{}` does not exist", shown(&level_text));
                remarks.push(Diagnostic::new(Code::UnknownLevel, "level", line, message));
            }
            Level::Medium
        });
        let status = scalar("status");
        if !matches!(status.as_str(), "" | "stable" | "test" | "experimental" | "deprecated" | "unsupported") {
            let message = format!("the status `{}` does not exist", shown(&status));
            remarks.push(Diagnostic::new(Code::UnknownStatus, "status", line, message));
        }
        let id = scalar("id").trim().to_ascii_lowercase();
        let valid = !id.is_empty()
            && id.len() <= 80
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let id = if valid {
            id
        } else {
            remarks.push(Diagnostic::new(Code::DerivedId, "id", line, "the rule has no usable id"));
            derived_id(text.trim())
        };
        let tags = list("tags");
        let (tactics, techniques) = rule::attack(&tags);
        let attributes = node.get("garrison").map_or(serde_json::Value::Null, Node::to_json);
        let mut recommended_action = scalar("recommended_action");
        if let (true, Some(text)) = (recommended_action.is_empty(), attributes["recommended_action"].as_str()) {
            recommended_action = text.to_owned();
        }
        let part = |key: &str| {
            let value = node.get("logsource").and_then(|source| source.get(key)).and_then(Node::scalar)?;
            let value = value.trim().to_ascii_lowercase();
            (!value.is_empty()).then_some(value)
        };
        Rule {
            id,
            name: Some(scalar("name")).filter(|name| !name.is_empty()),
            title,
            description: scalar("description").trim().to_owned(),
            level,
            status,
            author: list("author").join(", "),
            references: list("references"),
            tags,
            tactics,
            techniques,
            false_positives: list("falsepositives"),
            fields: list("fields"),
            recommended_action,
            attributes,
            log_source: LogSource { product: part("product"), category: part("category"), service: part("service") },
            text: Arc::from(text.trim_start_matches(['\n', '\r'])),
            source: Arc::clone(name),
            line,
            kind: RuleKind::Rule,
            diagnostics: Vec::new(),
            body: Body::None,
            alerts: true,
        }
    }

    fn body(&self, node: &Node, rule: &mut Rule, remarks: &mut Vec<Diagnostic>) -> Result<Body, Diagnostic> {
        let limits = &self.options.limits;
        let line = node.line;
        if !matches!(node.kind, Kind::Map(_)) {
            return Err(Diagnostic::new(Code::NotAMap, "", line, "the document is not a map"));
        }
        if let Some(body) = node.get("correlation") {
            rule.kind = RuleKind::Correlation;
            self.checks(rule, line)?;
            return correlation::parse(body, node, limits, remarks).map(Body::Correlation);
        }
        let filter = node.get("filter");
        if filter.is_some() {
            rule.kind = RuleKind::Filter;
        }
        self.checks(rule, line)?;
        if rule.log_source == LogSource::default() {
            return Err(Diagnostic::new(Code::MissingLogsource, "logsource", line, "the rule names no log source"));
        }
        if node.get("taxonomy").and_then(Node::scalar).is_some_and(|t| !t.is_empty() && t != "sigma") {
            remarks.push(Diagnostic::new(Code::Taxonomy, "taxonomy", line, "the taxonomy is not `sigma`"));
        }
        if let Some(body) = filter {
            let rules = body.get("rules").map(Node::scalars).unwrap_or_default();
            if rules.is_empty() {
                return Err(Diagnostic::new(Code::FilterRules, "filter.rules", body.line, "no rules are named"));
            }
            let detection = detection::parse(body, "filter", limits, &self.options.placeholders, remarks)?;
            return Ok(Body::Filter { rules, detection });
        }
        let Some(body) = node.get("detection") else {
            return Err(Diagnostic::new(Code::MissingDetection, "", line, "there is nothing to look for"));
        };
        detection::parse(body, "detection", limits, &self.options.placeholders, remarks).map(Body::Detection)
    }

    fn checks(&self, rule: &Rule, line: u32) -> Result<(), Diagnostic> {
        if rule.title.trim().is_empty() {
            return Err(Diagnostic::new(Code::MissingTitle, "title", line, "the rule has no title"));
        }
        if rule.status == "unsupported" {
            return Err(Diagnostic::new(Code::StatusUnsupported, "status", line, "the rule calls itself unsupported"));
        }
        Ok(())
    }

    /// Follows the references of correlations, once all rules are there.
    fn finish(mut self) -> (RuleSet, Vec<Diagnostic>) {
        // A correlation whose rules are refused is refused, and so on upwards; each round refuses at least one.
        loop {
            let mut refused = Vec::new();
            let heights = self.heights();
            for (index, rule) in self.set.iter() {
                let Body::Correlation(correlation) = &rule.body else { continue };
                let missing = correlation.rules.iter().find(|reference| {
                    let target = self.set.resolve(reference).and_then(|t| self.set.rule(t));
                    !target.is_some_and(|t| matches!(t.body, Body::Detection(_) | Body::Correlation(_)))
                });
                if let Some(reference) = missing {
                    let message = format!("the rule `{}` is not loaded, or not usable", shown(reference));
                    refused.push((index, Diagnostic::new(Code::UnknownRule, "correlation.rules", rule.line, message)));
                } else if heights[index.0 as usize].is_none() {
                    let message = "the correlations refer to each other in a circle, or too deep";
                    refused.push((
                        index,
                        Diagnostic::new(Code::CorrelationCycle, "correlation.rules", rule.line, message),
                    ));
                }
            }
            if refused.is_empty() {
                break;
            }
            for (index, mut diagnostic) in refused {
                let rule = &mut self.set.rules[index.0 as usize];
                diagnostic.source = rule.source.to_string();
                diagnostic.rule.clone_from(&rule.id);
                rule.diagnostics.push(diagnostic);
                rule.body = Body::None;
            }
        }
        // Rules that feed a correlation do not alert by themselves, unless it says `generate: true`.
        let (mut quiet, mut loud) = (Vec::new(), Vec::new());
        for rule in &self.set.rules {
            if let Body::Correlation(correlation) = &rule.body {
                let targets = correlation.rules.iter().filter_map(|r| self.set.resolve(r));
                if correlation.generate { &mut loud } else { &mut quiet }.extend(targets);
            }
        }
        for index in quiet {
            self.set.rules[index.0 as usize].alerts = false;
        }
        for index in loud {
            self.set.rules[index.0 as usize].alerts = true;
        }
        let mut all = self.loose;
        all.extend(self.set.rules.iter().flat_map(|rule| rule.diagnostics.iter().cloned()));
        (self.set, all)
    }

    /// How high each rule stands above plain rules; none for correlations in a circle or too high.
    fn heights(&self) -> Vec<Option<usize>> {
        let mut heights: Vec<Option<usize>> =
            self.set.rules.iter().map(|r| (!matches!(r.body, Body::Correlation(_))).then_some(0)).collect();
        for height in 1..=self.options.limits.correlation_depth_max {
            for (index, rule) in self.set.iter() {
                let Body::Correlation(correlation) = &rule.body else { continue };
                let known = |r: &String| self.set.resolve(r).is_some_and(|t| heights[t.0 as usize].is_some());
                if heights[index.0 as usize].is_none() && correlation.rules.iter().all(known) {
                    heights[index.0 as usize] = Some(height);
                }
            }
        }
        heights
    }
}

fn without(node: Node, key: &str) -> Node {
    match node.kind {
        Kind::Map(entries) => {
            Node { kind: Kind::Map(entries.into_iter().filter(|(k, _)| k != key).collect()), line: node.line }
        }
        _ => node,
    }
}

/// `over` upon `base`; maps are merged, all else is replaced.
fn merged(base: &Node, over: &Node) -> Node {
    let (Kind::Map(old), Kind::Map(new)) = (&base.kind, &over.kind) else { return over.clone() };
    let mut entries = old.clone();
    for (key, value) in new {
        match entries.iter_mut().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = merged(slot, value),
            None => entries.push((key.clone(), value.clone())),
        }
    }
    Node { kind: Kind::Map(entries), line: over.line }
}

/// A UUID of version 8 from the first 16 bytes of SHA-256: the same text has the same id everywhere.
fn derived_id(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
