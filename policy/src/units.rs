//! Units and identities as newtypes, so that a nanosecond is never added to a kibibyte.
//!
//! May not: read a clock. `MonoNs` comes from the driver (CLOCK_MONOTONIC, immune to wall-clock jumps), `UnixMs` too.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A point on the driver's monotonic clock, in nanoseconds since an arbitrary origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Nanoseconds since `earlier`; zero if `earlier` lies in the future.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Seconds since `earlier`; zero if `earlier` lies in the future.
    pub fn secs_since(self, earlier: Self) -> f64 {
        self.since(earlier) as f64 / 1e9
    }
}

/// Wall-clock time for humans and the journal, in milliseconds since the Unix epoch. Never used to measure a duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMs(pub i64);

/// Identity of a guest: its libvirt UUID (a rename keeps it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(pub [u8; 16]);

/// The text was not 32 hex digits with `-` or `_` between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a UUID")]
pub struct BadGuestId(pub String);

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestId({self})")
    }
}

impl FromStr for GuestId {
    type Err = BadGuestId;
    /// Accepts `-` and `_` as separators (libvirt-dbus object paths use `_`) and a leading `_`.
    fn from_str(text: &str) -> Result<Self, BadGuestId> {
        let bad = || BadGuestId(text.to_owned());
        let mut bytes = [0u8; 16];
        let mut digits = 0usize;
        for c in text.chars() {
            if c == '-' || c == '_' {
                continue;
            }
            let digit = c.to_digit(16).ok_or_else(bad)? as u8;
            let byte = bytes.get_mut(digits / 2).ok_or_else(bad)?;
            *byte = (*byte << 4) | digit;
            digits += 1;
        }
        if digits == 32 { Ok(Self(bytes)) } else { Err(bad()) }
    }
}

impl Serialize for GuestId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GuestId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
