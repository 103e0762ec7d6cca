//! The kernel `mdtest`: how many directories and files the file system makes, finds, reads and removes in a second.
//!
//! Every rank has its items in the common directories, or in a tree of its own (`unique`). After making them each rank looks
//! at the items of the rank `stride` further on, so that no client answers from what it made itself. Between the phases all
//! ranks meet; a phase lasts from the first begin to the last end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Result as IoResult, Write};
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::ior::kernel::yes;
use super::pattern::Pattern;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::result::Row;
use crate::setup::{Setup, Size};
use crate::team::Team;

/// Phases in the order in which they run: metric, mdtest's name.
const PHASES: [(&str, &str); 10] = [
    ("tree-create", "Tree creation"),
    ("dir-create", "Directory creation"),
    ("dir-stat", "Directory stat"),
    ("dir-rename", "Directory rename"),
    ("dir-remove", "Directory removal"),
    ("file-create", "File creation"),
    ("file-stat", "File stat"),
    ("file-read", "File read"),
    ("file-remove", "File removal"),
    ("tree-remove", "Tree removal"),
];

const METRICS: [Metric; PHASES.len()] = {
    let mut metrics = [Metric::rate("", "ops/s"); PHASES.len()];
    let mut at = 0;
    while at < PHASES.len() {
        metrics[at] = Metric::rate(PHASES[at].0, "ops/s");
        at += 1;
    }
    metrics
};

const fn param(name: &'static str, help: &'static str) -> Param {
    Param { name, help }
}

/// Sizes of the test.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Directories, and then files, of each rank.
    items: u64,
    /// Each rank has a tree of its own.
    unique: bool,
    /// Ranks from the maker of an item to the one that looks at it.
    stride: u64,
    branch: u64,
    depth: u32,
    /// Bytes that are written to a file, and read from it.
    bytes: usize,
    /// Sync each file after writing it.
    sync: bool,
}

/// See the module.
pub struct Mdtest {
    plan: Plan,
    scratch: Scratch,
    seed: u64,
    /// Items that were not found as they must be, in the last lap.
    wrong: u64,
    lap: u64,
}

impl Plan {
    /// Directories of a tree, the root first: b^0 + b^1 + ... + b^depth of them.
    fn tree(&self, root: &Path) -> Vec<PathBuf> {
        let mut all = vec![root.to_path_buf()];
        let mut level = all.clone();
        for _ in 0..self.depth {
            let below =
                |dir: &PathBuf| (0..self.branch).map(|n| dir.join(format!("tree.{n}"))).collect::<Vec<_>>();
            level = level.iter().flat_map(below).collect();
            all.extend(level.iter().cloned());
        }
        all
    }

    fn directories(&self) -> u64 {
        (0..=self.depth).map(|level| self.branch.saturating_pow(level)).fold(0, u64::saturating_add)
    }
}

