//! Tests of the sensors: parsers on text and garbage, fixture trees, and this machine's own /proc with real threads.

mod fake_host;
mod fakes;
mod live;
mod parsers;
mod perf;
mod stand_in;
mod topology;

/// Says that this machine cannot show what a test is for; a failure where nothing may be skipped.
fn skipped(test: &str, why: &str) {
    let required = std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_some_and(|value| value == "1");
    assert!(!required, "{test} cannot run and TRIMTAB_REQUIRE_LIVE=1: {why}");
    // Not eprintln!: the harness would swallow it.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
