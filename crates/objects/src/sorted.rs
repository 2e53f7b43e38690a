//! A sorted list whose clones share everything but what changed since.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The most values of a chunk: what one change copies, beside one pointer a chunk.
const MOST: usize = 64;

/// Chunks as small as this are put together with a neighbour.
const FEW: usize = MOST / 4;

/// By what values are sorted.
pub trait Order<T> {
    /// What they are compared by.
    type Key<'a>;

    /// A value's key. It must not change while the value is in a list.
    fn key(value: &T) -> Self::Key<'_>;

    /// How a value's key compares with another.
    fn compare(value: &T, key: &Self::Key<'_>) -> Ordering;
}

/// Shared values, each key once, in the order of the keys.
///
/// A clone costs the same however many values there are. A change to either of two clones copies
/// one chunk of values and the list of chunks, and [`changes`](Self::changes) finds it again by
/// comparing pointers of chunks: among 40,000 values that is a matter of microseconds.
pub struct Sorted<T, O> {
    /// None of them is empty.
    chunks: Arc<Vec<Chunk<T>>>,
    len: usize,
    order: PhantomData<O>,
}

type Chunk<T> = Arc<Vec<Arc<T>>>;

impl<T, O: Order<T>> Sorted<T, O> {
    /// The value of a key.
    pub fn get(&self, key: &O::Key<'_>) -> Option<&Arc<T>> {
        let (chunk, index) = self.place(key).ok()?;
        Some(&self.chunks[chunk][index])
    }

    /// Puts a value in, and returns the one that had its key.
    pub fn insert(&mut self, value: Arc<T>) -> Option<Arc<T>> {
        let place = self.place(&O::key(&value));
        let chunks = Arc::make_mut(&mut self.chunks);
        let (chunk, index) = match place {
            Ok((chunk, index)) => {
                let values = Arc::make_mut(&mut chunks[chunk]);
                return Some(std::mem::replace(&mut values[index], value));
            }
            Err(place) => place,
        };
        self.len += 1;
        if chunks.is_empty() {
            chunks.push(Arc::new(vec![value]));
            return None;
        }
        if chunks[chunk].len() < MOST {
            Arc::make_mut(&mut chunks[chunk]).insert(index, value);
        } else if chunk + 1 == chunks.len() && index == MOST {
            // Values that come in order, as at the start, leave full chunks behind.
            chunks.push(Arc::new(vec![value]));
        } else {
            let values = Arc::make_mut(&mut chunks[chunk]);
            let mut upper = values.split_off(MOST / 2);
            match index.checked_sub(MOST / 2) {
                Some(index) => upper.insert(index, value),
                None => values.insert(index, value),
            }
            values.shrink_to_fit();
            chunks.insert(chunk + 1, Arc::new(upper));
        }
        None
    }

    /// Takes the value of a key out.
    pub fn remove(&mut self, key: &O::Key<'_>) -> Option<Arc<T>> {
        let (chunk, index) = self.place(key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let values = Arc::make_mut(&mut chunks[chunk]);
        let value = values.remove(index);
        self.len -= 1;
        if values.is_empty() {
            chunks.remove(chunk);
        } else if values.len() <= FEW
            && let Some(next) = chunks.get(chunk + 1)
            && next.len() <= MOST / 2
        {
            let next = chunks.remove(chunk + 1);
            Arc::make_mut(&mut chunks[chunk]).extend(next.iter().cloned());
        }
        Some(value)
    }

    /// Every value from this key on.
    pub fn from<'s>(
        &'s self,
        key: &O::Key<'_>,
    ) -> impl Iterator<Item = &'s Arc<T>> + use<'s, T, O> {
        let (chunk, index) = self.place(key).unwrap_or_else(|place| place);
        let first = self.chunks.get(chunk).map(|values| &values[index..]);
        let rest = self
            .chunks
            .iter()
            .skip(chunk + 1)
            .flat_map(|chunk| &**chunk);
        first.into_iter().flatten().chain(rest)
    }

    /// Tells of every key whose value is not the same as in `former`: what it was, and what it is.
    /// One of the two is there, or both.
    pub fn changes<'a>(
        &'a self,
        former: &'a Self,
        mut changed: impl FnMut(Option<&'a Arc<T>>, Option<&'a Arc<T>>),
    ) {
        if Arc::ptr_eq(&self.chunks, &former.chunks) {
            return;
        }
        let mut old = Cursor::new(&former.chunks);
        let mut new = Cursor::new(&self.chunks);
        loop {
            if let (Some(a), Some(b)) = (old.whole_chunk(), new.whole_chunk())
                && Arc::ptr_eq(a, b)
            {
                old.skip_chunk();
                new.skip_chunk();
                continue;
            }
            match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {
                    old.skip();
                    new.skip();
                }
                (Some(a), Some(b)) => {
                    let order = O::compare(a, &O::key(b));
                    changed(order.is_le().then_some(a), order.is_ge().then_some(b));
                    if order.is_le() {
                        old.skip();
                    }
                    if order.is_ge() {
                        new.skip();
                    }
                }
                (a, b) => {
                    changed(a, b);
                    old.skip();
                    new.skip();
                }
            }
        }
    }

    /// Where a key is, or where it would be.
    fn place(&self, key: &O::Key<'_>) -> Result<(usize, usize), (usize, usize)> {
        let after = |values: &Chunk<T>| {
            values
                .first()
                .is_some_and(|first| O::compare(first, key).is_le())
        };
        let chunk = self.chunks.partition_point(after).saturating_sub(1);
        let Some(values) = self.chunks.get(chunk) else {
            return Err((0, 0));
        };
        match values.binary_search_by(|value| O::compare(value, key)) {
            Ok(index) => Ok((chunk, index)),
            Err(index) => Err((chunk, index)),
        }
    }
}

