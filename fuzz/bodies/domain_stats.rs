//! An answer to GetAllDomainStats as bytes of the wire: decoded or refused, with a bounded number of devices. May not: be run
//! for its result.

use trimtabd::libvirt::decode_stats;

pub(crate) fn run(bytes: &[u8]) {
    for guest in decode_stats(bytes).unwrap_or_default() {
        assert!(guest.blocks.is_none_or(|blocks| blocks.len() <= 1024));
        assert!(guest.nets.is_none_or(|nets| nets.len() <= 1024));
    }
}
