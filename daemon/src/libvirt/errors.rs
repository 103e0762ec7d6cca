//! From D-Bus errors to `LibvirtError`. libvirt-dbus sends every libvirt error as `org.libvirt.Error` plus text, without
//! libvirt's code, so its texts have to be told apart (English: libvirtd runs in the C locale). May not: do anything else.

use super::LibvirtError;
use zbus::fdo;

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Away,
    Gone,
    NoMetadata,
    /// Somebody holds the domain's job and did not give it back within libvirt's 30 s.
    Busy,
    Refused,
}

/// libvirt cannot be reached: texts of a libvirtd that is down, going down, or came back under libvirt-dbus.
const AWAY: [&str; 7] = [
    "Failed to connect socket",
    "client socket is closed",
    "End of file while reading data",
    "Cannot recv data",
    "Cannot write data",
    "connection was closed",
    "internal error: connection",
];
/// The domain does not exist or does not run.
const GONE: [&str; 4] =
    ["Domain not found", "domain is not running", "no domain with matching", "domain is no longer running"];

pub(super) fn kind(error: &zbus::Error) -> Kind {
    match error {
        zbus::Error::MethodError(name, text, _) => {
            kind_of_text(name.as_str(), text.as_deref().unwrap_or_default())
        }
        zbus::Error::FDO(error) => match **error {
            fdo::Error::AccessDenied(_) | fdo::Error::InvalidArgs(_) | fdo::Error::UnknownMethod(_) => {
                Kind::Refused
            }
            fdo::Error::UnknownObject(_) => Kind::Gone,
            _ => Kind::Away,
        },
        zbus::Error::InputOutput(_) | zbus::Error::Handshake(_) | zbus::Error::Address(_) => Kind::Away,
        _ => Kind::Refused,
    }
}

fn kind_of_text(name: &str, text: &str) -> Kind {
    let has = |list: &[&str]| list.iter().any(|part| text.contains(part));
    match name {
        _ if has(&AWAY) => Kind::Away,
        _ if has(&GONE) => Kind::Gone,
        _ if text.contains("metadata not found") => Kind::NoMetadata,
        _ if text.contains("cannot acquire state change lock") => Kind::Busy,
        _ => Kind::Refused,
    }
}

/// libvirt's own words.
pub(super) fn text(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn convert(error: &zbus::Error, call: &'static str, whom: String) -> LibvirtError {
    match kind(error) {
        Kind::Away => LibvirtError::Away(text(error)),
        Kind::Gone => LibvirtError::Gone(whom),
        Kind::NoMetadata | Kind::Busy | Kind::Refused => {
            LibvirtError::Refused { call, whom, text: text(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libvirts_texts_are_told_apart() {
        let of = |text| kind_of_text("org.libvirt.Error", text);
        assert_eq!(
            of("Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file"),
            Kind::Away
        );
        assert_eq!(of("Requested operation is not valid: domain is not running"), Kind::Gone);
        assert_eq!(of("Domain not found: no domain with matching uuid '5' (a)"), Kind::Gone);
        assert_eq!(of("metadata not found: Requested metadata element is not present"), Kind::NoMetadata);
        assert_eq!(of("Timed out during operation: cannot acquire state change lock"), Kind::Busy);
        assert_eq!(of("invalid argument: CPU 4000 is not online"), Kind::Refused);
    }
}
