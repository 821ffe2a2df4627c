use super::*;

#[test]
fn the_shipped_graph_is_whole() {
    let graph = Graph::shipped().unwrap();
    assert_eq!(graph.requests.len(), 117_659);
    assert!(graph.edges >= 183_789, "{}", graph.edges);
}

#[test]
fn a_line_that_names_no_concept_is_refused_by_its_number() {
    let nodes = "id\ttype\tlemmas\tgloss\na\tnoun\tcat\ta feline\nb\tverb\tpurr\tof cats\n";
    let graph = Graph::parse(nodes, "src\tdst\na\tb\n").map_err(|error| error.1).unwrap();
    assert_eq!(graph.requests[1].locality_hints, ["a"]);
    assert_eq!(graph.neighbours, [[1], [0]]);
    assert_eq!(graph.requests[1].concept_type, ConceptType::EVENT);
    let wrong = Graph::parse(nodes, "src\tdst\na\tc\n").err().unwrap();
    assert_eq!(wrong.1, "line 2: expected two ids of concepts");
}
