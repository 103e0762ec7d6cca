//! The configuration as an admin meets it: layers, errors that say where, and no way to make it panic.

use super::*;
use proptest::prelude::*;
use std::fs;
use trimtab_policy::decision::Mode;

struct Dirs {
    _root: tempfile::TempDir,
    dirs: Vec<PathBuf>,
}

/// Three directories as on a machine; `files` are (directory, name, text).
fn dirs(files: &[(usize, &str, &str)]) -> Dirs {
    let root = tempfile::tempdir().unwrap();
    let dirs: Vec<_> = ["usr", "etc", "run"].iter().map(|name| root.path().join(name)).collect();
    for dir in &dirs {
        fs::create_dir_all(dir.join("config.d")).unwrap();
    }
    for (dir, name, text) in files {
        fs::write(dirs[*dir].join(name), text).unwrap();
    }
    Dirs { _root: root, dirs }
}

fn errors(files: &[(usize, &str, &str)]) -> Vec<String> {
    let dirs = dirs(files);
    let prefix = format!("{}/", dirs._root.path().display());
    let found = load_from(&dirs.dirs).unwrap_err();
    found.to_string().lines().map(|line| line.replace(&prefix, "")).collect()
}

#[test]
fn no_file_means_the_defaults() {
    let dirs = dirs(&[]);
    assert_eq!(load_from(&dirs.dirs).unwrap(), Config::default());
    let nowhere = dirs.dirs[0].join("nothing");
    assert_eq!(load_from(std::slice::from_ref(&nowhere)).unwrap(), Config::default());
    assert!(load(Some(&nowhere), None).unwrap_err().to_string().ends_with("nothing: is not a directory"));
}

#[test]
fn later_layers_win_and_same_names_replace() {
    let dirs = dirs(&[
        (0, "trimtab.toml", "[store]\nmax_size_mib = 100\nsamples_days = 7\n"),
        (0, "config.d/20-b.toml", "[store]\nmax_size_mib = 20\n"),
        (0, "config.d/50-masked.toml", "[sensors]\ninterval_ms = 5000\n"),
        (1, "config.d/10-a.toml", "[store]\nmax_size_mib = 10\ndecisions_days = 9\n"),
        (1, "config.d/50-masked.toml", ""),
        (1, "config.d/README", "not read"),
        (2, "config.d/60-run.toml", "policy.mode = \"advise\"\n[store]\nsample_every_s = 2\n"),
    ]);
    let config = load_from(&dirs.dirs).unwrap();
    assert_eq!(config.store.max_size_mib, 20, "10-a before 20-b whatever the directory");
    assert_eq!((config.store.samples_days, config.store.decisions_days), (7, 9));
    assert_eq!((config.sensors.interval_ms, config.store.sample_every_s), (1000, 2));
    assert_eq!(config.policy.mode, Mode::Advise);
    assert_eq!(config.sources.len(), 5);

    fs::write(dirs.dirs[1].join("trimtab.toml"), "[store]\nmax_size_mib = 30\n").unwrap();
    fs::remove_file(dirs.dirs[0].join("config.d/20-b.toml")).unwrap();
    let config = load_from(&dirs.dirs).unwrap();
    assert_eq!((config.store.max_size_mib, config.store.samples_days), (10, 30), "/etc replaces /usr/lib");
}

#[test]
fn the_users_own_configuration_counts_on_the_session_bus() {
    let dirs = dirs(&[
        (1, "trimtab.toml", "[store]\nmax_size_mib = 100\n"),
        (2, "config.d/50-own.toml", "[store]\nmax_size_mib = 20\n"),
    ]);
    let (machine, own) = (&dirs.dirs[..2], &dirs.dirs[2]);
    let size = |on_session| {
        let config = load_layers(machine.into(), on_session, Some(own.clone())).unwrap();
        config.store.max_size_mib
    };
    assert_eq!([Some(true), Some(false), None].map(size), [20, 100, 100]);
    // Without --bus it is the machine's configuration that says which bus; the user's own cannot, it is not read before.
    fs::write(own.join("trimtab.toml"), "dbus.bus = \"session\"\n").unwrap();
    assert_eq!(size(None), 100);
    fs::write(machine[1].join("config.d/bus.toml"), "dbus.bus = \"session\"\n").unwrap();
    assert_eq!((size(None), size(Some(false))), (20, 100));
    assert!(load_layers(machine.into(), Some(true), None).is_ok(), "a user without a home");
}

