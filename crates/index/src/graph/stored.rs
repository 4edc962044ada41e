//! The bytes of a graph.
//!
//! A node is identified by a hash of its point's id and vector, so reading a graph needs nothing but the points:
//! points written since, in whatever order, are linked, and deleted ones are left out. Codes are not stored, as
//! computing them takes less time than reading them.
//!
//! ```text
//! "VZGRAPH3"  metric u8  precision u8  dimension u32  m u32  efConstruction u32
//! unit f32  length² f32  center f32 × dimension
//! nodes u32  entry u32
//! name 16 × nodes        zeros: a deleted slot, or a duplicate
//! level u8 × nodes
//! neighbours u32 × (2m + level·m), node by node
//! BLAKE3 of all in front, 32
//! ```
//!
//! All numbers are little-endian.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use vectorizer_log::Metric;

use super::Graph;
use super::blocks::{NONE, links, replace};
use super::level::level;
use super::link::LinkThreads;
use super::node::{BuildParameters, EntryPoint, Node, NodeData, RankedNode};
use super::quantizer::Quantizer;
use super::repair::repair;
use super::row::Precision;
use super::scratch::{WalkScratch, scratch};
use super::view::View;
use crate::interrupted::Interrupted;

const MAGIC: &[u8; 8] = b"VZGRAPH3";
const HASH_BYTES: usize = 32;

/// The hash that identifies a node.
pub(in super::super) type Name = [u8; 16];

const NO_NAME: Name = [0; 16];

/// The name of a point.
pub(in super::super) fn name(id: &str, vector: &[f32]) -> Name {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytemuck::cast_slice(vector)).update(id.as_bytes());
    let mut name = NO_NAME;
    hasher.finalize_xof().fill(&mut name);
    name
}

/// Why a stored graph is not used. It is not needed either: the graph can be built again.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnusableGraph {
    /// Its bytes are not those that were written.
    #[error("its checksum is wrong")]
    Damaged,
    /// It was written by another version, or for a collection of another kind.
    #[error("it is of another kind")]
    Other,
    /// Linking the points written since was interrupted.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl View {
    /// Writes the graph. `name_of` returns the name of a node's point, or `None` if it was deleted.
    pub(in super::super) fn write(
        &self,
        name_of: impl Fn(Node) -> Option<Name>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut out = Hashed { out, hasher: blake3::Hasher::new() };
        out.write_all(MAGIC)?;
        out.write_all(&[metric_byte(self.quantizer.metric()), precision_byte(self.quantizer.precision())])?;
        for number in [self.quantizer.dimension(), self.parameters.m, self.parameters.ef_construction] {
            out.write_all(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes())?;
        }
        let (unit, length_squared) = self.quantizer.measures();
        for number in [unit, length_squared].iter().chain(self.quantizer.center()) {
            out.write_all(&number.to_le_bytes())?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let nodes = 0..self.len as Node;
        out.write_all(&nodes.end.to_le_bytes())?;
        out.write_all(&self.entry.map_or(NONE, |entry| entry.node).to_le_bytes())?;
        let duplicates: HashSet<Node> = self.duplicates.values().flatten().copied().collect();
        for node in nodes.clone() {
            let name = if duplicates.contains(&node) { None } else { name_of(node) };
            out.write_all(&name.unwrap_or(NO_NAME))?;
        }
        for node in nodes.clone() {
            let (block, offset) = self.block(node);
            out.write_all(&[u8::try_from(block.level(offset)).unwrap_or(u8::MAX)])?;
        }
        let mut bytes = Vec::new();
        for node in nodes {
            let (block, offset) = self.block(node);
            for level in 0..=block.level(offset) {
                let places = block.neighbours(offset, level);
                // Without links to nodes that are newer than this view.
                let known = links(places).filter(|node| (*node as usize) < self.len);
                let padded = known.chain(std::iter::repeat(NONE)).take(places.len());
                bytes.clear();
                bytes.extend(padded.flat_map(u32::to_le_bytes));
                out.write_all(&bytes)?;
            }
        }
        let hash = out.hasher.finalize();
        out.out.write_all(hash.as_bytes())
    }
}

