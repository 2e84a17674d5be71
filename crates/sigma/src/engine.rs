//! The engine: rules compiled for the tables that hold their log sources, evaluated batch by batch.
//!
//! A value of a column is looked at once for all rules, and an equal value is not looked at again: the set of
//! predicates that hold on it is its *class*, a small number that is remembered by value. A row is then only its tuple of
//! classes, and the rules that a tuple matches are remembered too. So a row costs one look-up a column and one for the
//! tuple; searching and rules cost once for each new value and each new tuple. What is remembered lives in a
//! [`Scratch`], one for each thread, bounded in bytes, and emptied when full: it never changes an answer.

use crate::correlate::Compiled;
use crate::criterion::Criterion;
use crate::diagnostic::{Code, Diagnostic, Severity, shown};
use crate::lower::{Expr, Lowering};
use crate::map::{FieldMap, Platform, Route};
use crate::plan::Plan;
use crate::rule::{Body, Rule, RuleIndex};
use crate::ruleset::RuleSet;
use crate::scratch::Scratch;
use arrow::array::RecordBatch;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Rules compiled against a field map: immutable, shared between threads, replaced as a whole on reload.
pub struct Engine {
    id: u64,
    rules: Arc<RuleSet>,
    map: Arc<dyn FieldMap>,
    tables: Arc<[TableRules]>,
    status: Arc<[Status]>,
    disabled: Vec<bool>,
    correlations: Arc<[Compiled]>,
}

/// What compiling found out about one rule.
#[derive(Debug, Clone, Default)]
struct Status {
    tables: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

struct TableRules {
    name: String,
    rules: Vec<Lowered>,
    /// One for each platform, and one for rows of unknown platform; compiled when first asked for.
    plans: [OnceLock<Plan>; 4],
}

struct Lowered {
    rule: RuleIndex,
    platform: Option<Platform>,
    expr: Expr,
}

/// One rule that holds on one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hit {
    /// The row in its batch.
    pub row: u32,
    /// The rule.
    pub rule: RuleIndex,
}

/// What [`Engine::evaluate`] found in a batch, by row, then by rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    pub(crate) hits: Vec<Hit>,
}

impl Matches {
    /// An empty list, to be filled again and again.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every rule that held, also those that only feed correlations.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Those that are alerts by themselves.
    pub fn alerts<'m>(&'m self, engine: &'m Engine) -> impl Iterator<Item = Hit> + 'm {
        self.hits.iter().copied().filter(|hit| engine.alerts(hit.rule))
    }

    /// Whether nothing held.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Number of hits.
    pub fn len(&self) -> usize {
        self.hits.len()
    }
}

/// Tests in one rule for one table; the largest public rule has about 2,500.
const RULE_TESTS_MAX: usize = 100_000;

