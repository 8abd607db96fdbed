//! Payment methods: rows of a keyspace of their own, beside the ledger. There are few, and they do not go through the
//! writer.

use super::keyspaces::{Store, StoreError};
use crate::cards::{Brand, Kept, Method, MethodId};

/// What a row begins with.
const VERSION: u8 = 1;
/// What precedes the owner: version, brand, last four digits, month, year.
const FIXED: usize = 9;

impl Store {
    /// Keeps `method` of `owner`, unless there is one with its id already; returns when it is on disk. Whoever calls
    /// sees to it that nobody else does meanwhile.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn keep_method(&self, owner: &str, method: &Method) -> Result<Kept, StoreError> {
        if self.methods.get(method.id.0)?.is_some() {
            return self.method(owner, method.id).map(Kept::Before);
        }
        let mut batch = self.batch();
        batch.method(method.id.0, encode(owner, method));
        batch.commit()?;
        Ok(Kept::Now)
    }

    /// The payment method `id`, if it is one of `owner`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn method(&self, owner: &str, id: MethodId) -> Result<Option<Method>, StoreError> {
        let Some(row) = self.methods.get(id.0)? else { return Ok(None) };
        let (method, of) = decode(id, &row).ok_or(StoreError::Row { keyspace: "methods", row: 0 })?;
        Ok((of == owner.as_bytes()).then_some(method))
    }
}

fn encode(owner: &str, method: &Method) -> Vec<u8> {
    let mut row = Vec::with_capacity(FIXED + owner.len());
    row.extend([VERSION, method.brand as u8]);
    row.extend(method.last4);
    row.push(method.exp_month);
    row.extend(method.exp_year.to_be_bytes());
    row.extend(owner.as_bytes());
    row
}

fn decode(id: MethodId, row: &[u8]) -> Option<(Method, &[u8])> {
    let (fixed, owner) = row.split_first_chunk::<FIXED>()?;
    let [version, brand, a, b, c, d, exp_month, year @ ..] = *fixed;
    let brand = Brand::from_number(brand).filter(|_| version == VERSION)?;
    Some((Method { id, brand, last4: [a, b, c, d], exp_month, exp_year: u16::from_be_bytes(year) }, owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back() {
        let method = Method {
            id: MethodId([7; 16]),
            brand: Brand::Amex,
            last4: *b"0005",
            exp_month: 12,
            exp_year: 2031,
        };
        let row = encode("ann", &method);
        assert_eq!(decode(method.id, &row), Some((method, &b"ann"[..])));
        assert_eq!(decode(method.id, &row[..8]), None);
        assert_eq!(decode(method.id, &[&[2], &row[1..]].concat()), None);
    }

    #[test]
    fn a_method_is_its_owners_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let method = Method {
            id: MethodId([7; 16]),
            brand: Brand::Visa,
            last4: *b"4242",
            exp_month: 1,
            exp_year: 2030,
        };
        {
            let store = Store::open(folder.path()).unwrap();
            assert_eq!(store.keep_method("ann", &method).unwrap(), Kept::Now);
            let other = Method { last4: *b"1111", ..method };
            assert_eq!(
                store.keep_method("ann", &other).unwrap(),
                Kept::Before(Some(method)),
                "the first stays"
            );
            assert_eq!(store.keep_method("bob", &other).unwrap(), Kept::Before(None));
        }
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.method("ann", method.id).unwrap(), Some(method));
        assert_eq!(store.method("bob", method.id).unwrap(), None);
        assert_eq!(store.method("ann", MethodId([8; 16])).unwrap(), None);
    }
}
