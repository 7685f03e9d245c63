//! Changes of files as changes of objects.

use super::*;
use crate::directory::manifest::parse_manifests;

fn holding(file: &str, pods: &[&str]) -> (Arc<str>, FileNews) {
    let text: String = pods
        .iter()
        .map(|pod| format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\n"))
        .collect();
    let manifests = parse_manifests(text.as_bytes(), file).expect("the test writes YAML");
    (file.into(), FileNews::Read(manifests))
}

fn gone(file: &str) -> (Arc<str>, FileNews) {
    (file.into(), FileNews::Gone)
}

/// `+name@file` for what is there, `-name` for what is gone.
fn told(changes: Vec<Change>) -> Vec<String> {
    let tell = |change: Change| match &change {
        Change::Upsert { origin, .. } | Change::Refuse { origin, .. } => {
            format!("+{}@{}", change.key().name, origin.source)
        }
        Change::Delete(key) => format!("-{}", key.name),
    };
    changes.into_iter().map(tell).collect()
}

#[test]
fn only_what_is_different_is_told() {
    let mut catalogue = Catalogue::default();
    for (case, news, want) in [
        ("first", vec![holding("a", &["x", "v"])], &["+v@a", "+x@a"][..]),
        ("same", vec![holding("a", &["x", "v"])], &[]),
        ("one less", vec![holding("a", &["x"])], &["-v"]),
        ("a second holder", vec![holding("b", &["x", "z"])], &["+z@b"]),
        ("the first gives up", vec![gone("a")], &["+x@b"]),
        ("moved at once", vec![gone("b"), holding("c", &["x", "z"])], &["+x@c", "+z@c"]),
        ("an earlier name takes over", vec![holding("a", &["x"])], &["+x@a"]),
        ("all gone", vec![gone("a"), gone("c")], &["-x", "-z"]),
    ] {
        assert_eq!(told(catalogue.update(news)), want, "{case}");
    }
    assert_eq!((catalogue.files().count(), catalogue.holders.len()), (0, 0));
}

#[test]
fn duplicates_are_told_until_they_are_none() {
    let mut catalogue = Catalogue::default();
    catalogue.update([holding("b", &["x"]), holding("a", &["w", "x"])]);
    let problems: Vec<_> = catalogue.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["b:2: Pod default/x: is in a too, and that one counts"]);
    catalogue.update([gone("b")]);
    assert!(catalogue.problems().is_empty());
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_held() {
    let mut catalogue = Catalogue::default();
    catalogue.update([holding("a", &["x"])]);
    let problem = parse_manifests(b"a: [", "a").expect_err("no YAML");
    assert!(catalogue.update([("a".into(), FileNews::Unreadable(problem.clone()))]).is_empty());
    assert_eq!(catalogue.problems(), [problem]);
    assert!(catalogue.update([holding("a", &["x"])]).is_empty());
    assert!(catalogue.problems().is_empty(), "mended");
}
