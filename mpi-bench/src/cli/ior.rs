//! The subcommand `ior`: IOR's letters and directives, turned into a session; its table on standard output and its summary
//! file. Words only; the work is `io::ior`'s.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};

use super::args::{Timeout, parse_timeout};
use super::launch;
use super::report::try_writing;
use crate::driver;
use crate::error::{Error, Exit, Result};
use crate::io::backend::Access;
use crate::io::cache::Cache;
use crate::io::ior::json;
use crate::io::ior::session::{self, Options};
use crate::io::ior::table::{self, World};
use crate::io::ior::test::{Fault, Stonewall, Test};
use crate::io::ior::walk::{Random, Reorder};
use crate::io::pool::Pool;
use crate::setup::parse_bytes;
use crate::team::Team;
use crate::{host, print, watchdog};

/// Sizes take the suffixes k, m, g and t (powers of 1024). With neither -w, -r, -W nor -R: writes and reads.
#[derive(Debug, Clone, Args)]
#[command(
    args_override_self = true,
    after_help = "-O NAME=VALUE[,NAME=VALUE...] gives directives: the long names of the letters (transferSize=1m), cache, uring.depth, \
                  stoneWallingWearOut, stoneWallingWearOutIterations, stoneWallingStatusFile, summaryFile and summaryFormat. \
                  The last word on an option counts."
)]
pub(super) struct IorArgs {
    /// API: POSIX, MPIIO, MMAP, URING or DUMMY
    #[arg(short = 'a', value_name = "API", default_value = "POSIX")]
    api: String,
    /// Reference number, repeated in the summary
    #[arg(short = 'A', value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    reference: i64,
    /// Contiguous bytes of a rank
    #[arg(short = 'b', value_name = "SIZE", default_value = "1m", value_parser = size)]
    block: u64,
    /// Collective calls (MPIIO)
    #[arg(short = 'c')]
    collective: bool,
    /// Read what the rank on the next node (-Q: so many nodes on) wrote
    #[arg(short = 'C', conflicts_with = "random_tasks")]
    constant_tasks: bool,
    /// Seconds to wait before each phase
    #[arg(short = 'd', value_name = "SECONDS", default_value_t = 0)]
    delay: u64,
    /// Stop writing or reading after so many seconds
    #[arg(short = 'D', value_name = "SECONDS", default_value_t = 0.0)]
    deadline: f64,
    /// Sync at the end of writing, timed
    #[arg(short = 'e')]
    fsync: bool,
    /// Do not remove an existing file before writing
    #[arg(short = 'E')]
    use_existing: bool,
    /// A file for each rank
    #[arg(short = 'F')]
    file_per_process: bool,
    /// Barriers between open, transfers and close
    #[arg(short = 'g')]
    barriers: bool,
    /// Signature of the data: needed to compare data of an earlier run
    #[arg(short = 'G', value_name = "N")]
    signature: Option<u64>,
    /// Repetitions
    #[arg(short = 'i', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Keep the files
    #[arg(short = 'k')]
    keep: bool,
    /// Keep files whose data were wrong
    #[arg(short = 'K')]
    keep_with_error: bool,
    /// Number the files by the repetition
    #[arg(short = 'm')]
    multi_file: bool,
    /// Ranks that take part (default all)
    #[arg(short = 'N', value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    tasks: Option<i32>,
    /// File; several, joined by @, take turns with -F
    #[arg(short = 'o', value_name = "FILE", default_value = "testFile")]
    file: String,
    /// End at the first wrong data
    #[arg(short = 'q')]
    quit_on_error: bool,
    /// Nodes between writer and reader with -C (exactly) and -Z (at least)
    #[arg(short = 'Q', value_name = "N", default_value_t = 1)]
    offset: u64,
    /// Read
    #[arg(short = 'r')]
    read: bool,
    /// Read and compare
    #[arg(short = 'R')]
    check_read: bool,
    /// Segments
    #[arg(short = 's', value_name = "N", default_value_t = 1)]
    segments: u64,
    /// Bytes of one call
    #[arg(short = 't', value_name = "SIZE", default_value = "256k", value_parser = size)]
    transfer: u64,
    /// Begin no repetition after so many minutes
    #[arg(short = 'T', value_name = "MINUTES")]
    max_minutes: Option<u64>,
    /// A directory for each rank's file
    #[arg(short = 'u')]
    unique_dir: bool,
    /// Say more; repeat for more
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    verbose: u8,
    /// File view instead of explicit offsets (MPIIO)
    #[arg(short = 'V', long = "mpiio.useFileView")]
    view: bool,
    /// Write
    #[arg(short = 'w')]
    write: bool,
    /// Compare after writing
    #[arg(short = 'W')]
    check_write: bool,
    /// A transfer that is cut short is an error
    #[arg(short = 'x')]
    single_attempt: bool,
    /// Seed of -Z; below 0 another order for each repetition
    #[arg(short = 'X', value_name = "SEED", default_value_t = 0, allow_negative_numbers = true)]
    random_tasks_seed: i64,
    /// Sync after every transfer
    #[arg(short = 'Y')]
    fsync_each: bool,
    /// Random offsets, each once; -zz: anywhere
    #[arg(short = 'z', action = clap::ArgAction::Count)]
    random: u8,
    /// Read what a random rank wrote; -ZZ: each rank another's
    #[arg(short = 'Z', action = clap::ArgAction::Count)]
    random_tasks: u8,
    /// Past the page cache (POSIX, URING)
    #[arg(short = 'B', long = "posix.odirect")]
    direct: bool,
    /// Seed of -z
    #[arg(long = "random-offset-seed", value_name = "SEED", default_value_t = 1)]
    random_seed: u64,
    /// Transfers in flight (URING)
    #[arg(long = "uring.depth", value_name = "N", default_value_t = 16)]
    depth: u32,
    /// Before reading: keep the page cache, advise the file out of it, or drop all of it (root)
    #[arg(long, value_name = "WHAT", default_value = "keep", value_parser = cache)]
    cache: Cache,
    /// -O: after the deadline every rank does as much as the fastest did (1)
    #[arg(long = "stonewallingwearout", value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    wear_out: u8,
    /// -O: stop each rank after so many transfers
    #[arg(long = "stonewallingwearoutiterations", value_name = "N")]
    wear_out_transfers: Option<u64>,
    /// -O: where the transfers of a stonewalled write are noted, for reading them later
    #[arg(long = "stonewallingstatusfile", value_name = "FILE")]
    status_file: Option<PathBuf>,
    /// -O: where the summary goes
    #[arg(long = "summaryfile", value_name = "FILE")]
    summary_file: Option<PathBuf>,
    /// -O: its form
    #[arg(long = "summaryformat", value_name = "FORMAT", default_value = "default", ignore_case = true)]
    summary_format: Format,
    /// Longest time for one phase, in seconds, or `none`
    #[arg(long, default_value = "3600", value_name = "SECONDS", value_parser = parse_timeout)]
    timeout: Timeout,
}

