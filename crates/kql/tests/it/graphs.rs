//! Graphs: queries and rows, and what the vendor's analyser says of names and types.

use crate::estate::{Estate, NOW};
use crate::operators::{Case, check};
use crate::run::run;
use garrison_kql::{Context, analyze};
use serde_json::json;

/// `a -> b -> c -> d -> a`, `a -> c`, and `e` alone.
const GRAPH: &str = "let N = datatable(id:string, age:long)['a', 1, 'b', 2, 'c', 3, 'd', 4, 'e', 5];
    let E = datatable(s:string, t:string, w:long)['a', 'b', 1, 'b', 'c', 2, 'c', 'd', 3, 'a', 'c', 4, 'd', 'a', 5];
    let G = E | make-graph s --> t with N on id; ";

fn matches() -> Vec<Case> {
    vec![
        Case(
            "G | graph-match (x)-[e]->(y) project x.id, y.id, e.w",
            &["x_id", "y_id", "e_w"],
            json!([["a", "b", 1], ["b", "c", 2], ["c", "d", 3], ["a", "c", 4], ["d", "a", 5]]),
            false,
        ),
        // An edge of variable length gives arrays.
        Case(
            "G | graph-match (x)-[e*1..2]->(y) where x.id == 'a' project y.id, e.w",
            &["y_id", "e_w"],
            json!([["b", [1]], ["c", [4]], ["c", [1, 2]], ["d", [4, 3]]]),
            false,
        ),
        // An edge comes once in a match, unless it is asked for otherwise; `none` lets no node come twice.
        Case(
            "G | graph-match (x)-[e*4..4]->(y) where x.id == 'a' project e.w",
            &["e_w"],
            json!([[[1, 2, 3, 5]], [[4, 3, 5, 1]]]),
            false,
        ),
        Case(
            "G | graph-match cycles=all (x)-[e*4..4]->(y) where x.id == 'a' project e.w",
            &["e_w"],
            json!([[[1, 2, 3, 5]], [[4, 3, 5, 1]], [[4, 3, 5, 4]]]),
            false,
        ),
        Case(
            "G | graph-match cycles=none (x)-[e*3..4]->(y) where x.id == 'a' project e.w",
            &["e_w"],
            json!([[[1, 2, 3]]]),
            false,
        ),
        Case("G | graph-match (x)<-[e]-(y) where x.id == 'c' project y.id", &["y_id"], json!([["a"], ["b"]]), false),
        Case("G | graph-match (x)--(y) where x.id == 'c' project y.id", &["y_id"], json!([["a"], ["b"], ["d"]]), false),
        Case(
            "datatable(s:string, t:string)['a', 'a'] | make-graph s --> t with_node_id = n
             | graph-match (x)-[e]-(y) project x.n, y.n",
            &["x_n", "y_n"],
            json!([["a", "a"]]),
            false,
        ),
        // A node that stands twice in the pattern is one node, in one sequence or in several.
        Case(
            "G | graph-match (x)-->(y)-->(z), (x)-->(z) project x.id, y.id, z.id",
            &["x_id", "y_id", "z_id"],
            json!([["a", "b", "c"]]),
            false,
        ),
        Case(
            "G | graph-match (x)-->(y)-->(z)-->(x) where x.id == 'c' project y.id, z.id",
            &["y_id", "z_id"],
            json!([["d", "a"]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where x.id == 'a' and y.id == 'd'
               project i = map(inner_nodes(e), id), w = map(e, strcat(s, t))",
            &["i", "w"],
            json!([[["c"], ["ac", "cd"]], [["b", "c"], ["ab", "bc", "cd"]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where x.id == 'a' and all(inner_nodes(e), age < 3) project y.id, e.w",
            &["y_id", "e_w"],
            json!([["b", [1]], ["c", [4]], ["c", [1, 2]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where x.id == 'a' and y.id == 'd' and any(e, w > 3) project e.w",
            &["e_w"],
            json!([[[4, 3]]]),
            false,
        ),
        // What is said of an edge of variable length is said of each of its edges.
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where x.id == 'a' and y.id == 'd' and e.w > 1 project e.w",
            &["e_w"],
            json!([[[4, 3]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where y.id == 'd' and all(e, w > x.age + 1) project x.id, e.w",
            &["x_id", "e_w"],
            json!([["a", [4, 3]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..3]->(y) where y.id == 'd' and e.w > x.age + 1 project x.id",
            &["x_id"],
            json!([["a"]]),
            false,
        ),
        // Conditions over several parts, and the product of their values.
        Case(
            "G | graph-match (x)-[e]->(y) where x.age + e.w == y.age + 2 or y.age < x.age project s = strcat(x.id, y.id), e.w * 2",
            &["s", "Column1"],
            json!([["ac", 8], ["da", 10], ["cd", 6]]),
            false,
        ),
        Case(
            "G | graph-match (x) where node_degree_out(x) != 1 project x.id, node_degree_in(x), node_degree_out(x)",
            &["x_id", "Column1", "Column2"],
            json!([["a", 1, 2], ["e", 0, 0]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*2..2]->(y) where x.id == 'b' project map(inner_nodes(e), node_degree_in()), x, y.age, e",
            &["Column1", "x", "y_age", "e"],
            json!([[[2], {"id": "b", "age": 2}, 4, [{"s": "b", "t": "c", "w": 2}, {"s": "c", "t": "d", "w": 3}]]]),
            false,
        ),
        // Paths are read as the pattern is, from left to right.
        Case(
            "G | graph-match (y)<-[e*2..2]-(x) where y.id == 'd' and x.id == 'a' project e.w, map(inner_nodes(e), id)",
            &["e_w", "Column1"],
            json!([[[3, 4], ["c"]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*2..2]->(y) where y.id == 'd' project x.id, e.w, map(inner_nodes(e), id)",
            &["x_id", "e_w", "Column1"],
            json!([["a", [4, 3], ["c"]], ["b", [2, 3], ["c"]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*0..1]->(y) where x.id == 'a' project y.id, e.w",
            &["y_id", "e_w"],
            json!([["a", []], ["b", [1]], ["c", [4]]]),
            false,
        ),
        Case(
            "G | graph-match (x)-[e*1..2]->(y)-[f]->(z) where x.id == 'b' project y.id, z.id, e.w, f.w",
            &["y_id", "z_id", "e_w", "f_w"],
            json!([["c", "d", [2], 3], ["d", "a", [2, 3], 5]]),
            false,
        ),
        // What needs rows is asked of the matches.
        Case(
            "G | graph-match (x)-[e]->(y) where x.id in (datatable(k:string)['b', 'd']) and y.age > toscalar(N | summarize min(age)) project x.id",
            &["x_id"],
            json!([["b"]]),
            false,
        ),
        Case("G | graph-match (x)-[e]->(y) where false project x.id | count", &["Count"], json!([[0]]), false),
        Case("G | graph-match (x)-[e]->(y) where x.id == 'q' project x.id", &["x_id"], json!([]), false),
    ]
}

fn others() -> Vec<Case> {
    vec![
        // One shortest path of each pair of ends, or all of them.
        Case(
            "G | graph-shortest-paths (x)-[e*1..5]->(y) where x.id == 'a' and y.id in ('d', 'c') project y.id, e.w",
            &["y_id", "e_w"],
            json!([["c", [4]], ["d", [4, 3]]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..3]->(y) where y.id == 'd' project x.id, e.w, map(inner_nodes(e), id)",
            &["x_id", "e_w", "Column1"],
            json!([["a", [4, 3], ["c"]], ["b", [2, 3], ["c"]], ["c", [3], []], ["d", [5, 4, 3], ["a", "c"]]]),
            false,
        ),
        Case(
            "datatable(s:long, t:long)[1, 2, 1, 3, 2, 4, 3, 4, 4, 5] | make-graph s --> t with_node_id = n
             | graph-shortest-paths output=all (x)-[e*1..9]->(y) where x.n == 1 and y.n == 5 project map(e, t)",
            &["Column1"],
            json!([[[2, 4, 5]], [[3, 4, 5]]]),
            false,
        ),
        Case(
            "datatable(s:long, t:long)[1, 2, 1, 3, 2, 4, 3, 4, 4, 5] | make-graph s --> t with_node_id = n
             | graph-shortest-paths (x)-[e*1..9]->(y) where x.n == 1 and y.n == 5 project map(e, t)",
            &["Column1"],
            json!([[[2, 4, 5]]]),
            false,
        ),
        // Least numbers of edges, conditions along the way, edges in any direction, and a line of several edges.
        Case(
            "G | graph-shortest-paths (x)-[e*2..5]->(y) where x.id == 'a' and y.id == 'c' project e.w",
            &["e_w"],
            json!([[[1, 2]]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..5]->(y) where x.id == 'a' and y.id == 'd' and all(e, w < 4) project e.w",
            &["e_w"],
            json!([[[1, 2, 3]]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..5]-(y) where x.id == 'b' and y.id == 'd' and all(inner_nodes(e), id != 'c') project e.w",
            &["e_w"],
            json!([[[1, 5]]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..3]->(y)-[f]->(z) where x.id == 'a' and z.id == 'a' project y.id, e.w, f.w",
            &["y_id", "e_w", "f_w"],
            json!([["d", [4, 3], 5]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*0..3]->(y)-[f]->(z) where x.id == 'a' and z.id == 'c' project y.id, e.w, f.w",
            &["y_id", "e_w", "f_w"],
            json!([["a", [], 4]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..2]->(y) where x.id == 'b' and x.age < y.age project y.id",
            &["y_id"],
            json!([["c"], ["d"]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..1]->(y) where x.id == 'b' and y.id == 'd' project e.w",
            &["e_w"],
            json!([]),
            false,
        ),
        // Components, whichever way the edges point, or along them.
        Case(
            "G | graph-mark-components | graph-to-table nodes | project id, ComponentId",
            &["id", "ComponentId"],
            json!([["a", 0], ["b", 0], ["c", 0], ["d", 0], ["e", 1]]),
            false,
        ),
        Case(
            "E | where w != 5 | make-graph s --> t with N on id | graph-mark-components kind=strong with_component_id=c
             | graph-to-table nodes | summarize dcount(c)",
            &["dcount_c"],
            json!([[5]]),
            false,
        ),
        Case(
            "G | graph-mark-components with_component_id=c | graph-match (x)-[e]->(y) where x.id == 'b' project x.c, y.c",
            &["x_c", "y_c"],
            json!([[0, 0]]),
            false,
        ),
        // Rows again, with numbers that edges and nodes share.
        Case(
            "G | graph-to-table nodes as V with_node_id = n, edges as W with_source_id = f with_target_id = g;
             W | join kind=inner V on $left.g == $right.n | where w == 3 | project s, id",
            &["s", "id"],
            json!([["c", "d"]]),
            false,
        ),
        // A node that no table has is its key and nothing else; of two rows for a node the first one counts.
        Case(
            "datatable(s:string, t:string)['a', 'z'] | make-graph s --> t with (N | where id == 'a') on id
             | graph-match (x)-[e]->(y) project x.age, y.id, y.age, isnull(y.age)",
            &["x_age", "y_id", "y_age", "Column1"],
            json!([[1, "z", null, true]]),
            false,
        ),
        Case(
            "datatable(s:string, t:string)['a', 'b'] | make-graph s --> t with
               (datatable(id:string, v:long)['a', 7, 'a', 8]) on id, (datatable(k:string, z:string)['b', 'B', 'a', 'A']) on k
             | graph-to-table nodes",
            &["id", "v", "k", "z"],
            json!([["a", 7, "a", "A"], ["", null, "b", "B"]]),
            false,
        ),
        // Keys of different types are compared as what they say.
        Case(
            "datatable(s:int, t:long)[1, 2] | make-graph s --> t with (datatable(id:string, n:string)['1', 'one', '2', 'two']) on id
             | graph-match (x)-[e]->(y) project x.n, y.n",
            &["x_n", "y_n"],
            json!([["one", "two"]]),
            false,
        ),
        Case(
            "let F = (a:long) { E | where w >= a | make-graph s --> t with_node_id = n };
             union (F(4) | graph-match (x)-[e]->(y) project x.n), (F(5) | graph-match (x)-[e]->(y) project x.n)",
            &["x_n"],
            json!([["a"], ["d"], ["d"]]),
            false,
        ),
        Case(
            "print c = toscalar(G | graph-match (x)-[e]->(y) project e.w | summarize sum(e_w))",
            &["c"],
            json!([[15]]),
            false,
        ),
        Case(
            "DeviceProcessEvents | make-graph InitiatingProcessId --> ProcessId with DeviceInfo on DeviceId
             | graph-match (x)-[e*1..3]->(y) project e.FileName, x.DeviceName | where false | count",
            &["Count"],
            json!([[0]]),
            false,
        ),
    ]
}

/// The queries of the tables.
pub fn queries() -> Vec<String> {
    matches().iter().chain(&others()).map(|c| format!("{GRAPH}{}", c.0)).collect()
}

#[test]
fn a_pattern_gives_the_rows_of_the_table() {
    let estate = Estate::new(12, 5);
    let wrong: Vec<String> = matches()
        .iter()
        .chain(&others())
        .filter_map(|c| check(GRAPH, c, &estate).err().map(|e| format!("{}\n    {e}", c.0)))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Query, and the columns of its answer, as the vendor's analyser gives them; where it says that a column is all of a
/// node or an edge, ours is a bag.
const COLUMNS: &[(&str, &str)] = &[
    ("G graph-match (x)-[e]->(y) project x.id, y.id, e.w", "x_id:string y_id:string e_w:real"),
    ("G graph-match (x)-[e*1..3]->(y) project e, x.age", "e:dynamic x_age:long"),
    ("G graph-match (x)-[e*1..3]->(y) project e.w, x.age, e.s", "e_w:dynamic x_age:long e_s:dynamic"),
    ("G graph-match (x)-[e*1..3]->(y) where e.w > 1 project e.w", "e_w:dynamic"),
    ("G graph-match (x)-[e*1..3]->(y) where all(e, w > 1) project x.id", "x_id:string"),
    (
        "G graph-match (x)-[e*1..3]->(y) where any(e, w > 1) project map(e, w), map(inner_nodes(e), id), q = map(e, strcat(s,'-',t))",
        "Column1:dynamic Column2:dynamic q:dynamic",
    ),
    ("G graph-match (x)-[e]->(y)-[f]->(z), (x)-[g]->(w) project x.id, w.id", "x_id:string w_id:string"),
    ("G graph-match (x)-->(y) project x.id, y", "x_id:string y:dynamic"),
    ("G graph-match (x)--(y) project x.id, y, x", "x_id:string y:dynamic x:dynamic"),
    (
        "G graph-match (x)-[e]-(y) project e, node_degree_in(x), node_degree_out(x)",
        "e:dynamic Column1:long Column2:long",
    ),
    ("G graph-match cycles=all (x)-[e]->(y) project x.id", "x_id:string"),
    ("G graph-match cycles=none (x)-[e]->(y) project x.id", "x_id:string"),
    ("G graph-match cycles=unique_edges (x)-[e]->(y) project x.id", "x_id:string"),
    ("G graph-match (x) project x.id", "x_id:string"),
    ("G graph-match (x)-[e*0..3]->(y) project x.id", "x_id:string"),
    ("G graph-match (x)-[e*1..100]->(y) project x.id", "x_id:string"),
    ("G graph-match (x)-[e*1..3]->(y)-[f*1..2]->(z) project x.id, e.w, f.w", "x_id:string e_w:dynamic f_w:dynamic"),
    ("G graph-match ()-[e]->(y) project y.id", "y_id:string"),
    ("G graph-match (x)-[]->(y) project y.id", "y_id:string"),
    ("G graph-match (x)<-[e]-(y) project y.id", "y_id:string"),
    ("G graph-match (x)<-[e]->(y) project y.id", "y_id:string"),
    ("G graph-match (x)<--(y) project y.id", "y_id:string"),
    (
        "G graph-match (x)-[e]->(y) project x, y, e, x.ip, x.ip.a",
        "x:dynamic y:dynamic e:dynamic x_ip:dynamic x_ip_a:dynamic",
    ),
    ("G graph-match (x)-[e]->(y) project a = x.id, x.id, x.id", "a:string x_id:string x_id1:string"),
    ("G graph-match (x)-[e]->(y) project x.id, x_id = 1", "x_id:string x_id1:long"),
    ("G graph-to-table nodes", "id:string age:long ip:dynamic"),
    ("G graph-to-table edges", "s:string t:string w:real at:datetime"),
    ("G graph-to-table nodes as N1", "id:string age:long ip:dynamic"),
    ("G graph-to-table nodes as N1, edges as E1; N1 | count", "Count:long"),
    ("G graph-to-table nodes with_node_id = nid", "nid:long id:string age:long ip:dynamic"),
    (
        "G graph-to-table edges with_source_id = a with_target_id = b",
        "a:long b:long s:string t:string w:real at:datetime",
    ),
    (
        "G graph-to-table edges as Q with_source_id = a with_target_id = b, nodes as W with_node_id = c; Q",
        "a:long b:long s:string t:string w:real at:datetime",
    ),
    ("G graph-mark-components kind=weak | graph-to-table nodes", "id:string age:long ip:dynamic ComponentId:long"),
    (
        "G graph-mark-components kind=strong with_component_id=c | graph-to-table nodes",
        "id:string age:long ip:dynamic c:long",
    ),
    ("G graph-mark-components | graph-match (x)-[e]->(y) project x.ComponentId, y", "x_ComponentId:long y:dynamic"),
    ("G graph-shortest-paths (x)-[e*1..3]->(y) project x.id, e, y.id", "x_id:string e:dynamic y_id:string"),
    ("G graph-shortest-paths output=all (x)-[e*1..3]->(y) project x.id, e, y.id", "x_id:string e:dynamic y_id:string"),
    ("G graph-shortest-paths output=any (x)-[e*1..3]->(y) project x.id, e, y.id", "x_id:string e:dynamic y_id:string"),
    ("G graph-shortest-paths cycles=none (x)-[e*1..3]->(y) project x.id, e, y.id", "x_id:string e:dynamic y_id:string"),
    ("G graph-shortest-paths (x)-[e*1..3]->(y)-[f*1..2]->(z) project x.id, y.id", "x_id:string y_id:string"),
    (
        "G graph-shortest-paths (x)-[e*1..3]-(y) where x.id == 'a' and y.id in ('c','d') and all(e, w > 0) project x.id, map(inner_nodes(e), id)",
        "x_id:string Column1:dynamic",
    ),
    ("E | make-graph s --> t | graph-match (x)-[e]->(y) project x, y, e.w", "x:dynamic y:dynamic e_w:real"),
    (
        "E | make-graph s --> t with_node_id=nid | graph-match (x)-[e]->(y) project x.nid, y.nid, x",
        "x_nid:string y_nid:string x:dynamic",
    ),
    ("E | make-graph s --> t with_node_id=nid | graph-to-table nodes", "nid:string"),
    (
        "E | make-graph s --> t with N on id, (N | project id, zip = 1) on id | graph-to-table nodes",
        "id:string age:long ip:dynamic zip:long",
    ),
    (
        "E | make-graph s --> t with N on id, (N | project k=id, age='x') on k | graph-to-table nodes",
        "id:string age:dynamic ip:dynamic k:string",
    ),
    ("E | make-graph s --> t with N on age | graph-to-table nodes", "id:string age:long ip:dynamic"),
    ("let G = E | make-graph s --> t with N on id; G | graph-match (x)-[e]->(y) project x.id", "x_id:string"),
    ("let G = view(){E | make-graph s --> t with N on id}; G | graph-match (x)-[e]->(y) project x.id", "x_id:string"),
    (
        "let G = (a:string){E | where s == a | make-graph s --> t with N on id}; G('a') | graph-match (x)-[e]->(y) project x.id",
        "x_id:string",
    ),
    ("G graph-match (x)-[e*1..3]->(y) where all(e, w > x.age) project x.id", "x_id:string"),
    (
        "G graph-match (x)-[e*1..3]->(y) where all(inner_nodes(e), age > 1 and node_degree_in() > 1) project map(inner_nodes(e), node_degree_out())",
        "Column1:dynamic",
    ),
    ("G graph-match (x)-[e]->(y) where all(e, w > 1) project map(e, w)", "Column1:dynamic"),
    ("G graph-match (x)-[e*1..3]->(y) project x, x, e, e", "x:dynamic x1:dynamic e:dynamic e1:dynamic"),
    ("G graph-match (x)-[e*1..3]->(y) project y = 1, map(e, w), tostring(e)", "y:long Column1:dynamic e:dynamic"),
    ("G graph-match (x)-[e]->(y) project pack_all()", "Column1:dynamic"),
    ("G graph-match (x)-[e]->(y) where x.id in (E | project s) project x.id", "x_id:string"),
    ("G graph-match (x)-[e]->(y) where x.id == toscalar(E | project s) project x.id", "x_id:string"),
    ("G graph-match (x)-[*1..3]->(y) project x.id", "x_id:string"),
    ("G graph-match (x)-[e*1..3]->(y) where isnotempty(e) project x.id", "x_id:string"),
];

#[test]
fn columns_have_the_names_and_types_that_the_vendor_gives_them() {
    let before = "let N = datatable(id:string, age:long, ip:dynamic)['a', 1, dynamic(null)];
        let E = datatable(s:string, t:string, w:real, at:datetime)['a', 'b', 1.0, datetime(2026-01-01)]; ";
    let estate = Estate::new(1, 1);
    let mut wrong = vec![];
    for (query, want) in COLUMNS {
        let query = query.replacen("G graph", "E | make-graph s --> t with N on id | graph", 1);
        let text = format!("{before}{query}");
        let analysis = analyze(&text, &estate, &Context::at(NOW));
        let have = analysis
            .columns
            .map(|all| all.iter().map(|c| format!("{}:{}", c.name, c.kind.name())).collect::<Vec<_>>().join(" "));
        if have.as_deref() != Some(want) {
            wrong.push(format!("{query}\n    {have:?}, want {want}; {:?}", analysis.diagnostics));
        } else if let Err(e) = run(&text, &estate) {
            wrong.push(format!("{query}\n    {e}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Query, the code of its finding, and the text at its place.
const REFUSED: &[(&str, &str, &str)] = &[
    ("G | graph-match (x)-[e]->(y) where x.nope == 1 project x.id", "KS142", "nope"),
    ("G | graph-match (x)-[e]->(y) where x.age project x.id", "KS141", "x.age"),
    ("G | graph-match (x)-[e]->(y) project id", "KS142", "id"),
    ("G | graph-match (x)-[e*1..3]->(y) where e.w has 'x' project x.id", "KS106", "has"),
    ("G | graph-match (x)-[e]->(y) where count() > 1 project x.id", "KS144", "count"),
    ("G | graph-match (x)-[e]->(y)-[e]->(z) project x.id", "GQ202", "e"),
    ("G | graph-match (x)-[e]->(y), (z)-[f]->(w) project x.id", "GQ100", "graph-match"),
    ("G | graph-match (x)-[e]->(y)", "GQ100", "graph-match"),
    ("G | graph-match (x)-[e*3..1]->(y) project x.id", "GQ101", "-[e*3..1]->"),
    ("G | graph-match (x)-[e*1..9999]->(y) project x.id", "GQ112", "-[e*1..9999]->"),
    ("G | graph-match cycles=some (x)-[e]->(y) project x.id", "KS140", "some"),
    ("G | graph-match (x)-[e]->(y) where labels(x) has 'a' project x.id", "GQ100", "labels"),
    ("G | graph-match (x)-[e*1..2]->(y) project inner_nodes(e)", "KS211", "inner_nodes"),
    ("G | graph-match (x)-[e*1..2]->(y) where all(x, age > 1) project x.id", "KS142", "x"),
    ("G | where age > 1", "KS111", "where"),
    ("G | count", "KS111", "count"),
    ("G | take 1", "KS111", "take"),
    ("union E, (G)", "KS111", "(G)"),
    ("E | join (G) on s", "KS111", "(G)"),
    ("print x = toscalar(G)", "KS111", "toscalar(G)"),
    ("E | graph-match (x)-[e]->(y) project x.id", "GQ203", "graph-match"),
    ("E | graph-to-table nodes", "GQ203", "graph-to-table"),
    ("E | graph-mark-components", "GQ203", "graph-mark-components"),
    ("G | graph-mark-components kind=some | graph-to-table nodes", "KS005", "some"),
    ("G | graph-mark-components with_component_id=age | graph-to-table nodes", "KS171", "age"),
    ("G | graph-to-table nodes, edges", "KS273", "nodes"),
    ("G | graph-to-table nodes with_node_id=age", "KS171", "age"),
    ("E | make-graph s --> nope | graph-to-table nodes", "KS142", "nope"),
    ("E | extend d = dynamic(1) | make-graph d --> t | graph-to-table nodes", "KS240", "d"),
    ("E | make-graph s --> t with Nope on id | graph-to-table nodes", "KS204", "Nope"),
    ("E | partition by s (make-graph s --> t | graph-to-table edges)", "GQ100", "make-graph s --> t"),
    ("G | graph-shortest-paths (x)-[e]->(y) project x.id", "GQ101", "graph-shortest-paths"),
    ("G | graph-shortest-paths (x)-[e*1..2]->(y), (x)-[f]->(z) project x.id", "GQ100", "graph-shortest-paths"),
];

#[test]
fn a_graph_that_cannot_be_made_or_read_says_why() {
    let estate = Estate::new(1, 1);
    let mut wrong = vec![];
    for (query, code, at) in REFUSED {
        let text = format!("{GRAPH}{query}");
        let analysis = analyze(&text, &estate, &Context::at(NOW));
        let found =
            analysis.diagnostics.iter().any(|d| d.code == *code && text.get(d.span.start..d.span.end) == Some(at));
        if found == code.is_empty() {
            wrong.push(format!("{query}: want {code} at `{at}`, have {:?}", analysis.diagnostics));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A chain of a hundred thousand edges, and a ring beside it.
const LONG: &str = "let E = range n from 1 to 100000 step 1 | extend m = n + 1;
    let G = E | make-graph n --> m with_node_id = id; ";

#[test]
fn a_graph_of_a_hundred_thousand_edges_is_searched_once() {
    // What grew with the square of the edges would take hours here.
    let estate = Estate::new(1, 1);
    let cases = [
        Case(
            "G | graph-match (x)-[e]->(y) where x.id % 2 == 0 project x.id | count",
            &["Count"],
            json!([[50_000]]),
            false,
        ),
        Case("G | graph-match (x)-[e*1..5]->(y) project x.id | count", &["Count"], json!([[499_990]]), false),
        Case(
            "G | graph-match (x)-[e*1..100]->(y) where y.id == 50000 project x.id | count",
            &["Count"],
            json!([[100]]),
            false,
        ),
        Case(
            "G | graph-shortest-paths (x)-[e*1..100]->(y) where x.id == 7 project y.id | count",
            &["Count"],
            json!([[100]]),
            false,
        ),
        Case(
            "G | graph-mark-components kind=strong | graph-to-table nodes | summarize max(ComponentId)",
            &["max_ComponentId"],
            json!([[100_000]]),
            false,
        ),
        Case(
            "G | graph-mark-components | graph-to-table nodes | distinct ComponentId",
            &["ComponentId"],
            json!([[0]]),
            false,
        ),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|c| check(LONG, c, &estate).err().map(|e| format!("{}\n    {e}", c.0))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_search_without_end_is_given_up_and_says_so() {
    // Every node leads to every other: the paths are without number.
    let dense = "let E = range a from 1 to 60 step 1 | extend k = 1 | join kind=inner (range b from 1 to 60 step 1 | extend k = 1) on k;
        let G = E | make-graph a --> b with_node_id = id; ";
    let estate = Estate::new(1, 1);
    for query in [
        "G | graph-match (x)-[e*1..9]->(y) project x.id",
        "G | graph-match (x)-[e]->(y)-[f]->(z)-[g]->(w) project x.id",
        "G | graph-match (x)-[e*20..100]->(y) where y.id == 1 and x.id == 2 and e.a > 1 project x.id",
        "G | graph-shortest-paths output=all (x)-[e*9..9]->(y) where x.id == 1 and y.id == 2 project x.id",
    ] {
        let error = run(&format!("{dense}{query}"), &estate).unwrap_err();
        assert!(error.contains("GQ112"), "{query}: {error}");
    }
}
