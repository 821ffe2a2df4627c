use super::*;

/// Nodes with the ties given, in columns of at most `limit`.
struct Small {
    columns: Vec<u32>,
    ties: Vec<(u32, u32)>,
    loads: Vec<u32>,
    limit: u32,
}

impl Small {
    fn new(columns: &[u32], ties: &[(u32, u32)], limit: u32) -> Self {
        let count = |column| columns.iter().filter(|&&other| other == column).count() as u32;
        let loads = (0..=columns.iter().copied().max().unwrap_or(0) + 1).map(count).collect();
        Self { columns: columns.to_vec(), ties: ties.to_vec(), loads, limit }
    }
}

impl Net for Small {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn load(&self, column: u32) -> u32 {
        self.loads[column as usize]
    }

    fn columns(&self) -> u32 {
        self.loads.len() as u32
    }

    fn roomiest(&self) -> u32 {
        (0..self.loads.len() as u32).min_by_key(|&column| self.load(column)).unwrap()
    }

    fn column(&self, node: u32) -> u32 {
        self.columns[node as usize]
    }

    fn weight(&self, _node: u32) -> u32 {
        1
    }

    fn sample(&self, node: u32, most: usize, row: &mut Vec<Tie>) {
        self.whole(node, usize::MAX, row);
        row.truncate(most);
    }

    fn whole(&self, node: u32, most: usize, row: &mut Vec<Tie>) -> bool {
        row.clear();
        let other = |&(a, b): &(u32, u32)| if a == node { Some(b) } else { (b == node).then_some(a) };
        row.extend(self.ties.iter().filter_map(other).map(|node| Tie { node, weight: 1 }));
        let fits = row.len() <= most;
        row.truncate(if fits { most } else { 0 });
        fits
    }
}

/// All ties among `nodes`.
fn clique(nodes: std::ops::Range<u32>) -> Vec<(u32, u32)> {
    nodes.clone().flat_map(|a| nodes.clone().filter(move |&b| a < b).map(move |b| (a, b))).collect()
}

fn sorted(movers: &[u32]) -> Vec<u32> {
    let mut movers = movers.to_vec();
    movers.sort_unstable();
    movers
}

#[test]
fn what_no_concept_would_do_alone_a_group_does_together() {
    // A triangle in column 0, each tied once more to column 1: alone each has two ties to one.
    let mut ties = clique(0..3);
    ties.extend([(0, 3), (1, 4), (2, 5)]);
    let net = Small::new(&[0, 0, 0, 1, 1, 1], &ties, 6);
    let mut search = Search::new();
    for node in 0..3 {
        assert_eq!(search.visit(&net, node, Look::Alone), None);
        assert_eq!(search.visit(&net, node, Look::Together), Some(1));
        assert_eq!(sorted(search.movers()), [0, 1, 2]);
    }
    assert_eq!(search.visit(&Small::new(&[0, 0, 0, 1, 1, 1], &ties, 5), 0, Look::Together), None, "no room for three");
}

#[test]
fn of_a_group_only_the_best_prefix_moves() {
    // 0 and 1 belong to column 1; 2, tied to 1, to what stays.
    let mut ties = vec![(0, 1), (0, 6), (0, 7), (1, 8), (1, 2), (2, 3), (2, 4), (2, 5)];
    ties.extend(clique(3..6));
    let net = Small::new(&[0, 0, 0, 0, 0, 0, 1, 1, 1], &ties, 7);
    let mut search = Search::new();
    assert_eq!(search.visit(&net, 0, Look::Together), Some(1));
    assert_eq!(sorted(search.movers()), [0, 1]);
}

#[test]
fn alone_a_concept_goes_where_most_ties_are_discounted_by_load() {
    let net = Small::new(&[0, 1, 1, 2, 2, 2, 2], &[(0, 1), (0, 3), (0, 4)], 5);
    let mut search = Search::new();
    // Column 1: 1 * (5 - 2); column 2: 2 * (5 - 4).
    assert_eq!(search.visit(&net, 0, Look::Alone), Some(1));
    assert_eq!(search.movers(), [0]);
    assert_eq!(search.visit(&net, 2, Look::Alone), None, "nothing draws it anywhere");
}

#[test]
fn a_column_above_its_limit_gives_up_concepts_at_a_loss() {
    let net = Small::new(&[0, 0, 0, 0, 1], &clique(0..4), 3);
    let mut search = Search::new();
    assert_eq!((search.visit(&net, 0, Look::Alone), search.movers().to_vec()), (Some(2), vec![0]));
    assert_eq!((search.visit(&net, 0, Look::Together), search.movers().len()), (Some(2), 1), "no more than it must");
    assert_eq!(search.visit(&Small::new(&[0, 0, 0, 0, 1], &clique(0..4), 4), 0, Look::Together), None);
}

#[test]
fn looking_through_many_columns_counts_as_reading_ties() {
    // Four of column 0 that nothing draws anywhere, in one of 6,402 columns.
    let net = Small::new(&[0, 0, 0, 0, 6400], &clique(0..4), 3);
    let mut search = Search::new();
    for look in [Look::Alone, Look::Together] {
        assert_eq!(search.visit(&net, 0, look), Some(1));
        assert!(search.take_read() >= 100);
    }
}

#[test]
fn a_visit_reads_a_bounded_number_of_ties_and_a_hub_joins_no_group() {
    // Node 0 is a hub in column 0; 1 to 200 are tied to it and, in a dense band, to each other.
    let count = 2000;
    let mut ties: Vec<_> = (1..count).map(|node| (0, node)).collect();
    ties.extend((1..200).flat_map(|a| (a + 1..a + 40).map(move |b| (a, b))));
    let mut columns = vec![0; count as usize];
    columns[1..40].fill(1);
    columns[1900..].fill(2);
    let net = Small::new(&columns, &ties, count);
    let mut search = Search::new();
    for node in 0..250 {
        for look in [Look::Alone, Look::Together] {
            search.visit(&net, node, look);
            let read = search.take_read();
            assert!(read <= VISIT_TIES, "{read} ties for {node}");
            assert!(look == Look::Alone || !search.movers().contains(&0));
        }
    }
}
