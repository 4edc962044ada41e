use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vectorizer_testing::Random;

use super::*;

const DIMENSION: usize = 24;
const DEGREES: BuildParameters = BuildParameters { m: 8, ef_construction: 64 };

struct Linked {
    ids: Vec<Option<String>>,
    vectors: Vec<Vec<f32>>,
    graph: Graph,
}

fn asked(view: &View, vector: &[f32]) -> Query {
    let mut query = Query::default();
    view.set_query(vector, &mut query);
    query
}

fn graph(metric: Metric) -> Graph {
    Graph::new(DIMENSION, metric, DEGREES)
}

impl Linked {
    /// Links batches of odd sizes with two threads.
    fn new(metric: Metric, count: usize) -> Self {
        let mut numbers = Random::new(7);
        let vectors = (0..count)
            .map(|_| numbers.units(DIMENSION).iter().map(|number| number + 0.5).collect())
            .collect();
        // Some slots are deleted before they are linked.
        let id = |node: usize| (node % 97 != 3).then(|| node.to_string());
        let linked = Self { ids: (0..count).map(id).collect(), vectors, graph: graph(metric) };
        for end in [count / 3 + 1, count / 2, count] {
            linked.extend(end, &|| false).unwrap();
        }
        linked
    }

    fn extend(&self, end: usize, stop: &(impl Fn() -> bool + Sync)) -> Result<(), Interrupted> {
        self.graph.extend(&|node| self.slot(node), (end, self.vectors.len()), 2.into(), stop, &|| false)
    }

    fn slot(&self, node: Node) -> NodeData<'_> {
        NodeData { id: self.ids[node as usize].as_deref(), vector: &self.vectors[node as usize] }
    }

    fn push(&mut self, vector: Vec<f32>) {
        self.ids.push(Some(self.ids.len().to_string()));
        self.vectors.push(vector);
    }

    fn is_point(&self, node: Node) -> bool {
        self.ids[node as usize].is_some()
    }
}

/// Every list holds distinct other nodes, at most as many as its degree, and every live node is reachable on level 0.
fn assert_sound(view: &View, live: impl Fn(Node) -> bool) {
    let mut reached = vec![false; view.len()];
    let mut open = vec![view.entry.unwrap().node];
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut reached[node as usize], true) {
            let (block, offset) = view.block(node);
            open.extend(blocks::links(block.neighbours(offset, 0)));
        }
    }
    for node in 0..u32::try_from(view.len()).unwrap() {
        assert!(reached[node as usize] || !live(node), "no walk reaches {node}");
        let (block, offset) = view.block(node);
        for level in 0..=block.level(offset) {
            let places = block.neighbours(offset, level);
            assert_eq!(places.len(), view.parameters.at(level));
            let mut known: Vec<Node> = blocks::links(places).collect();
            assert!(known.iter().all(|known| (*known as usize) < view.len() && *known != node));
            known.sort_unstable();
            assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "{node} has a neighbour twice");
            assert!(known.iter().all(|known| {
                let (block, offset) = view.block(*known);
                block.level(offset) >= level
            }));
        }
    }
}

#[test]
fn every_live_node_is_reachable_and_no_list_is_too_long_or_has_duplicates() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let linked = Linked::new(metric, 6_000);
        assert_sound(&linked.graph.view(), |node| linked.is_point(node));
    }
}

#[test]
fn a_compaction_keeps_the_graph_valid_and_removes_deleted_nodes() {
    let linked = Linked::new(Metric::Euclidean, 5_000);
    // Delete two thirds of the nodes, including whole neighbourhoods.
    let stays =
        |node: Node| linked.is_point(node) && node.is_multiple_of(3) && !(node / 100).is_multiple_of(5);
    let numbers: Vec<Option<Node>> = (0..5_000)
        .scan(0, |next, node| {
            Some(stays(node).then(|| {
                *next += 1;
                *next - 1
            }))
        })
        .collect();
    let moved = linked.graph.remapped(|node| numbers[node as usize], &|| false).unwrap();
    let view = moved.view();
    assert_eq!(view.len(), numbers.iter().flatten().count());
    assert_sound(&view, |_| true);
    // The recall is about that of a graph built from the remaining nodes.
    let left: Vec<Node> = (0..5_000).filter(|node| numbers[*node as usize].is_some()).collect();
    let fresh = graph(Metric::Euclidean);
    fresh
        .extend(
            &|node| linked.slot(left[node as usize]),
            (left.len(), left.len()),
            2.into(),
            &|| false,
            &|| false,
        )
        .unwrap();
    let missed = |view: &View| {
        let mut missed = 0;
        for (number, node) in (0..).zip(&left) {
            view.nearest(&asked(view, &linked.vectors[*node as usize]), 16, |found| {
                missed += usize::from(found[0] != number);
            });
        }
        missed
    };
    let (moved, fresh) = (missed(&view), missed(&fresh.view()));
    assert!(moved <= fresh + 20, "{moved} of {} are not found, {fresh} in a fresh graph", view.len());
    assert!(linked.graph.remapped(Some, &|| true).is_err());
}