impl Engine {
    /// Compiles the usable rules. What a rule lacks here is found in [`Engine::diagnostics`]; nothing fails as a whole.
    pub fn compile(rules: Arc<RuleSet>, map: Arc<dyn FieldMap>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut tables: Vec<TableRules> = Vec::new();
        let mut at: HashMap<String, usize> = HashMap::new();
        let mut status = vec![Status::default(); rules.rules().len()];
        let filters = Filters::collect(&rules, &mut status);
        for (index, rule) in rules.iter() {
            let Body::Detection(detection) = &rule.body else { continue };
            let status = &mut status[index.0 as usize];
            let routes = map.routes(&rule.log_source);
            if routes.is_empty() {
                let message = format!("no table holds `{}`", rule.log_source);
                status.remark(rule, Diagnostic::new(Code::NoTable, "logsource", rule.line, message));
                continue;
            }
            let mut unmapped: Option<BTreeSet<String>> = None;
            let mut lowered = Vec::new();
            let mut refused = None;
            for route in &routes {
                let mut lowering =
                    Lowering { map: map.as_ref(), source: &rule.log_source, route, unmapped: BTreeSet::new() };
                let mut expr = lowering.detection(detection);
                // What the rule itself lacks is told; a filter's fields are the filter's matter.
                let missing = std::mem::take(&mut lowering.unmapped);
                unmapped = Some(match unmapped {
                    None => missing,
                    Some(so_far) => so_far.intersection(&missing).cloned().collect(),
                });
                if matches!(expr, Expr::Const(true)) {
                    refused = Some(Diagnostic::new(
                        Code::AlwaysMatches,
                        "detection",
                        rule.line,
                        format!("it would hold on every row of `{}`", route.table),
                    ));
                    continue;
                }
                for filter in filters.of(index) {
                    expr = Expr::and(vec![expr, filter.keep(&mut lowering)]);
                }
                let expr = Expr::and(vec![lowering.actions(), expr]);
                if expr.size() > RULE_TESTS_MAX {
                    let message = format!("the rule has more than {RULE_TESTS_MAX} tests");
                    refused = Some(Diagnostic::new(Code::TooComplex, "detection", rule.line, message));
                } else if !matches!(expr, Expr::Const(false)) {
                    lowered.push((route, expr));
                }
            }
            for field in unmapped.unwrap_or_default() {
                let message = format!("the field `{}` has no column here", shown(&field));
                status.remark(rule, Diagnostic::new(Code::FieldUnmapped, "detection", rule.line, message));
            }
            if lowered.is_empty() {
                let never = || {
                    let names: Vec<&str> = routes.iter().map(|r| r.table.as_ref()).collect();
                    let message = format!("it cannot hold in {}", names.join(", "));
                    Diagnostic::new(Code::NeverMatches, "detection", rule.line, message)
                };
                status.remark(rule, refused.unwrap_or_else(never));
                continue;
            }
            for (route, expr) in lowered {
                let slot = *at.entry(route.table.to_string()).or_insert_with(|| {
                    tables.push(TableRules {
                        name: route.table.to_string(),
                        rules: Vec::new(),
                        plans: std::array::from_fn(|_| OnceLock::new()),
                    });
                    tables.len() - 1
                });
                tables[slot].rules.push(Lowered { rule: index, platform: route.platform, expr });
                status.tables.push(route.table.to_string());
            }
        }
        let correlations = crate::correlate::compile(&rules, map.as_ref(), &|index| {
            let status = &status[index.0 as usize];
            status.tables.clone()
        });
        for (index, outcome) in correlations.1 {
            if let Some(rule) = rules.rule(index) {
                for diagnostic in outcome {
                    status[index.0 as usize].remark(rule, diagnostic);
                }
            }
        }
        for compiled in &correlations.0 {
            status[compiled.rule.0 as usize].tables = compiled.tables();
        }
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            disabled: vec![false; rules.rules().len()],
            rules,
            map,
            tables: tables.into(),
            status: status.into(),
            correlations: correlations.0.into(),
        }
    }

    /// The same engine with these rules, by id, switched off. Cheap: what was compiled is shared.
    #[must_use]
    pub fn with_disabled(&self, ids: &HashSet<String>) -> Self {
        Self {
            id: self.id,
            rules: Arc::clone(&self.rules),
            map: Arc::clone(&self.map),
            tables: Arc::clone(&self.tables),
            status: Arc::clone(&self.status),
            disabled: self.rules.rules().iter().map(|rule| ids.contains(&rule.id)).collect(),
            correlations: Arc::clone(&self.correlations),
        }
    }

    /// Compiles the plans of a platform now instead of at the first batch.
    pub fn prepare(&self, platform: Option<Platform>) {
        for table in self.tables.iter() {
            table.plan(platform);
        }
    }

    /// Evaluates all rules on a batch of a table. `platform` is the system that the rows come from; rules of other systems
    /// cost nothing. `out` is emptied first.
    pub fn evaluate(
        &self,
        scratch: &mut Scratch,
        table: &str,
        platform: Option<Platform>,
        batch: &RecordBatch,
        out: &mut Matches,
    ) {
        out.hits.clear();
        let Some(slot) = self.tables.iter().position(|t| t.name == table) else { return };
        let plan = self.tables[slot].plan(platform);
        if plan.rules.is_empty() || batch.num_rows() == 0 {
            return;
        }
        let slot = slot * 4 + platform_slot(platform);
        scratch.for_plan(self.id, slot, plan).evaluate(plan, batch, &self.disabled, &mut out.hits);
    }

    /// The rules it was compiled from.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// One rule.
    pub fn rule(&self, index: RuleIndex) -> Option<&Rule> {
        self.rules.rule(index)
    }

    /// Whether a rule is read, compiled and on.
    pub fn is_active(&self, index: RuleIndex) -> bool {
        self.is_usable(index) && !self.disabled[index.0 as usize]
    }

    /// Whether a rule could be compiled, on or off.
    pub fn is_usable(&self, index: RuleIndex) -> bool {
        self.rules.rule(index).is_some_and(Rule::is_usable)
            && self.status[index.0 as usize].diagnostics.iter().all(|d| d.severity != Severity::Error)
    }

    /// Whether a rule's matches are alerts by themselves.
    pub fn alerts(&self, index: RuleIndex) -> bool {
        self.rules.rule(index).is_some_and(|rule| rule.alerts)
    }

    /// The tables that a rule reads.
    pub fn tables_of(&self, index: RuleIndex) -> &[String] {
        self.status.get(index.0 as usize).map_or(&[], |s| s.tables.as_slice())
    }

    /// All remarks on a rule: those made when it was read, then those made when it was compiled.
    pub fn diagnostics(&self, index: RuleIndex) -> Vec<Diagnostic> {
        let read = self.rules.rule(index).map(|r| r.diagnostics.clone()).unwrap_or_default();
        let compiled = self.status.get(index.0 as usize).map(|s| s.diagnostics.clone()).unwrap_or_default();
        read.into_iter().chain(compiled).collect()
    }

    /// A rule's condition on the rows of a table, opened up for engines that look at whole columns; none where the rule
    /// does not read the table, or not on this platform. It holds on exactly the rows that [`Engine::evaluate`] finds.
    pub fn criterion(&self, index: RuleIndex, table: &str, platform: Option<Platform>) -> Option<Criterion> {
        let table = self.tables.iter().find(|t| t.name == table)?;
        let of_rule = table.rules.iter().filter(|r| r.rule == index && applies(r.platform, platform));
        let mut parts: Vec<Criterion> = of_rule.map(|r| Criterion::of(&r.expr)).collect();
        match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(Criterion::Any(parts)),
        }
    }

    /// The rules whose matches a correlation looks at, also through other correlations; empty for other rules.
    pub fn members(&self, index: RuleIndex) -> Vec<RuleIndex> {
        let (mut open, mut seen, mut found) = (vec![index], HashSet::new(), Vec::new());
        while let Some(next) = open.pop() {
            if !seen.insert(next) {
                continue;
            }
            match self.correlations.iter().find(|c| c.rule == next) {
                Some(correlation) => open.extend(correlation.members()),
                None if next != index => found.push(next),
                None => {}
            }
        }
        found.sort_unstable();
        found
    }

    /// Rules that are in use for a table and platform.
    pub fn rule_count(&self, table: &str, platform: Option<Platform>) -> usize {
        let table = self.tables.iter().find(|t| t.name == table);
        table.map_or(0, |t| t.rules.iter().filter(|r| applies(r.platform, platform)).count())
    }

    pub(crate) fn map(&self) -> &dyn FieldMap {
        self.map.as_ref()
    }

    pub(crate) fn correlations(&self) -> &[Compiled] {
        &self.correlations
    }

    pub(crate) fn is_disabled(&self, index: RuleIndex) -> bool {
        self.disabled[index.0 as usize]
    }

    pub(crate) fn routes_of(&self, rule: &Rule, table: &str) -> Vec<Route> {
        self.map.routes(&rule.log_source).into_iter().filter(|route| route.table == table).collect()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("id", &self.id).field("rules", &self.rules.rules().len()).finish_non_exhaustive()
    }
}

