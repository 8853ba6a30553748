//! Seeds of random number generators. All of them come from one generator per thread, so that unit
//! tests in virtual time can repeat a run.

/// Returns a random seed, for message ids, pauses and jitter.
pub fn seed() -> u64 {
    fastrand::u64(..)
}
