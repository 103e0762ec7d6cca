//! The wall clock jumps under the running daemon, and between its runs.
//!
//! The machine's own clock is not touched: a preloaded `clock_gettime` shifts what this daemon is told of CLOCK_REALTIME, and
//! only that, as the kernel does when somebody sets the clock. CLOCK_MONOTONIC does not jump on a running Linux; what looks
//! like it (a suspended or stalled host) is in `outages`.

use crate::stage::{Ask, NONE, QUICK, Stage, endless_trial, quick};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use trimtab_tests::trimtab::{Start, Trimtab};

/// Shifts CLOCK_REALTIME by as many seconds as the file says, at every call anew.
const SHIFTED: &str = "#include <fcntl.h>\n#include <stdlib.h>\n#include <sys/mman.h>\n#include <sys/syscall.h>\n\
    #include <time.h>\n#include <unistd.h>\n\
    static const volatile long *shift;\n\
    __attribute__((constructor)) static void begin(void) {\n\
      void *page = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv(\"CLOCK_SHIFT\"), O_RDONLY), 0);\n\
      if (page == MAP_FAILED) abort();\n\
      shift = page;\n\
    }\n\
    int clock_gettime(clockid_t clock, struct timespec *t) {\n\
      int result = syscall(SYS_clock_gettime, clock, t);\n\
      if (result == 0 && clock == CLOCK_REALTIME && shift) t->tv_sec += *shift;\n\
      return result;\n\
    }\n";
const DAY: i64 = 86_400;

/// The clock of the daemons that are started with it.
struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    fn new(stage: &Stage) -> Self {
        let dir = stage.host.dir().to_owned();
        let (source, library, shift) = (dir.join("clock.c"), dir.join("clock.so"), dir.join("clock.shift"));
        std::fs::write(&source, SHIFTED).unwrap();
        // The compiler driver that rustc itself links with.
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
        assert!(built.success());
        let clock = Self { library, shift };
        std::fs::write(&clock.shift, [0; 8]).unwrap();
        clock
    }

    /// Days from the machine's own time.
    fn set(&self, days: i64) {
        use std::os::unix::fs::FileExt;
        let file = File::options().write(true).open(&self.shift).unwrap();
        // One write of one aligned word: nobody sees half of it.
        file.write_all_at(&(days * DAY).to_ne_bytes(), 0).unwrap();
    }

    fn of(&self, start: Start) -> Start {
        let preload = ("LD_PRELOAD".to_owned(), self.library.display().to_string());
        Start { env: vec![preload, ("CLOCK_SHIFT".to_owned(), self.shift.display().to_string())], ..start }
    }
}

/// The year in which a decision was made, by the daemon's clock.
fn year(time: &str) -> i32 {
    time[..4].parse().unwrap()
}

/// Numbers of all decisions, newest first; they never go back, whatever the clock does.
fn numbers(trimtab: &Trimtab) -> Vec<u64> {
    let ids: Vec<u64> = trimtab.decisions().unwrap().iter().map(|decision| decision.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "{ids:?}");
    ids
}

/// Samples in the journal that were taken while the clock was right.
fn samples_of_today(stage: &Stage) -> u32 {
    let journal = rusqlite::Connection::open(stage.state_dir().join("journal.db")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let sql = "SELECT count(*) FROM samples WHERE abs(time_ms / 1000 - ?1) < ?2";
    journal.query_row(sql, [now, DAY], |row| row.get(0)).unwrap()
}

#[test]
fn live_the_wall_clock_jumps() {
    let stage = stage!();
    stage.crowd();
    let (pulse, untouched) = (stage.pulse(), stage.knobs());
    let clock = Clock::new(&stage);
    let trimtab = stage.daemon(clock.of(endless_trial()));
    let open = trimtab.open_trial();
    let now = year(&open.time);
    // Ticks, figures and the trial go on as if nothing had happened.
    for days in [800, -800, 0] {
        clock.set(days);
        trimtab.ticks(6);
        trimtab.until("figures, on record", |status| status.store == "ok" && status.objective.is_some());
        let seen = trimtab.decision("the decision", |decision| decision.id == open.id);
        assert!(!seen.outcome.contains("gap"), "{seen:?}");
    }
    trimtab.quiet();
    trimtab.stop().unwrap();
    assert_eq!(stage.unlike(&untouched), NONE);
    let samples = samples_of_today(&stage);
    assert!(samples > 0);

    // Decisions carry the time of the clock at hand; what was learned and kept in another time is no hindrance.
    let mut newest = open.id;
    for (days, expected) in [(800, now + 2), (-800, now - 2)] {
        clock.set(days);
        let trimtab = stage.daemon(clock.of(quick("enforce")));
        let kept = trimtab.decision("a kept decision", |d| d.verdict == "kept" && d.id > newest);
        assert!((expected..=expected + 1).contains(&year(&kept.time)), "{kept:?}");
        newest = numbers(&trimtab)[0];
        assert_eq!(trimtab.status().unwrap().store, "ok");
        trimtab.quiet();
        trimtab.restore().unwrap();
        assert_eq!(stage.unlike(&untouched), NONE);
        trimtab.stop().unwrap();
    }
    clock.set(0);
    let trimtab = stage.daemon(clock.of(Start { config: QUICK.to_owned(), ..Start::mode("observe") }));
    assert!(numbers(&trimtab).contains(&open.id));
    pulse.beats();
    trimtab.stop().unwrap();
    assert!(samples_of_today(&stage) >= samples, "a start in another time takes no history with it");
}