#[test]
fn a_view_never_shows_newer_nodes() {
    let mut linked = Linked::new(Metric::Cosine, 3_000);
    let before = linked.graph.view();
    let mut numbers = Random::new(11);
    for _ in 0..2_000 {
        linked.push(numbers.units(DIMENSION));
    }
    linked.extend(5_000, &|| false).unwrap();
    for vector in &linked.vectors[3_000..] {
        before.nearest(&asked(&before, vector), 20, |found| {
            assert_eq!(found.len(), 20);
            assert!(found.iter().all(|node| (*node as usize) < 3_000));
        });
    }
    assert_eq!(linked.graph.view().len(), 5_000);
}

#[test]
fn interrupted_linking_is_repeated_also_in_smaller_steps() {
    let mut linked = Linked::new(Metric::Cosine, 3_000);
    let mut numbers = Random::new(11);
    for _ in 0..1_000 {
        linked.push(numbers.units(DIMENSION));
    }
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 900;
    linked.extend(4_000, &stop).unwrap_err();
    assert_eq!(linked.graph.view().len(), 3_000);
    for end in [3_010, 3_050, 3_500, 4_000] {
        linked.extend(end, &|| false).unwrap();
        assert_eq!(linked.graph.view().len(), end);
    }
    assert_sound(&linked.graph.view(), |node| linked.is_point(node));
}

#[test]
fn linking_that_ends_early_keeps_its_progress_and_always_makes_some() {
    for threads in [1, 2] {
        let linked = Linked::new(Metric::Euclidean, 3_000);
        let graph = graph(Metric::Euclidean);
        let count = linked.vectors.len();
        let extend = |enough: &(dyn Fn() -> bool + Sync)| {
            graph
                .extend(&|node| linked.slot(node), (count, count), threads.into(), &|| false, &|| enough())
                .unwrap();
            graph.view().len()
        };
        let asked = AtomicUsize::new(0);
        let first = extend(&|| asked.fetch_add(1, Ordering::Relaxed) > 500);
        assert!((300..1_000).contains(&first), "{first} are linked");
        let mut before = first;
        for _ in 0..50 {
            let now = extend(&|| true);
            assert!(now > before && now < before + 20, "{before}, then {now}");
            before = now;
        }
        assert_eq!(extend(&|| false), count);
        assert_sound(&graph.view(), |node| linked.is_point(node));
    }
}

#[test]
fn a_parked_caller_is_woken_when_helpers_have_linked_the_rest() {
    let linked = Linked::new(Metric::Euclidean, 2_000);
    let graph = graph(Metric::Euclidean);
    let rest = || std::thread::park_timeout(Duration::from_mins(1));
    let threads = LinkThreads { helpers: 2, on_start: || (), after_each: rest };
    let begun = Instant::now();
    graph.extend(&|node| linked.slot(node), (2_000, 2_000), threads, &|| false, &|| false).unwrap();
    assert!(begun.elapsed() < Duration::from_mins(1), "it was not woken");
    assert_eq!(graph.view().len(), 2_000);
    assert_sound(&graph.view(), |node| linked.is_point(node));
}

