//! Requests on the wire, in the order of sending.

use slab::Slab;

use crate::transport::Flight;

/// Requests on the wire over all connections of a worker, as a list from the one sent first to the
/// one sent last. All have one time-out, so the order of sending is the order of giving up: no
/// operation costs more with more of them.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Slab<Slot>,
    oldest: Option<u32>,
    newest: Option<u32>,
}

#[derive(Debug)]
struct Slot {
    flight: Flight,
    connection: u32,
    older: Option<u32>,
    newer: Option<u32>,
}

impl Flights {
    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Adds the one sent last; returns its key.
    pub(crate) fn push(&mut self, flight: Flight, connection: u32) -> u32 {
        let older = self.newest;
        let key = self.slots.insert(Slot { flight, connection, older, newer: None }) as u32;
        match older {
            Some(o) => self.slots[o as usize].newer = Some(key),
            None => self.oldest = Some(key),
        }
        self.newest = Some(key);
        key
    }

    /// Takes the one of `key` off the wire, and says on which connection it was.
    pub(crate) fn remove(&mut self, key: u32) -> (Flight, u32) {
        let slot = self.slots.remove(key as usize);
        match slot.older {
            Some(o) => self.slots[o as usize].newer = slot.newer,
            None => self.oldest = slot.newer,
        }
        match slot.newer {
            Some(n) => self.slots[n as usize].older = slot.older,
            None => self.newest = slot.older,
        }
        (slot.flight, slot.connection)
    }

    /// The one sent first.
    #[inline]
    pub(crate) fn oldest(&self) -> Option<Oldest> {
        self.oldest.map(|key| Oldest { key, fired_ns: self.slots[key as usize].flight.fired_ns })
    }
}

/// The request on the wire that was sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oldest {
    pub(crate) key: u32,
    pub(crate) fired_ns: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flight(index: u64) -> Flight {
        Flight {
            index,
            intended_ns: 0,
            fired_ns: index,
            phase: 0,
            class: 0,
            attempt: 1,
            head_request: false,
            keep_body: false,
        }
    }

    proptest! {
        /// Whatever comes and goes, the oldest is the one that has been there for longest.
        #[test]
        fn the_order_of_sending_is_kept(steps in proptest::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut flights = Flights::default();
            let mut model: Vec<(u32, u64)> = Vec::new();
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Some(which) if !model.is_empty() => {
                        let (key, index) = model.remove(usize::from(which) % model.len());
                        let (flight, connection) = flights.remove(key);
                        prop_assert_eq!((flight.index, u64::from(connection)), (index, index));
                    }
                    _ => {
                        let index = i as u64;
                        model.push((flights.push(flight(index), index as u32), index));
                    }
                }
                prop_assert_eq!(flights.len() as usize, model.len());
                let oldest = model.first().map(|&(key, fired_ns)| Oldest { key, fired_ns });
                prop_assert_eq!(flights.oldest(), oldest);
            }
        }
    }
}
