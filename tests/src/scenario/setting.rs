//! Static configurations: where the writer's and the burners' threads may run, and how many CPU shares the writer has.
//!
//! The oracle tries them one by one. The list is what an admin who knows this scenario by heart would try: the writer pinned
//! to a core of its own or not, the burners on the other core or not, priority from none to far too much, the
//! arrangements that look clever and are not, and every arrangement that Trimtab itself may come to on two CPUs.

/// Which of the host's two CPUs a group of threads may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Both.
    Both,
    /// The first.
    First,
    /// The second.
    Second,
}

/// One static configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The writer's vCPU.
    pub writer_vcpu: Pin,
    /// The writer's emulator threads and IOThread.
    pub writer_service: Pin,
    /// All threads of each burner, or those that `half` leaves.
    pub burners: [Pin; 2],
    /// Only the upper half of each burner's vCPUs is where `burners` says, its other threads are free.
    pub half: bool,
    /// The writer's shares as a multiple of the default.
    pub shares: u32,
}

impl Setting {
    /// Nothing pinned, equal shares.
    pub fn untouched() -> Self {
        Self::new(Pin::Both, Pin::Both, 1)
    }

    fn new(writer: Pin, burners: Pin, shares: u32) -> Self {
        Self { writer_vcpu: writer, writer_service: writer, burners: [burners; 2], half: false, shares }
    }

    /// Trimtab's `thin-out`: the writer on one CPU, half of each burner on the other.
    fn thin_out(shares: u32) -> Self {
        Self { half: true, ..Self::new(Pin::First, Pin::Second, shares) }
    }

    /// Trimtab's `service-clear`: the writer's service threads on one CPU, the burners on the other.
    fn service_clear(shares: u32) -> Self {
        Self { writer_service: Pin::First, ..Self::new(Pin::Both, Pin::Second, shares) }
    }

    /// Where a vCPU of a burner may run, if the burner has `of` of them.
    pub fn burner_vcpu(&self, burner: usize, vcpu: u32, of: u32) -> Pin {
        if self.half && vcpu < of / 2 { Pin::Both } else { self.burners[burner] }
    }

    /// Where the other threads of a burner may run.
    pub fn burner_service(&self, burner: usize) -> Pin {
        if self.half { Pin::Both } else { self.burners[burner] }
    }

    /// For humans: `w=0 b=1,1 x4`, or `w=0 b=*1,*1 x4` if only half of each burner is confined.
    pub fn name(&self) -> String {
        let pin = |p| match p {
            Pin::Both => "*",
            Pin::First => "0",
            Pin::Second => "1",
        };
        let writer = if self.writer_vcpu == self.writer_service {
            pin(self.writer_vcpu).to_owned()
        } else {
            format!("{}/{}", pin(self.writer_vcpu), pin(self.writer_service))
        };
        let half = if self.half { "*" } else { "" };
        let [one, two] = self.burners.map(pin);
        format!("w={writer} b={half}{one},{half}{two} x{}", self.shares)
    }

    /// Every configuration that the oracle tries.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for shares in [1, 2, 4, 8, 16] {
            all.push(Self::new(Pin::Both, Pin::Both, shares));
            all.push(Self::new(Pin::First, Pin::Both, shares));
            all.push(Self::new(Pin::First, Pin::Second, shares));
            all.push(Self::new(Pin::Both, Pin::Second, shares));
        }
        all.push(Self::new(Pin::Both, Pin::Both, 64));
        for shares in [1, 8] {
            all.push(Self { burners: [Pin::Second, Pin::Both], ..Self::new(Pin::First, Pin::Both, shares) });
            all.push(Self { writer_service: Pin::Second, ..Self::new(Pin::First, Pin::Both, shares) });
        }
        for shares in [1, 2, 4, 8] {
            all.push(Self::thin_out(shares));
            all.push(Self::service_clear(shares));
        }
        all
    }

    /// The promising part of [`Setting::all`], for the demo's shorter time.
    pub fn promising() -> Vec<Self> {
        let mut some = vec![Self::new(Pin::First, Pin::Second, 1), Self::new(Pin::Both, Pin::Second, 1)];
        some.extend([Self::thin_out(1), Self::service_clear(1)]);
        for shares in [2, 4, 8, 16] {
            some.push(Self::new(Pin::Both, Pin::Both, shares));
            some.push(Self::new(Pin::First, Pin::Both, shares));
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_distinct_settings() {
        let all = Setting::all();
        let names: std::collections::BTreeSet<String> = all.iter().map(Setting::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.len() >= 20, "the rank correlation is promised over at least 20");
        assert!(all.contains(&Setting::untouched()));
        assert!(Setting::promising().iter().all(|s| all.contains(s)));
    }

    #[test]
    fn thin_out_confines_the_upper_half_only() {
        let thin = Setting::thin_out(2);
        assert_eq!(thin.name(), "w=0 b=*1,*1 x2");
        assert_eq!([0, 1].map(|n| thin.burner_vcpu(1, n, 2)), [Pin::Both, Pin::Second]);
        assert_eq!(thin.burner_service(0), Pin::Both);
        let clear = Setting::service_clear(1);
        assert_eq!(clear.name(), "w=*/0 b=1,1 x1");
        assert_eq!((clear.burner_vcpu(0, 0, 2), clear.burner_service(0)), (Pin::Second, Pin::Second));
    }
}
