//! The list of kernels, and the object-safe face that the driver runs them through. Families add their entries here;
//! nothing else in the crate names a kernel.

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Reading, Spec};
use crate::kernels;
use crate::result::Row;
use crate::setup::Setup;
use crate::svg::Chart;
use crate::team::Team;

/// A kernel that is set up, whatever its type. Implemented for every [`Kernel`]; see there.
pub trait Job {
    /// [`Kernel::params`].
    fn params(&self) -> Facts;
    /// [`Kernel::run`].
    ///
    /// # Errors
    /// The kernel's.
    fn run(&mut self, team: &Team) -> Result<Lap>;
    /// [`Kernel::verify`].
    ///
    /// # Errors
    /// The kernel's.
    fn verify(&mut self, team: &Team) -> Result<Check>;
    /// [`Kernel::report`].
    fn report(&self, lap: &Lap) -> Vec<Reading>;
    /// [`Kernel::corrupt`].
    fn corrupt(&mut self, team: &Team);
    /// [`Kernel::facts`].
    fn facts(&self) -> Facts;
}

impl<K: Kernel> Job for K {
    fn params(&self) -> Facts {
        Kernel::params(self)
    }
    fn run(&mut self, team: &Team) -> Result<Lap> {
        Kernel::run(self, team)
    }
    fn verify(&mut self, team: &Team) -> Result<Check> {
        Kernel::verify(self, team)
    }
    fn report(&self, lap: &Lap) -> Vec<Reading> {
        Kernel::report(self, lap)
    }
    fn corrupt(&mut self, team: &Team) {
        Kernel::corrupt(self, team);
    }
    fn facts(&self) -> Facts {
        Kernel::facts(self)
    }
}

/// A registered kernel.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its description.
    pub spec: &'static Spec,
    setup: fn(&Setup<'_>) -> Result<Box<dyn Job>>,
    /// [`Kernel::render`].
    pub render: fn(&[Row]) -> Option<String>,
    /// [`Kernel::charts`].
    pub charts: fn(&[Row]) -> Vec<Chart>,
}

impl Entry {
    /// [`Kernel::setup`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn setup(&self, setup: &Setup<'_>) -> Result<Box<dyn Job>> {
        (self.setup)(setup)
    }
}

/// The entry of a kernel type.
#[must_use]
pub fn entry<K: Kernel>() -> Entry {
    Entry {
        spec: &const { K::SPEC },
        setup: |s| Ok(Box::new(K::setup(s)?)),
        render: K::render,
        charts: K::charts,
    }
}

/// Every kernel, in the order of `list`.
#[must_use]
pub fn all() -> Vec<Entry> {
    let mut entries = kernels::hpcc::entries();
    entries.extend(kernels::npb::entries());
    entries.extend(kernels::osu::entries());
    entries.extend(crate::io::entries());
    entries.extend(kernels::micro::entries());
    entries
}

/// The kernel of that name.
#[must_use]
pub fn find(name: &str) -> Option<Entry> {
    all().into_iter().find(|e| e.spec.name == name)
}

/// The kernels of a family.
#[must_use]
pub fn family(family: Family) -> Vec<Entry> {
    all().into_iter().filter(|e| e.spec.family == family).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_specs_complete() {
        let mut names = BTreeSet::new();
        for entry in super::all() {
            let spec = entry.spec;
            assert!(names.insert(spec.name), "{} twice", spec.name);
            assert!(spec.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(
                !spec.metrics.is_empty() && !spec.variants.is_empty() && spec.min_ranks >= 1,
                "{}",
                spec.name
            );
            assert!(!spec.source.is_empty() && !spec.summary.is_empty(), "{}", spec.name);
        }
    }
}
