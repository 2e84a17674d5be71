//! What is read of EC2's XML: a tree of names and texts, bounded, then the few fields that are needed.

use crate::reach::cloud::Instance;
use garrison_model::{MachineSystem, PowerState, TAG_NAME_MAX, TAG_VALUE_MAX, TAGS_MAX, Tags};
use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements inside each other: an instance's deepest field lies nine deep.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Debug, Default)]
struct Node {
    name: String,
    text: String,
    inside: Vec<Node>,
}

impl Node {
    fn child(&self, name: &str) -> Option<&Node> {
        self.inside.iter().find(|n| n.name == name)
    }

    fn text(&self, path: &[&str]) -> &str {
        let mut at = self;
        for name in path {
            let Some(next) = at.child(name) else { return "" };
            at = next;
        }
        at.text.trim()
    }

    fn items<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Node> {
        self.child(name).into_iter().flat_map(|n| &n.inside).filter(|n| n.name == "item")
    }
}

/// Reads a document; `None` if it is none. Definitions of entities are not read, so none can grow.
fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Node::default()];
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return None;
                }
                open.push(Node { name: name(start.local_name().as_ref()), ..Node::default() });
            }
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.inside.push(done);
            }
            Event::Empty(start) => {
                let node = Node { name: name(start.local_name().as_ref()), ..Node::default() };
                open.last_mut()?.inside.push(node);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            // The five of XML and numbers; another one stands for nothing.
            Event::GeneralRef(reference) => {
                let number = reference.resolve_char_ref().ok()?;
                let word = reference.decode().ok()?;
                let known = match word.as_ref() {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => number,
                };
                open.last_mut()?.text.extend(known);
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let root = open.pop().filter(|_| open.is_empty())?;
    root.inside.into_iter().next()
}

/// A page of instances.
pub(super) struct Page {
    /// Those that are not gone for good.
    pub instances: Vec<Instance>,
    /// Where to read on; empty at the end.
    pub next: String,
}

/// The plane's word for EC2's; `None` for one that is gone for good.
fn power(state: &str) -> Option<PowerState> {
    match state {
        "pending" => Some(PowerState::Starting),
        "running" => Some(PowerState::Running),
        // EC2 gives the hardware back when it stops a machine: nothing is reserved and nothing is billed.
        "stopping" => Some(PowerState::Deallocating),
        "stopped" => Some(PowerState::Deallocated),
        _ => None,
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(characters).collect()
}

/// Reads an answer of `DescribeInstances`.
pub(super) fn instances(text: &str, region: &str) -> Option<Page> {
    let root = parse(text)?;
    if root.name != "DescribeInstancesResponse" {
        return None;
    }
    let mut found = Vec::new();
    for one in root.items("reservationSet").flat_map(|r| r.items("instancesSet")) {
        let id = cut(one.text(&["instanceId"]), 60);
        let Some(power) = power(one.text(&["instanceState", "name"])).filter(|_| !id.is_empty()) else { continue };
        let mut tags = Tags::new();
        let mut name = String::new();
        for tag in one.items("tagSet").take(TAGS_MAX) {
            let (key, value) = (cut(tag.text(&["key"]), TAG_NAME_MAX), cut(tag.text(&["value"]), TAG_VALUE_MAX));
            if key == "Name" {
                name.clone_from(&value);
            }
            // Tags of the plane differ by more than case and hold no `=` in their names.
            let twice = tags.keys().any(|k: &String| k.to_lowercase() == key.to_lowercase());
            if !key.trim().is_empty() && !key.contains('=') && !twice {
                tags.insert(key, value);
            }
        }
        let windows = one.text(&["platform"]).eq_ignore_ascii_case("windows");
        let zone = one.text(&["placement", "availabilityZone"]);
        let system = MachineSystem {
            os_type: if windows { "Windows" } else { "Linux" }.to_owned(),
            architecture: match one.text(&["architecture"]) {
                "x86_64" => "x64".to_owned(),
                other => cut(other, 40),
            },
            host_name: cut(one.text(&["privateDnsName"]), 255),
            cloud: "aws".to_owned(),
            instance: id.clone(),
            location: cut(if zone.is_empty() { region } else { zone }, 80),
            ..MachineSystem::default()
        };
        found.push(Instance { id, name, power, tags, system });
    }
    Some(Page { instances: found, next: root.text(&["nextToken"]).to_owned() })
}

/// Code and words of a refusal.
pub(super) fn refusal(text: &str) -> Option<(String, String)> {
    let root = parse(text)?;
    let error = root.child("Errors").and_then(|e| e.child("Error")).or_else(|| root.child("Error")).unwrap_or(&root);
    Some((error.text(&["Code"]).to_owned(), error.text(&["Message"]).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, state: &str, more: &str) -> String {
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId><instanceState><code>1</code><name>{state}</name>\
             </instanceState><placement><availabilityZone>eu-central-1b</availabilityZone></placement>\
             <architecture>x86_64</architecture>{more}</item></instancesSet></item>"
        )
    }

    #[test]
    fn instances_are_read_with_their_state_and_those_that_are_gone_are_not() {
        let tags = "<tagSet><item><key>Name</key><value>a&amp;b &#x2f; c</value></item><item><key>name</key><value>x\
                    </value></item><item><key>env</key><value>prod</value></item></tagSet>";
        let all = [
            instance("i-1", "running", tags),
            instance("i-2", "stopped", "<platform>windows</platform>"),
            instance("i-3", "terminated", ""),
            instance("i-4", "stopping", "<tagSet/>"),
            instance("i-5", "pending", ""),
            instance("", "running", ""),
        ];
        let text = format!(
            "<?xml version=\"1.0\"?><DescribeInstancesResponse xmlns=\"x\"><reservationSet>{}</reservationSet>\
             <nextToken>n==</nextToken></DescribeInstancesResponse>",
            all.concat()
        );
        let page = instances(&text, "eu-central-1").unwrap();
        let short: Vec<_> = page.instances.iter().map(|i| (i.id.as_str(), i.power)).collect();
        use PowerState as P;
        assert_eq!(
            short,
            [("i-1", P::Running), ("i-2", P::Deallocated), ("i-4", P::Deallocating), ("i-5", P::Starting)]
        );
        let first = &page.instances[0];
        assert_eq!((first.name.as_str(), first.tags["env"].as_str(), first.tags.len()), ("a&b / c", "prod", 2));
        assert_eq!((first.system.location.as_str(), first.system.architecture.as_str()), ("eu-central-1b", "x64"));
        assert_eq!(page.instances[1].system.os_type, "Windows");
        assert_eq!(page.next, "n==");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = "<a>".repeat(100_000);
        for text in ["", "<a", "<a></b>", "text", "<Other/>", deep.as_str()] {
            assert!(instances(text, "r").is_none(), "{:.20}", text);
        }
        let text = "<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors></Response>";
        assert_eq!(refusal(text), Some(("AuthFailure".to_owned(), "no".to_owned())));
    }
}
