//! The two MPI libraries that trimtab-bench is built with.
//!
//! Each gets its own build directory: the bindings are made from the library's headers. May not: install anything.

use crate::workspace;
use std::path::PathBuf;
use std::process::Command;

/// An MPI library as Debian installs it beside others.
pub(crate) struct Library {
    /// For people.
    pub(crate) name: &'static str,
    /// Its compiler wrapper.
    compiler: &'static str,
    /// Its launcher.
    launcher: &'static str,
    /// Directory below target/.
    dir: &'static str,
}

/// Open MPI first: it is the distributions' default.
pub(crate) const LIBRARIES: [Library; 2] = [
    Library { name: "Open MPI", compiler: "mpicc.openmpi", launcher: "mpirun.openmpi", dir: "openmpi" },
    Library { name: "MPICH", compiler: "mpicc.mpich", launcher: "mpirun.mpich", dir: "mpich" },
];

impl Library {
    /// Why it cannot be used here.
    pub(crate) fn usable(&self) -> Result<(), String> {
        let absent: Vec<&str> =
            [self.compiler, self.launcher].into_iter().filter(|name| !workspace::in_path(name)).collect();
        if absent.is_empty() {
            return Ok(());
        }
        Err(format!("{} not in PATH; `cargo xtask setup mpi` installs it", absent.join(" and ")))
    }

    /// Its launcher.
    pub(crate) fn launcher(&self) -> &'static str {
        self.launcher
    }

    /// Where what is built with it lies.
    pub(crate) fn target_dir(&self) -> PathBuf {
        workspace::target_dir().join(self.dir)
    }

    /// Build with it; the build remembers the launcher that goes with it.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.env("MPICC", self.compiler).env("CARGO_TARGET_DIR", self.target_dir());
        self.as_root(command);
    }

    /// Let it start as root: Open MPI refuses otherwise, the other one does not look.
    pub(crate) fn as_root(&self, command: &mut Command) {
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
}
