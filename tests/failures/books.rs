//! The books of a run: what became of every payment that a client asked for, held against what it was told.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::Value;
use squall_record::folder::RunFolder;
use squall_record::ops::Op;
use squall_record::outcome::Outcome;
use squall_scenarios::content::Content;
use squall_scenarios::plan::Plan;
use squall_scenarios::template::Values;

use crate::stack::Stack;

/// How many look payments up at once.
const READERS: usize = 16;

/// How many payments without an answer are asked for again: a minute without the network leaves thousands.
const ASKED_AGAIN: usize = 2000;

/// What a run left behind.
pub struct Books {
    pub ops: Vec<Op>,
    content: Content,
}

/// What became of its payments.
pub struct Settled {
    /// Answered 201; each is there, once.
    pub acknowledged: usize,
    /// Without a usable answer.
    pub unknown: usize,
    /// Of those, the ones that were paid nevertheless.
    pub unknown_paid: usize,
}

impl Books {
    pub fn open(run: &Path) -> Self {
        let folder = RunFolder::open(run).unwrap();
        let plan: Plan = serde_json::from_value(folder.manifest.scenario.clone()).unwrap();
        Self { ops: folder.ops().unwrap(), content: Content::new(&plan) }
    }

    /// Looks every payment up by its key, asks again for [`ASKED_AGAIN`] of those whose fate the client does not know, and holds
    /// the ledger's growth since `before` against it: nothing lost, nothing twice, nothing else.
    pub fn settle(&self, stack: &Stack, before: &Value) -> Settled {
        let (next, ids, moved) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()), Mutex::new(0_i128));
        let (unknown_paid, asked_again) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|s| {
            for _ in 0..READERS {
                s.spawn(|| {
                    while let Some(op) = self.ops.get(next.fetch_add(1, Relaxed)) {
                        let values = self.content.values(op.index);
                        let found = self.found(stack, op, &values, (&unknown_paid, &asked_again));
                        let Some(id) = found else { continue };
                        assert!(ids.lock().unwrap().insert(id.clone()), "{id} is the payment of two keys");
                        *moved.lock().unwrap() += i128::from(values.amount);
                    }
                });
            }
        });
        let (paid, moved) = (ids.into_inner().unwrap().len() as u64, moved.into_inner().unwrap());
        let audit = stack.audit();
        assert_eq!((&audit["balanced"], &audit["recount"]["sound"]), (&true.into(), &true.into()), "{audit}");
        let grown = |name: &str| audit[name].as_i64().unwrap() - before[name].as_i64().unwrap();
        assert_eq!(grown("payments"), paid as i64, "payments that nobody asked for: {audit}");
        assert_eq!(i128::from(grown("debits")), moved, "money that nobody asked to move: {audit}");
        let of = |o: &Op| matches!(o.outcome, Outcome::Failed(_) | Outcome::Shed);
        Settled {
            acknowledged: self.ops.iter().filter(|o| o.outcome == Outcome::Ok).count(),
            unknown: self.ops.iter().filter(|o| of(o)).count(),
            unknown_paid: unknown_paid.into_inner(),
        }
    }

    /// The id of what was paid for this attempt, in the end.
    fn found(
        &self,
        stack: &Stack,
        op: &Op,
        v: &Values,
        (unknown_paid, asked_again): (&AtomicUsize, &AtomicUsize),
    ) -> Option<String> {
        let key = format!("{:032x}", v.key);
        let path = format!("/v1/payments?idempotency_key={key}");
        let (status, mut payment) = stack.get(&path);
        let is_paid = status == 200 && payment["status"] == "succeeded";
        assert!(status == 200 || status == 404, "{status}: {payment}");
        match op.outcome {
            Outcome::Ok => assert!(is_paid, "{key} was answered 201, and is {status} {payment}"),
            Outcome::Declined => assert_eq!((status, &payment["status"]), (200, &"declined".into()), "{key}"),
            Outcome::Shed => assert!(!is_paid, "{key} was said not to have been executed: {payment}"),
            Outcome::Failed(_) => {
                unknown_paid.fetch_add(usize::from(is_paid), Relaxed);
            }
        }
        let unknown = matches!(op.outcome, Outcome::Failed(_) | Outcome::Shed);
        if unknown && asked_again.fetch_add(1, Relaxed) < ASKED_AGAIN {
            let body = format!(
                r#"{{"from":"acc_{:08}","to":"acc_{:08}","amount":{},"currency":"EUR"}}"#,
                v.account, v.other, v.amount
            );
            let again = stack.pay(&key, &body);
            assert!(matches!(again, 201 | 402), "{key} asked again: {again}");
            payment = stack.get(&path).1;
        }
        if payment["status"] != "succeeded" {
            return None;
        }
        assert_eq!(payment["amount"].as_i64(), Some(v.amount), "{key}: {payment}");
        assert_eq!(payment["from"], format!("acc_{:08}", v.account), "{key}");
        assert_eq!(payment["to"], format!("acc_{:08}", v.other), "{key}");
        Some(payment["id"].as_str().unwrap().to_owned())
    }
}
