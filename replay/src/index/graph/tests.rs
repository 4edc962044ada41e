use super::*;

/// Numbers from a fixed seed (`SplitMix64`), between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
        let number = ((mixed ^ (mixed >> 31)) >> 40) as f32;
        number / 8_388_608.0 - 1.0
    }

    fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.next()).collect()
    }
}

const DIMENSION: usize = 24;
const DEGREES: Degrees = Degrees { m: 8, ef_construction: 64 };

type Slot = Option<(PointId, Vec<f32>)>;

fn graph(metric: Metric, vectors: &[Slot]) -> Graph {
    let dimension = Dimension::try_from(u32::try_from(DIMENSION).unwrap()).unwrap();
    Graph::new(dimension, metric, DEGREES, vectors.iter().flatten().map(|(_, vector)| vector.as_slice()))
}

struct Linked {
    vectors: Vec<Slot>,
    graph: Graph,
}

impl Linked {
    /// Two threads link batches of odd sizes, as writes would come.
    fn new(metric: Metric, count: usize) -> Self {
        let mut numbers = Numbers(7);
        let vectors: Vec<_> = (0..count)
            .map(|node| {
                let vector: Vec<f32> = numbers.vector(DIMENSION).iter().map(|number| number + 0.5).collect();
                // A few were emptied before they were linked.
                (node % 97 != 3).then(|| (PointId::text(node.to_string()).unwrap(), vector))
            })
            .collect();
        let graph = graph(metric, &vectors);
        for batch in vectors.chunks(count / 3 + 1) {
            let added = batch.iter().map(|slot| slot.as_ref().map(|(id, vector)| (id, vector.as_slice())));
            graph.extend(added, &|_| true, 2, &|| false).unwrap();
        }
        Self { vectors, graph }
    }

    fn is_point(&self, node: Node) -> bool {
        self.vectors[node as usize].is_some()
    }
}

/// Every list holds distinct other nodes and no more than its degree; every live node is reachable on
/// the ground.
fn assert_sound(view: &View, live: impl Fn(Node) -> bool) {
    let mut reached = vec![false; view.len()];
    let mut open = vec![view.entry.unwrap().node];
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut reached[node as usize], true) {
            let (block, offset) = view.block(node);
            open.extend(link::known(block.neighbours(offset, 0)));
        }
    }
    for node in 0..u32::try_from(view.len()).unwrap() {
        assert!(reached[node as usize] || !live(node), "no walk reaches {node}");
        let (block, offset) = view.block(node);
        for level in 0..=block.level(offset) {
            let places = block.neighbours(offset, level);
            assert_eq!(places.len(), view.degrees.at(level));
            let mut known: Vec<Node> = link::known(places).collect();
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
fn every_live_node_is_reachable_and_no_list_is_too_long_or_repeats() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let linked = Linked::new(metric, 6_000);
        assert_sound(&linked.graph.view(), |node| linked.is_point(node));
    }
}

#[test]
fn a_compaction_keeps_the_graph_sound_and_leaves_no_emptied_node() {
    let linked = Linked::new(Metric::Euclidean, 5_000);
    // Two thirds go, among them whole neighbourhoods.
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
    let moved = linked.graph.moved(|node| numbers[node as usize]);
    let view = moved.view();
    assert_eq!(view.len(), numbers.iter().flatten().count());
    assert_sound(&view, |_| true);
    // Each is found about as well as in a graph of just these.
    let left = || linked.vectors.iter().zip(&numbers).filter(|(_, number)| number.is_some());
    let slots =
        left().filter_map(|(slot, _)| slot.as_ref()).map(|(id, vector)| Some((id, vector.as_slice())));
    let fresh = graph(Metric::Euclidean, &linked.vectors);
    fresh.extend(slots, &|_| true, 2, &|| false).unwrap();
    let missed = |view: &View| {
        let mut missed = 0;
        for (slot, number) in left() {
            let (_, vector) = slot.as_ref().unwrap();
            view.nearest(&view.probe(vector), 16, |found| missed += usize::from(Some(found[0]) != *number));
        }
        missed
    };
    let (moved, fresh) = (missed(&view), missed(&fresh.view()));
    assert!(moved <= fresh + 20, "{moved} of {} are not found, {fresh} in a fresh graph", view.len());
}

#[test]
fn a_view_never_shows_what_came_after_it() {
    let linked = Linked::new(Metric::Cosine, 3_000);
    let before = linked.graph.view();
    let mut numbers = Numbers(11);
    let added: Vec<_> = (0..2_000)
        .map(|node| (PointId::text(format!("new {node}")).unwrap(), numbers.vector(DIMENSION)))
        .collect();
    linked
        .graph
        .extend(added.iter().map(|(id, vector)| Some((id, vector.as_slice()))), &|_| true, 2, &|| false)
        .unwrap();
    for (_, vector) in &added {
        before.nearest(&before.probe(vector), 20, |found| {
            assert_eq!(found.len(), 20);
            assert!(found.iter().all(|node| (*node as usize) < 3_000));
        });
    }
    assert_eq!(linked.graph.view().len(), 5_000);
}

#[test]
fn linking_that_was_stopped_is_done_again() {
    let linked = Linked::new(Metric::Cosine, 3_000);
    let mut numbers = Numbers(11);
    let added: Vec<_> = (0..1_000)
        .map(|node| (PointId::text(format!("new {node}")).unwrap(), numbers.vector(DIMENSION)))
        .collect();
    let slots = || added.iter().map(|(id, vector)| Some((id, vector.as_slice())));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 500;
    linked.graph.extend(slots(), &|_| true, 2, &stop).unwrap_err();
    assert_eq!(linked.graph.view().len(), 3_000);
    linked.graph.extend(slots(), &|_| true, 2, &|| false).unwrap();
    assert_eq!(linked.graph.view().len(), 4_000);
    assert_sound(&linked.graph.view(), |node| node >= 3_000 || linked.is_point(node));
}

#[test]
fn ranks_are_ordered_like_their_numbers_and_come_back() {
    let ranks = [f32::NEG_INFINITY, -3.5, -1e-40, -0.0, 0.0, 1e-40, 2.0, 7e30, f32::INFINITY];
    for pair in ranks.windows(2) {
        assert!(scratch::Key::new(pair[0], 9) < scratch::Key::new(pair[1], 2), "{pair:?}");
    }
    for rank in ranks {
        let key = scratch::Key::new(rank, 123_456).expanded();
        assert_eq!((key.rank().to_bits(), key.node(), key.is_expanded()), (rank.to_bits(), 123_456, true));
    }
}
