//! The D-Bus API, trimtabctl and the libvirt client against a real, private dbus-daemon: with a scripted loop behind the
//! handle, and a stand-in for libvirt-dbus.

#![expect(clippy::unwrap_used, reason = "a test world that cannot be built fails the test")]

mod api;
mod auth;
mod bus;
mod ctl;
mod daemon;
mod fake;
mod faults;
mod golden;
mod introspection;
mod libvirt;
mod polkit;
mod signals;
