//! Which kernels a name or a suite stands for, and what a suite reads and writes besides. No running.

use std::path::{Path, PathBuf};

use super::args::Suite;
use crate::driver::Item;
use crate::error::{Error, Result};
use crate::kernel::Family;
use crate::kernels::hpcc::input::{self, HpccInput};
use crate::registry::{self, Entry};
use crate::setup::{ParamMap, Size};

/// Where HPCC's users keep their input.
const HPCC_INPUT: &str = "hpccinf.txt";

/// Kernels to run and the size when the user gives none.
pub(super) struct Selection {
    entries: Vec<Entry>,
    default_size: Size,
    /// A suite leaves out what cannot run on so few ranks; a kernel asked for by name is an error then.
    is_suite: bool,
    hpcc: Option<HpccFiles>,
}

/// What a selection comes to on so many ranks.
pub(super) struct Chosen {
    /// The kernels with their sizes.
    pub(super) items: Vec<Item>,
    /// Kernels of a suite that so few ranks cannot run.
    pub(super) left_out: Vec<Entry>,
    /// What the user should know before the run.
    pub(super) remarks: Vec<String>,
}

/// Files of suite hpcc.
struct HpccFiles {
    input: Option<PathBuf>,
    output: PathBuf,
}

/// Kernels by name, in the order given.
pub(super) fn by_name(names: &[String]) -> Result<Selection> {
    let find = |name: &String| {
        registry::find(name).ok_or_else(|| {
            Error::Usage(format!("no kernel is called {name:?}; `trimtab-bench list` shows them"))
        })
    };
    let entries = names.iter().map(find).collect::<Result<_>>()?;
    Ok(Selection { entries, default_size: Size::Auto, is_suite: false, hpcc: None })
}

/// The kernels of a suite.
pub(super) fn of(suite: Suite, input: Option<PathBuf>, output: PathBuf) -> Selection {
    let (entries, default_size) = match suite {
        Suite::Hpcc => (registry::family(Family::Hpcc), Size::Auto),
        Suite::Npb => (registry::family(Family::Npb), Size::Class('A')),
        Suite::Osu => (registry::family(Family::Osu), Size::Auto),
        Suite::Io => (registry::family(Family::Io), Size::Auto),
        Suite::Quick => (registry::all(), Size::Quick),
    };
    let default_input = || Some(PathBuf::from(HPCC_INPUT)).filter(|path| path.is_file());
    let hpcc = (suite == Suite::Hpcc).then(|| HpccFiles { input: input.or_else(default_input), output });
    Selection { entries, default_size, is_suite: true, hpcc }
}

impl Selection {
    /// Where suite hpcc appends its report.
    pub(super) fn hpcc_output(&self) -> Option<&Path> {
        self.hpcc.as_ref().map(|files| files.output.as_path())
    }

    /// The kernels with their sizes, and those that were left out.
    ///
    /// # Errors
    /// An input file that cannot be read or is wrong. To be agreed on by all ranks.
    pub(super) fn choose(&self, size: Option<Size>, params: &ParamMap, ranks: i32) -> Result<Chosen> {
        let (fit, left_out): (Vec<Entry>, Vec<Entry>) =
            self.entries.iter().partition(|e| !self.is_suite || ranks >= e.spec.min_ranks);
        let mut remarks = Vec::new();
        let input = match self.hpcc.as_ref().and_then(|files| files.input.as_deref()) {
            // A size on the command line wins over the file.
            Some(path) if size.is_none() => {
                let input = input::read(path, usize::try_from(ranks).unwrap_or(1))?;
                if !input.not_followed.is_empty() {
                    let names = input.not_followed.join(", ");
                    remarks.push(format!(
                        "{}: HPL is one algorithm here; not followed: {names}",
                        path.display()
                    ));
                }
                Some(input)
            }
            _ => None,
        };
        let size = size.unwrap_or(self.default_size);
        let plain =
            |entry: Entry| vec![Item { entry, size, params: params.clone(), optional: self.is_suite }];
        let items = fit.into_iter().flat_map(|entry| match &input {
            Some(input) => from_input(entry, input, params),
            None => plain(entry),
        });
        Ok(Chosen { items: items.collect(), left_out, remarks })
    }
}

/// What hpccinf.txt means for a kernel. Parameters of the command line win over the file's.
fn from_input(entry: Entry, input: &HpccInput, params: &ParamMap) -> Vec<Item> {
    let size = Size::Bytes(input.bytes_per_process());
    let pmap = if input.column_major { "column" } else { "row" };
    let mut items = Vec::new();
    let mut add = |own: Vec<(&str, String)>| {
        let own = own.into_iter().map(|(name, value)| (format!("{}.{name}", entry.spec.name), value));
        let mut all: ParamMap = own.collect();
        all.extend(params.clone());
        items.push(Item { entry, size, params: all, optional: true });
    };
    match entry.spec.name {
        "hpl" => {
            for (p, q) in &input.grids {
                for (n, nb) in input.n.iter().flat_map(|n| input.nb.iter().map(move |nb| (n, nb))) {
                    for (bcast, depth) in
                        input.bcasts.iter().flat_map(|b| input.depths.iter().map(move |d| (b, (*d).min(1))))
                    {
                        let numbers = [
                            ("n", *n),
                            ("nb", *nb),
                            ("p", *p),
                            ("q", *q),
                            ("bcast", *bcast),
                            ("depth", depth),
                        ];
                        let mut own: Vec<_> = numbers.map(|(name, value)| (name, value.to_string())).into();
                        own.push(("pmap", pmap.to_owned()));
                        add(own);
                    }
                }
            }
        }
        "ptrans" => {
            for (p, q) in &input.grids {
                for (n, nb) in
                    input.ptrans_n.iter().flat_map(|n| input.ptrans_nb.iter().map(move |nb| (n, nb)))
                {
                    let numbers = [("n", *n), ("nb", (*nb).min(*n)), ("p", *p), ("q", *q)];
                    add(numbers.map(|(name, value)| (name, value.to_string())).into());
                }
            }
        }
        _ => add(Vec::new()),
    }
    items
}
