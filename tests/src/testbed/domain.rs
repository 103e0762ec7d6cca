//! What a guest looks like, and its libvirt domain XML.

use super::Accel;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Where a guest's disk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the work directory, the same file for all hosts (migration with shared storage).
    Shared,
    /// On its host alone.
    Local,
    /// In the host's memory (tmpfs): as fast as the CPU lets the guest write, whatever disk the machine has.
    Memory,
}

/// A raw disk, target vda. The host opens it with O_DIRECT (cache=none) where its filesystem can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size.
    pub mib: u64,
    /// Place.
    pub place: Place,
}

/// A guest to be started.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// Name: letters, digits, `-`.
    pub name: String,
    /// vCPUs online.
    pub vcpus: u32,
    /// vCPUs that can be plugged at most.
    pub max_vcpus: u32,
    /// Memory at start.
    pub mem_mib: u64,
    /// Memory that the balloon can grow to at most.
    pub max_mem_mib: u64,
    /// Load from boot on: `idle`, `cpu:N`, `io`, `mem:MiB`, several separated by `,`.
    pub load: String,
    /// Disk, if any.
    pub disk: Option<Disk>,
    /// IOThreads; the disk uses the first one.
    pub iothreads: u32,
    /// Content of the `<metadata>` element.
    pub metadata: String,
    /// cpu_shares from the start.
    pub shares: Option<u64>,
    /// Whether it has a network card on the testbed's network.
    pub net: bool,
    /// Its address there, `10.77.0.101/24`.
    pub ip: Option<String>,
    /// Defined (it can be started again after it stopped) or transient.
    pub persistent: bool,
}

