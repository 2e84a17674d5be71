//! A small trie over bytes for prefixes, suffixes and whole values: a value is walked once, from its start or its end,
//! as far as any pattern goes.

/// Built once, then walked.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    /// For each node: its edges in `bytes` and `children`, and its hits in `hits`.
    nodes: Vec<(u32, u32, u32, u32)>,
    bytes: Vec<u8>,
    children: Vec<u32>,
    hits: Vec<u32>,
}

impl Trie {
    /// From keys, in the order in which they are walked, with what each hits.
    pub fn build(mut keys: Vec<(Vec<u8>, u32)>) -> Self {
        keys.sort();
        keys.dedup();
        let mut trie = Self::default();
        if keys.is_empty() {
            return trie;
        }
        // Nodes are made breadth first, each from the run of keys that share its prefix.
        let mut pending = std::collections::VecDeque::from([(0, keys.len(), 0)]);
        let mut made = 1u32;
        while let Some((from, to, depth)) = pending.pop_front() {
            let first_hit = trie.hits.len() as u32;
            let mut at = from;
            while at < to && keys[at].0.len() == depth {
                trie.hits.push(keys[at].1);
                at += 1;
            }
            let first_edge = trie.bytes.len() as u32;
            while at < to {
                let byte = keys[at].0[depth];
                let end = at + keys[at..to].partition_point(|(key, _)| key[depth] == byte);
                trie.bytes.push(byte);
                trie.children.push(made);
                made += 1;
                pending.push_back((at, end, depth + 1));
                at = end;
            }
            let edges = trie.bytes.len() as u32 - first_edge;
            trie.nodes.push((first_edge, edges, first_hit, trie.hits.len() as u32 - first_hit));
        }
        trie
    }

    /// Calls `hit` for each key that the bytes begin with; with the number of bytes it has.
    pub fn walk(&self, bytes: impl Iterator<Item = u8>, mut hit: impl FnMut(u32, usize)) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut depth = 0;
        let report = |node: &(u32, u32, u32, u32), depth, hit: &mut dyn FnMut(u32, usize)| {
            for &id in &self.hits[node.2 as usize..(node.2 + node.3) as usize] {
                hit(id, depth);
            }
        };
        report(node, depth, &mut hit);
        for byte in bytes {
            let edges = &self.bytes[node.0 as usize..(node.0 + node.1) as usize];
            let Ok(edge) = edges.binary_search(&byte) else { return };
            node = &self.nodes[self.children[node.0 as usize + edge] as usize];
            depth += 1;
            report(node, depth, &mut hit);
        }
    }
}
