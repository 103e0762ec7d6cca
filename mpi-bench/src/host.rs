//! Facts about this host for the JSON's meta and for sizing: CPU, kernel, hypervisor, affinity, memory. Reads /proc and /sys.
//! A fact that cannot be had is absent from the map.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::memory;

/// MemAvailable, or what the cgroup leaves if that is less, in bytes.
///
/// # Errors
/// /proc/meminfo has no MemAvailable line.
pub fn free_memory_bytes() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let available = meminfo_kib(&text, "MemAvailable").ok_or_else(|| Error::Input {
        path: path.into(),
        line: 1,
        why: "no MemAvailable line".to_owned(),
    })? << 10;
    Ok(cgroup_left_bytes().map_or(available, |left| left.min(available)))
}

fn meminfo_kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// memory.max minus memory.current of this process's cgroup (version 2), if there is a limit.
fn cgroup_left_bytes() -> Option<u64> {
    let own = read("/proc/self/cgroup")?;
    let dir = format!("/sys/fs/cgroup{}", own.lines().find_map(|l| l.strip_prefix("0::"))?);
    let number = |file: &str| read(&format!("{dir}/{file}"))?.parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

/// Ticks stolen by the hypervisor on all CPUs since boot (field 8 of the cpu line of /proc/stat).
#[must_use]
pub fn steal_ticks() -> Option<u64> {
    read("/proc/stat")?.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// What rank 0 writes about its own host and libraries.
#[must_use]
pub fn meta() -> BTreeMap<String, Value> {
    let mut meta = BTreeMap::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            meta.insert(key.to_owned(), value);
        }
    };
    put("host", hostname().map(Value::from));
    put("kernel", read("/proc/sys/kernel/osrelease").map(Value::from));
    put("cpu", cpu().map(Value::from));
    put("cpu_features", Some(json!(cpu_features())));
    put("cpus", std::thread::available_parallelism().ok().map(|n| n.get().into()));
    put("hypervisor", Some(hypervisor().into()));
    put("memory_kib", read("/proc/meminfo").and_then(|t| meminfo_kib(&t, "MemTotal")).map(Value::from));
    put("transparent_hugepages", read("/sys/kernel/mm/transparent_hugepage/enabled").map(Value::from));
    put(
        "mpi_library",
        mpi::environment::library_version().ok().map(|v| v.trim_end_matches(['\0', '\n']).into()),
    );
    let (major, minor) = mpi::environment::version();
    put("mpi_standard", Some(format!("{major}.{minor}").into()));
    put("version", Some(env!("CARGO_PKG_VERSION").into()));
    put("rustc", Some(env!("TRIMTAB_RUSTC").into()));
    put("build", Some(if cfg!(debug_assertions) { "debug" } else { "release" }.into()));
    put("fault_injection", super::driver::corruption_wanted().then(|| true.into()));
    put("started", Some(jiff::Timestamp::now().to_string().into()));
    put("command", Some(std::env::args().collect::<Vec<_>>().into()));
    meta
}

/// What each rank says of itself. Memory: the largest resident size, the largest sum of benchmark arrays, and what is left.
#[must_use]
pub fn rank_meta(rank: i32) -> Value {
    let arrays_kib = (memory::peak_array_bytes() >> 10) as u64;
    let peak_kib = read("/proc/self/status").and_then(|text| meminfo_kib(&text, "VmHWM"));
    json!({
        "rank": rank,
        "host": hostname(),
        "pid": std::process::id(),
        "affinity": affinity(),
        "peak_rss_kib": peak_kib,
        "peak_arrays_kib": arrays_kib,
        "beyond_arrays_kib": peak_kib.map(|peak| peak.saturating_sub(arrays_kib)),
    })
}

/// This host's name.
#[must_use]
pub fn hostname() -> Option<String> {
    read("/proc/sys/kernel/hostname")
}

fn cpu() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|l| l.starts_with("model name") || l.starts_with("CPU part"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Instruction sets that the kernels choose between at run time.
#[must_use]
pub fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ] {
        if there {
            found.push(name);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    found
}

/// CPUs that this process may run on, as the kernel writes lists: `0-3,8`.
fn affinity() -> Option<String> {
    let status = read("/proc/self/status")?;
    Some(status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned())
}

/// The hypervisor's name, `none` on bare metal as far as it can be told.
#[must_use]
pub fn hypervisor() -> String {
    cpuid_vendor()
        .or_else(|| read("/sys/hypervisor/type").filter(|t| !t.is_empty()))
        .or_else(|| device_tree_hypervisor().or_else(dmi_vendor))
        .unwrap_or_else(|| "none".to_owned())
}

#[cfg(target_arch = "x86_64")]
fn cpuid_vendor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    let present = __cpuid(1).ecx & (1 << 31) != 0;
    present.then(|| {
        let leaf = __cpuid(0x4000_0000);
        let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].iter().flat_map(|r| r.to_le_bytes()).collect();
        vendor_name(&bytes)
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid_vendor() -> Option<String> {
    None
}

/// Name of a CPUID signature; an unknown one is shown as it is.
#[cfg(target_arch = "x86_64")]
fn vendor_name(signature: &[u8]) -> String {
    match signature {
        b"KVMKVMKVM\0\0\0" => "kvm".to_owned(),
        b"XenVMMXenVMM" => "xen".to_owned(),
        b"VMwareVMware" => "vmware".to_owned(),
        b"Microsoft Hv" => "hyper-v".to_owned(),
        b"TCGTCGTCGTCG" => "qemu-tcg".to_owned(),
        b"bhyve bhyve " => "bhyve".to_owned(),
        b"VBoxVBoxVBox" => "virtualbox".to_owned(),
        other => format!("unknown ({})", String::from_utf8_lossy(other).trim_end_matches('\0')),
    }
}

fn device_tree_hypervisor() -> Option<String> {
    read("/proc/device-tree/hypervisor/compatible").map(|s| s.trim_end_matches('\0').to_owned())
}

fn dmi_vendor() -> Option<String> {
    let vendor = read("/sys/class/dmi/id/sys_vendor")?;
    matches!(vendor.as_str(), "QEMU" | "Xen" | "VMware, Inc." | "innotek GmbH").then(|| vendor.to_lowercase())
}

#[cfg(test)]
mod tests {
    #[test]
    fn meminfo_line() {
        let text = "MemTotal:       100 kB\nMemAvailable:    42 kB\n";
        assert_eq!(super::meminfo_kib(text, "MemAvailable"), Some(42));
        assert_eq!(super::meminfo_kib(text, "Swap"), None);
    }

    #[test]
    fn this_host_answers() {
        assert!(super::free_memory_bytes().expect("linux") > 1 << 20);
        assert!(!super::hypervisor().is_empty());
    }
}
