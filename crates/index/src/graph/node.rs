//! Nodes, and the parameters of a graph.

/// A node is a slot number.
pub(in super::super) type Node = u32;

/// The data of a node, from its slot.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct NodeData<'a> {
    /// The id of the point; `None` if the slot was deleted.
    pub(in super::super) id: Option<&'a str>,
    /// The vector. Deleted slots keep theirs until the next compaction.
    pub(in super::super) vector: &'a [f32],
}

/// How the graph is built; the paper explains each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct BuildParameters {
    /// The most neighbours of a node above level 0. On level 0 it is twice that.
    pub(in super::super) m: usize,
    /// How many candidates the neighbours are selected from.
    pub(in super::super) ef_construction: usize,
}

impl BuildParameters {
    pub(super) fn at(self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryPoint {
    pub(super) node: Node,
    pub(super) level: usize,
}

impl EntryPoint {
    pub(super) fn pack(self) -> u64 {
        (self.level as u64 + 1) << 32 | u64::from(self.node)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taken apart as it was put together")]
    pub(super) fn unpack(packed: u64) -> Option<Self> {
        let level = (packed >> 32).checked_sub(1)?;
        Some(Self { node: packed as Node, level: level as usize })
    }
}

/// A node with its rank and a flag whether it was expanded, packed into an integer that orders by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RankedNode(u64);

impl RankedNode {
    const EXPANDED: u64 = 1;
    /// Nodes have 31 bits, as the flag takes one.
    pub(super) const NODES_MAX: usize = 1 << 31;

    #[inline]
    pub(super) fn new(rank: f32, node: Node) -> Self {
        let bits = rank.to_bits();
        // Maps floats to integers of the same order: inverts all bits of negative numbers, and the sign bit of others.
        let ordered = bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 1 << 31);
        Self(u64::from(ordered) << 32 | u64::from(node) << 1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "taken apart as it was put together")]
    pub(super) fn node(self) -> Node {
        (self.0 as u32) >> 1
    }

    pub(super) fn rank(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let turned = ((!ordered).cast_signed() >> 31).cast_unsigned() | 1 << 31;
        f32::from_bits(ordered ^ turned)
    }

    pub(super) fn is_expanded(self) -> bool {
        self.0 & Self::EXPANDED != 0
    }

    pub(super) fn expanded(self) -> Self {
        Self(self.0 | Self::EXPANDED)
    }
}
