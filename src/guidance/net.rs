//! What the search for better places sees: a net of nodes in columns, whatever the nodes are.

/// A neighbour, and how many edges lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tie {
    /// The neighbour.
    pub(crate) node: u32,
    /// Edges that this tie stands for.
    pub(crate) weight: u32,
}

/// Nodes, each in a column or [nowhere](crate::guidance::homes::NOWHERE), with weighted ties.
pub(crate) trait Net {
    /// What all nodes of a column may weigh.
    fn limit(&self) -> u32;
    /// What all nodes of `column` weigh.
    fn load(&self, column: u32) -> u32;
    /// Columns there are.
    fn columns(&self) -> u32;
    /// The lightest column, ties to the lowest number. Looks at all of them.
    fn roomiest(&self) -> u32;
    /// An empty column, if one may be taken for no gain: for what has neighbours where there is no room.
    fn spare(&self) -> Option<u32> {
        None
    }
    /// The column of `node`.
    fn column(&self, node: u32) -> u32;
    /// Concepts that `node` stands for.
    fn weight(&self, node: u32) -> u32;
    /// Replaces `row` by at most `most` ties of `node`, which then stand for all of them.
    fn sample(&self, node: u32, most: usize, row: &mut Vec<Tie>);
    /// Replaces `row` by all ties of `node`, unless there are more than `most`: then by none, and false.
    fn whole(&self, node: u32, most: usize, row: &mut Vec<Tie>) -> bool;
}
