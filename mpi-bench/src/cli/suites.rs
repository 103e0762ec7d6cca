//! Which kernels a name or a suite stands for. No sizes beyond the suite's default, no running.

use super::args::Suite;
use crate::error::{Error, Result};
use crate::kernel::Family;
use crate::registry::{self, Entry};
use crate::setup::Size;

/// Kernels to run and the size when the user gives none.
pub(super) struct Selection {
    pub(super) entries: Vec<Entry>,
    pub(super) default_size: Size,
    /// A suite leaves out what cannot run on so few ranks; a kernel asked for by name is an error then.
    pub(super) skip_if_too_few_ranks: bool,
}

/// Kernels by name, in the order given.
pub(super) fn by_name(names: &[String]) -> Result<Selection> {
    let find = |name: &String| {
        registry::find(name).ok_or_else(|| {
            Error::Usage(format!("no kernel is called {name:?}; `trimtab-bench list` shows them"))
        })
    };
    let entries = names.iter().map(find).collect::<Result<_>>()?;
    Ok(Selection { entries, default_size: Size::Auto, skip_if_too_few_ranks: false })
}

/// The kernels of a suite.
pub(super) fn entries(suite: Suite) -> Selection {
    let (entries, default_size) = match suite {
        Suite::Hpcc => (registry::family(Family::Hpcc), Size::Auto),
        Suite::Npb => (registry::family(Family::Npb), Size::Class('A')),
        Suite::Osu => (registry::family(Family::Osu), Size::Auto),
        Suite::Io => (registry::family(Family::Io), Size::Auto),
        Suite::Quick => (registry::all(), Size::Quick),
    };
    Selection { entries, default_size, skip_if_too_few_ranks: true }
}
