//! The kernels `ior-posix` and `ior-mpiio`: write a file together, get it out of the page cache, read it, compare it.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use super::engine::{Act, Engine, Phase};
use super::test::{Stonewall, Test};
use super::walk::{Random, Reorder};
use crate::error::Result;
use crate::io::backend::Access;
use crate::io::cache::{self, Cache};
use crate::io::files;
use crate::io::pool::Pool;
use crate::io::scratch::{Scratch, need_space};
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::setup::{Setup, Size};
use crate::team::Team;

/// Bytes that each rank writes when nobody says how many: more than any CPU cache, little enough for any disk.
const AUTO_BYTES: u64 = 256 << 20;

/// What distinguishes the two kernels.
pub trait Flavour: 'static {
    /// What the registry shows.
    const SPEC: Spec;
    /// The backend that the parameters ask for.
    ///
    /// # Errors
    /// A parameter that cannot be.
    fn access(setup: &Setup<'_>) -> Result<Access>;
}

/// Through the system's own calls.
#[derive(Debug)]
pub struct Posix;

/// Through MPI-IO.
#[derive(Debug)]
pub struct MpiIo;

const METRICS: &[Metric] = &[Metric::rate("write", "MiB/s"), Metric::rate("read", "MiB/s")];

const fn param(name: &'static str, help: &'static str) -> Param {
    Param { name, help }
}

/// A flavour's own parameters, then those that all have.
const fn params([first, second]: [Param; 2]) -> [Param; 10] {
    [
        first,
        second,
        param("block", "contiguous bytes of a rank (default: 256 MiB; --size in bytes sets it, too)"),
        param("transfer", "bytes of one call (default 1 MiB, at most block)"),
        param(
            "segments",
            "how often the blocks are repeated (default 1; with block = transfer the ranks interleave)",
        ),
        param("file_per_process", "yes: a file for each rank (default no)"),
        param("random", "yes: shuffled offsets (default no)"),
        param("reorder", "who reads whose data: none, constant, random or shuffled (default constant)"),
        param("fsync", "no: leave written data in the page cache (default yes, timed)"),
        param(
            "cache",
            "before reading: advise the file out of the cache, drop all caches (root), or keep (default advise); a file \
             larger than the memory defeats it anyway",
        ),
    ]
}

impl Flavour for Posix {
    const SPEC: Spec = Spec {
        name: "ior-posix",
        family: Family::Io,
        summary: "all ranks write and read a file through the system's calls",
        source: "IOR 4 POSIX, MMAP",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: METRICS,
        params: &params([
            param("calls", "plain, direct (O_DIRECT), mmap, uring or uring-direct (default plain)"),
            param("depth", "transfers in flight with uring (default 16)"),
        ]),
    };

    fn access(setup: &Setup<'_>) -> Result<Access> {
        let depth = setup.get("depth")?.unwrap_or(16);
        let calls: String = setup.get("calls")?.unwrap_or_else(|| "plain".to_owned());
        match calls.as_str() {
            "plain" => Ok(Access::Posix { direct: false, single_attempt: false }),
            "direct" => Ok(Access::Posix { direct: true, single_attempt: false }),
            "mmap" => Ok(Access::Mmap),
            "uring" => Ok(Access::Uring { depth, direct: false }),
            "uring-direct" => Ok(Access::Uring { depth, direct: true }),
            _ => Err(setup.bad("calls", &calls, "expected plain, direct, mmap, uring or uring-direct")),
        }
    }
}

impl Flavour for MpiIo {
    const SPEC: Spec = Spec {
        name: "ior-mpiio",
        family: Family::Io,
        summary: "all ranks write and read a file through MPI-IO",
        source: "IOR 4 MPIIO",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: METRICS,
        params: &params([
            param("collective", "yes: all ranks make each call together (default no)"),
            param("view", "yes: through a file view instead of explicit offsets (default no)"),
        ]),
    };

    fn access(setup: &Setup<'_>) -> Result<Access> {
        Ok(Access::MpiIo {
            collective: yes(setup, "collective")?.unwrap_or(false),
            view: yes(setup, "view")?.unwrap_or(false),
        })
    }
}

/// A parameter that is `yes` or `no`.
///
/// # Errors
/// It is something else.
pub fn yes(setup: &Setup<'_>, name: &'static str) -> Result<Option<bool>> {
    match setup.get::<String>(name)?.as_deref() {
        None => Ok(None),
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        Some(other) => Err(setup.bad(name, other, "expected yes or no")),
    }
}

/// Bytes that each rank writes.
#[must_use]
pub fn file_bytes(setup: &Setup<'_>) -> u64 {
    match setup.size() {
        Size::Auto => AUTO_BYTES.min(setup.bytes_per_rank()),
        _ => setup.bytes_per_rank(),
    }
}

/// See the module.
pub struct Ior<F> {
    engine: Engine,
    cache: Cache,
    /// Holds the file; removed with the kernel.
    scratch: Scratch,
    lap: u64,
    seed: u64,
    wrong: u64,
    flavour: PhantomData<F>,
}

