//! Things that an expression may name besides columns, whose values are columns of their own: steps of `scan`, nodes
//! and edges of a graph's pattern. `step.column` reads a hidden column that the operator fills.

use crate::bind::{Binder, Bound, Label};
use crate::lower::relation::{Field, Relation};
use crate::syntax::ast::Name;
use crate::{Diagnostic, Type};

/// What a thing with properties is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementKind {
    /// A step of `scan`: its last row.
    Step,
    /// A node of a pattern.
    Node,
    /// An edge of a pattern.
    Edge,
    /// An edge of variable length: what is said of it is said of each of its edges.
    Path,
}

/// A thing with properties.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ElementKind,
    /// Its properties.
    pub fields: Vec<Field>,
}

/// Name of the hidden column with a property of an element. No query can write it.
pub(crate) fn hidden(element: &str, property: &str) -> String {
    format!("\u{1}{element}\u{1}{property}")
}

/// All properties of a part of a pattern as a bag. No property has this name.
pub(crate) const ALL: &str = "\u{2}all";
/// How many edges reach a node.
pub(crate) const IN: &str = "\u{2}in";
/// How many edges leave a node.
pub(crate) const OUT: &str = "\u{2}out";
/// The element whose properties are the calls of `all`, `any` and `map`, by their number.
pub(crate) const CALL: &str = "\u{2}call";

/// Element and property of a hidden column.
pub(crate) fn parts(column: &str) -> Option<(&str, &str)> {
    column.strip_prefix('\u{1}')?.split_once('\u{1}')
}

impl Binder<'_> {
    /// The element of a name, where one may stand.
    pub(crate) fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.name == name)
    }

    /// A part of a graph's pattern as a value: all of its properties.
    pub(crate) fn whole_element(&self, name: &str) -> Option<Bound> {
        let element = self.element(name).filter(|e| e.kind != ElementKind::Step)?;
        let column = Relation::column(&hidden(&element.name, ALL));
        Some(Bound::new(column, Type::Dynamic).labelled(Label::Implied(element.name.clone())))
    }

    /// `element.property`.
    pub(crate) fn property_of(&mut self, element: &str, name: &Name) -> Bound {
        let label = Label::Implied(format!("{element}_{}", name.text));
        let Some(element) = self.element(element) else { return Bound::unknown().labelled(label) };
        if let Some(field) = element.fields.iter().find(|f| f.name == name.text) {
            let column = Relation::column(&hidden(&element.name, &field.name));
            return Bound::new(column, field.kind).labelled(label);
        }
        if name.text.is_empty() {
            return Bound::unknown().labelled(label);
        }
        let hint = super::names::hint(&name.text, element.fields.iter().map(|f| f.name.as_str()));
        let text = format!("`{}` has no property `{}`", element.name, name.text);
        let diagnostic = Diagnostic::error("KS142", name.span, text);
        self.report(match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
        Bound::unknown().labelled(label)
    }
}

#[cfg(test)]
mod tests {
    use super::{hidden, parts};

    #[test]
    fn a_hidden_column_names_its_step_and_its_property() {
        assert_eq!(parts(&hidden("s1", "a.b")), Some(("s1", "a.b")));
        assert_eq!(parts("\u{1}row"), None);
    }
}
