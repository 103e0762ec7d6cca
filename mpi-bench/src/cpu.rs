//! Which instruction sets this CPU has, asked at run time. May not: assume one from another.

/// Whether the CPU has all of these. What is compiled for AVX-512 may also use AVX2, FMA and F16C, which the compiler takes for
/// granted with it, so those are asked for too: a hypervisor can hide any of them.
#[cfg(target_arch = "x86_64")]
macro_rules! detected {
    ($($feature:tt),+ $(,)?) => { true $(&& is_x86_feature_detected!($feature))+ };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use detected;