fn test_of<F: Flavour>(setup: &Setup<'_>) -> Result<Test> {
    let access = F::access(setup)?;
    let block = setup.get_bytes("block")?;
    let transfer = setup.get_bytes("transfer")?.unwrap_or_else(|| (1 << 20).min(block.unwrap_or(u64::MAX)));
    let transfer =
        if block.is_none() { transfer.min(file_bytes(setup).next_multiple_of(512)) } else { transfer };
    let reorder: String = setup.get("reorder")?.unwrap_or_else(|| "constant".to_owned());
    let random = yes(setup, "random")?.unwrap_or(false);
    let file_per_process = yes(setup, "file_per_process")?.unwrap_or(false);
    let reorder = match reorder.as_str() {
        // Shuffled offsets in a shared file cannot be read in another order; only then the default gives way.
        "constant" if random && !file_per_process => Reorder::None,
        "none" => Reorder::None,
        "constant" => Reorder::Constant(1),
        "random" => Reorder::Random { nodes: 1, seed: setup.seed },
        "shuffled" => Reorder::Shuffled { seed: setup.seed },
        _ => return Err(setup.bad("reorder", &reorder, "expected none, constant, random or shuffled")),
    };
    let test = Test {
        access,
        block: block.unwrap_or_else(|| (file_bytes(setup) / transfer.max(1)).max(1) * transfer),
        transfer,
        segments: setup.get("segments")?.unwrap_or(1),
        file_per_process,
        unique_dir: false,
        random: random.then_some((Random::Shuffled, setup.seed)),
        reorder,
        fsync: yes(setup, "fsync")?.unwrap_or(true),
        fsync_each: false,
        barriers: false,
        stonewall: Stonewall::default(),
    };
    match test.check(setup.team.len() as u64, true) {
        Ok(()) => Ok(test),
        Err(fault) => Err(setup.bad(fault.option, fault.value, fault.why)),
    }
}

impl<F: Flavour> Ior<F> {
    /// Whose data this rank reads.
    fn writer(&self, team: &Team) -> u64 {
        let per_node = team.max_u64(team.node().len() as u64);
        self.engine.test().reorder.writer_of(team.index() as u64, team.len() as u64, per_node)
    }

    fn file_of(&self, writer: u64) -> PathBuf {
        self.engine.test().file(&[self.scratch.path("data")], writer, None)
    }
}

/// Phases of a lap as numbers: seconds and bytes of writing and reading, and the share of the file that was in memory.
fn lap(write: &Phase, read: &Phase, resident: Option<f64>) -> Lap {
    Lap(vec![
        write.seconds,
        write.bytes as f64,
        read.seconds,
        read.bytes as f64,
        resident.unwrap_or(f64::NAN),
    ])
}

impl<F: Flavour> Kernel for Ior<F> {
    const SPEC: Spec = F::SPEC;

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let test = test_of::<F>(setup)?;
        let cache: String = setup.get("cache")?.unwrap_or_else(|| "advise".to_owned());
        let cache = Cache::from_str(&cache)
            .map_err(|()| setup.bad("cache", &cache, "expected keep, advise or drop"))?;
        setup.need("transfer", test.transfer, Pool::bytes(test.access.slots(), test.transfer))?;
        let ranks = setup.team.len() as u64;
        let total = test.block * test.segments * ranks;
        setup.team.agree(need_space(&setup.scratch_dir(), total))?;
        let scratch = Scratch::new(setup.team, &setup.scratch_dir(), Self::SPEC.name)?;
        Ok(Self {
            engine: Engine::new(setup.team, test)?,
            cache,
            scratch,
            lap: 0,
            seed: setup.seed,
            wrong: 0,
            flavour: PhantomData,
        })
    }

    fn params(&self) -> Facts {
        let test = self.engine.test();
        let facts = [
            ("api", test.access.api().into()),
            ("block", test.block.into()),
            ("transfer", test.transfer.into()),
            ("segments", test.segments.into()),
            ("file_per_process", test.file_per_process.into()),
            ("random", test.random.is_some().into()),
            ("fsync", test.fsync.into()),
            ("cache", self.cache.name().into()),
            ("direct", test.access.is_direct().into()),
            ("collective", test.access.is_collective().into()),
        ];
        facts.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.lap += 1;
        self.engine.begin(self.seed.wrapping_mul(1_000_003).wrapping_add(self.lap));
        let own = self.file_of(team.index() as u64);
        let mine = team.is_root() || self.engine.test().file_per_process;
        team.agree(if mine { files::remove_if_there(&own) } else { Ok(()) })?;
        let write = self.engine.phase(team, Act::Write, &own, team.index() as u64)?;
        self.cache.defeat(team, &own)?;
        let resident = cache::resident_share(&own);
        let writer = self.writer(team);
        let read = self.engine.phase(team, Act::Read, &self.file_of(writer), writer)?;
        self.wrong = read.wrong;
        Ok(lap(&write, &read, resident))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        // A random choice of readers leaves somebody's data unread; a verification may not.
        let writer = match self.engine.test().reorder {
            Reorder::Random { .. } => (team.index() as u64 + 1) % team.len() as u64,
            _ => self.writer(team),
        };
        let check = self.engine.phase(team, Act::Check, &self.file_of(writer), writer)?;
        let expected = team.sum_u64(self.engine.test().walk(team.index() as u64, team.len() as u64).len());
        let missing = expected.saturating_sub(check.transfers);
        Ok(Check::exact("transfers and words read back", self.wrong + check.wrong + missing))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let &[write_s, written, read_s, read, resident] = lap.0.as_slice() else { return Vec::new() };
        let test = self.engine.test();
        let rate = |bytes: f64, seconds: f64| bytes / (1u64 << 20) as f64 / seconds;
        let resident = (!resident.is_nan()).then_some(resident);
        let direct = test.access.is_direct();
        vec![
            Reading::new("write", rate(written, write_s))
                .with("page_cache", cache::label_of_write(direct, test.fsync)),
            Reading::new("read", rate(read, read_s))
                .with("page_cache", cache::label_of_read(direct, resident)),
        ]
    }

    fn corrupt(&mut self, team: &Team) {
        if team.is_root() {
            files::flip_bit(&self.file_of(0), 17);
        }
    }
}
