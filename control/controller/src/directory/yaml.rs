//! YAML text becomes trees whose nodes know their lines.
//!
//! The parser gives events; what they build is bounded in depth and size, so that no text can cost more than
//! a multiple of its length. What a document means to Kubernetes is `json`'s business.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// Deepest nesting that is read. Real manifests stay below 20; the stack carries far more than this.
pub(crate) const DEPTH_MAX: usize = 100;

/// Nodes of one file, aliases counted as often as they are used: a small file cannot unfold into gigabytes.
pub(crate) const NODES_MAX: usize = 4_000_000;

/// A node of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) kind: NodeKind,
    /// How many nodes it holds, itself among them.
    size: usize,
    /// How many levels it holds, itself among them.
    depth: usize,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Scalar { text: String, plain: bool, tag: Option<ScalarTag> },
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// A scalar's tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScalarTag {
    /// One of YAML's own, without its prefix.
    Core(String),
    /// `!`: a text, whatever it looks like.
    NonSpecific,
    Other(String),
}

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct BadYaml {
    pub(crate) line: u32,
    pub(crate) reason: String,
}

impl BadYaml {
    fn new(line: u32, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// Reads all documents of a text.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, BadYaml> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return Ok(builder.documents),
            Some(Ok((event, span))) => builder.take(event, line_of(span))?,
            Some(Err(error)) => {
                return Err(BadYaml::new(clamp(error.marker().line()), error.info().to_owned()));
            }
        }
    }
}

fn line_of(span: Span) -> u32 {
    clamp(span.start.line())
}

fn clamp(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping that has not ended.
struct Open {
    line: u32,
    anchor: usize,
    children: Vec<Node>,
    kind: OpenKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenKind {
    List,
    Mapping,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), BadYaml> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(text.into_owned(), style, tag, line);
                self.count(1, line)?;
                self.place(node, anchor, line)
            }
            Event::SequenceStart(anchor, _) => self.begin(OpenKind::List, anchor, line),
            Event::MappingStart(anchor, _) => self.begin(OpenKind::Mapping, anchor, line),
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node =
                    node.ok_or_else(|| BadYaml::new(line, "an alias for something that has not ended"))?;
                self.count(node.size, line)?;
                self.place(node, 0, line)
            }
        }
    }

    fn count(&mut self, nodes: usize, line: u32) -> Result<(), BadYaml> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(BadYaml::new(line, format!("the file holds more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn begin(&mut self, kind: OpenKind, anchor: usize, line: u32) -> Result<(), BadYaml> {
        self.count(1, line)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(BadYaml::new(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { line, anchor, children: Vec::new(), kind });
        Ok(())
    }

    fn end(&mut self, line: u32) -> Result<(), BadYaml> {
        let Some(Open { line: begun, anchor, children, kind }) = self.open.pop() else {
            return Err(BadYaml::new(line, "something ends that has not begun"));
        };
        let size = children.iter().map(|child| child.size).sum::<usize>() + 1;
        let depth = children.iter().map(|child| child.depth).max().unwrap_or(0) + 1;
        let kind = match kind {
            OpenKind::List => NodeKind::List(children),
            OpenKind::Mapping => {
                let mut children = children.into_iter();
                let pairs = std::iter::from_fn(|| Some((children.next()?, children.next()?)));
                NodeKind::Mapping(pairs.collect())
            }
        };
        self.place(Node { line: begun, kind, size, depth }, anchor, line)
    }

    fn place(&mut self, node: Node, anchor: usize, line: u32) -> Result<(), BadYaml> {
        if self.open.len() + node.depth > DEPTH_MAX {
            return Err(BadYaml::new(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if anchor != 0 {
            // A copy for each use; it counts among the nodes, so that chains of anchors cannot grow unseen.
            self.count(node.size, line)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.documents.push(node),
        }
        Ok(())
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<Cow<'_, Tag>>, line: u32) -> Node {
    let tag = tag.map(|tag| match (tag.is_yaml_core_schema(), tag.handle.as_str(), tag.suffix.as_str()) {
        (true, _, suffix) => ScalarTag::Core(suffix.to_owned()),
        (false, "" | "!", "" | "!") => ScalarTag::NonSpecific,
        (false, ..) => ScalarTag::Other(tag.to_string()),
    });
    let plain = style == ScalarStyle::Plain;
    Node { line, kind: NodeKind::Scalar { text, plain, tag }, size: 1, depth: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_unfold_without_end_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        let blocks: String = (0..=DEPTH_MAX).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        for (case, text, reason) in [
            ("many", bomb.as_str(), "more than"),
            ("deep", deep.as_str(), "deeper"),
            ("deep blocks", blocks.as_str(), "deeper"),
            ("itself", "a: &a [*a]", "has not ended"),
            ("not YAML", "a: [", ""),
        ] {
            let bad = read(text).expect_err(case);
            assert!(bad.reason.contains(reason), "{case}: {}", bad.reason);
        }
    }

    #[test]
    fn nodes_know_their_lines() {
        let documents = read("a: 1\nb:\n- x\n-  y: 2\n---\nc: 3\n").unwrap();
        let NodeKind::Mapping(fields) = &documents[0].kind else { panic!("a mapping") };
        assert_eq!(fields.iter().map(|(key, _)| key.line).collect::<Vec<_>>(), [1, 2]);
        let NodeKind::List(items) = &fields[1].1.kind else { panic!("a list") };
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((documents.len(), documents[1].line), (2, 6));
    }
}
