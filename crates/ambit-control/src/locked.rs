//! Mutexes, taken in one way.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Returns what a mutex guards: who panicked with it left it whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
