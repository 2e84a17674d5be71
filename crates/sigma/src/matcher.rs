//! All tests of one column (or of what is computed from it) in one search: substrings and the certain parts of
//! expressions by one Aho-Corasick automaton, prefixes and suffixes by two tries, whole values by hash; only what has no
//! certain part is tried on every value.

use crate::detection::Test;
use crate::pattern::{Shape, fold_into};
use crate::test;
use crate::trie::Trie;
use crate::value::Value;
use aho_corasick::automaton::Automaton as _;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, MatchKind, dfa};
use std::collections::HashMap;

/// A predicate: "any of these tests holds". Its number is its place in the plan.
pub(crate) type Predicate = u32;

/// Tests are given one by one, with the predicate they make true.
#[derive(Default)]
pub(crate) struct MatcherBuilder {
    /// Index 0: folded, 1: as it is.
    sides: [SideBuilder; 2],
    checks: Vec<(Test, Predicate)>,
    always: Vec<u32>,
}

#[derive(Default)]
struct SideBuilder {
    atoms: HashMap<Vec<u8>, Vec<Action>>,
    prefixes: Vec<(Vec<u8>, u32)>,
    suffixes: Vec<(Vec<u8>, u32)>,
    exact: HashMap<Vec<u8>, Vec<Predicate>>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Hold(Predicate),
    /// Try the check with this number.
    Check(u32),
}

/// The compiled form.
pub(crate) struct Matcher {
    folded: Side,
    cased: Option<Side>,
    checks: Vec<(Test, Predicate)>,
    always: Vec<u32>,
}

struct Side {
    automaton: Option<Automaton>,
    /// Where the actions of each atom begin; one more than there are atoms.
    starts: Vec<u32>,
    actions: Vec<Action>,
    prefixes: Trie,
    suffixes: Trie,
    exact: HashMap<Vec<u8>, Vec<Predicate>, ahash::RandomState>,
}

/// Memory that one search needs and the next one reuses.
#[derive(Default)]
pub(crate) struct Workspace {
    folded: Vec<u8>,
    /// The last search that saw an atom, or tried a check.
    atoms_seen: Vec<u64>,
    checks_seen: Vec<u64>,
    search: u64,
}

impl MatcherBuilder {
    pub fn add(&mut self, test: &Test, predicate: Predicate) {
        match test {
            Test::Text(pattern) => {
                let side = &mut self.sides[usize::from(pattern.cased)];
                match pattern.shape() {
                    Shape::Exact(bytes) => side.exact.entry(bytes.to_vec()).or_default().push(predicate),
                    Shape::Prefix(bytes) => side.prefixes.push((bytes.to_vec(), predicate)),
                    Shape::Suffix(bytes) => side.suffixes.push((bytes.iter().rev().copied().collect(), predicate)),
                    Shape::Contains(bytes) => {
                        side.atoms.entry(bytes.to_vec()).or_default().push(Action::Hold(predicate));
                    }
                    Shape::Any => side.prefixes.push((Vec::new(), predicate)),
                    Shape::Wild => {
                        let check = self.checks.len() as u32;
                        self.checks.push((test.clone(), predicate));
                        match pattern.longest_literal() {
                            Some(bytes) => {
                                side.atoms.entry(bytes.to_vec()).or_default().push(Action::Check(check));
                            }
                            None => self.always.push(check),
                        }
                    }
                }
            }
            Test::Number(number) => {
                let exact = &mut self.sides[1].exact;
                exact.entry(number.text.clone().into_bytes()).or_default().push(predicate);
                if let Some(whole) = number.whole {
                    exact.entry(whole.to_string().into_bytes()).or_default().push(predicate);
                }
            }
            Test::Regex(expression) if !expression.atoms.is_empty() => {
                let check = self.checks.len() as u32;
                self.checks.push((test.clone(), predicate));
                for atom in &expression.atoms {
                    self.sides[0].atoms.entry(atom.clone()).or_default().push(Action::Check(check));
                }
            }
            Test::AnyOf(forms) => forms.iter().for_each(|form| self.add(form, predicate)),
            Test::Null | Test::Field { .. } => {}
            Test::Regex(_) | Test::Compare(..) | Test::Network(_) | Test::Time(..) | Test::Exists(_) => {
                self.always.push(self.checks.len() as u32);
                self.checks.push((test.clone(), predicate));
            }
        }
    }

    pub fn build(self) -> Matcher {
        let [folded, cased] = self.sides;
        let cased = (!cased.is_empty()).then(|| cased.build());
        Matcher { folded: folded.build(), cased, checks: self.checks, always: self.always }
    }
}

impl SideBuilder {
    fn is_empty(&self) -> bool {
        self.atoms.is_empty() && self.prefixes.is_empty() && self.suffixes.is_empty() && self.exact.is_empty()
    }