impl Graph {
    /// Reads a graph for the first `end` slots of the collection, and links the nodes that it does not contain. Once
    /// `enough` returns true, nodes that are newer than all known ones stay unlinked; the others are linked in any
    /// case, as a view ends at its first unlinked slot.
    pub(in super::super) fn read<'a>(
        bytes: &[u8],
        metric: Metric,
        parameters: BuildParameters,
        slot: &(impl Fn(Node) -> NodeData<'a> + Sync),
        end: usize,
        threads: LinkThreads,
        (stop, enough): (&(impl Fn() -> bool + Sync), &(impl Fn() -> bool + Sync)),
    ) -> Result<Self, UnusableGraph> {
        let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(UnusableGraph::Damaged)?;
        if blake3::hash(body) != *hash {
            return Err(UnusableGraph::Damaged);
        }
        let stored = StoredGraph::parse(body).ok_or(UnusableGraph::Other)?;
        if (stored.metric, stored.parameters) != (metric_byte(metric), parameters) {
            return Err(UnusableGraph::Other);
        }
        let quantizer = Quantizer::of_parts(metric, stored.precision, stored.center.clone(), stored.measures);
        if !quantizer.is_valid() {
            return Err(UnusableGraph::Other);
        }
        let mut view = View::empty(Arc::new(quantizer), parameters);
        let named = (0..).zip(&stored.names).filter(|(_, name)| **name != NO_NAME);
        let mut by_name: HashMap<Name, usize> = named.map(|(node, name)| (*name, node)).collect();
        // The slot of each stored node, and the slots without a stored node.
        let mut places: Vec<Option<Node>> = vec![None; stored.names.len()];
        let mut unknown = Vec::new();
        #[expect(clippy::cast_possible_truncation, reason = "no more slots are taken")]
        for node in 0..end.min(RankedNode::NODES_MAX) as Node {
            Interrupted::check(stop)?;
            let NodeData { id, vector } = slot(node);
            if vector.len() != stored.dimension {
                return Err(UnusableGraph::Other);
            }
            let level = id.map_or(0, |id| level(id, parameters.m));
            view.push(level, vector);
            let Some(id) = id else { continue };
            let known = by_name.remove(&name(id, vector));
            match known.filter(|known| usize::from(stored.levels[*known]) == level) {
                Some(known) => places[known] = Some(node),
                None => unknown.push(node),
            }
        }
        view.len = view.encoded;
        stored.place(&places, &mut view, &mut scratch());
        let live = |node: Node| slot(node).id.is_some();
        let last_known = places.iter().flatten().max().copied();
        let (older, newer) = unknown.split_at(unknown.partition_point(|node| Some(*node) < last_known));
        view.link(older, &live, threads, stop, &|| false)?;
        let done = view.link(newer, &live, threads, stop, enough)?;
        if let Some(next) = newer.get(done) {
            view.len = *next as usize;
        }
        repair(&view, &live, stop)?;
        view.repaired_len = view.len;
        view.find_starts();
        Ok(Self::of(view))
    }
}

/// The parsed bytes.
struct StoredGraph<'a> {
    metric: u8,
    precision: Precision,
    dimension: usize,
    parameters: BuildParameters,
    measures: (f32, f32),
    center: Box<[f32]>,
    entry: Node,
    names: Vec<Name>,
    levels: &'a [u8],
    neighbours: &'a [u8],
}

