//! Every parser of /proc text on the same bytes: none may panic. May not: be run for its result.

use trimtabd::sensors::parse;
use trimtabd::sensors::perf::CpuModel;

pub(crate) fn run(bytes: &[u8]) {
    parse::sched_stat(bytes);
    parse::stat(bytes);
    parse::io(bytes);
    parse::comm_role(bytes);
    parse::vhost_owner(bytes);
    parse::group_role(bytes);
    parse::host_stat(bytes, 10_000_000, |_, _| {});
    parse::mem_info(bytes);
    parse::psi(bytes);
    CpuModel::parse(&String::from_utf8_lossy(bytes));
}