/// One rank's items: names made once, so that making names is not measured.
struct Items {
    dirs: Vec<PathBuf>,
    renamed: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Mdtest {
    fn root(&self, rank: u64) -> PathBuf {
        match self.plan.unique {
            true => self.scratch.path(&format!("lap.{}.{rank}", self.lap)),
            false => self.scratch.path(&format!("lap.{}", self.lap)),
        }
    }

    fn items(&self, rank: u64) -> Items {
        let tree = self.plan.tree(&self.root(rank));
        let names = |kind: &str| {
            let name = |n: u64| {
                tree[usize::try_from(n % tree.len() as u64).unwrap_or(0)].join(format!("{kind}.{rank}.{n}"))
            };
            (0..self.plan.items).map(name).collect()
        };
        Items { dirs: names("dir"), renamed: names("moved"), files: names("file") }
    }

    /// Runs all phases; the seconds of each.
    fn phases(&mut self, team: &Team) -> Result<Vec<f64>> {
        let rank = team.index() as u64;
        let (own, other) = (self.items(rank), self.items((rank + self.plan.stride) % team.len() as u64));
        let tree =
            if self.plan.unique || team.is_root() { self.plan.tree(&self.root(rank)) } else { Vec::new() };
        let content_of = |rank: u64| {
            let mut content = vec![0; self.plan.bytes];
            Pattern::new(self.seed.wrapping_add(self.lap), rank).fill(&mut content, 0);
            content
        };
        let (content, expected) =
            (content_of(rank), content_of((rank + self.plan.stride) % team.len() as u64));
        let mut found = vec![0; self.plan.bytes];
        let (bytes, sync) = (self.plan.bytes as u64, self.plan.sync);
        let clock = Clock::new(team);
        let mut wrong = 0;
        let mut timed =
            |paths: &[PathBuf], action: &'static str, act: &mut dyn FnMut(usize, &Path) -> IoResult<u64>| {
                phase(team, &clock, paths, action, act, &mut wrong)
            };
        let right = |is_right: bool| Ok(u64::from(!is_right));
        let seconds = vec![
            timed(&tree, "make directory", &mut |_, dir| fs::create_dir(dir).map(|()| 0))?,
            timed(&own.dirs, "make directory", &mut |_, dir| fs::create_dir(dir).map(|()| 0))?,
            timed(&other.dirs, "look at", &mut |_, dir| right(fs::metadata(dir)?.is_dir()))?,
            timed(&own.dirs, "rename", &mut |n, dir| fs::rename(dir, &own.renamed[n]).map(|()| 0))?,
            timed(&own.renamed, "remove", &mut |_, dir| fs::remove_dir(dir).map(|()| 0))?,
            timed(&own.files, "create", &mut |_, file| create(file, &content, sync).map(|()| 0))?,
            timed(&other.files, "look at", &mut |_, file| {
                let there = fs::metadata(file)?;
                right(there.is_file() && there.len() == bytes)
            })?,
            timed(&other.files, "read", &mut |_, file| right(read_back(file, &mut found, &expected)?))?,
            timed(&own.files, "remove", &mut |_, file| fs::remove_file(file).map(|()| 0))?,
            timed(&tree.into_iter().rev().collect::<Vec<_>>(), "remove", &mut |_, dir| {
                // Damaged on purpose or by a fault, a directory may still hold something: then verify() finds it.
                match fs::remove_dir(dir) {
                    Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(1),
                    done => done.map(|()| 0),
                }
            })?,
        ];
        self.wrong = wrong;
        Ok(seconds)
    }
}

/// Does one thing to each path. The seconds are the same on every rank; a failure on one is everybody's.
fn phase(
    team: &Team,
    clock: &Clock,
    paths: &[PathBuf],
    action: &'static str,
    act: &mut dyn FnMut(usize, &Path) -> IoResult<u64>,
    wrong: &mut u64,
) -> Result<f64> {
    team.barrier();
    let begin = clock.now();
    let mut outcome = Ok(());
    for (n, path) in paths.iter().enumerate() {
        match act(n, path) {
            Ok(differing) => *wrong += differing,
            Err(e) => {
                outcome = Err(Error::io(action, path)(e));
                break;
            }
        }
    }
    let end = clock.now();
    team.agree(outcome)?;
    Ok(team.max(end) - team.min(begin))
}

fn create(path: &Path, content: &[u8], sync: bool) -> IoResult<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    if !content.is_empty() {
        file.write_all(content)?;
    }
    if sync { file.sync_all() } else { Ok(()) }
}

/// Reads a whole file; does it hold what its maker wrote? Comparing all of it costs little beside opening the file.
fn read_back(path: &Path, found: &mut [u8], expected: &[u8]) -> IoResult<bool> {
    File::open(path)?.read_exact(found)?;
    Ok(found == expected)
}

