//! A configuration file: refused with its name, or one whose own text reads back as the same. May not: be run for its result.

use std::path::Path;
use trimtabd::config;

pub(crate) fn run(bytes: &[u8]) {
    let path = Path::new("/etc/trimtab/config.d/fuzz.toml");
    match config::from_bytes(path, bytes.to_vec()) {
        Ok(read) => {
            let again = config::from_bytes(path, read.to_toml().into_bytes()).map(|again| again.to_toml());
            assert_eq!(again.map_err(|e| e.to_string()), Ok(read.to_toml()));
        }
        Err(errors) => assert!(errors.to_string().contains("fuzz.toml"), "{errors}"),
    }
}
