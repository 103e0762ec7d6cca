//! A damaged journal: moved aside at the start, the loss is said, and every knob can still be put back.

use crate::stage::{Ask, quick};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use trimtab_tests::trimtab::Start;

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
    names.filter(|name| name.starts_with("journal.db.corrupt-") && !name.ends_with("-wal")).collect()
}

#[test]
fn live_a_damaged_journal_is_moved_aside_at_the_start() {
    let stage = stage!();
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
        assert_eq!(stage.knobs(), untouched, "damaged from byte {from}");
        // Numbers are never given twice, whatever became of the journal: the next one is higher.
        last = newest;
        trimtab.stop().unwrap();
    }
    pulse.beats();
}
