//! The rig: one host of two CPUs with three guests, their loads, their knobs, and what they achieve.

use super::objective::{Got, Seen};
use super::setting::{Pin, Setting};
use super::{Result, ScenarioError};
use crate::testbed::proc;
use crate::{Error, Guest, GuestRates, GuestSpec, Host, Options, Testbed};
use std::time::{Duration, Instant};
use trimtab_policy::topology::CpuSet;
use trimtab_policy::trial::mean_and_error;

/// CPUs of the scenario's host.
const CPUS: usize = 2;
/// Names, in the order of every array here: the writer, then the burners.
pub const NAMES: [&str; 3] = ["writer", "burner1", "burner2"];
/// vCPUs of each guest.
pub const VCPUS: [u32; 3] = [1, 2, 2];
/// Weights of the main variant.
pub const WEIGHTED: [u32; 3] = [2048, 1024, 1024];
/// Weights of the other one.
pub const EQUAL: [u32; 3] = [1024, 1024, 1024];
/// Loads of the main scenario.
pub const NOISY: [&str; 3] = ["io", "cpu:2", "cpu:2"];
/// The writer overwrites this much again and again.
const DISK_MIB: u64 = 64;
/// A disk slower than this (MB/s of 64 KiB O_DIRECT writes by the host itself) would be what the writer waits for, whatever
/// the CPUs do: its file then lies in memory.
const FAST_DISK_MB_PER_S: f64 = 300.0;

/// Three guests on two CPUs.
#[derive(Debug)]
pub struct Rig {
    testbed: Testbed,
    guests: Vec<Guest>,
    pids: [i32; 3],
    cpus: [u32; CPUS],
    base_shares: u64,
}

/// What the guests did in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Of each guest.
    pub guests: [GuestRates; 3],
    /// Standard error of the CPUs of each.
    pub errors: [f64; 3],
    /// Standard error of the mean of the burners' CPUs.
    pub burners_error: f64,
    /// CPUs' worth of time that the host had to give to guests: what they got plus what was idle.
    pub capacity: f64,
}

impl Window {
    /// Rates that count for the objective: MB/s of the writer, CPUs of the burners.
    pub fn rates(&self) -> [f64; 3] {
        [self.guests[0].write_mb_per_s, self.guests[1].cpu_cores, self.guests[2].cpu_cores]
    }
    /// CPUs of each guest.
    pub fn cpu(&self) -> [f64; 3] {
        self.guests.map(|g| g.cpu_cores)
    }
    /// What the guests got, with the errors, and did.
    pub fn seen(&self) -> Seen {
        let rates = self.rates();
        let each: [Got; 3] = std::array::from_fn(|i| Got {
            cpu: self.guests[i].cpu_cores,
            error: self.errors[i],
            rate: rates[i],
        });
        let mean = f64::midpoint(each[1].cpu, each[2].cpu);
        Seen { each, burners: Got { cpu: mean, error: self.burners_error, rate: mean } }
    }
    /// The mean of several windows of the same length; absent for none.
    pub fn mean(windows: &[Self]) -> Option<Self> {
        let n = windows.len() as f64;
        let avg = |get: &dyn Fn(&Self) -> f64| windows.iter().map(get).sum::<f64>() / n;
        let error =
            |get: &dyn Fn(&Self) -> f64| windows.iter().map(|w| get(w).powi(2)).sum::<f64>().sqrt() / n;
        (!windows.is_empty()).then(|| Self {
            guests: std::array::from_fn(|i| GuestRates {
                cpu_cores: avg(&|w| w.guests[i].cpu_cores),
                write_mb_per_s: avg(&|w| w.guests[i].write_mb_per_s),
            }),
            errors: std::array::from_fn(|i| error(&|w| w.errors[i])),
            burners_error: error(&|w| w.burners_error),
            capacity: avg(&|w| w.capacity),
        })
    }
}

impl Rig {
    /// Starts the host and the guests, idle, with these weights in their metadata.
    pub fn new(weights: [u32; 3], vcpus: [u32; 3]) -> Result<Self> {
        let allowed = allowed_cpus()?;
        let cpus: Vec<u32> = allowed.iter().take(CPUS).collect();
        let &[first, second] = cpus.as_slice() else {
            return Err(ScenarioError::Cpus { needed: CPUS, have: cpus.len() });
        };
        let set: CpuSet = [first, second].into_iter().collect();
        let testbed = Testbed::new(Options::plain(1).each(|host| host.cpus = Some(set.clone())))?;
        let disk_mb_per_s = disk_speed(testbed.host(0));
        let fast = disk_mb_per_s.is_some_and(|speed| speed >= FAST_DISK_MB_PER_S);
        let specs: Vec<GuestSpec> = (0..3)
            .map(|i| {
                let spec = GuestSpec::new(NAMES[i]).vcpus(vcpus[i]).weight(weights[i]);
                match i {
                    0 if fast => spec.disk_mib(DISK_MIB),
                    0 => spec.disk_in_memory(DISK_MIB),
                    _ => spec,
                }
            })
            .collect();
        let guests = testbed.host(0).guests(&specs)?;
        let pids = [guests[0].qemu_pid()?, guests[1].qemu_pid()?, guests[2].qemu_pid()?];
        let text = testbed.host(0).virsh(&["schedinfo writer"])?;
        let base_shares = text
            .lines()
            .find_map(|line| line.strip_prefix("cpu_shares")?.split(':').nth(1)?.trim().parse().ok())
            .ok_or_else(|| Error::Guest(format!("no cpu_shares in {text}")))?;
        Ok(Self { testbed, guests, pids, cpus: [first, second], base_shares })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        self.testbed.host(0)
    }

    /// The testbed.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// Guest number `index` in the order of [`NAMES`].
    pub fn guest(&self, index: usize) -> &Guest {
        &self.guests[index]
    }

