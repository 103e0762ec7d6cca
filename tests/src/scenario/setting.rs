//! Static configurations: where the writer's and the burners' threads may run, and how many CPU shares the writer has.
//!
//! The oracle tries them one by one. The list is what an admin who knows this scenario by heart would try: the writer pinned
//! to a core of its own or not, the burners on the other core or not, priority from none to far too much, and the
//! arrangements that look clever and are not.

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
    /// All threads of each burner.
    pub burners: [Pin; 2],
    /// The writer's shares as a multiple of the default.
    pub shares: u32,
}

impl Setting {
    /// Nothing pinned, equal shares.
    pub fn untouched() -> Self {
        Self { writer_vcpu: Pin::Both, writer_service: Pin::Both, burners: [Pin::Both; 2], shares: 1 }
    }

    fn new(writer: Pin, burners: Pin, shares: u32) -> Self {
        Self { writer_vcpu: writer, writer_service: writer, burners: [burners; 2], shares }
    }

    /// For humans: `w=0 b=1,1 x4`.
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
        format!("w={writer} b={},{} x{}", pin(self.burners[0]), pin(self.burners[1]), self.shares)
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
        all
    }

    /// The promising part of [`Setting::all`], for the demo's shorter time.
    pub fn promising() -> Vec<Self> {
        let mut some = vec![Self::new(Pin::First, Pin::Second, 1), Self::new(Pin::Both, Pin::Second, 1)];
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
}
