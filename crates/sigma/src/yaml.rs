//! A bounded YAML tree with line numbers. Rules come from anywhere, so documents are split by their `---` lines before
//! the parser sees them (a broken one cannot hide its neighbours), and nodes, depth and aliases are counted while the
//! tree grows.

use crate::Limits;
use crate::diagnostic::{Code, Diagnostic, shown};
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;

/// A number with the text it was written as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Number {
    pub value: f64,
    /// Exact, where the number is whole and fits.
    pub whole: Option<i64>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub kind: Kind,
    pub line: u32,
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a scalar as it was written; none for null, lists and maps.
    pub fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Number(number) => Some(number.text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// A scalar, or the scalars of a list.
    pub fn scalars(&self) -> Vec<String> {
        match &self.kind {
            Kind::List(items) => items.iter().filter_map(Node::scalar).collect(),
            _ => self.scalar().into_iter().collect(),
        }
    }

    fn count(&self) -> usize {
        match &self.kind {
            Kind::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|(_, v)| 1 + v.count()).sum::<usize>(),
            _ => 1,
        }
    }

    fn depth(&self) -> usize {
        match &self.kind {
            Kind::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Kind::Map(entries) => 1 + entries.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            _ => 1,
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => match number.whole {
                Some(whole) => Value::from(whole),
                None => serde_json::Number::from_f64(number.value).map_or(Value::Null, Value::Number),
            },
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(entries) => Value::Object(entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
        }
    }
}

/// Splits a source into its documents: text and the line it starts on, from 1. Content of YAML can never hold `---` at
/// the start of a line, so the split needs no parser.
pub(crate) fn documents(source: &str) -> Vec<(&str, u32)> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker {
            found.push((&source[start..offset], start_line));
            // What follows `---` on its line belongs to the document.
            start = offset + 3;
            start_line = index as u32 + 1;
        }
        offset += line.len();
    }
    found.push((&source[start..], start_line));
    found
}

/// Reads one document; `Ok(None)` if it holds nothing.
pub(crate) fn parse(text: &str, first_line: u32, limits: &Limits) -> Result<Option<Node>, Diagnostic> {
    if text.len() > limits.rule_bytes_max {
        let message = format!("the document has {} bytes, the limit is {}", text.len(), limits.rule_bytes_max);
        return Err(Diagnostic::new(Code::RuleTooLong, "", first_line, message));
    }
    Builder { limits, first_line, nodes: 0, anchors: HashMap::new() }.run(text)
}

struct Builder<'l> {
    limits: &'l Limits,
    first_line: u32,
    nodes: usize,
    anchors: HashMap<usize, Node>,
}

/// A list or map that is still open; a map holds the key that waits for its value.
struct Open {
    node: Node,
    key: Option<String>,
    anchor: usize,
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> Result<Option<Node>, Diagnostic> {
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        for next in Parser::new_from_str(text) {
            let (event, span) = next.map_err(|error| {
                let line = self.line(error.marker().line());
                Diagnostic::new(
                    Code::YamlSyntax,
                    "",
                    line,
                    format!("cannot read the YAML: {}", shown(&error.to_string())),
                )
            })?;
            let line = self.line(span.start.line());
            let done = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let forced_text = tag.is_some_and(|tag| tag.to_string().ends_with("str"));
                    let kind = if style == ScalarStyle::Plain && !forced_text {
                        plain(&text)
                    } else {
                        Kind::Text(text.into_owned())
                    };
                    Some((Node { kind, line }, anchor))
                }
                Event::SequenceStart(_, anchor, _) => {
                    open.push(Open { node: Node { kind: Kind::List(Vec::new()), line }, key: None, anchor });
                    None
                }
                Event::MappingStart(_, anchor, _) => {
                    open.push(Open { node: Node { kind: Kind::Map(Vec::new()), line }, key: None, anchor });
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(|top| (top.node, top.anchor)),
                Event::Alias(id) => {
                    let target = self.anchors.get(&id).ok_or_else(|| {
                        Diagnostic::new(Code::YamlSyntax, "", line, "an alias refers to the node that it is part of")
                    })?;
                    let mut copy = target.clone();
                    copy.line = line;
                    self.nodes += copy.count();
                    if open.len() + copy.depth() > self.limits.yaml_depth_max {
                        return Err(self.too_deep(line));
                    }
                    Some((copy, 0))
                }
                Event::DocumentEnd if root.is_some() => break,
                _ => None,
            };
            if open.len() > self.limits.yaml_depth_max {
                return Err(self.too_deep(line));
            }
            let Some((node, anchor)) = done else { continue };
            self.nodes += 1;
            if self.nodes > self.limits.yaml_nodes_max {
                let message = format!("the document has more than {} nodes", self.limits.yaml_nodes_max);
                return Err(Diagnostic::new(Code::YamlTooBig, "", line, message));
            }
            if anchor != 0 {
                self.anchors.insert(anchor, node.clone());
                // The copy kept for aliases is memory too.
                self.nodes += node.count();
            }
            match open.last_mut() {
                None => root = Some(node),
                Some(parent) => Self::attach(parent, node, line)?,
            }
        }
        Ok(root.filter(|node: &Node| node.kind != Kind::Null))
    }

    fn attach(parent: &mut Open, node: Node, line: u32) -> Result<(), Diagnostic> {
        match &mut parent.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match parent.key.take() {
                None => {
                    let key = match &node.kind {
                        Kind::Null => String::new(),
                        Kind::List(_) | Kind::Map(_) => {
                            return Err(Diagnostic::new(Code::YamlSyntax, "", line, "a key is a list or a map"));
                        }
                        _ => node.scalar().unwrap_or_default(),
                    };
                    if entries.iter().any(|(known, _)| *known == key) {
                        let message = format!("the key `{}` appears twice", shown(&key));
                        return Err(Diagnostic::new(Code::DuplicateKey, key, line, message));
                    }
                    parent.key = Some(key);
                }
                Some(key) => entries.push((key, node)),
            },
            _ => {}
        }
        Ok(())
    }

    fn line(&self, line: usize) -> u32 {
        self.first_line.saturating_add((line as u32).saturating_sub(1))
    }

    fn too_deep(&self, line: u32) -> Diagnostic {
        let message = format!("the document is nested deeper than {} levels", self.limits.yaml_depth_max);
        Diagnostic::new(Code::YamlTooDeep, "", line, message)
    }
}

