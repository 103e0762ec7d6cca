//! Decoding of `GetAllDomainStats`: straight from the wire into `GuestStats`, without a map in between.
//!
//! A key that is not known is skipped; a value of an unexpected type counts as absent. A busy domain (its monitor is
//! taken, and NOWAIT was asked for) comes with its disks' names but without their counters: then `blocks` is `None`.
//! May not: call libvirt.

use super::GuestStats;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use trimtab_policy::sample::{BlockSample, GuestState, NetSample};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{LE, Signature};
use zbus::{Type, Variant};

/// `VIR_DOMAIN_STATS_STATE`: needs no monitor.
pub(super) const STATE: u32 = 1;
/// `VIR_DOMAIN_STATS_BALLOON`: asks the monitor.
pub(super) const BALLOON: u32 = 4;
/// `VIR_DOMAIN_STATS_VCPU`: asks the monitor for part of it; the count comes without.
pub(super) const VCPU: u32 = 8;
/// `VIR_DOMAIN_STATS_INTERFACE`: read from the host's interfaces, needs no monitor.
pub(super) const INTERFACE: u32 = 16;
/// `VIR_DOMAIN_STATS_BLOCK`: asks the monitor.
pub(super) const BLOCK: u32 = 32;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE`.
pub(super) const ACTIVE: u32 = 1;
/// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT`.
pub(super) const NOWAIT: u32 = 1 << 29;

/// More disks or interfaces than libvirt allows a guest to have are nonsense and not worth memory.
const MAX_DEVICES: usize = 1024;

/// Whether a record has what only the monitor can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// Cannot be told (no disks), or those groups were not asked for.
    #[default]
    Unknown,
    /// The monitor answered.
    Complete,
    /// The monitor was not asked: the domain is busy or hung.
    WithoutMonitor,
}

/// The answer for one domain, decoded.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) stats: GuestStats,
    pub(super) depth: Depth,
}

/// The answer, decoded.
#[derive(Debug, Default)]
pub(super) struct Records(pub(super) Vec<Record>);

impl Type for Records {
    const SIGNATURE: &'static Signature =
        <Vec<(String, std::collections::HashMap<String, Variant<'_>>)>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::deserialize(d).map(Self)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_tuple(2, RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a domain's name and its statistics")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Record, A::Error> {
        let name: String = seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
        let Params(mut record) =
            seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(1, &self))?;
        record.stats.name = name;
        Ok(record)
    }
}

/// The statistics of one domain, whose name is known.
#[derive(Debug)]
pub(super) struct Params(Record);

impl Params {
    /// See [`Depth`].
    pub(super) fn depth(&self) -> Depth {
        self.0.depth
    }
}

impl Type for Params {
    const SIGNATURE: &'static Signature = <std::collections::HashMap<String, Variant<'_>>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(ParamsVisitor)
    }
}

struct ParamsVisitor;