#[test]
fn errors_name_file_line_column_and_key() {
    assert_eq!(
        errors(&[(1, "trimtab.toml", "[store]\n\nmax_size = 5\n")])[0],
        "etc/trimtab.toml:3:1: store.max_size: unknown field `max_size`, expected one of `state_dir`, \
         `max_size_mib`, `samples_days`, `decisions_days`, `sample_every_s`"
    );
    assert_eq!(
        errors(&[(1, "trimtab.toml", "[stor]\nx = 1\n")])[0].split("expected").next().unwrap(),
        "etc/trimtab.toml:1:2: stor: unknown field `stor`, "
    );
    assert_eq!(
        errors(&[(2, "config.d/5.toml", "[sensors]\ninterval_ms = \"1s\"\n")]),
        ["run/config.d/5.toml:2:15: sensors.interval_ms: invalid type: string \"1s\", expected u64"]
    );
    assert_eq!(
        errors(&[(0, "config.d/5.toml", "[sensors]\nperf = true\n  interval_ms = 1\n")]),
        ["usr/config.d/5.toml:3:3: sensors.interval_ms: 1 is outside 250..=10000"]
    );
    let bus = errors(&[(1, "trimtab.toml", "libvirt.bus = 'sytsem'\n")]);
    assert!(bus[0].starts_with("etc/trimtab.toml:1:9: libvirt.bus: 'sytsem' is not a bus"), "{bus:?}");
    let mode = errors(&[(1, "trimtab.toml", "[policy]\nmode = 'enfroce'\n")]);
    assert!(mode[0].starts_with("etc/trimtab.toml:2:8: policy.mode: unknown variant `enfroce`"), "{mode:?}");
    let syntax = errors(&[(1, "trimtab.toml", "[store]\nmax_size_mib = \n")]);
    assert!(syntax[0].starts_with("etc/trimtab.toml:2:16: "), "{syntax:?}");
}

#[test]
fn every_wrong_fragment_is_named_at_once_even_an_overridden_one() {
    let found = errors(&[
        (0, "trimtab.toml", "[store]\nmax_size_mib = 1\n"),
        (1, "config.d/a.toml", "[store]\nmax_size_mib = 64\nsamples_days = 0\n"),
        (1, "config.d/b.toml", "[sensors]\nperf = 1\n"),
    ]);
    assert_eq!(
        found,
        [
            "usr/trimtab.toml:2:1: store.max_size_mib: 1 is outside 8..=65536",
            "etc/config.d/a.toml:3:1: store.samples_days: 0 is outside 1..=3650",
            "etc/config.d/b.toml:2:8: sensors.perf: invalid type: integer `1`, expected a boolean",
        ]
    );
}

#[test]
fn contradictions_between_fragments_are_named_where_they_are() {
    let before_max = "etc/config.d/b.toml:1:14: policy.trial.before_max_ms: 3000 is less than policy.trial.before_ms = 4000";
    let first = (0, "config.d/a.toml", "[policy.trial]\nbefore_ms = 4000\n");
    assert_eq!(errors(&[first, (1, "config.d/b.toml", "policy.trial.before_max_ms = 3000\n")]), [before_max]);
    // Against a default, the fragment that is there is the one to look at.
    let late = errors(&[(1, "trimtab.toml", "[policy.trial]\nbefore_ms = 100000\n")]);
    assert!(
        late[0].starts_with("etc/trimtab.toml:2:1: policy.trial.before_max_ms: 24000 is less than"),
        "{late:?}"
    );
    assert_eq!(
        errors(&[(1, "trimtab.toml", "[policy.arbiter]\nmin_gain_pct = 0\n")]),
        ["etc/trimtab.toml:2:1: policy.arbiter.min_gain_pct: 0 is outside 0.5..=100"]
    );
}