/// `stop` is also where searches get their turn.
#[test]
fn stop_is_called_while_rows_are_written_and_nodes_are_visited() {
    let linked = Linked::new(Metric::Euclidean, 5_000);
    let asked = AtomicUsize::new(0);
    let stop_at = |most: usize| {
        asked.store(0, Ordering::Relaxed);
        let asked = &asked;
        move || asked.fetch_add(1, Ordering::Relaxed) >= most
    };
    linked.graph.repair(&|node| linked.slot(node), &stop_at(usize::MAX)).unwrap();
    assert!(asked.load(Ordering::Relaxed) >= 5_000 / 400, "{asked:?}");
    assert_eq!(linked.graph.repair(&|node| linked.slot(node), &stop_at(5)), Err(Interrupted));
    let graph = graph(Metric::Euclidean);
    let extend = |most| {
        let stop = stop_at(most);
        graph.extend(&|node| linked.slot(node), (1, 5_000), 1.into(), &stop, &|| false)
    };
    assert_eq!(extend(100), Err(Interrupted));
    assert_eq!(graph.view().encoded(), 0);
    extend(usize::MAX).unwrap();
    assert!(asked.load(Ordering::Relaxed) >= 5_000 / 40, "{asked:?}");
}

/// A linking run that is stopped may link both; the next run then finds them in each other's candidates.
#[test]
fn two_equal_vectors_linked_at_once_are_each_found_once() {
    let mut linked = Linked::new(Metric::Euclidean, 1_000);
    let copied: Vec<f32> = linked.vectors[0].iter().map(|number| number + 0.25).collect();
    for _ in 0..40 {
        linked.push(copied.clone());
        linked.push(copied.iter().map(|number| -number).collect());
    }
    // They have rows, and none is linked.
    linked.extend(1_000, &|| false).unwrap();
    for round in 0..20 {
        let asked = AtomicUsize::new(0);
        // Stopped later in each round.
        let _stopped = linked.extend(1_080, &|| asked.fetch_add(1, Ordering::Relaxed) > 4 * round);
    }
    linked.extend(1_080, &|| false).unwrap();
    let view = linked.graph.view();
    view.nearest(&asked(&view, &copied), 100, |found| {
        let distinct: std::collections::HashSet<&Node> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "one is shown twice");
        let copies = found.iter().filter(|node| linked.vectors[**node as usize] == copied).count();
        assert_eq!(copies, 40);
    });
}

#[test]
fn one_of_many_equal_vectors_stands_for_all_and_has_a_successor() {
    let mut linked = Linked::new(Metric::Euclidean, 2_000);
    let copied = linked.vectors[0].clone();
    for _ in 0..3_000 {
        linked.push(copied.clone());
    }
    linked.extend(5_000, &|| false).unwrap();
    let view = linked.graph.view();
    let count_of_copies = |view: &View, ef: usize| {
        let mut count = 0;
        view.nearest(&asked(view, &copied), ef, |found| count = found.len());
        count
    };
    assert!(count_of_copies(&view, 4) >= 3_001, "{}", count_of_copies(&view, 4));
    let duplicates: Vec<Node> = view.duplicates.values().flatten().copied().collect();
    assert!(duplicates.len() >= 2_990, "{} are not linked", duplicates.len());
    assert_sound(&view, |node| linked.is_point(node) && !duplicates.contains(&node));
    // Delete the node that stands for the others, and some of them.
    let numbers: Vec<Option<Node>> =
        (0..5_000).map(|node: Node| (node >= 1_000).then_some(node.saturating_sub(1_000))).collect();
    let moved = linked.graph.remapped(|node| numbers[node as usize], &|| false).unwrap().view();
    assert_eq!(moved.len(), 4_000);
    assert!(count_of_copies(&moved, 4) >= 3_000);
}

#[test]
fn packed_ranks_keep_their_order_and_value() {
    let ranks = [f32::NEG_INFINITY, -3.5, -1e-40, -0.0, 0.0, 1e-40, 2.0, 7e30, f32::INFINITY];
    for pair in ranks.windows(2) {
        assert!(RankedNode::new(pair[0], 9) < RankedNode::new(pair[1], 2), "{pair:?}");
    }
    for rank in ranks {
        let candidate = RankedNode::new(rank, 123_456).expanded();
        assert_eq!(
            (candidate.rank().to_bits(), candidate.node(), candidate.is_expanded()),
            (rank.to_bits(), 123_456, true)
        );
    }
}
