//! Which message bus: `system`, `session` or a D-Bus address. May not: connect (the users do, each with its own limits).

use std::fmt;
use std::str::FromStr;

/// A message bus. Text: `system`, `session`, or an address such as `unix:path=/run/dbus/system_bus_socket`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The system bus (`DBUS_SYSTEM_BUS_ADDRESS` is honoured).
    #[default]
    System,
    /// The caller's session bus.
    Session,
    /// The bus at this address; treated like a system bus.
    Address(zbus::Address),
}

/// The text names no bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a bus: want system, session or a D-Bus address such as unix:path=/run/dbus/system_bus_socket"
)]
pub struct BadBus {
    /// The text.
    pub text: String,
}

impl Bus {
    /// For the middle of a sentence: `the system bus`, `the bus unix:path=...`.
    pub fn described(&self) -> String {
        match self {
            Self::System | Self::Session => format!("the {self} bus"),
            Self::Address(address) => format!("the bus {address}"),
        }
    }

    /// A connection builder for this bus.
    pub fn builder(&self) -> zbus::connection::Builder<'static> {
        match self {
            Self::System => zbus::connection::Builder::system(),
            Self::Session => zbus::connection::Builder::session(),
            Self::Address(address) => zbus::connection::Builder::address(address.clone()),
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Session => f.write_str("session"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for Bus {
    type Err = BadBus;
    fn from_str(text: &str) -> Result<Self, BadBus> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            _ => text.parse().map(Self::Address).map_err(|_| BadBus { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_both_ways() {
        for text in ["system", "session", "unix:path=/run/dbus/system_bus_socket", "unix:abstract=/tmp/x"] {
            assert_eq!(text.parse::<Bus>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "System", "/run/dbus/system_bus_socket", "unix", "foo:bar"] {
            let error = text.parse::<Bus>().unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }
}