#[test]
fn unreadable_fragments_are_errors() {
    let dirs = dirs(&[(1, "trimtab.toml", "")]);
    fs::create_dir(dirs.dirs[1].join("config.d/x.toml")).unwrap();
    assert!(load_from(&dirs.dirs).unwrap_err().to_string().contains("config.d/x.toml: cannot be read"));
    fs::remove_dir(dirs.dirs[1].join("config.d/x.toml")).unwrap();
    fs::write(dirs.dirs[1].join("config.d/x.toml"), b"# ok\n# \xff\n").unwrap();
    assert!(load_from(&dirs.dirs).unwrap_err().to_string().contains("x.toml:2:3: is not UTF-8"));
    fs::write(dirs.dirs[1].join("config.d/x.toml"), "#".repeat(2 << 20)).unwrap();
    assert!(load_from(&dirs.dirs).unwrap_err().to_string().contains("x.toml: is larger than"));
    fs::remove_file(dirs.dirs[1].join("config.d/x.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dirs.dirs[1].join("config.d/x.toml")).unwrap();
    assert!(load_from(&dirs.dirs).is_ok());
    std::os::unix::fs::symlink("/nowhere/at/all", dirs.dirs[1].join("config.d/y.toml")).unwrap();
    assert!(load_from(&dirs.dirs).unwrap_err().to_string().contains("config.d/y.toml: cannot be read"));
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let dirs =
        dirs(&[(1, "trimtab.toml", "[store]\nstate_dir = '/srv/trimtab'\n[libvirt]\nbus = 'session'\n")]);
    let config = load_from(&dirs.dirs).unwrap();
    let shown = config.to_toml();
    assert!(shown.starts_with("# from ") && shown.contains("etc/trimtab.toml\n"), "{shown}");
    let again = Config { sources: config.sources.clone(), ..toml::from_str(&shown).unwrap() };
    assert_eq!(again, config);
    assert!(Config::default().to_toml().starts_with("# from built-in defaults\n"));
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let old = Config::default();
    let mut new = old.clone();
    new.policy.mode = Mode::Enforce;
    assert_eq!(old.needs_restart(&new), [""; 0]);
    new.store.max_size_mib = 9;
    new.libvirt.bus = Some("session".to_owned());
    assert_eq!(old.needs_restart(&new), ["libvirt.bus", "store.max_size_mib"]);
}

/// The file that packages install says what the defaults are; it must not lie, and must not leave a key out.
#[test]
fn the_commented_defaults_are_the_defaults() {
    let shipped = include_str!("../../../systemd/trimtab.toml");
    assert_eq!(toml::from_str::<Config>(shipped).unwrap(), Config::default());
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let active: Vec<_> =
        shipped.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
    let active: toml::Table = active.join("\n").parse().unwrap();

    let mut expected = Config::default();
    // Shown with an example, because their absence means something.
    expected.libvirt.bus = Some("system".to_owned());
    expected.store.state_dir = Some("/var/lib/trimtab".into());
    assert_eq!(active, toml::Table::try_from(&expected).unwrap());
}

/// TOML-like noise: real keys and values in the wrong places come up far more often than from random bytes.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "[store]",
        "[policy]",
        "[policy.trial]",
        "[[store]]",
        "mode",
        "max_size_mib",
        "policy",
        ".",
        "=",
        "= 1",
        "= -1",
        "= 1e400",
        "= 99999999999999999999",
        "= 'x'",
        "= \"\\u0000\"",
        "= [",
        "= {",
        "}",
        "]",
        ",",
        "\n",
        "\r\n",
        "#",
        "é",
        "= 1979-05-27",
        "= nan",
        "= true",
        "= '''",
        "\u{feff}",
        "trial",
        "interval_ms",
        "bus",
        "\"",
        "'",
        "\0",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![8 => word, 1 => any], 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_every_error_has_its_file(first in noise(), second in noise()) {
        let dirs = dirs(&[]);
        fs::write(dirs.dirs[0].join("trimtab.toml"), &first).unwrap();
        fs::write(dirs.dirs[2].join("config.d/1.toml"), &second).unwrap();
        match load_from(&dirs.dirs) {
            Ok(config) => prop_assert!(config.violations().is_empty()),
            Err(errors) => for error in errors.0 {
                prop_assert!(error.file.starts_with(dirs._root.path()), "{error}");
                prop_assert!(error.place.is_some(), "{error}");
            },
        }
    }

    #[test]
    fn raw_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(fragment) = layers::parse(PathBuf::from("x"), bytes) {
            drop(sections::parse(&fragment));
        }
    }
}
