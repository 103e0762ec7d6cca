//! The D-Bus API and trimtabctl against a real, private dbus-daemon, with a scripted loop behind the handle.

#![expect(clippy::unwrap_used, reason = "a test world that cannot be built fails the test")]

mod api;
mod auth;
mod bus;
mod ctl;
mod fake;
mod faults;
mod golden;
mod introspection;
mod polkit;
mod signals;