/// Form of the summary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What is printed
    Default,
    /// IOR's JSON
    Json,
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected bytes above 0, such as 4096, 64k or 1m".to_owned())
}

fn cache(text: &str) -> Result<Cache, String> {
    text.parse().map_err(|()| "expected keep, advise or drop".to_owned())
}

/// Directives that have a letter or an option of their own, and whether that takes a value.
const DIRECTIVES: [(&str, &str, bool); 44] = [
    ("api", "-a", true),
    ("refnum", "-A", true),
    ("blocksize", "-b", true),
    ("collective", "-c", false),
    ("reordertasksconstant", "-C", false),
    ("reordertasks", "-C", false),
    ("intertestdelay", "-d", true),
    ("deadlineforstonewalling", "-D", true),
    ("fsync", "-e", false),
    ("useexistingtestfile", "-E", false),
    ("fileperproc", "-F", false),
    ("intratestbarriers", "-g", false),
    ("settimestampsignature", "-G", true),
    ("repetitions", "-i", true),
    ("keepfile", "-k", false),
    ("keepfilewitherror", "-K", false),
    ("multifile", "-m", false),
    ("numtasks", "-N", true),
    ("testfile", "-o", true),
    ("quitonerror", "-q", false),
    ("taskpernodeoffset", "-Q", true),
    ("readfile", "-r", false),
    ("checkread", "-R", false),
    ("segmentcount", "-s", true),
    ("transfersize", "-t", true),
    ("maxtimeduration", "-T", true),
    ("uniquedir", "-u", false),
    ("verbose", "-v", false),
    ("usefileview", "-V", false),
    ("writefile", "-w", false),
    ("checkwrite", "-W", false),
    ("singlexferattempt", "-x", false),
    ("reordertasksrandomseed", "-X", true),
    ("fsyncperwrite", "-Y", false),
    ("randomoffset", "-z", false),
    ("reordertasksrandom", "-Z", false),
    ("useo_direct", "-B", false),
    ("cache", "--cache", true),
    ("uring.depth", "--uring.depth", true),
    ("stonewallingwearout", "--stonewallingwearout", true),
    ("stonewallingwearoutiterations", "--stonewallingwearoutiterations", true),
    ("stonewallingstatusfile", "--stonewallingstatusfile", true),
    ("summaryfile", "--summaryfile", true),
    ("summaryformat", "--summaryformat", true),
];

