//! `Hypervisor` over libvirt-dbus.
//!
//! What libvirt 9.0 does with a qemu that is stopped (SIGSTOP), found by trying (`tests/tests/live_libvirt.rs` repeats it):
//! - The first call that asks its monitor never returns while qemu is stopped and holds libvirt's job of that domain
//!   and one worker thread of libvirt-dbus. Other calls that need the job fail after 30 s, holding a thread each.
//! - `GetAllDomainStats` asks one domain after the other, so the first one after the stop gets stuck too, with NOWAIT
//!   as without: NOWAIT skips domains whose job is taken, and before that call nobody had taken it.
//! - From then on, *because* that call is stuck, NOWAIT answers at once: complete for the others, and for the stopped
//!   one what needs no monitor (state, count of vCPUs, interfaces, names of disks).
//! - Pins of vCPUs and emulator, scheduler parameters and metadata are read without the job; IOThreads need it.
//!
//! Hence: the bulk call has a time-out of less than a sample; when it expires, the groups that need no monitor are asked
//! for instead (one sample in which everybody lacks disks); the stuck call is left alone, and a guest whose part is
//! missing while a bulk call is stuck is not called until its part is complete again, and counts as hung if that lasts: who is
//! busy for a moment looks the same. When several stop at once, each stops a bulk call before one could tell who they are. As
//! long as that is not known, every call about a guest begins with its own statistics, NOWAIT: they come at once, and without
//! disks of who holds up a bulk call. Who was found hung like this is looked at again, the same way.
//! May not: decide anything.

use super::config::LibvirtConfig;
use super::limits::{Missing, Whom};
use super::link::{Link, connect_proxy, guest_of};
use super::proxies::{AFFECT_LIVE, DomainProxy};
use super::stats::Depth;
use super::{GuestRef, GuestStats, Hypervisor, LibvirtError, LibvirtEvent, errors, knobs, stats};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::units::GuestId;
use zbus::{Connection, proxy::CacheProperties};

/// `VIR_DOMAIN_METADATA_ELEMENT`.
const METADATA_ELEMENT: i32 = 2;
/// `VIR_CONNECT_LIST_DOMAINS_ACTIVE`.
const LIST_ACTIVE: u32 = 1;
/// What needs no monitor and so cannot get stuck.
const SAFE_GROUPS: u32 = stats::STATE | stats::INTERFACE;
const ALL_GROUPS: u32 = SAFE_GROUPS | stats::BALLOON | stats::VCPU | stats::BLOCK;

