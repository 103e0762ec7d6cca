//! Whether a value is possible on this host: an affinity needs a CPU that is online. May not: look at a guest.

use std::path::Path;
use trimtab_policy::decision::Change;
use trimtab_policy::knob::KnobValue;
use trimtab_policy::topology::CpuSet;

/// `Err`: why not.
pub(super) fn check(sys_root: &Path, change: &Change) -> Result<(), String> {
    let KnobValue::Cpus(cpus) = &change.to else { return Ok(()) };
    if cpus.is_empty() {
        return Err("an affinity needs at least one CPU".to_owned());
    }
    let path = sys_root.join("devices/system/cpu/online");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let online: CpuSet = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
    // One CPU that is online is enough for the kernel. More must not be asked: an original that names a CPU which went
    // offline meanwhile has to be restored as it was.
    if cpus.and(&online).is_empty() { Err(format!("CPU {cpus} is not online")) } else { Ok(()) }
}
