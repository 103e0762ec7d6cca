//! CPUs leave the host and return, as when an admin shrinks the machine's cpuset.

use crate::stage::{Ask, NONE, endless_trial};
use trimtab_policy::topology::CpuSet;

#[test]
fn live_cpus_leave_and_return() {
    let stage = stage!();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    let all: CpuSet = trimtab.status().unwrap().cpus.parse().unwrap();
    let first: CpuSet = all.iter().take(1).collect();
    assert!(all.iter().count() > 1, "one CPU cannot lose one: {all}");
    let from = trimtab.log().len();
    stage.host.set_cpus(&first).unwrap();
    trimtab.until("fewer CPUs", |status| status.cpus == first.to_string());
    trimtab.says(from, &["usable CPUs changed from", &all.to_string()]);
    let closed = trimtab.decision("the end of the trial", |d| d.id == open.id && d.verdict != "pending");
    assert!(closed.verdict == "reverted" && closed.outcome.contains("usable CPUs changed"), "{closed:?}");
    pulse.beats();
    stage.host.set_cpus(&all).unwrap();
    trimtab.until("all CPUs", |status| status.cpus == all.to_string());
    trimtab.quiet();
    trimtab.restore().unwrap();
    // What libvirt refused while a CPU was away is tried again, ever more rarely.
    trimtab.given_back().unwrap();
    trimtab.stop().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
    pulse.beats();
}
