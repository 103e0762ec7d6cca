//! The pictures that kernels draw by themselves: they are there, they are XML, and every rank is in them.

use crate::launch::{mpirun, text};

const RANKS: u32 = 3;

/// Shapes of a kind in a picture.
fn count(picture: &roxmltree::Document<'_>, shape: &str) -> usize {
    picture.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", shape))).count()
}

#[test]
fn noise_and_net_are_drawn() {
    let dir = tempfile::tempdir().expect("tempdir");
    let params = ["quanta=20", "seconds=0.05", "repetitions=2", "bytes=64k", "mode=together"];
    let mut command = mpirun(RANKS);
    command.args(["run", "noise-quantum", "noise-detour", "net-matrix", "--timeout", "60", "--svg"]);
    command.arg(dir.path()).args(params.iter().flat_map(|param| ["--param", param]));
    let output = command.output().expect("the launcher starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for (name, shapes, title) in [
        ("noise-quantum-histogram", 24, "interruptions by length"),
        ("noise-quantum-ranks", RANKS as usize, "noise by rank"),
        ("noise-detour-histogram", 24, "interruptions by length"),
        ("noise-detour-ranks", RANKS as usize, "noise by rank"),
        ("net-matrix", (RANKS * (RANKS - 1)) as usize, "throughput between ranks"),
    ] {
        let drawn = std::fs::read_to_string(dir.path().join(format!("{name}.svg"))).expect("a picture");
        let picture = roxmltree::Document::parse(&drawn).expect("XML");
        assert!(drawn.contains(title), "{name}");
        // The background and the legend are rectangles, too.
        let found = count(&picture, "rect");
        assert!((shapes + 1..=shapes + 4).contains(&found), "{name}: {found} rectangles, {shapes} expected");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{name}");
    }
}
