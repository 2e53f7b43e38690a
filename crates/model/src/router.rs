//! The paths of one host: a radix tree over bytes.

use crate::route::PathMatch;

/// Finds the rule for a path: Exact before the longest Prefix.
///
/// A match walks down the tree once, remembers the last Prefix that it passed, and allocates
/// nothing.
#[derive(Debug, Default)]
pub struct PathRouter {
    nodes: Vec<Node>,
}

/// What there is for a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The rule of this very path.
    pub exact: Option<u32>,
    /// The rule of the longest prefix.
    pub prefix: Option<u32>,
}

impl Found {
    /// The rule that is preferred.
    pub fn closest(self) -> Option<u32> {
        self.exact.or(self.prefix)
    }
}

#[derive(Debug, Default)]
struct Node {
    /// The bytes between the parent and this node.
    label: Box<[u8]>,
    /// Children by the first byte of their label, sorted.
    children: Vec<(u8, u32)>,
    exact: Option<u32>,
    prefix: Option<u32>,
}

impl PathRouter {
    /// Adds a path with the index of its rule. False if the same path has one already: the first
    /// one stays. Patterns have no place here.
    pub fn insert(&mut self, path: &PathMatch, rule: u32) -> bool {
        let text = match path {
            PathMatch::Exact(text) | PathMatch::Prefix(text) => text.as_bytes(),
            PathMatch::Pattern(_) => return false,
        };
        let node = self.node_at(text);
        let slot = match path {
            PathMatch::Exact(_) => &mut self.nodes[node].exact,
            PathMatch::Prefix(_) | PathMatch::Pattern(_) => &mut self.nodes[node].prefix,
        };
        if slot.is_some() {
            return false;
        }
        *slot = Some(rule);
        true
    }

    /// Gives back the room for more paths: most hosts have few, and there are many hosts.
    pub fn shrink_to_fit(&mut self) {
        self.nodes.shrink_to_fit();
        for node in &mut self.nodes {
            node.children.shrink_to_fit();
        }
    }

    /// The indexes of the rules for `path`.
    pub fn find(&self, path: &[u8]) -> Found {
        let mut found = Found::default();
        let Some(mut node) = self.nodes.first() else {
            return found;
        };
        let mut rest = path;
        loop {
            if node.prefix.is_some() && rest.first().is_none_or(|&byte| byte == b'/') {
                found.prefix = node.prefix;
            }
            let Some(&first) = rest.first() else {
                found.exact = node.exact;
                return found;
            };
            let Ok(child) = node
                .children
                .binary_search_by_key(&first, |&(byte, _)| byte)
            else {
                return found;
            };
            node = &self.nodes[node.children[child].1 as usize];
            let Some(below) = rest.strip_prefix(&*node.label) else {
                return found;
            };
            rest = below;
        }
    }

    /// The node for `path`, made if need be, with an edge split where paths part.
    fn node_at(&mut self, path: &[u8]) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        let mut rest = path;
        while let Some(&first) = rest.first() {
            let position = self.nodes[at]
                .children
                .binary_search_by_key(&first, |&(byte, _)| byte);
            let Ok(position) = position.map_err(|position| {
                let leaf = self.push(rest);
                self.nodes[at].children.insert(position, (first, leaf));
                at = leaf as usize;
            }) else {
                return at;
            };
            let child = self.nodes[at].children[position].1;
            let label = &self.nodes[child as usize].label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                at = self.split(at, position, common);
            } else {
                at = child as usize;
            }
            rest = &rest[common..];
        }
        at
    }

    /// Puts a node in the middle of the edge from `parent` to its child at `position`.
    fn split(&mut self, parent: usize, position: usize, common: usize) -> usize {
        let (byte, child) = self.nodes[parent].children[position];
        let label = std::mem::take(&mut self.nodes[child as usize].label);
        let (upper, lower) = label.split_at(common);
        let middle = self.push(upper);
        self.nodes[middle as usize].children.push((lower[0], child));
        self.nodes[child as usize].label = lower.into();
        self.nodes[parent].children[position] = (byte, middle);
        middle as usize
    }

    fn push(&mut self, label: &[u8]) -> u32 {
        // A host has fewer than 2^32 paths: each comes from an object held in memory.
        let index = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node {
            label: label.into(),
            ..Node::default()
        });
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification, read naively: every rule is tried.
    fn naive(rules: &[PathMatch], path: &[u8]) -> Option<u32> {
        let rank = |rule: &PathMatch| match rule {
            PathMatch::Exact(_) => (1, 0),
            PathMatch::Prefix(prefix) => (0, prefix.len()),
            PathMatch::Pattern(_) => unreachable!("none is made"),
        };
        let mut best: Option<(u32, &PathMatch)> = None;
        for (index, rule) in (0..).zip(rules) {
            if rule.matches(path) && best.is_none_or(|(_, other)| rank(rule) > rank(other)) {
                best = Some((index, rule));
            }
        }
        best.map(|(index, _)| index)
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]{1,2}", 0..4)
            .prop_map(|elements| format!("/{}", elements.join("/")))
    }

    fn rule() -> impl Strategy<Value = PathMatch> {
        (path(), any::<bool>()).prop_map(|(path, exact)| {
            if exact {
                PathMatch::Exact(path.into())
            } else {
                PathMatch::Prefix(path.trim_end_matches('/').into())
            }
        })
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_rule(
            rules in prop::collection::vec(rule(), 0..20),
            paths in prop::collection::vec((path(), "/?"), 1..20),
        ) {
            let mut router = PathRouter::default();
            for (index, rule) in (0..).zip(&rules) {
                router.insert(rule, index);
            }
            for (path, slash) in paths {
                let path = path + &slash;
                prop_assert_eq!(router.find(path.as_bytes()).closest(), naive(&rules, path.as_bytes()), "{}", path);
            }
        }
    }

    #[test]
    fn the_first_of_two_equal_paths_stays() {
        let mut router = PathRouter::default();
        assert!(router.insert(&PathMatch::Prefix("/a".into()), 0));
        assert!(!router.insert(&PathMatch::Prefix("/a".into()), 1));
        assert!(router.insert(&PathMatch::Exact("/a".into()), 2));
        assert_eq!(router.find(b"/a").closest(), Some(2));
        assert_eq!(router.find(b"/a/").closest(), Some(0));
        assert_eq!(router.find(b"/ab").closest(), None);
    }

    #[test]
    fn an_empty_router_finds_nothing() {
        assert_eq!(PathRouter::default().find(b"/"), Found::default());
    }
}