    /// qemu's process ids.
    pub fn pids(&self) -> [i32; 3] {
        self.pids
    }

    /// Gives the guests new loads, at once.
    pub fn load(&self, loads: [&str; 3]) -> Result<()> {
        for (guest, load) in self.guests.iter().zip(loads) {
            guest.load(load)?;
        }
        Ok(())
    }

    /// Gives the guests new weights, through their metadata.
    pub fn weigh(&self, weights: [u32; 3]) -> Result<()> {
        let commands: Vec<String> = (0..3)
            .map(|i| {
                format!(
                    "metadata {} --uri urn:trimtab:guest:1 --key trimtab --live --set '<guest><weight>{}</weight></guest>'",
                    NAMES[i], weights[i]
                )
            })
            .collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        self.host().virsh(&commands)?;
        Ok(())
    }

    /// Turns every knob to a static configuration, as an admin would with virsh.
    pub fn apply(&self, setting: &Setting) -> Result<()> {
        let list = |pin: Pin| match pin {
            Pin::Both => format!("{},{}", self.cpus[0], self.cpus[1]),
            Pin::First => self.cpus[0].to_string(),
            Pin::Second => self.cpus[1].to_string(),
        };
        let mut commands = Vec::new();
        for (guest, name) in NAMES.iter().enumerate() {
            let vcpus = self.guests[guest].spec().vcpus;
            let burner = guest.checked_sub(1);
            let vcpu =
                |n| list(burner.map_or(setting.writer_vcpu, |burner| setting.burner_vcpu(burner, n, vcpus)));
            let service =
                list(burner.map_or(setting.writer_service, |burner| setting.burner_service(burner)));
            commands.extend((0..vcpus).map(|n| format!("vcpupin {name} {n} {} --live", vcpu(n))));
            commands.push(format!("emulatorpin {name} {service} --live"));
            commands.push(format!("iothreadpin {name} 1 {service} --live"));
        }
        let shares = [self.base_shares * u64::from(setting.shares), self.base_shares, self.base_shares];
        commands.extend(
            NAMES.iter().zip(shares).map(|(name, s)| format!("schedinfo {name} --live cpu_shares={s}")),
        );
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        self.host().virsh(&commands)?;
        Ok(())
    }

    /// Lets the guests run for `length` and says what they did. Looks about once a second, as the daemon does, to tell the noise.
    pub fn measure(&self, length: Duration) -> Result<Window> {
        let looks = length.as_secs().max(2) as u32;
        let first = self.read()?;
        let (mut last, mut end) = (first, first);
        let mut seen: [Vec<f64>; 3] = Default::default();
        for look in 1..=looks {
            std::thread::sleep((length * look / looks).saturating_sub(first.1.elapsed()));
            end = self.read()?;
            // After a late look the next one comes too soon to tell a rate.
            if end.1.duration_since(last.1) >= length / looks / 2 {
                for (i, seen) in seen.iter_mut().enumerate() {
                    seen.push(last.0[i].rates(&end.0[i]).cpu_cores);
                }
                last = end;
            }
        }
        let seconds = end.1.duration_since(first.1).as_secs_f64();
        let guests: [GuestRates; 3] = std::array::from_fn(|i| first.0[i].rates(&end.0[i]));
        // Neighbouring seconds are alike: the daemon's estimate allows for that.
        let error = |seen: &[f64]| mean_and_error(seen, &[]).map_or(0.0, |(_, error)| error);
        let burners: Vec<f64> = seen[1].iter().zip(&seen[2]).map(|(&a, &b)| f64::midpoint(a, b)).collect();
        let (errors, burners_error) = (std::array::from_fn(|i| error(&seen[i])), error(&burners));
        let idle = (end.2 - first.2) / seconds;
        let capacity = guests.iter().map(|g| g.cpu_cores).sum::<f64>() + idle;
        Ok(Window { guests, errors, burners_error, capacity })
    }

    fn read(&self) -> Result<([crate::GuestStats; 3], Instant, f64)> {
        let of = |i: usize| self.guests[i].stats_of(self.pids[i]);
        Ok(([of(0)?, of(1)?, of(2)?], Instant::now(), proc::idle_s(&self.cpus).unwrap_or(0.0)))
    }

    /// The guests' ticks (one a second each): the pulse of guests that want nothing.
    pub fn ticks(&self) -> [u64; 3] {
        std::array::from_fn(|i| self.guests[i].ticks().unwrap_or(0))
    }
}

/// MB/s of 64 KiB O_DIRECT writes where guests' disks lie; absent if the filesystem has no O_DIRECT.
fn disk_speed(host: &Host) -> Option<f64> {
    const FILE: &str = "/var/lib/libvirt/images/probe";
    const WRITES: u32 = 1000;
    let write = |count: u32| {
        let count = format!("count={count}");
        host.exec(&[
            "dd",
            "if=/dev/zero",
            &format!("of={FILE}"),
            "bs=64k",
            "oflag=direct",
            "conv=notrunc",
            &count,
        ])
    };
    // The first pass allocates the blocks.
    let allocated = write(WRITES).and_then(|_| {
        let start = Instant::now();
        write(WRITES).map(|_| start.elapsed())
    });
    let gone = host.exec(&["rm", "-f", FILE]);
    let elapsed = allocated.and_then(|elapsed| gone.map(|_| elapsed)).ok()?;
    Some(f64::from(WRITES) * 65536.0 / 1e6 / elapsed.as_secs_f64())
}

/// CPUs that this process may use.
fn allowed_cpus() -> Result<CpuSet> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    list.parse().map_err(|e| ScenarioError::Testbed(Error::Guest(format!("Cpus_allowed_list: {e}"))))
}
