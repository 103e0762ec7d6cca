//! Rows for the tests.

use trimtab_store::{DecisionRow, OriginalRow, OverrideRow, SampleRow};

pub(crate) fn decision(id: u64, verdict: &str) -> DecisionRow {
    DecisionRow {
        id,
        time_ms: 1_700_000_000_000 + id as i64 * 1000,
        guest: "11111111-2222-3333-4444-555555555555".to_owned(),
        guest_name: "web".to_owned(),
        knob: "placement".to_owned(),
        changes: r#"[{"guest":"99999999-2222-3333-4444-555555555555","knob":"vcpu0.affinity"}]"#.to_owned(),
        why: "its service threads wait".to_owned(),
        profile: "io".to_owned(),
        recipe: "isolate-io".to_owned(),
        expected: Some(0.25),
        before: Some(0.5),
        after: None,
        verdict: verdict.to_owned(),
        outcome: String::new(),
        closed_ms: (verdict != "pending").then_some(1_700_000_100_000),
    }
}

pub(crate) fn original(guest: u32, knob: &str) -> OriginalRow {
    OriginalRow {
        guest: format!("{guest:08x}-2222-3333-4444-555555555555"),
        guest_name: format!("guest{guest}"),
        pid: Some(4711),
        knob: knob.to_owned(),
        value: r#"{"cpus":"0-1"}"#.to_owned(),
        ours: r#"{"cpus":"1"}"#.to_owned(),
        back_to: None,
    }
}

/// What the admin has taken over.
pub(crate) fn taken(guest: u32, family: &str) -> OverrideRow {
    OverrideRow {
        guest: original(guest, "").guest,
        guest_name: format!("guest{guest}"),
        pid: Some(4711),
        family: family.to_owned(),
        why: "vcpu0.affinity was set to 1 by somebody else".to_owned(),
        time_ms: 7,
    }
}

pub(crate) fn sample(time_ms: i64, guest: u32) -> SampleRow {
    SampleRow {
        time_ms,
        guest: format!("{guest:08x}-2222-3333-4444-555555555555"),
        guest_name: format!("guest{guest}"),
        cpu_cores: Some(1.25),
        run_delay: Some(0.5),
        read_bps: None,
        write_bps: Some(64.0 * 1024.0),
        speed: Some(0.75),
    }
}
