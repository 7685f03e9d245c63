//! Files that are manifests, and files that are not.

use super::*;
use weft_control_api::refusal::RefusedScope;

fn read(text: &str) -> Manifests {
    parse_manifests(text.as_bytes(), "a.yaml").expect("the test writes YAML")
}

fn keys(manifests: &Manifests) -> Vec<String> {
    manifests.objects.iter().map(|object| object.key().to_string()).collect()
}

fn told(manifests: &Manifests) -> Vec<String> {
    manifests.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn objects_come_from_documents_and_lists() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";
    for (case, text, want) in [
        ("one", pod.to_owned(), &["Pod default/web"][..]),
        (
            "documents",
            format!(
                "---\n{pod}---\n# nothing\n---\nkind: Namespace\napiVersion: v1\nmetadata: {{name: a}}\n"
            ),
            { &["Pod default/web", "Namespace a"] },
        ),
        (
            "list",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n"
                .to_owned(),
            { &["Pod default/a"] },
        ),
        (
            "JSON",
            r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}"#.to_owned(),
            { &["Pod b/a"] },
        ),
        ("byte order mark", format!("\u{feff}{pod}"), &["Pod default/web"]),
        ("empty", String::new(), &[]),
        ("comment", "# nothing\n".to_owned(), &[]),
    ] {
        let manifests = read(&text);
        assert_eq!(
            (keys(&manifests), told(&manifests)),
            (want.iter().map(ToString::to_string).collect(), vec![]),
            "{case}"
        );
    }
}

#[test]
fn every_kind_of_traffic_is_read() {
    let manifests = read(include_str!("../../../../../fuzz/seeds/traffic.yaml"));
    assert_eq!(told(&manifests), [""; 0]);
    assert_eq!(manifests.objects.len(), 14);
    for object in &manifests.objects {
        assert!(matches!(object, Change::Upsert { notes, .. } if notes.is_empty()), "{object:?}");
    }
}

#[test]
fn what_is_no_object_of_ours_is_told() {
    for (case, text, want) in [
        ("foreign", "apiVersion: apps/v1\nkind: Deployment\n", "a.yaml:2: kind: Deployment is not read"),
        ("not yet", "apiVersion: networking.istio.io/v1\nkind: Sidecar\n", {
            "a.yaml:2: kind: networking.istio.io/v1 Sidecar is not implemented: it has no effect"
        }),
        ("text", "just words\n", "a.yaml:1: has no apiVersion and kind, so it is no Kubernetes object"),
    ] {
        let manifests = read(text);
        assert_eq!((told(&manifests), manifests.objects), (vec![want.to_owned()], vec![]), "{case}");
    }
}

#[test]
fn a_file_that_is_no_yaml_says_where() {
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    for (case, bytes, line, reason) in [
        ("not closed", &b"a: 1\nb: [\n"[..], Some(3), "is not YAML"),
        ("not UTF-8", b"a: 1\nb: \xff\n", Some(2), "is not UTF-8"),
        ("tab", b"a:\n\tb: 1\n", Some(2), "is not YAML"),
        ("too large", &large, None, "is larger"),
    ] {
        let problem = parse_manifests(bytes, "a.yaml").expect_err(case);
        assert_eq!(problem.line, line, "{case}: {problem}");
        assert!(problem.reason.contains(reason), "{case}: {problem}");
    }
}

fn refusal(text: &str) -> (weft_control_api::refusal::Refusal, Option<u32>) {
    match read(text).objects.into_iter().next() {
        Some(Change::Refuse { refusal, origin }) => {
            let line = origin.lines.line(&refusal.notes[0].field);
            (refusal, line)
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_refused_field_has_its_line() {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n";
    for (case, spec, field, line) in [
        ("unknown", "spec:\n  rules:\n  - form: []\n", "spec.rules[0].form", 6),
        (
            "number",
            "spec:\n  rules:\n  - to:\n    - operation:\n        ports: [80]\n",
            { "spec.rules[0].to[0].operation.ports[0]" },
            8,
        ),
        ("twice", "spec:\n  action: DENY\n  action: ALLOW\n", "spec.action", 5),
        ("missing", "spec:\n  rules:\n  - when:\n    - values: [a]\n", "spec.rules[0].when[0]", 7),
    ] {
        let (refusal, got) = refusal(&format!("{head}{spec}"));
        assert_eq!((refusal.notes[0].field.as_str(), got), (field, Some(line)), "{case}");
    }
}

#[test]
fn what_kubernetes_reads_as_no_text_is_no_text() {
    let (refusal, line) = refusal(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec:\n  selector:\n    \
         matchLabels:\n      debug: on\n",
    );
    assert_eq!((refusal.notes[0].field.as_str(), line), ("spec.selector.matchLabels.debug", Some(7)));
    assert_eq!(refusal.scope, RefusedScope::Namespace, "nobody knows which pods were meant");
}

#[test]
fn a_selector_that_is_there_twice_reaches_the_namespace() {
    let (refusal, _) = refusal(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec:\n  \
         selector: {matchLabels: {app: a}}\n  selector: {matchLabels: {app: b}}\n",
    );
    assert_eq!(refusal.scope, RefusedScope::Namespace);
}

#[test]
fn an_object_of_no_namespace_leaves_the_file_as_it_was() {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
    let text = format!("{POD}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: b\n  namespace: Shop\n");
    let problem = parse_manifests(text.as_bytes(), "a.yaml").expect_err("nobody knows where pod b belongs");
    assert_eq!(
        problem.to_string(),
        "a.yaml:9: metadata.namespace: is no name: a-z, 0-9, - and . are; the file's last good version stays in force"
    );
}

#[test]
fn an_object_that_is_there_twice_is_told() {
    let manifests = read(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
    );
    assert_eq!(manifests.objects.len(), 1);
    assert_eq!(
        told(&manifests),
        ["a.yaml:5: Pod default/a: is there twice in this file; the first one counts"]
    );
}

/// Small changes of a real file: nothing may panic, and a file of some kilobytes may take no noticeable time.
#[test]
fn no_bytes_panic() {
    let seed = b"--- # x\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: &m {name: a, namespace: \"b\"}\n\
        spec:\n  selector:\n    matchLabels: {<<: *m, app: !!str 1}\n  rules:\n  - from:\n    - source:\n        \
        ipBlocks: ['10.0.0.0/8']\n        principals: [\"*\"]\n    when:\n    - key: |\n        x\n      values: [on, 0x1f, .nan]\n";
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut chance = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).expect("it is below a usize")
    };
    let alphabet = b"\n\n  \t:-[]{}&*!|>'\"#%,?@~<ab1.\xff\x00";
    for _ in 0..5_000 {
        let mut bytes = seed.to_vec();
        for _ in 0..=chance(8) {
            let at = chance(bytes.len());
            match chance(4) {
                0 => bytes[at] = alphabet[chance(alphabet.len())],
                1 => bytes.insert(at, alphabet[chance(alphabet.len())]),
                2 => {
                    bytes.remove(at);
                }
                _ => {
                    let end = at + chance(bytes.len() - at);
                    let piece = bytes[at..end].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        // The result does not matter; that there is one does.
        let _ = parse_manifests(&bytes, "a.yaml");
    }
}
