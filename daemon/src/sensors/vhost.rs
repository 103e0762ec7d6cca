//! vhost workers that the kernel runs outside of qemu's process (kernels before 6.4, and later ones told so): kernel
//! threads named `vhost-PID` after the thread of qemu that set them up. Newer ones are threads of qemu itself.
//!
//! Approach: the children of kthreadd, of which only those not seen before are asked for their name. May not: sample.

use super::files::{self, RelPath};
use super::parse;
use rustix::fs::Dir;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// kthreadd's pid wherever kernel threads are visible.
const KTHREADD: i32 = 2;

/// Kernel threads known so far, each with its owner if it is a vhost worker.
#[derive(Debug, Default)]
pub(super) struct VhostFinder {
    known: BTreeMap<i32, Option<i32>>,
}

impl VhostFinder {
    /// Looks for workers: pairs of worker and owner. Empty where kernel threads are not visible (a pid namespace).
    pub(super) fn find(&mut self, proc_dir: BorrowedFd<'_>) -> Vec<(i32, i32)> {
        let mut comm = [0; 64];
        let visible = files::read_once(proc_dir, &RelPath::of(KTHREADD, "comm"), &mut comm)
            .is_ok_and(|comm| comm.trim_ascii_end() == b"kthreadd");
        if !visible {
            return Vec::new();
        }
        let pids = children(proc_dir).unwrap_or_else(|| every_process(proc_dir));
        let mut now = BTreeMap::new();
        for pid in pids {
            let owner = self.known.get(&pid).copied().unwrap_or_else(|| {
                let comm = files::read_once(proc_dir, &RelPath::of(pid, "comm"), &mut comm);
                comm.ok().and_then(parse::vhost_owner)
            });
            now.insert(pid, owner);
        }
        self.known = now;
        self.known.iter().filter_map(|(&pid, owner)| owner.map(|owner| (pid, owner))).collect()
    }
}

/// kthreadd's children; `None` on kernels without that file.
fn children(proc_dir: BorrowedFd<'_>) -> Option<Vec<i32>> {
    let file = files::open_at(proc_dir, &RelPath::of(KTHREADD, "task/2/children")).ok()?;
    let text = std::io::read_to_string(std::fs::File::from(file)).ok()?;
    Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

fn every_process(proc_dir: BorrowedFd<'_>) -> Vec<i32> {
    let Ok(dir) = Dir::read_from(proc_dir) else { return Vec::new() };
    let pid = |name: &[u8]| parse::whole_number(name).and_then(|pid| i32::try_from(pid).ok());
    dir.filter_map(|entry| pid(entry.ok()?.file_name().to_bytes())).collect()
}