impl Status {
    fn remark(&mut self, rule: &Rule, mut diagnostic: Diagnostic) {
        diagnostic.source = rule.source.to_string();
        diagnostic.rule.clone_from(&rule.id);
        self.diagnostics.push(diagnostic);
    }
}

fn platform_slot(platform: Option<Platform>) -> usize {
    match platform {
        None => 0,
        Some(Platform::Linux) => 1,
        Some(Platform::Windows) => 2,
        Some(Platform::Macos) => 3,
    }
}

/// Rows of an unknown platform get all rules; rules without a platform apply to all rows.
fn applies(rule: Option<Platform>, row: Option<Platform>) -> bool {
    rule.is_none() || row.is_none() || rule == row
}

impl TableRules {
    fn plan(&self, platform: Option<Platform>) -> &Plan {
        self.plans[platform_slot(platform)].get_or_init(|| {
            let rules = self.rules.iter().filter(|r| applies(r.platform, platform));
            Plan::build(rules.map(|r| (r.rule, &r.expr)))
        })
    }
}

/// Filters by the rule they apply to.
struct Filters<'r> {
    by_rule: HashMap<RuleIndex, Vec<Filter<'r>>>,
}

#[derive(Clone, Copy)]
struct Filter<'r> {
    detection: &'r crate::detection::Detection,
}

