//! The journal on a full disk and damaged, at the start and under the running daemon: control goes on, the loss is said,
//! and every knob can still be put back.

use crate::stage::{Ask, NONE, SOON, Stage, endless_trial, quick};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use trimtab_tests::testbed::wait_for;
use trimtab_tests::trimtab::{Start, Trimtab};

/// A disk of this size, seen by the host alone; gone with the value.
struct SmallDisk<'a> {
    stage: &'a Stage,
    at: PathBuf,
}

impl<'a> SmallDisk<'a> {
    fn mount(stage: &'a Stage) -> Self {
        let at = stage.state_dir();
        std::fs::create_dir_all(&at).unwrap();
        let disk = Self { stage, at };
        disk.run(&["mount", "-t", "tmpfs", "-o", "size=6m", "small", &disk.path("")]);
        disk
    }

    fn path(&self, name: &str) -> String {
        self.at.join(name).display().to_string()
    }

    fn run(&self, command: &[&str]) {
        self.stage.host.exec(command).unwrap();
    }

    /// To the last byte.
    fn fill(&self) {
        let to = format!("cat /dev/zero > '{}' 2> /dev/null; sync; true", self.path("other-data"));
        self.run(&["sh", "-c", &to]);
    }

    fn make_room(&self) {
        self.run(&["rm", &self.path("other-data")]);
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a failed test may have left a daemon on it.
        let _ = self.stage.host.exec(&["umount", "-l", &self.path("")]);
    }
}

/// A decision that is in force or on trial, younger than `after`.
fn acts(trimtab: &Trimtab, after: u64) -> u64 {
    trimtab.decision("a decision", |d| d.id > after && matches!(d.verdict.as_str(), "pending" | "kept")).id
}

/// The admin turns a knob of burner2 that the open trial leaves alone, and the daemon sees it. Which family that is.
fn turned_by_admin(stage: &Stage, trimtab: &Trimtab) -> &'static str {
    let (open, from) = (trimtab.open_trial(), trimtab.log().len());
    let (family, set) = match open.knob.as_str() {
        "placement" => ("priority", "schedinfo burner2 --live cpu_shares=777"),
        _ => ("placement", "emulatorpin burner2 1 --live"),
    };
    stage.host.virsh(&[set]).unwrap();
    trimtab.says(from, &["burner2", "by somebody else", family, "left alone"]);
    family
}

#[test]
fn live_a_full_disk_stops_nobody() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let disk = SmallDisk::mount(&stage);
    let trimtab = stage.daemon(quick("enforce"));
    let first = acts(&trimtab, 0);
    trimtab.until("a journal in order", |status| status.store == "ok");

    disk.fill();
    let full = trimtab.until("word of the full disk", |status| status.store.starts_with("not writing"));
    assert!(
        full.store.contains("disk full") && full.store.contains("originals are safe in /run/trimtab"),
        "{full:?}"
    );
    // Control goes on: decisions are made, told, and can be undone. With everything put back there is something to do again.
    trimtab.restore().unwrap();
    let blind = acts(&trimtab, trimtab.decisions().unwrap()[0].id.max(first));
    trimtab.quiet();
    trimtab.restore().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);

    disk.make_room();
    let healed = trimtab.until("the journal written again", |status| status.store.starts_with("ok"));
    assert!(healed.store.contains("disk full"), "{healed:?}");
    trimtab.stop().unwrap();
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("a journal in order", |status| status.store == "ok");
    let late = trimtab.decisions().unwrap();
    assert!(late.iter().any(|decision| decision.id == blind && decision.verdict != "pending"), "{late:#?}");
    trimtab.stop().unwrap();

    // Full from the start: nothing of it can be written, and still knobs are turned only with their originals safe.
    disk.fill();
    let mut trimtab = stage.daemon(endless_trial());
    acts(&trimtab, late[0].id);
    let said = trimtab.until("word of the full disk", |status| status.store.starts_with("not writing"));
    assert!(said.store.contains("originals are safe in"), "{said:?}");
    wait_for("a turned knob", SOON, || {
        if stage.knobs() == untouched { Err("all are as they were".to_owned()) } else { Ok(()) }
    })
    .unwrap();
    let admins = turned_by_admin(&stage, &trimtab);
    trimtab.process_mut().kill().unwrap();
    let turned = stage.unlike(&untouched);
    // The disk knows nothing of it; the next start does.
    let trimtab = stage.daemon(quick("observe"));
    trimtab.until("three guests", |status| status.guests == 3);
    trimtab.leaves_to_admin("burner2", admins);
    trimtab.restore().unwrap();
    let left = stage.unlike(&untouched);
    assert!(!left.is_empty() && left.iter().all(|knob| knob.starts_with("burner2: ")), "{left:#?}");
    assert!(turned.len() > left.len(), "{turned:#?}");
    stage.host.virsh(&["schedinfo burner2 --live cpu_shares=1024"]).unwrap();
    stage.crowd();
    assert_eq!(stage.unlike(&untouched), NONE);
    trimtab.stop().unwrap();
    pulse.beats();
}