/// Replaces `-O NAME=VALUE,...` behind `ior` by the letters that mean the same, so that the last word counts, as in IOR.
///
/// # Errors
/// A directive that does not exist, or without a value.
pub(super) fn expand_directives(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, clap::Error> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_none_or(|command| command != "ior") {
        return Ok(args);
    }
    let mut expanded: Vec<OsString> = args.drain(..2).collect();
    let mut rest = args.into_iter();
    while let Some(arg) = rest.next() {
        match arg.to_str().and_then(|text| text.strip_prefix("-O")) {
            None => expanded.push(arg),
            Some("") => match rest.next() {
                Some(list) => expand(&list.to_string_lossy(), &mut expanded)?,
                None => return Err(wrong("-O needs NAME=VALUE".to_owned())),
            },
            Some(list) => expand(list.trim_start_matches('='), &mut expanded)?,
        }
    }
    Ok(expanded)
}

fn wrong(why: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, why + "\n")
}

fn expand(list: &str, into: &mut Vec<OsString>) -> Result<(), clap::Error> {
    for directive in list.split(',') {
        let Some((name, value)) = directive.split_once('=') else {
            return Err(wrong(format!("-O {directive}: expected NAME=VALUE")));
        };
        let lower = name.to_ascii_lowercase();
        let known = DIRECTIVES.iter().find(|(name, ..)| *name == lower);
        let Some(&(_, option, takes_value)) = known else {
            return Err(wrong(format!("-O {name}: there is no such directive here")));
        };
        match (takes_value, value.parse::<u8>()) {
            (true, _) => into.extend([option.into(), value.into()]),
            (false, Ok(times @ 0..=5)) => into.extend((0..times).map(|_| OsString::from(option))),
            (false, _) => return Err(wrong(format!("-O {name}={value}: expected 0 or 1"))),
        }
    }
    Ok(())
}

impl IorArgs {
    fn access(&self) -> Result<Access> {
        let access = match self.api.to_ascii_uppercase().as_str() {
            "POSIX" => Access::Posix { direct: self.direct, single_attempt: self.single_attempt },
            "MMAP" => Access::Mmap,
            "URING" => Access::Uring { depth: self.depth, direct: self.direct },
            "MPIIO" => Access::MpiIo { collective: self.collective, view: self.view },
            "DUMMY" => Access::Dummy,
            _ => {
                return Err(Error::Usage(format!(
                    "-a {}: no such API here, only POSIX, MPIIO, MMAP, URING and DUMMY",
                    self.api
                )));
            }
        };
        let mpi = matches!(access, Access::MpiIo { .. });
        for (given, letter, meant) in [
            (self.collective, "-c", mpi),
            (self.view, "-V", mpi),
            (self.direct, "-B", access.is_direct()),
            (self.single_attempt, "-x", matches!(access, Access::Posix { .. })),
        ] {
            if given && !meant {
                return Err(Error::Usage(format!("{letter}: not with -a {}", access.api())));
            }
        }
        Ok(access)
    }

    fn test(&self) -> Result<Test> {
        let seed = self.random_tasks_seed.unsigned_abs();
        let deadline = Duration::try_from_secs_f64(self.deadline)
            .map_err(|_| Error::Usage(format!("-D {}: expected seconds from 0", self.deadline)))?;
        Ok(Test {
            access: self.access()?,
            block: self.block,
            transfer: self.transfer,
            segments: self.segments,
            file_per_process: self.file_per_process,
            unique_dir: self.unique_dir,
            random: match self.random {
                0 => None,
                1 => Some((Random::Shuffled, self.random_seed)),
                _ => Some((Random::Anywhere, self.random_seed)),
            },
            reorder: match (self.constant_tasks, self.random_tasks) {
                (true, _) => Reorder::Constant(self.offset),
                (false, 0) => Reorder::None,
                (false, 1) => Reorder::Random { nodes: self.offset, seed },
                (false, _) => Reorder::Shuffled { seed },
            },
            fsync: self.fsync,
            fsync_each: self.fsync_each,
            barriers: self.barriers,
            stonewall: Stonewall {
                deadline: (!deadline.is_zero()).then_some(deadline),
                wear_out: self.wear_out == 1,
                transfers: self.wear_out_transfers,
            },
        })
    }