impl<T, O> Sorted<T, O> {
    /// Every value, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.chunks.iter().flat_map(|values| &**values)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A place in a list, for one walk through it.
struct Cursor<'a, T> {
    chunks: &'a [Chunk<T>],
    index: usize,
}

impl<'a, T> Cursor<'a, T> {
    fn new(chunks: &'a [Chunk<T>]) -> Self {
        Self { chunks, index: 0 }
    }

    fn peek(&self) -> Option<&'a Arc<T>> {
        self.chunks.first().map(|values| &values[self.index])
    }

    fn skip(&mut self) {
        self.index += 1;
        if self
            .chunks
            .first()
            .is_some_and(|values| values.len() == self.index)
        {
            self.skip_chunk();
        }
    }

    /// The chunk, if nothing of it has been passed.
    fn whole_chunk(&self) -> Option<&'a Chunk<T>> {
        self.chunks.first().filter(|_| self.index == 0)
    }

    fn skip_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.index = 0;
    }
}

// By hand, because derived ones would ask the same of `T` and `O`.
impl<T, O> Clone for Sorted<T, O> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            len: self.len,
            order: PhantomData,
        }
    }
}

impl<T, O> Default for Sorted<T, O> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
            order: PhantomData,
        }
    }
}

impl<T: fmt::Debug, O> fmt::Debug for Sorted<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq, O> PartialEq for Sorted<T, O> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
            || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<T: Eq, O> Eq for Sorted<T, O> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct ByFirst;

    impl Order<(u16, u8)> for ByFirst {
        type Key<'a> = u16;

        fn key(value: &(u16, u8)) -> u16 {
            value.0
        }

        fn compare(value: &(u16, u8), key: &u16) -> Ordering {
            value.0.cmp(key)
        }
    }

    type List = Sorted<(u16, u8), ByFirst>;

    /// A value as it was and as it is.
    type Pair = (Option<(u16, u8)>, Option<(u16, u8)>);

    /// What `changes` should say, told by looking at everything.
    fn naive(new: &List, old: &List) -> Vec<Pair> {
        let by_key = |list: &List| -> BTreeMap<u16, Arc<(u16, u8)>> {
            list.iter()
                .map(|value| (value.0, Arc::clone(value)))
                .collect()
        };
        let (new, old) = (by_key(new), by_key(old));
        let keys: std::collections::BTreeSet<_> = new.keys().chain(old.keys()).copied().collect();
        let pairs = keys.into_iter().map(|key| (old.get(&key), new.get(&key)));
        pairs
            .filter(|pair| !matches!(pair, (Some(a), Some(b)) if Arc::ptr_eq(a, b)))
            .map(|(a, b)| (a.map(|a| **a), b.map(|b| **b)))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn is_as_a_map_and_tells_what_changed(
            first in 0..400_u16,
            edits in prop::collection::vec((0..500_u16, any::<u8>(), prop::bool::weighted(0.6)), 0..400),
            every in 1..100_usize,
        ) {
            let mut list = List::default();
            let mut map = BTreeMap::new();
            for key in 0..first {
                list.insert(Arc::new((key, 0)));
                map.insert(key, 0);
            }
            let mut former = list.clone();
            for (count, (key, value, put)) in edits.into_iter().enumerate() {
                if put {
                    let replaced = list.insert(Arc::new((key, value)));
                    prop_assert_eq!(replaced.map(|value| value.1), map.insert(key, value));
                } else {
                    let removed = list.remove(&key);
                    prop_assert_eq!(removed.map(|value| value.1), map.remove(&key));
                }
                if count % every == 0 {
                    let mut told = Vec::new();
                    list.changes(&former, |a, b| told.push((a.map(|a| **a), b.map(|b| **b))));
                    prop_assert_eq!(told, naive(&list, &former));
                    former = list.clone();
                }
                prop_assert_eq!(list.get(&key).map(|value| value.1), map.get(&key).copied());
            }
            prop_assert_eq!(list.len(), map.len());
            let expected: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
            let all: Vec<_> = list.iter().map(|value| **value).collect();
            prop_assert_eq!(&all, &expected);
            let from: Vec<_> = list.from(&250).map(|value| **value).collect();
            let expected: Vec<_> = expected.into_iter().filter(|(key, _)| *key >= 250).collect();
            prop_assert_eq!(from, expected);
            prop_assert!(list.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
        }
    }

    #[test]
    fn one_change_leaves_all_other_chunks_shared() {
        let mut list = List::default();
        for key in 0..10_000 {
            list.insert(Arc::new((key, 0)));
        }
        let former = list.clone();
        list.insert(Arc::new((5_000, 1)));
        let shared = |(a, b): (&Chunk<_>, &Chunk<_>)| Arc::ptr_eq(a, b);
        let pairs = list.chunks.iter().zip(former.chunks.iter());
        assert_eq!(pairs.filter(|pair| !shared(*pair)).count(), 1);
        assert_eq!(list.chunks.len(), 10_000_usize.div_ceil(MOST));
    }
}
