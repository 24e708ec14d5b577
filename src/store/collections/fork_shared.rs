//! A value that forks share until one of them writes to it.

use std::ops::Deref;
use std::sync::Arc;

/// A value that is owned until it is shared: writing to an owned value needs no atomic operation.
#[derive(Debug)]
pub(crate) enum ForkShared<T> {
    Owned(Box<T>),
    Shared(Arc<T>),
}

impl<T: Default> Default for ForkShared<T> {
    fn default() -> Self {
        Self::Owned(Box::default())
    }
}

impl<T: Clone + Default> ForkShared<T> {
    /// The value, for writing; copied first if it is shared. If all other forks were dropped, it is not copied.
    #[inline]
    pub(crate) fn write(&mut self) -> &mut T {
        if let Self::Shared(shared) = self {
            let owned = Arc::get_mut(shared).map(std::mem::take);
            *self = Self::Owned(Box::new(owned.unwrap_or_else(|| T::clone(shared))));
        }
        match self {
            Self::Owned(value) => value,
            Self::Shared(shared) => Arc::make_mut(shared),
        }
    }
}

impl<T: Default> ForkShared<T> {
    /// Shares the value with a fork.
    pub(crate) fn share(&mut self) -> Self {
        let shared = match self {
            Self::Owned(value) => Arc::new(std::mem::take(&mut **value)),
            Self::Shared(shared) => Arc::clone(shared),
        };
        *self = Self::Shared(Arc::clone(&shared));
        Self::Shared(shared)
    }
}

impl<T> Deref for ForkShared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Owned(value) => value,
            Self::Shared(shared) => shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_to_one_leaves_the_other() {
        let mut a: ForkShared<Vec<u8>> = ForkShared::default();
        a.write().push(1);
        let mut b = a.share();
        b.write().push(2);
        a.write().push(3);
        assert_eq!((a.as_slice(), b.as_slice()), (&[1, 3][..], &[1, 2][..]));
    }

    /// Counts how often it was copied.
    #[derive(Debug, Default)]
    struct Counted(u32);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            Self(self.0 + 1)
        }
    }

    #[test]
    fn a_fork_that_was_dropped_made_the_next_write_copy() {
        let mut value: ForkShared<Counted> = ForkShared::default();
        for _ in 0..3 {
            drop(value.share());
            assert_eq!(value.write().0, 0);
        }
        // Forks of forks too, in whatever order they are dropped.
        let mut fork = value.share();
        let second = fork.share();
        drop(value);
        assert_eq!(fork.write().0, 1);
        let mut second = second;
        assert_eq!(second.write().0, 0);
        let (one, other) = (second.share(), second.share());
        drop(one);
        assert_eq!(second.write().0, 1);
        assert_eq!(other.0, 0);
    }
}