impl<'a> StoredGraph<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut rest = Rest(body.strip_prefix(MAGIC)?);
        let [metric, precision] = rest.array()?;
        let precision = [Precision::Byte, Precision::Float]
            .into_iter()
            .find(|known| precision_byte(*known) == precision)?;
        let [dimension, m, ef_construction] = [rest.number()?, rest.number()?, rest.number()?];
        let measures = (f32::from_le_bytes(rest.array()?), f32::from_le_bytes(rest.array()?));
        let center = rest.take(dimension.checked_mul(4)?)?.as_chunks().0;
        let center = center.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let nodes = rest.number()?;
        let entry = Node::from_le_bytes(rest.array()?);
        let names = rest.take(nodes.checked_mul(16)?)?.as_chunks().0.to_vec();
        let levels = rest.take(nodes)?;
        let parameters = BuildParameters { m, ef_construction };
        let lists: usize = levels.iter().map(|level| 2 + usize::from(*level)).sum();
        let neighbours = rest.take(lists.checked_mul(m)?.checked_mul(4)?)?;
        let stored = Self {
            metric,
            precision,
            dimension,
            parameters,
            measures,
            center,
            entry,
            names,
            levels,
            neighbours,
        };
        rest.0.is_empty().then_some(stored)
    }

    /// The offset of each node's first list in `neighbours`; `parse` has checked that all lists are there.
    fn starts(&self) -> Vec<usize> {
        let lists = |level: &u8| 4 * (2 + usize::from(*level)) * self.parameters.m;
        let next = |start: &mut usize, level| Some(std::mem::replace(start, *start + lists(level)));
        self.levels.iter().scan(0, next).collect()
    }

    /// The neighbours of a node on a level.
    fn neighbours(&self, starts: &[usize], node: Node, level: usize) -> impl Iterator<Item = Node> {
        let reaches = self.levels.get(node as usize).is_some_and(|top| usize::from(*top) >= level);
        let before = if level == 0 { 0 } else { 4 * (level + 1) * self.parameters.m };
        let start = starts.get(node as usize).filter(|_| reaches).map(|start| start + before);
        let list = start.and_then(|start| self.neighbours.get(start..start + 4 * self.parameters.at(level)));
        let known = list.unwrap_or_default().as_chunks().0.iter().map(|bytes| Node::from_le_bytes(*bytes));
        // Ignore numbers that are no node's.
        known.filter(|known| (*known as usize) < self.levels.len())
    }

    /// Writes the neighbours of every node that still exists. A node that has lost one selects its neighbours again.
    fn place(&self, places: &[Option<Node>], view: &mut View, scratch: &mut WalkScratch) {
        let place = |node: Node| places.get(node as usize).copied().flatten();
        let starts = self.starts();
        let mut highest: Option<EntryPoint> = None;
        let mut reselected = Vec::new();
        for (node, (own, top)) in (0..).zip(places.iter().zip(self.levels)) {
            let Some(own) = *own else { continue };
            let top = usize::from(*top);
            for level in 0..=top {
                let reaches = |node: Node| {
                    let (block, offset) = view.block(node);
                    (block.level(offset) >= level).then_some(node)
                };
                let new_slot = |node: Node| place(node).and_then(reaches);
                let neighbours = |node: Node| self.neighbours(&starts, node, level);
                let (known, is_reselected) =
                    view.surviving_neighbours(node, level, &neighbours, &new_slot, places.len(), scratch);
                let (block, offset) = view.block(own);
                replace(block.neighbours(offset, level), &known);
                if is_reselected {
                    reselected.push((own, level, known));
                }
            }
            if highest.is_none_or(|entry| top > entry.level) {
                highest = Some(EntryPoint { node: own, level: top });
            }
        }
        view.link_back(reselected, scratch);
        let entry = place(self.entry).map(|node| {
            let (block, offset) = view.block(node);
            EntryPoint { node, level: block.level(offset) }
        });
        view.entry =
            entry.filter(|entry| highest.is_none_or(|highest| highest.level == entry.level)).or(highest);
    }
}

/// The bytes not yet parsed.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }
}

/// Hashes the bytes that it writes.
struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn metric_byte(metric: Metric) -> u8 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::Euclidean => 3,
    }
}

fn precision_byte(precision: Precision) -> u8 {
    match precision {
        Precision::Byte => 1,
        Precision::Float => 4,
    }
}