    fn options(&self, ranks: u64) -> Result<Options> {
        let test = self.test()?;
        let none = !(self.write || self.read || self.check_write || self.check_read);
        let options = Options {
            write: self.write || none,
            read: self.read || none,
            check_write: self.check_write,
            check_read: self.check_read,
            files: self.file.split('@').map(PathBuf::from).collect(),
            repetitions: self.repetitions,
            keep: self.keep,
            keep_with_error: self.keep_with_error,
            use_existing: self.use_existing,
            multi_file: self.multi_file,
            delay: Duration::from_secs(self.delay),
            max_time: self.max_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            signature: self.signature,
            reorder_varies: self.random_tasks_seed < 0,
            quit_on_error: self.quit_on_error,
            status_file: self.status_file.clone(),
            cache: self.cache,
            timeout: self.timeout.0,
            test,
        };
        let verified = self.check_write || self.check_read;
        options.test.check(ranks, verified).map_err(|fault| usage(&fault))?;
        if verified && !options.write && self.signature.is_none() {
            return Err(Error::Usage("-R and -W without -w need the signature of the data: -G".to_owned()));
        }
        if self.wear_out == 0 && self.status_file.is_some() && options.write {
            return Err(Error::Usage(
                "stoneWallingStatusFile: needs stoneWallingWearOut=1 to be of use".to_owned(),
            ));
        }
        Ok(options)
    }
}

/// A fault in the words of IOR's users.
fn usage(fault: &Fault) -> Error {
    let letter = match fault.option {
        "block" => "-b",
        "transfer" => "-t",
        "segments" => "-s",
        "random" => "-z",
        "unique_dir" => "-u",
        "api" => "-a",
        "depth" => "--uring.depth",
        other => other,
    };
    Error::Usage(format!("{letter} {}: {}", fault.value, fault.why))
}

/// Runs the subcommand.
///
/// # Errors
/// Only those from before MPI is up, for the caller to print.
pub(super) fn run(args: &IorArgs) -> Result<Exit> {
    launch::with_mpi(args.timeout.0, |world| {
        let tasks = args.tasks.unwrap_or(world.size());
        if tasks > world.size() {
            return Err(Error::Usage(format!("-N {tasks}: there are only {} ranks", world.size())));
        }
        let team = world.split(i32::from(world.rank() >= tasks));
        let ran = if world.rank() < tasks { run_on(&team, args) } else { Ok(Exit::Verified) };
        // Ranks that have no part sleep until the others are done.
        world.idle_barrier();
        let ran = world.agree(ran)?;
        let failed = world.max(f64::from(u8::from(ran != Exit::Verified)));
        Ok(if failed > 0.0 { Exit::VerificationFailed } else { Exit::Verified })
    })
}

fn run_on(team: &Team, args: &IorArgs) -> Result<Exit> {
    let ranks = team.len() as u64;
    let options = args.options(ranks)?;
    let free = driver::free_bytes_per_rank(team)?;
    let buffers = Pool::bytes(options.test.access.slots(), options.test.transfer);
    if buffers > free {
        return Err(Error::Usage(format!("-t {}: its buffers need more memory than is free", args.transfer)));
    }
    let summary = args.summary_file.as_deref().filter(|_| team.is_root());
    team.agree(summary.map_or(Ok(()), try_writing))?;
    let world = World { ranks, per_node: team.max_u64(team.node().len() as u64), reference: args.reference };
    let began = jiff::Timestamp::now().to_string();
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let list = table::options(&options, ranks, world.per_node);
    let mut text = table::head(&list, &command, &began);
    say(team, &text);
    let finished = session::run(team, &options, &mut |done| {
        let line = table::line(&options, done);
        say(team, &line);
        if args.verbose > 0 && done.valid {
            say(team, &format!("          page cache: {}\n", done.page_cache));
        }
        text.push_str(&line);
    })?;
    watchdog::phase("the report", args.timeout.0);
    let mut tail = table::summary(&options, &finished.done, world);
    if finished.errors > 0 {
        tail +=
            &format!("Verification FAILED: {} words or transfers wrong, figures withheld\n", finished.errors);
    }
    let now = jiff::Timestamp::now().to_string();
    tail += &format!("Finished            : {now}\n");
    say(team, &tail);
    text.push_str(&tail);
    let machine = host::hostname().unwrap_or_default();
    let head = json::Head {
        began: &began,
        finished: &now,
        command: &command,
        machine: &machine,
        verbose: args.verbose,
    };
    let written = match (summary, args.summary_format) {
        (None, _) => Ok(()),
        (Some(path), Format::Default) => write(path, &text),
        (Some(path), Format::Json) => {
            write(path, &format!("{:#}\n", json::document(&options, &finished.done, world, &head)))
        }
    };
    team.agree(written)?;
    Ok(if finished.errors > 0 { Exit::VerificationFailed } else { Exit::Verified })
}

fn say(team: &Team, text: &str) {
    if team.is_root() {
        print::out(text);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io("write", path))
}
