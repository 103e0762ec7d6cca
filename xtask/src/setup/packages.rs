//! The package lists, by purpose and system.
//!
//! May not: hold a package that nothing here uses; each line says what for.

use super::Purpose;
use super::os::System;

/// A package and what it is for.
type Entry = (&'static str, Purpose);

/// Names that all known systems share.
const COMMON: &[Entry] = &[
    // libvirtd, its units, users, polkit rules; virsh.
    ("libvirt-daemon-system", Purpose::Host),
    ("libvirt-clients", Purpose::Host),
    // The D-Bus API that trimtabd speaks.
    ("libvirt-dbus", Purpose::Host),
    // The guests, and the images that they write to.
    ("qemu-system-x86", Purpose::Host),
    ("qemu-utils", Purpose::Host),
    // What a guest runs, and what its initrd is packed and its kernel modules unpacked with.
    ("busybox-static", Purpose::Host),
    ("cpio", Purpose::Host),
    ("gzip", Purpose::Host),
    ("xz-utils", Purpose::Host),
    ("zstd", Purpose::Host),
    // A private system bus with polkit, a real systemd as PID 1 of a namespace, and the namespaces' network.
    ("dbus", Purpose::Host),
    ("polkitd", Purpose::Host),
    ("systemd", Purpose::Host),
    ("iproute2", Purpose::Host),
    ("util-linux", Purpose::Host),
    // Both MPI libraries, and libclang, by which the bindings to them are made.
    ("libopenmpi-dev", Purpose::Mpi),
    ("openmpi-bin", Purpose::Mpi),
    ("libmpich-dev", Purpose::Mpi),
    ("mpich", Purpose::Mpi),
    ("libclang-dev", Purpose::Mpi),
    // The original that trimtab-bench is measured against, and the BLAS that makes it fast.
    ("hpcc", Purpose::Hpcc),
    ("libopenblas0-pthread", Purpose::Hpcc),
];

/// Packages for these purposes on this system, in a fixed order.
pub(crate) fn wanted(system: System, purposes: &[Purpose]) -> Vec<&'static str> {
    // The names are the same on all three systems so far; the match makes a fourth one think.
    let table = match system {
        System::Debian12 | System::Debian13 | System::Ubuntu2404 => COMMON,
    };
    table.iter().filter(|(_, purpose)| purposes.contains(purpose)).map(|(name, _)| *name).collect()
}

/// The package whose dependency is the newest small kernel for guests.
pub(crate) fn guest_kernel(system: System) -> &'static str {
    match system {
        System::Debian12 | System::Debian13 => "linux-image-cloud-amd64",
        System::Ubuntu2404 => "linux-image-virtual",
    }
}

/// Debian's names of everything, for systems that are not known.
pub(crate) fn everything() -> Vec<&'static str> {
    COMMON.iter().map(|(name, _)| *name).chain([guest_kernel(System::Debian12)]).collect()
}