impl Kernel for Mdtest {
    const SPEC: Spec = Spec {
        name: "mdtest",
        family: Family::Io,
        summary: "makes, finds, reads and removes directories and files",
        source: "mdtest 4",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: &METRICS,
        params: &[
            param("items", "directories and files of each rank (default 1000; 200 with --size quick)"),
            param("unique", "yes: a tree for each rank (default no: one for all)"),
            param("stride", "ranks from the maker of an item to the one that looks at it (default 1)"),
            param("branch", "directories below each directory of the tree (default 1)"),
            param("depth", "levels of the tree below its root (default 0)"),
            param("bytes", "bytes that are written to each file and read from it (default 0)"),
            param("sync", "yes: each file is synced after writing (default no)"),
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let ranks = setup.team.len() as u64;
        let plan = Plan {
            items: setup.get("items")?.unwrap_or(if setup.size() == Size::Auto { 1000 } else { 200 }),
            unique: yes(setup, "unique")?.unwrap_or(false),
            stride: setup.get("stride")?.unwrap_or(1) % ranks,
            branch: setup.get("branch")?.unwrap_or(1),
            depth: setup.get("depth")?.unwrap_or(0),
            bytes: setup.get("bytes")?.unwrap_or(0),
            sync: yes(setup, "sync")?.unwrap_or(false),
        };
        if plan.items == 0 {
            return Err(setup.bad("items", 0, "must be above 0"));
        }
        if plan.branch == 0 || plan.directories() > 1_000_000 {
            return Err(setup.bad(
                "branch",
                plan.branch,
                "must be above 0, and the tree at most a million directories",
            ));
        }
        // Six names of each item, of about 200 bytes; what is written, what is read, and what that must be.
        setup.need("items", plan.items, plan.items.saturating_mul(6 * 200))?;
        setup.need("bytes", plan.bytes, (plan.bytes as u64).saturating_mul(3))?;
        let scratch = Scratch::new(setup.team, &setup.scratch_dir(), Self::SPEC.name)?;
        Ok(Self { plan, scratch, seed: setup.seed, wrong: 0, lap: 0 })
    }

    fn params(&self) -> Facts {
        let facts = [
            ("items", self.plan.items.into()),
            ("unique", self.plan.unique.into()),
            ("stride", self.plan.stride.into()),
            ("branch", self.plan.branch.into()),
            ("depth", self.plan.depth.into()),
            ("bytes", self.plan.bytes.into()),
            ("sync", self.plan.sync.into()),
        ];
        facts.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.lap += 1;
        let mut lap = self.phases(team)?;
        lap.push(team.len() as f64);
        Ok(Lap(lap))
    }

    /// Nothing may be left of what was made, and nothing may have been found wrong on the way.
    fn verify(&mut self, team: &Team) -> Result<Check> {
        let left = fs::read_dir(self.scratch.path("")).map(Iterator::count);
        let left = team.agree(left.map_err(Error::io("list", self.scratch.path(""))))?;
        Ok(Check::exact("items found and removed", self.wrong + left as u64))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let Some((ranks, seconds)) = lap.0.split_last() else { return Vec::new() };
        let trees = if self.plan.unique { *ranks } else { 1.0 };
        let rate = |(&(name, _), seconds): (&(&str, &str), &f64)| {
            let operations = match name {
                "tree-create" | "tree-remove" => self.plan.directories() as f64 * trees,
                _ => self.plan.items as f64 * ranks,
            };
            Reading::new(name, operations / seconds.max(1e-9))
        };
        PHASES.iter().zip(seconds).map(rate).collect()
    }

    fn corrupt(&mut self, team: &Team) {
        if team.is_root() {
            // A file that was not removed. If it cannot be made, the verification passes, which the test sees.
            let _ = File::create(self.scratch.path("left"));
        }
    }

    fn render(rows: &[Row]) -> Option<String> {
        let mut text = String::from(
            "SUMMARY rate (in ops/sec):\n   Operation                     Max            Min           Mean        Std Dev\n",
        );
        for row in rows {
            let name = PHASES.iter().find(|phase| phase.0 == row.metric)?.1;
            let summary = crate::stats::summary(&row.samples)?;
            let most = row.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let least = row.samples.iter().copied().fold(f64::INFINITY, f64::min);
            text += &format!(
                "   {name:<22} {most:>14.3} {least:>14.3} {:>14.3} {:>14.3}\n",
                summary.mean, summary.sd
            );
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, create, read_back};
    use std::path::Path;

    fn plan(branch: u64, depth: u32) -> Plan {
        Plan { items: 1, unique: false, stride: 1, branch, depth, bytes: 0, sync: false }
    }

    #[test]
    fn a_tree_has_its_branches_on_every_level_each_below_what_was_made_before() {
        for (branch, depth, directories) in [(1, 0, 1), (1, 3, 4), (2, 2, 7), (3, 2, 13)] {
            let tree = plan(branch, depth).tree(Path::new("root"));
            assert_eq!((tree.len() as u64, plan(branch, depth).directories()), (directories, directories));
            for (at, dir) in tree.iter().enumerate().skip(1) {
                assert!(tree[..at].contains(&dir.parent().expect("below the root").to_path_buf()), "{dir:?}");
                assert!(!tree[..at].contains(dir), "{dir:?} twice");
            }
        }
        assert_eq!(plan(10, 100).directories(), u64::MAX);
    }

    #[test]
    fn what_is_read_is_compared_with_what_its_maker_wrote() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        let content: Vec<u8> = (0..3901).map(|n| (n % 251) as u8).collect();
        create(&file, &content, true).expect("created and synced");
        let mut found = vec![0; content.len()];
        assert!(read_back(&file, &mut found, &content).expect("read"));
        for at in [0, 8, content.len() - 1] {
            let mut damaged = content.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged).expect("written");
            assert!(!read_back(&file, &mut found, &content).expect("read"), "byte {at}");
        }
        std::fs::write(&file, &content[1..]).expect("written");
        assert!(read_back(&file, &mut found, &content).is_err(), "a short file");
        assert!(create(&file, &content, false).is_err(), "a file that is there");
    }
}
