//! From a guest's name to qemu's pid, by libvirt's pid files.
//!
//! libvirt writes `NAME.pid` into its state directory: /run/libvirt/qemu for the system, $XDG_RUNTIME_DIR/libvirt/qemu/run
//! for a session. The number counts in libvirtd's pid namespace, so the daemon has to run in the same one. A file can be
//! left over (libvirtd killed, then qemu ended) and its number in use by another process by now: the process has to be a
//! qemu that was started for this guest, or there is no pid. May not: call libvirt.

use std::path::Path;

/// qemu's pid of the running guest `name`; `None` if there is none or it is another process.
pub fn qemu_pid(pid_dir: &Path, name: &str) -> Option<i32> {
    qemu_pid_in(Path::new("/proc"), pid_dir, name)
}

/// The same with another `/proc`.
pub(crate) fn qemu_pid_in(proc_root: &Path, pid_dir: &Path, name: &str) -> Option<i32> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return None;
    }
    let text = std::fs::read_to_string(pid_dir.join(format!("{name}.pid"))).ok()?;
    let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0)?;
    let command_line = std::fs::read(proc_root.join(pid.to_string()).join("cmdline")).ok()?;
    runs_guest(&command_line, name).then_some(pid)
}

/// libvirt starts qemu with `-name guest=NAME,debug-threads=on`, commas within the name doubled.
fn runs_guest(command_line: &[u8], name: &str) -> bool {
    let wanted = format!("guest={},", name.replace(',', ",,"));
    let mut arguments = command_line.split(|byte| *byte == 0);
    while let Some(argument) = arguments.next() {
        if argument == b"-name" {
            let value = arguments.next().unwrap_or_default();
            // What follows the name is a single comma: a doubled one would belong to a longer name.
            return value.strip_prefix(wanted.as_bytes()).is_some_and(|rest| !rest.starts_with(b","))
                || value == &wanted.as_bytes()[..wanted.len() - 1];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixture with `NAME.pid` holding `pid` and a process 77 with this `-name` argument.
    fn found(file_name: &str, pid: &str, name_argument: &str, ask: &str) -> Option<i32> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(format!("{file_name}.pid")), pid).unwrap();
        std::fs::create_dir(dir.path().join("77")).unwrap();
        let command_line = format!("/usr/bin/qemu-system-x86_64\0-name\0{name_argument}\0-S\0");
        std::fs::write(dir.path().join("77/cmdline"), command_line).unwrap();
        qemu_pid_in(dir.path(), dir.path(), ask)
    }

    #[test]
    fn odd_names_are_found() {
        for name in ["g1", "s 1ö", "a,b", "x.pid", ".hidden", "guest=g1", "-S", "%s", "new\nline"] {
            let argument = format!("guest={},debug-threads=on", name.replace(',', ",,"));
            assert_eq!(found(name, "77", &argument, name), Some(77), "{name}");
        }
        assert_eq!(found("g1", "77\n", "guest=g1", "g1"), Some(77));
    }

    #[test]
    fn a_left_over_file_or_another_guests_process_is_no_pid() {
        assert_eq!(found("g1", "77", "guest=g2,debug-threads=on", "g1"), None);
        assert_eq!(
            found("g1", "77", "guest=g1,,x,debug-threads=on", "g1"),
            None,
            "that one is called 'g1,x'"
        );
        assert_eq!(found("g1", "78", "guest=g1,debug-threads=on", "g1"), None);
        assert_eq!(found("g1", "x", "guest=g1,debug-threads=on", "g1"), None);
        assert_eq!(found("g1", "-77", "guest=g1,debug-threads=on", "g1"), None);
        assert_eq!(found("g2", "77", "guest=g1,debug-threads=on", "g1"), None);
        assert_eq!(found("g1", "77", "guest=../g1,debug-threads=on", "../g1"), None);
    }
}
