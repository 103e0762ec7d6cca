//! What `trimtab-bench ior` does: repetitions of a test with the phases that the user chose, on files that the user named.
//! It decides which figures are valid; printing is the caller's.
//!
//! Files that this session wrote are removed unless they are to be kept, also on time-out and signals; a file that it only
//! read is never removed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::engine::{Act, Engine, Phase};
use super::test::Test;
use super::walk::{Random, Reorder};
use crate::error::{Error, Result};
use crate::io::backend::Access;
use crate::io::cache::{self, Cache};
use crate::io::files;
use crate::janitor::TempPath;
use crate::team::Team;
use crate::watchdog;

/// Everything beyond the test itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The test.
    pub test: Test,
    /// File to use; several take turns with a file per process.
    pub files: Vec<PathBuf>,
    /// `-w`.
    pub write: bool,
    /// `-r`.
    pub read: bool,
    /// `-W`: compare after writing, not timed.
    pub check_write: bool,
    /// `-R`: compare while reading, timed as reading.
    pub check_read: bool,
    /// `-i`.
    pub repetitions: u32,
    /// `-k`.
    pub keep: bool,
    /// `-K`.
    pub keep_with_error: bool,
    /// `-E`: do not remove the file before writing.
    pub use_existing: bool,
    /// `-m`: the repetition is part of the file's name.
    pub multi_file: bool,
    /// `-d`: before each phase.
    pub delay: Duration,
    /// `-T`: no new repetition after this time.
    pub max_time: Option<Duration>,
    /// `-G`; without it each repetition has another.
    pub signature: Option<u64>,
    /// `-X` below 0: the random order of readers differs between the repetitions.
    pub reorder_varies: bool,
    /// `-q`: end at the first wrong data.
    pub quit_on_error: bool,
    /// Where the number of transfers of a stonewalled write is kept for a later read.
    pub status_file: Option<PathBuf>,
    /// What is done about the page cache before reading.
    pub cache: Cache,
    /// Longest time of one phase.
    pub timeout: Option<Duration>,
}

/// A timed phase that is over.
#[derive(Debug, Clone)]
pub struct Done {
    /// Writing, else reading.
    pub write: bool,
    /// From 0.
    pub repetition: u32,
    /// Its numbers.
    pub phase: Phase,
    /// May they be shown? False if the data were not what they must be.
    pub valid: bool,
    /// What the page cache had to do with it.
    pub page_cache: String,
}

struct Session<'a> {
    team: &'a Team,
    options: &'a Options,
    engine: Engine,
    repetition: u32,
    per_node: u64,
    done: Vec<Done>,
    errors: u64,
}

/// What came of it, the same on every rank.
#[derive(Debug, Clone)]
pub struct Finished {
    /// All timed phases.
    pub done: Vec<Done>,
    /// Words and transfers that were wrong, of all phases.
    pub errors: u64,
}

/// Runs all repetitions; `show` gets each timed phase on every rank. Collective.
///
/// # Errors
/// The system's, on any rank.
pub fn run(team: &Team, options: &Options, show: &mut dyn FnMut(&Done)) -> Result<Finished> {
    watchdog::phase("the set-up of ior", options.timeout);
    let per_node = team.max_u64(team.node().len() as u64);
    let engine = Engine::new(team, options.test.clone())?;
    let mut session = Session { team, options, engine, repetition: 0, per_node, done: Vec::new(), errors: 0 };
    let begin = Instant::now();
    for repetition in 0..options.repetitions {
        let late = options.max_time.is_some_and(|most| begin.elapsed() > most);
        if team.max(f64::from(u8::from(late))) > 0.0 || (options.quit_on_error && session.errors > 0) {
            break;
        }
        session.repetition = repetition;
        session.repeat()?;
        // A check that comes after a timed phase decides whether that may be shown, so they are shown together.
        for done in session.done.iter().filter(|done| done.repetition == repetition) {
            show(done);
        }
    }
    Ok(Finished { done: session.done, errors: session.errors })
}

