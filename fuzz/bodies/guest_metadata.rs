//! A guest's metadata element: whatever it holds, there are wishes within their range, or a reason why not. May not: be run
//! for its result.

use trimtabd::libvirt::metadata;

pub(crate) fn run(bytes: &[u8]) {
    let (meta, problems) = metadata::parse("fuzzed", &String::from_utf8_lossy(bytes));
    assert!(meta.weight > 0);
    for problem in problems {
        assert!(problem.to_string().contains("fuzzed"), "{problem}");
    }
}