impl<'r> Filters<'r> {
    fn collect(rules: &'r RuleSet, status: &mut [Status]) -> Self {
        let mut by_rule: HashMap<RuleIndex, Vec<Filter<'r>>> = HashMap::new();
        for (index, rule) in rules.iter() {
            let Body::Filter { rules: targets, detection } = &rule.body else { continue };
            let fits = |target: RuleIndex| {
                rules
                    .rule(target)
                    .is_some_and(|t| matches!(t.body, Body::Detection(_)) && rule.log_source.covers(&t.log_source))
            };
            let mut found = Vec::new();
            for reference in targets {
                if reference == "any" || reference == "*" {
                    found.extend(rules.iter().map(|(target, _)| target).filter(|target| fits(*target)));
                } else if let Some(target) = rules.resolve(reference).filter(|target| fits(*target)) {
                    found.push(target);
                } else {
                    let message = format!("`{}` is not loaded, or has another log source", shown(reference));
                    let remark = Diagnostic::new(Code::FilterTarget, "filter.rules", rule.line, message);
                    status[index.0 as usize].remark(rule, remark);
                }
            }
            if found.is_empty() {
                let remark =
                    Diagnostic::new(Code::FilterUnused, "filter.rules", rule.line, "the filter applies to no rule");
                status[index.0 as usize].remark(rule, remark);
            }
            for target in found {
                by_rule.entry(target).or_default().push(Filter { detection });
            }
        }
        Self { by_rule }
    }

    fn of(&self, rule: RuleIndex) -> &[Filter<'r>] {
        self.by_rule.get(&rule).map_or(&[], Vec::as_slice)
    }
}

impl Filter<'_> {
    /// The expression that a row must fulfil to be kept. A filter's condition says what to take away (as in the
    /// specification's example: `condition: selection`). Other tools write what to keep (`condition: not selection`); a
    /// condition that starts with `not` is read that way, so that both spellings mean the same.
    fn keep(&self, lowering: &mut Lowering<'_>) -> Expr {
        let expr = lowering.detection(self.detection);
        match self.detection.condition {
            crate::condition::Condition::Not(_) => expr,
            _ => Expr::negate(expr),
        }
    }
}
