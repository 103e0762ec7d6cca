//! The bodies of the fuzz targets, fed on stable: with arbitrary bytes, and with real input that was damaged a little, since
//! arbitrary bytes rarely get past a parser's first line. A bounded number of times. May not: hold a check itself.

#[path = "../../fuzz/bodies/configuration.rs"]
mod configuration;
#[path = "../../fuzz/bodies/cpu_list.rs"]
mod cpu_list;
#[path = "../../fuzz/bodies/domain_stats.rs"]
mod domain_stats;
#[path = "../../fuzz/bodies/guest_metadata.rs"]
mod guest_metadata;
#[path = "../../fuzz/bodies/kernel_text.rs"]
mod kernel_text;

use proptest::prelude::*;
use std::collections::BTreeMap;
use zbus::Variant;
use zbus::wire::serialized::Context;
use zbus::wire::{LE, to_bytes};

/// Real input with a few bytes replaced, cut out or doubled; or nothing but arbitrary bytes.
fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let wounds = proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 0..6);
    let real = (prop::sample::select(seeds), wounds).prop_map(|(mut bytes, wounds)| {
        for (place, kind, byte) in wounds {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    });
    prop_oneof![4 => real, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn stats() -> Vec<Vec<u8>> {
    let values = [
        ("state.state", Variant::I32(1)),
        ("vcpu.current", Variant::U32(2)),
        ("balloon.current", Variant::U64(524_288)),
        ("block.count", Variant::U32(1)),
        ("block.0.name", Variant::from("vda")),
        ("block.0.wr.bytes", Variant::U64(11)),
        ("net.count", Variant::U32(1)),
        ("net.0.name", Variant::from("vnet0")),
        ("net.0.tx.bytes", Variant::U64(13)),
    ];
    let record: BTreeMap<&str, &Variant<'_>> = values.iter().map(|(key, value)| (*key, value)).collect();
    let one = to_bytes(Context::new(LE, 0), &vec![("g1", record)]);
    one.map(|bytes| vec![bytes.bytes().to_vec()]).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn cpu_lists(bytes in damaged(texts(&["0-3,8,10-11", "0", "0-8191"]))) {
        cpu_list::run(&bytes);
    }

    #[test]
    fn kernel_texts(bytes in damaged(texts(&[
        "42 (CPU 0/KVM) S 1 1 1 0 -1 4194560 1 0 0 0 17 5 0 0 20 0 1 0 99 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 3 0 0 4 0 0\n",
        "123456 789 12\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nbtime 7\n",
        "MemTotal:       24671404 kB\nMemAvailable:   20000000 kB\n",
        "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4\n",
        "vhost-1234\n",
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n",
    ]))) {
        kernel_text::run(&bytes);
    }

    #[test]
    fn configurations(bytes in damaged(texts(&[
        include_str!("../../systemd/trimtab.toml"),
        "[policy]\nmode = \"enforce\"\n[policy.arbiter]\nmin_gain_pct = 4.5\n[store]\nmax_size_mib = 16\n",
        "[dbus]\nbus = \"session\"\n[sensors]\ninterval_ms = 500\nperf = false\n",
    ]))) {
        configuration::run(&bytes);
    }

    #[test]
    fn guest_metadata_elements(bytes in damaged(texts(&[
        "<guest xmlns='https://trimtab.org/1'><weight>2048</weight><job>a</job><exclude>placement</exclude></guest>",
        "<guest><off/></guest>",
    ]))) {
        guest_metadata::run(&bytes);
    }

    #[test]
    fn domain_statistics(bytes in damaged(stats())) {
        domain_stats::run(&bytes);
    }
}