impl<'de> Visitor<'de> for ParamsVisitor {
    type Value = Params;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistics of a domain")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
        let mut stats = GuestStats::default();
        while let Some(key) = map.next_key::<&str>()? {
            if wanted(key) {
                let value = map.next_value::<Variant<'_>>()?;
                put(&mut stats, key, &value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let depth = judge_blocks(&mut stats);
        Ok(Params(Record { stats, depth }))
    }
}

fn wanted(key: &str) -> bool {
    matches!(key, "state.state" | "vcpu.current" | "balloon.current")
        || key.starts_with("block.")
        || key.starts_with("net.")
}

fn put(stats: &mut GuestStats, key: &str, value: &Variant<'_>) {
    match key {
        "state.state" => stats.state = state(value),
        "vcpu.current" => stats.vcpus = number(value).and_then(|n| n.try_into().ok()),
        "balloon.current" => stats.balloon_kib = number(value),
        "block.count" => {
            stats.blocks.get_or_insert_default();
        }
        "net.count" => {
            stats.nets.get_or_insert_default();
        }
        _ => {
            let mut parts = key.splitn(3, '.');
            let (Some(kind), Some(index), Some(field)) = (parts.next(), parts.next(), parts.next()) else {
                return;
            };
            let Ok(index) = index.parse::<usize>() else { return };
            if kind == "block" {
                if let Some(block) = slot(stats.blocks.get_or_insert_default(), index) {
                    put_block(block, field, value);
                }
            } else if let Some(net) = slot(stats.nets.get_or_insert_default(), index) {
                put_net(net, field, value);
            }
        }
    }
}

fn put_block(b: &mut BlockSample, field: &str, value: &Variant<'_>) {
    match field {
        "name" => b.name = text(value),
        "rd.reqs" => b.rd_reqs = number(value),
        "rd.bytes" => b.rd_bytes = number(value),
        "rd.times" => b.rd_time_ns = number(value),
        "wr.reqs" => b.wr_reqs = number(value),
        "wr.bytes" => b.wr_bytes = number(value),
        "wr.times" => b.wr_time_ns = number(value),
        "fl.reqs" => b.fl_reqs = number(value),
        _ => {}
    }
}

fn put_net(n: &mut NetSample, field: &str, value: &Variant<'_>) {
    match field {
        "name" => n.name = text(value),
        "rx.bytes" => n.rx_bytes = number(value),
        "rx.pkts" => n.rx_pkts = number(value),
        "tx.bytes" => n.tx_bytes = number(value),
        "tx.pkts" => n.tx_pkts = number(value),
        _ => {}
    }
}

/// The entry for `index`, made if need be.
fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index >= MAX_DEVICES {
        return None;
    }
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    list.get_mut(index)
}

/// Disks, but not one counter: the monitor was not asked.
fn judge_blocks(stats: &mut GuestStats) -> Depth {
    let Some(blocks) = stats.blocks.as_ref().filter(|blocks| !blocks.is_empty()) else {
        return Depth::Unknown;
    };
    if blocks.iter().any(|b| b.rd_reqs.is_some() || b.wr_reqs.is_some()) {
        return Depth::Complete;
    }
    stats.blocks = None;
    Depth::WithoutMonitor
}

/// libvirt's virDomainState: 1 running, 2 blocked (counts as running), 3 paused.
fn state(value: &Variant<'_>) -> GuestState {
    match number(value) {
        Some(1 | 2) => GuestState::Running,
        Some(3) => GuestState::Paused,
        _ => GuestState::Other,
    }
}

/// libvirt-dbus wraps each value twice.
pub(super) fn number(value: &Variant<'_>) -> Option<u64> {
    match *value {
        Variant::Variant(ref inner) => number(inner),
        Variant::U64(n) => Some(n),
        Variant::U32(n) => Some(u64::from(n)),
        Variant::I64(n) => n.try_into().ok(),
        Variant::I32(n) => n.try_into().ok(),
        _ => None,
    }
}

fn text(value: &Variant<'_>) -> String {
    match value {
        Variant::Variant(inner) => text(inner),
        Variant::Str(s) => s.to_string(),
        _ => String::new(),
    }
}

/// Decodes an answer to `GetAllDomainStats` as it comes over the wire, little endian.
///
/// # Errors
/// Bytes that are no such answer.
pub fn decode(bytes: &[u8]) -> Result<Vec<GuestStats>, zbus::wire::Error> {
    let (records, _) = Data::new(bytes, Context::new(LE, 0)).deserialize::<Records>()?;
    Ok(records.0.into_iter().map(|record| record.stats).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zbus::wire::to_bytes;

    fn decode(records: &[(&str, Vec<(&str, Variant<'_>)>)]) -> Vec<Record> {
        let records: Vec<(&str, BTreeMap<&str, &Variant<'_>>)> = records
            .iter()
            .map(|(name, params)| (*name, params.iter().map(|(k, v)| (*k, v)).collect()))
            .collect();
        let bytes = to_bytes(Context::new(LE, 0), &records).unwrap();
        bytes.deserialize::<Records>().unwrap().0.0
    }

    #[test]
    fn a_full_record_is_decoded_and_unknown_keys_are_skipped() {
        let records = decode(&[(
            "g1",
            vec![
                ("state.state", Variant::I32(1)),
                ("vcpu.current", Variant::U32(2)),
                ("vcpu.0.time", Variant::U64(7)),
                ("balloon.current", Variant::U64(524_288)),
                ("block.count", Variant::U32(2)),
                ("block.0.name", Variant::from("vda")),
                ("block.0.rd.reqs", Variant::U64(11)),
                ("block.0.wr.times", Variant::U64(12)),
                ("block.1.name", Variant::from("sda")),
                ("net.count", Variant::U32(1)),
                ("net.0.name", Variant::from("vnet0")),
                ("net.0.tx.bytes", Variant::U64(13)),
                ("net.99999999.tx.bytes", Variant::U64(14)),
                ("some.new.thing", Variant::from(vec![1u8, 2])),
            ],
        )]);
        let stats = &records[0].stats;
        assert_eq!((stats.name.as_str(), stats.state, stats.vcpus), ("g1", GuestState::Running, Some(2)));
        assert_eq!(stats.balloon_kib, Some(524_288));
        let blocks = stats.blocks.as_ref().unwrap();
        assert_eq!((blocks.len(), blocks[0].name.as_str(), blocks[1].name.as_str()), (2, "vda", "sda"));
        assert_eq!((blocks[0].rd_reqs, blocks[0].wr_time_ns, blocks[0].wr_reqs), (Some(11), Some(12), None));
        let nets = stats.nets.as_ref().unwrap();
        assert_eq!((nets.len(), nets[0].tx_bytes), (1, Some(13)));
        assert_eq!(records[0].depth, Depth::Complete);
    }

    #[test]
    fn a_busy_domain_has_no_disks_rather_than_disks_of_zero() {
        let busy = vec![
            ("block.count", Variant::U32(1)),
            ("block.0.name", Variant::from("vda")),
            ("block.0.path", Variant::from("/x")),
        ];
        let none = vec![("state.state", Variant::I32(3)), ("block.count", Variant::U32(0))];
        let records = decode(&[("busy", busy), ("diskless", none)]);
        assert_eq!((&records[0].stats.blocks, records[0].depth), (&None, Depth::WithoutMonitor));
        assert_eq!(records[1].stats.blocks.as_deref(), Some([].as_slice()));
        assert_eq!((records[1].depth, records[1].stats.state), (Depth::Unknown, GuestState::Paused));
        assert_eq!((&records[1].stats.nets, records[1].stats.vcpus), (&None, None));
    }

    #[test]
    fn a_value_of_another_type_counts_as_absent() {
        let records = decode(&[(
            "g",
            vec![("balloon.current", Variant::from("much")), ("vcpu.current", Variant::I64(-1))],
        )]);
        assert_eq!((records[0].stats.balloon_kib, records[0].stats.vcpus), (None, None));
    }
}