impl Session<'_> {
    fn rank(&self) -> u64 {
        self.team.index() as u64
    }

    fn ranks(&self) -> u64 {
        self.team.len() as u64
    }

    fn file(&self, writer: u64) -> PathBuf {
        let repetition = self.options.multi_file.then_some(self.repetition);
        self.options.test.file(&self.options.files, writer, repetition)
    }

    fn phase(&self, what: &str) {
        let name = format!("{what} of ior, repetition {}", self.repetition);
        watchdog::phase(&name, self.options.timeout);
        std::thread::sleep(self.options.delay);
    }

    fn repeat(&mut self) -> Result<()> {
        let options = self.options;
        self.engine.begin(options.signature.unwrap_or(1 << 32 | u64::from(self.repetition)));
        let before = self.errors;
        let mut files = Vec::new();
        if options.write {
            files = self.make_room()?;
            self.write()?;
        }
        if options.check_write {
            self.check_write()?;
        }
        if options.read || options.check_read {
            self.read()?;
        }
        if self.errors > before {
            for done in self.done.iter_mut().filter(|done| done.repetition == self.repetition) {
                done.valid = false;
            }
        }
        self.team.barrier();
        if options.keep || (options.keep_with_error && self.errors > before) {
            files.into_iter().for_each(TempPath::keep);
        } else {
            drop(files);
        }
        self.team.barrier();
        Ok(())
    }

    /// Removes what is in the way and names the files that will be made, every rank all of them: whichever rank survives a
    /// fault can then remove them.
    fn make_room(&self) -> Result<Vec<TempPath>> {
        let (own, test) = (self.file(self.rank()), &self.options.test);
        let mine = test.file_per_process || self.team.is_root();
        let removed = match mine && !self.options.use_existing && test.access != Access::Dummy {
            true => files::remove_if_there(&own),
            false => Ok(()),
        };
        self.team.agree(removed)?;
        let writers = if test.file_per_process { self.ranks() } else { 1 };
        let mut made: Vec<TempPath> = (0..writers).map(|writer| TempPath::new(self.file(writer))).collect();
        let dirs = (0..writers).filter_map(|writer| Some(self.file(writer).parent()?.to_path_buf()));
        made.extend(dirs.filter(|dir| test.unique_dir && !dir.exists()).map(TempPath::new));
        // Everybody has looked which directories are new before the first is made.
        self.team.barrier();
        let dir = own.parent().filter(|_| test.unique_dir);
        let created = dir.map(|dir| std::fs::create_dir_all(dir).map_err(Error::io("make directory", dir)));
        self.team.agree(created.transpose())?;
        Ok(made)
    }

    fn write(&mut self) -> Result<()> {
        self.phase("the writing");
        let own = self.file(self.rank());
        let phase = self.engine.phase(self.team, Act::Write, &own, self.rank())?;
        let missing = self.bytes_missing(&own)?;
        self.errors += u64::from(missing);
        let test = &self.options.test;
        let label = cache::label_of_write(test.access.is_direct(), test.fsync || test.fsync_each);
        self.add(true, phase, &label);
        let most = self.engine.most_written().to_string();
        let noted = match &self.options.status_file {
            Some(path) if self.team.is_root() => std::fs::write(path, most).map_err(Error::io("write", path)),
            _ => Ok(()),
        };
        self.team.agree(noted)
    }

    /// The number of transfers in the status file, which may be there on the first rank's node only.
    fn noted(&self, path: &Path) -> Result<u64> {
        let why = || "expected a number of transfers".to_owned();
        let mine = if self.team.is_root() {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path));
            text.and_then(|text| {
                text.trim().parse().map_err(|_| Error::Input { path: path.to_owned(), line: 1, why: why() })
            })
        } else {
            Ok(0)
        };
        Ok(self.team.max_u64(self.team.agree(mine)?))
    }

    /// Is a file shorter or longer than what was written to it?
    fn bytes_missing(&self, own: &Path) -> Result<bool> {
        let test = &self.options.test;
        let stonewall = test.stonewall.deadline.is_some() || test.stonewall.transfers.is_some();
        if stonewall || self.options.use_existing || test.access == Access::Dummy {
            return Ok(false);
        }
        let length = std::fs::metadata(own).map(|m| m.len()).map_err(Error::io("ask for the size of", own));
        let length = self.team.agree(length)?;
        let different = length != test.layout(self.ranks()).file_bytes();
        Ok(self.team.sum_u64(u64::from(different)) > 0)
    }

    /// Compares what was written, read by a rank two nodes on where the reading is to be reordered, too.
    fn check_write(&mut self) -> Result<()> {
        self.phase("the comparison");
        let reorder = match self.options.test.reorder {
            Reorder::Constant(nodes) => Reorder::Constant(nodes.saturating_add(1)),
            _ => Reorder::None,
        };
        let writer = reorder.writer_of(self.rank(), self.ranks(), self.per_node);
        let phase = self.engine.phase(self.team, Act::Check, &self.file(writer), writer)?;
        self.errors += phase.wrong;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        self.phase("the reading");
        if let (Some(path), false) = (&self.options.status_file, self.options.write) {
            self.engine.read_at_most(self.noted(path)?);
        }
        let reorder = match self.options.test.reorder {
            Reorder::Random { nodes, seed } if self.options.reorder_varies => {
                Reorder::Random { nodes, seed: seed.wrapping_add(u64::from(self.repetition)) }
            }
            Reorder::Shuffled { seed } if self.options.reorder_varies => {
                Reorder::Shuffled { seed: seed.wrapping_add(u64::from(self.repetition)) }
            }
            reorder => reorder,
        };
        let writer = reorder.writer_of(self.rank(), self.ranks(), self.per_node);
        let file = self.file(writer);
        let access = self.options.test.access;
        let mut label = serde_json::Value::from("none");
        if access != Access::Dummy {
            self.options.cache.defeat(self.team, &file)?;
            let resident = self.team.max(cache::resident_share(&file).unwrap_or(f64::NAN));
            label = cache::label_of_read(access.is_direct(), (!resident.is_nan()).then_some(resident));
        }
        let random = matches!(self.options.test.random, Some((Random::Anywhere, _)));
        let act = match self.options.check_read {
            true => Act::Check,
            false => Act::Read,
        };
        let phase = self.engine.phase(self.team, act, &file, writer)?;
        // Blocks anywhere in a shared file overlap, so that nobody knows whose they are.
        let known = act == Act::Check || !random || self.options.test.file_per_process;
        self.errors += if known && access != Access::Dummy { phase.wrong } else { 0 };
        self.add(false, phase, &label);
        Ok(())
    }

    fn add(&mut self, write: bool, phase: Phase, label: &serde_json::Value) {
        let page_cache = label.as_str().unwrap_or_default().to_owned();
        self.done.push(Done { write, repetition: self.repetition, phase, valid: true, page_cache });
    }
}
