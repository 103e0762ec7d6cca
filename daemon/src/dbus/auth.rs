//! Who may change something. Reading is free to everybody whom the bus lets through.
//!
//! * System bus, or a bus by address: polkit decides, one action each (systemd/org.trimtab1.policy). The caller's flag
//!   ALLOW_INTERACTIVE_AUTHORIZATION decides whether polkit may ask for a password. Uid 0 is always allowed, as polkit
//!   itself has it.
//! * Same, but nobody owns polkit's name and the bus cannot start it: uid 0 and members of the group `trimtab` (and the
//!   user whom the daemon runs as, who rules over its process anyway).
//! * Polkit is there but fails or does not answer: refused (except uid 0).
//! * Session bus: the user who runs the daemon.
//!
//! The caller's identity comes from the bus (GetConnectionCredentials), never from the message.
//! May not: remember a permission.

use super::proxy::{Bus, Error};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::collections::HashMap;
use std::ffi::CString;
use std::time::Duration;
use zbus::Connection;
use zbus::fdo::{ConnectionCredentials, DBusProxy};
use zbus::message::{Flags, Header};
use zbus::names::BusName;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

/// Longest wait for polkit when it may ask nobody.
const POLKIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for polkit when it may ask a human for a password.
const POLKIT_HUMAN_TIMEOUT: Duration = Duration::from_secs(240);

/// How mutating calls are authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// polkit, and where none runs: uid 0 and members of this group.
    Polkit {
        /// Group name.
        group: String,
    },
    /// Only the user who runs the daemon.
    SameUser,
}

impl AuthConfig {
    /// What fits the bus: the same user on a session bus, polkit or else root and `group` elsewhere.
    pub fn for_bus(bus: &Bus, group: &str) -> Self {
        match bus {
            Bus::Session => Self::SameUser,
            Bus::System | Bus::Address(_) => Self::Polkit { group: group.to_owned() },
        }
    }
}

/// What can be asked for; each is a polkit action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    SetMode,
    Pause,
    Revert,
    Restore,
    Reload,
}

impl Action {
    /// The polkit action.
    fn id(self) -> &'static str {
        match self {
            Self::SetMode => "org.trimtab1.set-mode",
            Self::Pause => "org.trimtab1.pause",
            Self::Revert => "org.trimtab1.revert",
            Self::Restore => "org.trimtab1.restore",
            Self::Reload => "org.trimtab1.reload",
        }
    }
}

/// What polkit said.
enum Polkit {
    Yes,
    No(String),
    /// Nobody owns its name and the bus cannot start it.
    Absent,
}

/// Decides about mutating calls.
#[derive(Debug)]
pub(super) struct Authorizer {
    config: AuthConfig,
}

impl Authorizer {
    pub(super) fn new(config: AuthConfig) -> Self {
        Self { config }
    }

    /// Ok if the sender of `header` may do `action`, NotAuthorized with the reason otherwise.
    pub(super) async fn allow(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
    ) -> Result<(), Error> {
        let caller = caller(connection, header).await?;
        let uid = caller.unix_user_id();
        match self.verdict(connection, header, action, &caller).await {
            Ok(()) => {
                tracing::info!(action = action.id(), uid, pid = caller.process_id(), "allowed");
                Ok(())
            }
            Err(why) => {
                tracing::warn!(action = action.id(), uid, pid = caller.process_id(), why, "refused");
                Err(Error::NotAuthorized(format!("{} is not allowed: {why}", action.id())))
            }
        }
    }