impl GuestSpec {
    /// An idle guest of 2 vCPUs and 96 MiB with a 16 MiB disk on its host, an IOThread, and a network card.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            vcpus: 2,
            max_vcpus: 2,
            mem_mib: 96,
            max_mem_mib: 96,
            load: "idle".to_owned(),
            disk: Some(Disk { mib: 16, place: Place::Local }),
            iothreads: 1,
            metadata: String::new(),
            shares: None,
            net: true,
            ip: None,
            persistent: true,
        }
    }
    /// With this load from boot on.
    #[must_use]
    pub fn load(mut self, load: &str) -> Self {
        load.clone_into(&mut self.load);
        self
    }
    /// With Trimtab metadata of this weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.metadata = format!(
            "<trimtab:guest xmlns:trimtab='urn:trimtab:guest:1'><trimtab:weight>{weight}</trimtab:weight></trimtab:guest>"
        );
        self
    }
    /// With this disk size.
    #[must_use]
    pub fn disk_mib(mut self, mib: u64) -> Self {
        let place = self.disk.map_or(Place::Local, |d| d.place);
        self.disk = Some(Disk { mib, place });
        self
    }
    /// With the disk in memory.
    #[must_use]
    pub fn disk_in_memory(mut self, mib: u64) -> Self {
        self.disk = Some(Disk { mib, place: Place::Memory });
        self
    }
    /// With so many vCPUs.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self.max_vcpus = self.max_vcpus.max(vcpus);
        self
    }

    /// The disk file's path inside the host.
    pub(crate) fn disk_file(&self, disk: Disk, work: &Path) -> PathBuf {
        let dir = match disk.place {
            Place::Shared => work.join("shared"),
            Place::Local => PathBuf::from("/var/lib/libvirt/images"),
            Place::Memory => PathBuf::from("/run/ram"),
        };
        dir.join(format!("{}.raw", self.name))
    }

    /// The domain XML. `tag` makes the UUID unique to the testbed, `cache` is the disk's cache mode.
    pub(crate) fn xml(&self, work: &Path, tag: &str, accel: Accel, cache: &str) -> String {
        let name = escape(&self.name);
        let disk = self.disk.map_or_else(String::new, |disk| {
            let inside = self.disk_file(disk, work);
            let iothread = if self.iothreads > 0 { " iothread='1'" } else { "" };
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='{cache}' io='threads'{iothread}/>\
                 <source file='{}'/><target dev='vda' bus='virtio'/></disk>",
                escape(&inside.display().to_string())
            )
        });
        let mut hasher = DefaultHasher::new();
        (tag, &self.name).hash(&mut hasher);
        let mac = hasher.finish().to_be_bytes();
        let net = if self.net {
            format!(
                "<interface type='bridge'><mac address='52:54:00:{:02x}:{:02x}:{:02x}'/><source bridge='br0'/>\
                 <model type='virtio'/></interface>",
                mac[0], mac[1], mac[2]
            )
        } else {
            String::new()
        };
        let cpu = match accel {
            Accel::Kvm => "<cpu mode='host-passthrough'/>",
            Accel::Tcg => "<cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>",
        };
        let iothreads = if self.iothreads > 0 {
            format!("<iothreads>{}</iothreads>", self.iothreads)
        } else {
            String::new()
        };
        let tune =
            self.shares.map_or_else(String::new, |s| format!("<cputune><shares>{s}</shares></cputune>"));
        let metadata = if self.metadata.is_empty() {
            String::new()
        } else {
            format!("<metadata>{}</metadata>", self.metadata)
        };
        let ip = self.ip.as_ref().map_or_else(String::new, |ip| format!(" tb.ip={ip}"));
        // Machine type `pc`: libvirt turns the alias into the installed qemu's own version of it.
        format!(
            "<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid>{metadata}\
             <memory unit='MiB'>{max_mem}</memory><currentMemory unit='MiB'>{mem}</currentMemory>\
             <vcpu current='{vcpus}'>{max_vcpus}</vcpu>{iothreads}{tune}\
             <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{guest}/vmlinuz</kernel><initrd>{guest}/initrd</initrd>\
             <cmdline>console=ttyS0 quiet loglevel=4 panic=1 mitigations=off tb.load={load}{ip}</cmdline></os>\
             <features><acpi/><apic/></features>{cpu}<clock offset='utc'/>\
             <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disk}{net}\
             <serial type='file'><source path='/run/guests/{name}.console' append='on'/><target port='0'/></serial>\
             <serial type='unix'><source mode='bind' path='/run/guests/{name}.ctl'/><target port='1'/></serial>\
             <memballoon model='virtio'><stats period='2'/></memballoon></devices></domain>",
            kind = accel.domain_type(),
            uuid = uuid(&[tag, &self.name]),
            max_mem = self.max_mem_mib.max(self.mem_mib),
            mem = self.mem_mib,
            vcpus = self.vcpus,
            max_vcpus = self.max_vcpus.max(self.vcpus),
            guest = escape(&work.join("guest").display().to_string()),
            load = escape(&self.load),
        )
    }
}

/// A UUID that is always the same for the same words.
pub(crate) fn uuid(words: &[&str]) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, words).hash(&mut hasher);
        hasher.finish()
    };
    let hex = format!("{:016x}{:016x}", half(1), half(2));
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_stable_and_distinct() {
        assert_eq!(uuid(&["a", "b"]), uuid(&["a", "b"]));
        assert_ne!(uuid(&["a", "b"]), uuid(&["a", "c"]));
        let id: trimtab_policy::units::GuestId = uuid(&["a", "b"]).parse().unwrap();
        assert_eq!(id.to_string(), uuid(&["a", "b"]));
    }

    #[test]
    fn xml_escapes_and_carries_the_metadata() {
        let spec = GuestSpec::new("g1").weight(2048).load("cpu:2");
        let xml = spec.xml(Path::new("/tmp/it's"), "t", Accel::Tcg, "none");
        assert!(xml.contains("/tmp/it&apos;s/guest/vmlinuz"));
        assert!(
            xml.contains(
                "<metadata><trimtab:guest xmlns:trimtab='urn:trimtab:guest:1'><trimtab:weight>2048<"
            )
        );
        assert!(xml.contains("tb.load=cpu:2<"));
    }
}
