//! Which kernels a name or a suite stands for, and what a suite reads and writes besides. No running.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::Suite;
use crate::driver::Item;
use crate::error::{Error, Result};
use crate::kernel::Family;
use crate::kernels::hpcc::input::{self, HpccInput};
use crate::registry::{self, Entry};
use crate::setup::{ParamMap, Size};
use crate::team::Team;

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
    /// As the user named it; without a name the original's, if it is there.
    input: Option<PathBuf>,
    output: PathBuf,
}

impl HpccFiles {
    /// Path and text of the input as rank 0 finds it, on every rank: with a file of their own, or none, the ranks of another
    /// node would run something else. Collective.
    fn input_text(&self, world: &Team) -> Result<Option<(PathBuf, String)>> {
        let named = self.input.as_deref();
        let path = named.unwrap_or(Path::new(HPCC_INPUT));
        let there = world.is_root() && (named.is_some() || path.is_file());
        let text =
            if there { fs::read_to_string(path).map_err(Error::io("read", path)) } else { Ok(String::new()) };
        let text = world.share_bytes(world.agree(text)?.into_bytes());
        let there = world.share_bytes(vec![u8::from(there)]) == [1];
        Ok(there.then(|| (path.to_owned(), String::from_utf8_lossy(&text).into_owned())))
    }
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
    let hpcc = (suite == Suite::Hpcc).then_some(HpccFiles { input, output });
    Selection { entries, default_size, is_suite: true, hpcc }
}

impl Selection {
    /// Where suite hpcc appends its report.
    pub(super) fn hpcc_output(&self) -> Option<&Path> {
        self.hpcc.as_ref().map(|files| files.output.as_path())
    }

    /// The kernels with their sizes, and those that were left out. Collective.
    ///
    /// # Errors
    /// An input file that cannot be read or is wrong; the same on every rank.
    pub(super) fn choose(&self, size: Option<Size>, params: &ParamMap, world: &Team) -> Result<Chosen> {
        let (fit, left_out): (Vec<Entry>, Vec<Entry>) =
            self.entries.iter().partition(|e| !self.is_suite || world.size() >= e.spec.min_ranks);
        let mut remarks = Vec::new();
        // A size on the command line wins over the file.
        let text = match &self.hpcc {
            Some(files) if size.is_none() => files.input_text(world)?,
            _ => None,
        };
        let input = text.map(|(path, text)| {
            let input = input::parse(&path, &text, world.len())?;
            if !input.not_followed.is_empty() {
                let names = input.not_followed.join(", ");
                remarks.push(format!("{}: HPL is one algorithm here; not followed: {names}", path.display()));
            }
            Ok(input)
        });
        let input = input.transpose()?;
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