    async fn verdict(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
        caller: &ConnectionCredentials,
    ) -> Result<(), String> {
        let Some(uid) = caller.unix_user_id() else {
            return Err("the bus does not tell who is calling".to_owned());
        };
        match &self.config {
            AuthConfig::SameUser if uid == Uid::effective().as_raw() => Ok(()),
            AuthConfig::SameUser => {
                Err("on a session bus only the user who runs trimtabd may do that".to_owned())
            }
            AuthConfig::Polkit { .. } if uid == 0 => Ok(()),
            AuthConfig::Polkit { group } => match ask_polkit(connection, header, action).await {
                Polkit::Yes => Ok(()),
                Polkit::No(why) => Err(why),
                Polkit::Absent if uid == Uid::effective().as_raw() || in_group(uid, caller, group) => Ok(()),
                Polkit::Absent => {
                    Err(format!("polkit does not run, and uid {uid} is neither root nor in group {group}"))
                }
            },
        }
    }
}

/// What the bus knows of the sender.
async fn caller(connection: &Connection, header: &Header<'_>) -> Result<ConnectionCredentials, Error> {
    let sender = header.sender().ok_or_else(|| Error::NotAuthorized("the call has no sender".to_owned()))?;
    let bus = DBusProxy::new(connection).await?;
    let credentials = bus.get_connection_credentials(BusName::from(sender.clone())).await;
    credentials.map_err(|error| Error::NotAuthorized(format!("the caller is unknown to the bus: {error}")))
}

async fn ask_polkit(connection: &Connection, header: &Header<'_>, action: Action) -> Polkit {
    let human = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let (flags, limit) = if human {
        (CheckAuthorizationFlags::ALLOW_USER_INTERACTION, POLKIT_HUMAN_TIMEOUT)
    } else {
        (CheckAuthorizationFlags::empty(), POLKIT_TIMEOUT)
    };
    let check = async {
        let subject = Subject::new_for_message_header(header)
            .map_err(|error| zbus::Error::Failure(format!("no polkit subject: {error}")))?;
        let polkit = AuthorityProxy::new(connection).await?;
        polkit.check_authorization(&subject, action.id(), &HashMap::new(), flags, "").await
    };
    match tokio::time::timeout(limit, check).await {
        Ok(Ok(answer)) if answer.is_authorized => Polkit::Yes,
        Ok(Ok(answer)) if answer.is_challenge && !human => {
            Polkit::No("polkit wants a password, and the call does not allow asking for one".to_owned())
        }
        Ok(Ok(answer)) if answer.is_challenge => {
            Polkit::No("polkit wants a password, and there is no agent to ask for one".to_owned())
        }
        Ok(Ok(_)) => Polkit::No("polkit says no".to_owned()),
        Ok(Err(zbus::Error::FDO(error)))
            if matches!(
                *error,
                zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_)
            ) =>
        {
            Polkit::Absent
        }
        Ok(Err(error)) => Polkit::No(format!("polkit failed: {error}")),
        Err(_) => Polkit::No(format!("polkit did not answer within {} s", limit.as_secs())),
    }
}

/// Whether the caller is in `group`: by the groups of its process where the bus tells them (complete or absent), else
/// by the user database.
fn in_group(uid: u32, caller: &ConnectionCredentials, group: &str) -> bool {
    let Ok(Some(group)) = Group::from_name(group) else { return false };
    match caller.unix_group_ids() {
        Some(gids) => gids.contains(&group.gid.as_raw()),
        None => groups_of(uid).is_some_and(|gids| gids.contains(&group.gid)),
    }
}

fn groups_of(uid: u32) -> Option<Vec<Gid>> {
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    getgrouplist(&CString::new(user.name).ok()?, user.gid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_decides_the_rule() {
        assert_eq!(AuthConfig::for_bus(&Bus::Session, "trimtab"), AuthConfig::SameUser);
        for bus in [Bus::System, "unix:path=/x".parse().unwrap()] {
            assert_eq!(
                AuthConfig::for_bus(&bus, "trimtab"),
                AuthConfig::Polkit { group: "trimtab".to_owned() }
            );
        }
    }

    #[test]
    fn root_is_in_its_own_group_by_the_user_database() {
        assert!(groups_of(0).unwrap().contains(&Gid::from_raw(0)));
        assert!(groups_of(u32::MAX - 7).is_none());
    }
}