    fn build(self) -> Side {
        // Sorted, so that the same rules make the same automaton.
        let mut atoms: Vec<_> = self.atoms.into_iter().collect();
        atoms.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut starts, mut actions) = (vec![0], Vec::new());
        for (_, of_atom) in &atoms {
            actions.extend_from_slice(of_atom);
            starts.push(actions.len() as u32);
        }
        let automaton = Automaton::build(&atoms);
        Side {
            automaton,
            starts,
            actions,
            prefixes: Trie::build(self.prefixes),
            suffixes: Trie::build(self.suffixes),
            exact: self.exact.into_iter().collect(),
        }
    }
}

/// A full table is several times faster than the compact form, and this much memory buys it.
const TABLE_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Finds all atoms in one walk over a text.
enum Automaton {
    Table(dfa::DFA),
    Compact(AhoCorasick),
}

impl Automaton {
    fn build(atoms: &[(Vec<u8>, Vec<Action>)]) -> Option<Self> {
        if atoms.is_empty() {
            return None;
        }
        let patterns = || atoms.iter().map(|(bytes, _)| bytes.as_slice());
        let bytes: usize = patterns().map(<[u8]>::len).sum();
        // At most one state a byte, and about 64 classes of bytes in practice.
        if bytes * 64 * 4 <= TABLE_BYTES_MAX
            && let Ok(table) = dfa::Builder::new().match_kind(MatchKind::Standard).build(patterns())
        {
            return Some(Self::Table(table));
        }
        let build = |kind| AhoCorasick::builder().match_kind(MatchKind::Standard).kind(Some(kind)).build(patterns());
        let compact = build(AhoCorasickKind::ContiguousNFA).or_else(|_| build(AhoCorasickKind::NoncontiguousNFA));
        compact.ok().map(Self::Compact)
    }

    /// Calls `hit` for each place where an atom ends.
    fn walk(&self, text: &[u8], mut hit: impl FnMut(usize)) {
        let table = match self {
            Self::Compact(automaton) => {
                automaton.find_overlapping_iter(text).for_each(|found| hit(found.pattern().as_usize()));
                return;
            }
            Self::Table(table) => table,
        };
        // The loop is here, not the library's iterator, because that one starts anew after every hit.
        let Ok(mut state) = table.start_state(Anchored::No) else { return };
        for &byte in text {
            state = table.next_state(Anchored::No, state, byte);
            if table.is_special(state) && table.is_match(state) {
                for index in 0..table.match_len(state) {
                    hit(table.match_pattern(state, index).as_usize());
                }
            }
        }
    }
}

impl Matcher {
    /// Finds the predicates that hold on a value; `out` may name one several times.
    pub fn search(&self, value: &Value<'_>, work: &mut Workspace, out: &mut Vec<Predicate>) {
        work.search += 1;
        work.checks_seen.resize(work.checks_seen.len().max(self.checks.len()), 0);
        let mut folded = std::mem::take(&mut work.folded);
        fold_into(&value.text, &mut folded);
        self.side(&self.folded, &folded, value, work, out);
        if let Some(cased) = &self.cased {
            // A new number, because the atoms of the two sides share their marks. A check belongs to one side (cased
            // wildcards here, expressions and the rest there), so it still runs once.
            work.search += 1;
            self.side(cased, value.text.as_bytes(), value, work, out);
        }
        for &check in &self.always {
            self.check(check, &folded, value, work, out);
        }
        work.folded = folded;
    }

    fn side(&self, side: &Side, text: &[u8], value: &Value<'_>, work: &mut Workspace, out: &mut Vec<Predicate>) {
        if let Some(automaton) = &side.automaton {
            work.atoms_seen.resize(work.atoms_seen.len().max(side.starts.len()), 0);
            automaton.walk(text, |atom| {
                if work.atoms_seen[atom] == work.search {
                    return;
                }
                work.atoms_seen[atom] = work.search;
                let range = side.starts[atom] as usize..side.starts[atom + 1] as usize;
                for action in &side.actions[range] {
                    match *action {
                        Action::Hold(predicate) => out.push(predicate),
                        Action::Check(check) => self.check(check, text, value, work, out),
                    }
                }
            });
        }
        side.prefixes.walk(text.iter().copied(), |predicate, _| out.push(predicate));
        side.suffixes.walk(text.iter().rev().copied(), |predicate, _| out.push(predicate));
        if let Some(predicates) = side.exact.get(text) {
            out.extend_from_slice(predicates);
        }
    }

    fn check(&self, check: u32, folded: &[u8], value: &Value<'_>, work: &mut Workspace, out: &mut Vec<Predicate>) {
        let at = check as usize;
        if work.checks_seen[at] == work.search {
            return;
        }
        work.checks_seen[at] = work.search;
        let (test, predicate) = &self.checks[at];
        let holds = match test {
            Test::Text(pattern) if !pattern.cased => pattern.matches(folded),
            Test::Regex(expression) if !expression.may_match(&value.text, folded) => false,
            other => test::holds(other, value),
        };
        if holds {
            out.push(*predicate);
        }
    }
}