/// Overwrites everything from here to the end with nonsense, in place.
fn damage(journal: &Path, from: u64) {
    let mut file = File::options().write(true).open(journal).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length - from).unwrap()]).unwrap();
    file.sync_all().unwrap();
}

fn moved_aside(state: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(state).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| {
            name.starts_with("journal.db.corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect()
}

#[test]
fn live_a_journal_damaged_under_the_daemon_stops_nobody() {
    let stage = stage!();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let mut trimtab = stage.daemon(endless_trial());
    let open = trimtab.open_trial();
    assert_ne!(stage.knobs(), untouched);
    let journal = stage.state_dir().join("journal.db");
    let from = trimtab.log().len();
    damage(&journal, 0);
    // The log beside the file would mend the pages that are still in it.
    File::options().write(true).open(journal.with_extension("db-wal")).unwrap().set_len(0).unwrap();
    // Found by the next write, and everything that is needed goes into the new one.
    trimtab.says(from, &["moved to", "a new one begun"]);
    assert_eq!(moved_aside(&stage.state_dir()).len(), 1);
    let held =
        |trimtab: &Trimtab| -> usize { trimtab.shown().iter().map(|guest| guest.originals.len()).sum() };
    assert!(held(&trimtab) > 0);
    trimtab.until("a journal in order", |status| status.store.starts_with("ok"));
    trimtab.ticks(2);
    trimtab.process_mut().kill().unwrap();
    let trimtab = stage.daemon(quick("observe"));
    let closed = trimtab.decision("its end", |d| d.id == open.id && d.verdict != "pending");
    assert_eq!(closed.verdict, "reverted", "{closed:?}");
    trimtab.until("every knob back", |_| held(&trimtab) == 0);
    assert_eq!(stage.unlike(&untouched), NONE);
    assert_eq!(moved_aside(&stage.state_dir()).len(), 1, "the new one is sound");
    trimtab.stop().unwrap();
    pulse.beats();
}

#[test]
fn live_a_damaged_journal_is_moved_aside_at_the_start() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let journal = stage.state_dir().join("journal.db");
    // The header, without which it is no database at all; and everything behind the first page.
    let mut last = 0;
    for (n, from) in [0, 4096].into_iter().enumerate() {
        let mut trimtab = stage.daemon(quick("enforce"));
        trimtab.decision("a kept decision", |decision| decision.verdict == "kept" && decision.id > last);
        trimtab.quiet();
        let newest = trimtab.decisions().unwrap()[0].id;
        trimtab.process_mut().stop().unwrap();
        assert_ne!(stage.knobs(), untouched);
        damage(&journal, from);
        let start = trimtab.log().len();
        let trimtab = stage.daemon(Start::mode("observe"));
        trimtab.says(start, &["moved to", "a new one begun"]);
        assert_eq!(moved_aside(&stage.state_dir()).len(), n + 1);
        let status = trimtab.until("the guests", |status| status.guests == 3);
        assert!(status.store.contains("moved to"), "{status:?}");
        trimtab.ticks(3);
        trimtab.restore().unwrap();
        assert_eq!(stage.unlike(&untouched), NONE, "damaged from byte {from}");
        // Numbers are never given twice, whatever became of the journal: the next one is higher.
        last = newest;
        trimtab.stop().unwrap();
    }
    pulse.beats();
}