/// libvirt through libvirt-dbus. The link is kept up by a task that ends with this value.
#[derive(Debug)]
pub struct LibvirtDbus {
    link: Arc<Link>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for LibvirtDbus {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl LibvirtDbus {
    /// Begin to connect, in the background: the first event is `Connected` when that has succeeded, and calls before
    /// it fail with `Away`. Needs a tokio runtime.
    pub fn start(config: LibvirtConfig) -> Self {
        let link = Arc::new(Link::new(config));
        let keeper = tokio::spawn(link.clone().keep());
        Self { link, keeper }
    }

    /// A call about one guest.
    async fn domain<T, F, W>(
        &self,
        call: &'static str,
        id: GuestId,
        limit: std::time::Duration,
        work: W,
    ) -> Result<T, LibvirtError>
    where
        T: Send + 'static,
        F: Future<Output = zbus::Result<T>> + Send + 'static,
        W: FnOnce(DomainProxy<'static>) -> F + Send + 'static,
    {
        let path = self.path_of(id);
        let doubtful = self.link.limits.may_hang(id);
        let answer = self.link.call(call, Whom::Guest(id), limit, move |bus| async move {
            let domain = domain_proxy(&bus, path).await?;
            if doubtful && domain.get_stats(ALL_GROUPS, stats::NOWAIT).await?.depth() == Depth::WithoutMonitor
            {
                return Ok(None);
            }
            work(domain).await.map(Some)
        });
        let Some(answer) = answer.await? else {
            let whom = self.link.names.label(id);
            return Err(match self.missing(id, &whom) {
                Missing::Busy => LibvirtError::Busy { call, whom },
                Missing::Hung { .. } => {
                    let retry_in_ms = self.link.config.bulk_timeout.as_millis() as u64;
                    LibvirtError::BackedOff { whom, retry_in_ms }
                }
            });
        };
        if doubtful {
            self.answers(id);
        }
        Ok(answer)
    }

    /// Notes that a guest's part of the statistics is missing while a bulk call is stuck.
    fn missing(&self, id: GuestId, name: &str) -> Missing {
        let taken_for = self.link.limits.missing(id);
        if taken_for == (Missing::Hung { news: true }) {
            tracing::warn!(guest = name, "qemu does not answer: left alone until it does");
        }
        taken_for
    }

    /// Notes that a guest answers.
    fn answers(&self, id: GuestId) {
        if self.link.limits.complete(id) {
            tracing::info!(guest = self.link.names.label(id), "answers again");
        }
    }

    fn path_of(&self, id: GuestId) -> String {
        format!("{}/domain/_{}", self.link.config.path, id.to_string().replace('-', "_"))
    }

    async fn all_stats(&self, groups: u32) -> Result<stats::Records, LibvirtError> {
        let path = self.link.config.path.clone();
        self.link
            .call("GetAllDomainStats", Whom::Bulk, self.link.config.bulk_timeout, move |bus| async move {
                let flags = stats::ACTIVE | stats::NOWAIT;
                connect_proxy(&bus, path).await?.get_all_domain_stats(groups, flags).await
            })
            .await
    }

    /// The guest with this name, from memory or from libvirt. `None`: gone meanwhile.
    async fn resolve(&self, name: &str) -> Result<Option<GuestId>, LibvirtError> {
        if let Some(id) = self.link.names.id_of(name) {
            return Ok(Some(id));
        }
        let (path, asked, limit) =
            (self.link.config.path.clone(), name.to_owned(), self.link.config.read_timeout);
        let found = self
            .link
            .call("DomainLookupByName", Whom::Host, limit, move |bus| async move {
                connect_proxy(&bus, path).await?.domain_lookup_by_name(&asked).await
            })
            .await;
        match found {
            Ok(path) => {
                let id = guest_of(path.as_str());
                id.into_iter().for_each(|id| self.link.names.learn(id, name));
                Ok(id)
            }
            Err(LibvirtError::Gone(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A guest's present name, from memory or from libvirt.
    async fn name(&self, id: GuestId) -> Result<String, LibvirtError> {
        if let Some(name) = self.link.names.name_of(id) {
            return Ok(name);
        }
        let limit = self.link.config.read_timeout;
        // Asked as the host, not as the guest: a name needs no monitor, so a hung guest has one too.
        let path = self.path_of(id);
        let name = self
            .link
            .call("Name", Whom::Host, limit, move |bus| async move {
                domain_proxy(&bus, path).await?.name().await
            })
            .await?;
        self.link.names.learn(id, &name);
        Ok(name)
    }

    /// Note who is hung and who is not any more.
    fn judge(&self, records: &stats::Records) {
        let stuck = self.link.limits.bulk_is_stuck();
        for record in &records.0 {
            let Some(id) = record.stats.id else { continue };
            match record.depth {
                Depth::Complete => self.answers(id),
                Depth::WithoutMonitor if stuck => {
                    self.missing(id, &record.stats.name);
                }
                _ => {}
            }
        }
    }
}

async fn domain_proxy(bus: &Connection, path: String) -> zbus::Result<DomainProxy<'static>> {
    DomainProxy::builder(bus).path(path).cache_properties(CacheProperties::No).build().await
}

impl Hypervisor for LibvirtDbus {
    async fn guests(&self) -> Result<Vec<GuestRef>, LibvirtError> {
        let (path, limit) = (self.link.config.path.clone(), self.link.config.read_timeout);
        let paths = self
            .link
            .call("ListDomains", Whom::Host, limit, move |bus| async move {
                connect_proxy(&bus, path).await?.list_domains(LIST_ACTIVE).await
            })
            .await?;
        let mut guests = Vec::with_capacity(paths.len());
        for id in paths.iter().filter_map(|path| guest_of(path.as_str())) {
            match self.name(id).await {
                Ok(name) => guests.push(GuestRef { id, name }),
                Err(LibvirtError::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(guests)
    }

    async fn bulk_stats(&self) -> Result<Vec<GuestStats>, LibvirtError> {
        let deep = if self.link.limits.bulk_may_ask_monitors() { ALL_GROUPS } else { SAFE_GROUPS };
        let mut records = match self.all_stats(deep).await {
            Err(LibvirtError::Timeout { .. } | LibvirtError::NoSlot { .. }) if deep == ALL_GROUPS => {
                self.all_stats(SAFE_GROUPS).await?
            }
            other => other?,
        };
        for record in &mut records.0 {
            record.stats.id = self.resolve(&record.stats.name).await?;
        }
        if deep == ALL_GROUPS {
            self.judge(&records);
        }
        Ok(records.0.into_iter().map(|record| record.stats).collect())
    }

    async fn knobs(&self, id: GuestId) -> Result<BTreeMap<Knob, KnobValue>, LibvirtError> {
        let limit = self.link.config.read_timeout;
        self.domain("GetVcpuPinInfo", id, limit, |domain| async move { knobs::read(&domain).await }).await
    }

    async fn set_knob(&self, id: GuestId, knob: Knob, value: &KnobValue) -> Result<(), LibvirtError> {
        let call = knobs::method(knob);
        let setting = knobs::Setting::new(knob, value).ok_or_else(|| LibvirtError::Refused {
            call,
            whom: self.link.names.label(id),
            text: format!("{knob} does not take the value {value} through libvirt"),
        })?;
        let limit = self.link.config.write_timeout;
        self.domain(call, id, limit, |domain| async move { setting.apply(&domain).await }).await
    }

    async fn metadata(&self, id: GuestId) -> Result<Option<String>, LibvirtError> {
        let limit = self.link.config.read_timeout;
        self.domain("GetMetadata", id, limit, |domain| async move {
            match domain.get_metadata(METADATA_ELEMENT, super::metadata::NAMESPACE, AFFECT_LIVE).await {
                Ok(xml) => Ok(Some(xml)),
                Err(error) if errors::kind(&error) == errors::Kind::NoMetadata => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn job_active(&self, id: GuestId) -> Result<bool, LibvirtError> {
        let limit = self.link.config.read_timeout;
        let job =
            self.domain("GetJobInfo", id, limit, |domain| async move { domain.get_job_info().await }).await?;
        Ok(job.0 != 0)
    }

    async fn next_event(&self) -> LibvirtEvent {
        self.link.events.next().await
    }
}
