//! The subcommand `iozone`: iozone's letters, turned into parameters of the kernel `iozone`. Words only.

use std::path::Path;

use clap::Args;

use super::args::RunOptions;
use super::{launch, suites};
use crate::error::{Error, Exit, Result};
use crate::kernel::Variant;
use crate::setup::parse_bytes;

/// Sizes are in kB, or take the suffixes k, m and g. All options of `run` that have no letter work, too.
#[derive(Debug, Clone, Args)]
pub(super) struct IozoneArgs {
    /// Automatic mode: file sizes 64k to 512m by records of 4k to 16m
    #[arg(short = 'a')]
    auto: bool,
    /// Also small records in large files (with -a)
    #[arg(short = 'z')]
    all_records: bool,
    /// Test, 0 to 12; may be repeated (default all)
    #[arg(short = 'i', value_name = "TEST", value_parser = clap::value_parser!(u8).range(0..=12))]
    tests: Vec<u8>,
    /// File size
    #[arg(short = 's', value_name = "SIZE", default_value = "512k", value_parser = kilobytes)]
    file: u64,
    /// Record size
    #[arg(short = 'r', value_name = "SIZE", default_value = "4k", value_parser = kilobytes)]
    record: u64,
    /// Direct I/O
    #[arg(short = 'I')]
    direct: bool,
    /// Include the sync in the timing
    #[arg(short = 'e')]
    time_sync: bool,
    /// Include the close in the timing
    #[arg(short = 'c')]
    time_close: bool,
    /// Synchronous writes (O_SYNC)
    #[arg(short = 'o')]
    sync: bool,
    /// Throughput mode: a file for each of so many processes, which must be the ranks
    #[arg(short = 't', value_name = "PROCESSES")]
    processes: Option<u32>,
    /// Smallest file of -a
    #[arg(short = 'n', value_name = "SIZE", value_parser = kilobytes)]
    file_min: Option<u64>,
    /// Largest file of -a
    #[arg(short = 'g', value_name = "SIZE", value_parser = kilobytes)]
    file_max: Option<u64>,
    /// Smallest record of -a
    #[arg(short = 'y', value_name = "SIZE", value_parser = kilobytes)]
    record_min: Option<u64>,
    /// Largest record of -a
    #[arg(short = 'q', value_name = "SIZE", value_parser = kilobytes)]
    record_max: Option<u64>,
    /// Stride of test 5, in records
    #[arg(short = 'j', value_name = "RECORDS")]
    stride: Option<u64>,
    /// The file's directory is used (its name is not: each rank has its own)
    #[arg(short = 'f', value_name = "FILE")]
    path: Option<std::path::PathBuf>,
    /// Spreadsheet blocks after the table
    #[arg(short = 'R')]
    excel: bool,
    #[command(flatten)]
    options: RunOptions,
}

/// iozone's sizes: kB unless a suffix says otherwise.
fn kilobytes(text: &str) -> Result<u64, String> {
    let number = if text.bytes().all(|b| b.is_ascii_digit()) { format!("{text}k") } else { text.to_owned() };
    parse_bytes(&number).ok_or_else(|| "expected kB above 0, or a size such as 64k, 8m or 1g".to_owned())
}

impl IozoneArgs {
    /// The letters as parameters; those of `--param` come last and win nothing: the same twice is an error.
    fn params(&self) -> Vec<(String, String)> {
        let yes = |given: bool| given.then(|| "yes".to_owned());
        let bytes = |size: Option<u64>| size.map(|n| n.to_string());
        let tests: Vec<String> = self.tests.iter().map(ToString::to_string).collect();
        let single = |size: u64| (!self.auto).then(|| size.to_string());
        let all = [
            ("tests", Some(tests.join(",")).filter(|list| !list.is_empty())),
            ("sweep", yes(self.auto)),
            ("all_records", yes(self.all_records)),
            ("file", single(self.file)),
            ("record", single(self.record.min(self.file))),
            ("direct", yes(self.direct)),
            ("sync", yes(self.sync)),
            ("time_sync", yes(self.time_sync)),
            ("time_close", yes(self.time_close)),
            ("file_min", bytes(self.file_min)),
            ("file_max", bytes(self.file_max)),
            ("record_min", bytes(self.record_min)),
            ("record_max", bytes(self.record_max)),
            ("stride", bytes(self.stride)),
            ("excel", yes(self.excel)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// As [`launch::run`].
pub(super) fn run(args: &IozoneArgs) -> Result<Exit> {
    let mut options = args.options.clone();
    options.params.extend(args.params());
    options.variant.get_or_insert(vec![match args.processes {
        None => Variant::Single,
        Some(_) => Variant::Mpi,
    }]);
    if let Some(path) = &args.path {
        let parent = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
        options.dir = parent.to_path_buf();
    }
    let selection = suites::by_name(&["iozone".to_owned()])?;
    launch::with_mpi(options.timeout.0, |world| match args.processes {
        Some(n) if i64::from(n) != i64::from(world.size()) => Err(Error::Usage(format!(
            "-t {n}: there are {} ranks (start it with mpirun -n {n})",
            world.size()
        ))),
        _ => launch::run_on(world, &selection, &options),
    })
}