/// The core schema of YAML 1.2: null, true, false, whole numbers (also 0x and 0o) and decimals; all else is text.
fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Number)
}

/// Reads a number as YAML's core schema spells it.
pub(crate) fn number(text: &str) -> Option<Number> {
    let first = text.bytes().find(|b| !matches!(b, b'+' | b'-' | b'.'))?;
    if !first.is_ascii_digit() || text.len() > 40 {
        return None;
    }
    let radix = |digits: &str, base| i64::from_str_radix(digits, base).ok();
    let whole = match text.get(..2) {
        Some("0x") => Some(radix(&text[2..], 16)?),
        Some("0o") => Some(radix(&text[2..], 8)?),
        _ => text.parse::<i64>().ok(),
    };
    let value = match whole {
        Some(whole) => whole as f64,
        None if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse::<f64>().ok().filter(|v| v.is_finite())?
        }
        None => return None,
    };
    Some(Number { value, whole, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        parse(text, 1, &Limits::default()).unwrap().unwrap()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node = read("a: 1\nb: '1'\nc: 0x10\nd: 1.5\ne: yes\nf: ~\ng: 1.2.3\nh: -5\n");
        assert_eq!(node.get("c").unwrap().to_json(), 16);
        assert_eq!(node.get("b").unwrap().to_json(), "1");
        assert_eq!(node.get("e").unwrap().to_json(), "yes");
        assert_eq!(node.get("f").unwrap().kind, Kind::Null);
        assert_eq!(node.get("g").unwrap().to_json(), "1.2.3");
        assert_eq!(node.get("h").unwrap().to_json(), -5);
        assert_eq!(node.get("d").unwrap().to_json(), 1.5);
        assert_eq!(node.get("h").unwrap().line, 8);
    }

    #[test]
    fn documents_are_split_without_parsing() {
        let source = "a: 1\n---\nb: [\n--- # c\nd: |\n  ---\n";
        let parts = documents(source);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2].1, 4);
        assert!(parse(parts[1].0, parts[1].1, &Limits::default()).is_err());
        let third = parse(parts[2].0, parts[2].1, &Limits::default()).unwrap().unwrap();
        assert_eq!((third.line, third.get("d").unwrap().to_json()), (5, "---\n".into()));
    }

    #[test]
    fn aliases_cannot_multiply() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert_eq!(parse(&text, 1, &Limits::default()).unwrap_err().code, Code::YamlTooBig);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = "[".repeat(200);
        let code = parse(&text, 1, &Limits::default()).unwrap_err().code;
        assert!(matches!(code, Code::YamlTooDeep | Code::YamlSyntax), "{code}");
    }
}
