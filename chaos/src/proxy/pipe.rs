//! One direction of a connection: what was received, through the toxics one after another, to what is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use super::acting::{Acting, Client};
use super::stage::{End, Out, Piece, Stage};

/// A direction through its toxics.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Received, and in no stage yet: a piece at the most, but for what stages that are gone have left.
    received: VecDeque<Piece>,
    ended: Option<End>,
    stages: Vec<Stage>,
    /// What the removal of a stage has decided.
    over: Option<End>,
}

impl Pipe {
    /// Whether data goes through as it comes.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.stages.is_empty() && self.received.is_empty() && self.ended.is_none() && self.over.is_none()
    }

    /// Has the stages be those of `toxics`: removed ones let go what they hold, new ones come last.
    pub fn arrange(&mut self, toxics: &[Arc<Acting>], client: Client, now_ns: u64) {
        for stage in &mut self.stages {
            match toxics.iter().find(|toxic| toxic.id == stage.id()) {
                Some(toxic) => stage.update(toxic, now_ns),
                None if stage.acts() => self.over = stage.remove().or(self.over),
                None => {
                    stage.remove();
                }
            }
        }
        for toxic in toxics {
            if !self.stages.iter().any(|stage| stage.id() == toxic.id) {
                self.stages.push(Stage::new(Arc::clone(toxic), client, now_ns));
            }
        }
        self.sweep();
    }

    /// Whether more may be received.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.received.is_empty() && self.ended.is_none()
    }

    /// Takes what was received.
    pub fn put(&mut self, piece: Piece) {
        self.received.push_back(piece);
    }

    /// Takes that no more will be received.
    pub fn end(&mut self, end: End) {
        self.ended.get_or_insert(end);
    }

    /// What is to be sent at `now_ns`.
    pub fn next(&mut self, now_ns: u64) -> Out {
        if let Some(end) = self.over {
            return Out::End(end);
        }
        let out = pull(&mut self.stages, &mut self.received, self.ended, now_ns);
        if out == Out::Empty {
            self.sweep();
        }
        out
    }

    fn sweep(&mut self) {
        self.stages.retain(|stage| !stage.is_done());
    }
}

/// What the last of `stages` gives out, once those before have given it what they can.
fn pull(stages: &mut [Stage], received: &mut VecDeque<Piece>, ended: Option<End>, now_ns: u64) -> Out {
    let Some((last, before)) = stages.split_last_mut() else {
        return match received.pop_front() {
            Some(piece) => Out::Piece(piece),
            None => ended.map_or(Out::Empty, Out::End),
        };
    };
    loop {
        let waits = match last.give(now_ns) {
            out @ (Out::Piece(_) | Out::End(_)) => return out,
            Out::Wait(until) => Some(until),
            Out::Empty => None,
        };
        if !last.wants() {
            return waits.map_or(Out::Empty, Out::Wait);
        }
        match pull(before, received, ended, now_ns) {
            Out::Piece(piece) => last.put(piece, now_ns),
            Out::End(end) => last.end(end, now_ns),
            Out::Wait(until) => return Out::Wait(waits.map_or(until, |own| own.min(until))),
            Out::Empty => return waits.map_or(Out::Empty, Out::Wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::toxic::{Toxic, Typed};
    use bytes::Bytes;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn numbered(number: u64) -> Client {
        Client { number, source: None }
    }

    fn acting(id: u64, json: &str) -> Arc<Acting> {
        let toxic: Toxic = serde_json::from_str::<Typed>(json).unwrap().create().unwrap();
        Arc::new(Acting {
            fault: format!("p/{}", toxic.name),
            id,
            seed: 7,
            armed_ns: 0,
            ends_ns: u64::MAX,
            tally: Arc::default(),
            toxic,
        })
    }

    fn one(kind: &str, attributes: &str) -> Arc<Acting> {
        acting(1, &format!(r#"{{"type":"{kind}","attributes":{attributes}}}"#))
    }

    fn pipe(toxics: &[Arc<Acting>]) -> Pipe {
        let mut pipe = Pipe::default();
        pipe.arrange(toxics, numbered(1), 0);
        pipe
    }

    fn put(pipe: &mut Pipe, data: &'static [u8], at_ns: u64) {
        assert!(pipe.has_room());
        pipe.put(Piece { data: Bytes::from_static(data), at_ns });
    }

    /// What came out and when, and how it ended.
    type Drained = (Vec<(u64, Bytes)>, Option<(u64, End)>);

    /// What comes out of the pipe, as far as that is before `until_ns`.
    fn drain(pipe: &mut Pipe, mut now_ns: u64, until_ns: u64) -> Drained {
        let mut all = Vec::new();
        loop {
            match pipe.next(now_ns) {
                Out::Piece(piece) => all.push((now_ns, piece.data)),
                Out::Wait(at_ns) if at_ns <= until_ns => {
                    assert!(at_ns > now_ns, "it waits for what is past");
                    now_ns = at_ns;
                }
                Out::Wait(_) | Out::Empty => return (all, None),
                Out::End(end) => return (all, Some((now_ns, end))),
            }
        }
    }

    fn sizes(all: &[(u64, Bytes)]) -> Vec<usize> {
        all.iter().map(|(_, data)| data.len()).collect()
    }

    #[test]
    fn latencies_add_up_and_count_from_when_data_was_received() {
        let mut pipe = pipe(&[
            one("latency", r#"{"latency":100}"#),
            acting(2, r#"{"type":"latency","name":"b","attributes":{"latency":30}}"#),
        ]);
        put(&mut pipe, b"one", 5 * MS);
        assert_eq!(pipe.next(20 * MS), Out::Wait(105 * MS));
        // The second is received while the first is held.
        put(&mut pipe, b"two", 25 * MS);
        let (all, end) = drain(&mut pipe, 25 * MS, 1000 * MS);
        assert_eq!(all, [(135 * MS, Bytes::from_static(b"one")), (155 * MS, Bytes::from_static(b"two"))]);
        assert_eq!(end, None);
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_reaches_both() {
        let delays: Vec<u64> = (0..200)
            .map(|connection| {
                let mut pipe = Pipe::default();
                pipe.arrange(&[one("latency", r#"{"latency":100,"jitter":50}"#)], numbered(connection), 0);
                put(&mut pipe, b"x", 0);
                drain(&mut pipe, 0, u64::MAX).0[0].0 / MS
            })
            .collect();
        let (least, most) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
        assert!((50..55).contains(&least) && (145..=150).contains(&most), "{least} {most}");
    }

    #[test]
    fn a_rate_is_kept_in_slices_of_a_tenth_of_a_second_and_not_saved_up() {
        let mut pipe = pipe(&[one("bandwidth", r#"{"rate":1}"#)]);
        // A thousand bytes a second.
        put(&mut pipe, &[0; 250], 900 * MS);
        let (all, _) = drain(&mut pipe, 900 * MS, u64::MAX - 1);
        assert_eq!(sizes(&all), [100, 100, 50]);
        assert_eq!(all.iter().map(|(at, _)| at / MS).collect::<Vec<_>>(), [1000, 1100, 1150]);
        put(&mut pipe, &[0; 10], 9000 * MS);
        assert_eq!(drain(&mut pipe, 9000 * MS, u64::MAX - 1).0[0].0, 9010 * MS);
    }

    #[test]
    fn nothing_passes_at_a_rate_of_zero_until_it_is_changed() {
        let mut pipe = pipe(&[one("bandwidth", r#"{"rate":0}"#)]);
        put(&mut pipe, b"data", 0);
        assert_eq!(drain(&mut pipe, 0, u64::MAX - 1), (vec![], None));
        assert!(pipe.has_room());
        put(&mut pipe, b"more", MS);
        assert_eq!(pipe.next(MS), Out::Wait(u64::MAX));
        assert!(!pipe.has_room(), "a sender waits too");
        pipe.arrange(&[one("bandwidth", r#"{"rate":1000}"#)], numbered(1), 2 * MS);
        assert_eq!(sizes(&drain(&mut pipe, 2 * MS, u64::MAX - 1).0), [4, 4]);
    }

    #[test]
    fn an_end_is_held_and_data_is_not() {
        let mut pipe = pipe(&[one("slow_close", r#"{"delay":1000}"#)]);
        put(&mut pipe, b"data", 0);
        assert_eq!(sizes(&drain(&mut pipe, 0, u64::MAX - 1).0), [4]);
        pipe.end(End::Finished);
        assert_eq!(drain(&mut pipe, 7 * MS, u64::MAX - 1), (vec![], Some((1007 * MS, End::Finished))));
    }

    #[test]
    fn a_timeout_drops_data_and_closes() {
        let mut pipe = pipe(&[one("timeout", r#"{"timeout":500}"#)]);
        assert_eq!(pipe.next(0), Out::Wait(500 * MS));
        // As in Toxiproxy, what is dropped puts it off.
        put(&mut pipe, b"data", 100 * MS);
        assert_eq!(pipe.next(100 * MS), Out::Wait(600 * MS));
        let renewed = acting(1, r#"{"type":"timeout","ttl":9000,"attributes":{"timeout":500}}"#);
        pipe.arrange(&[renewed], numbered(1), 200 * MS);
        assert_eq!(pipe.next(200 * MS), Out::Wait(600 * MS), "a renewed lease changes nothing");
        let sooner = acting(1, r#"{"type":"timeout","attributes":{"timeout":300}}"#);
        pipe.arrange(&[sooner], numbered(1), 400 * MS);
        assert_eq!(drain(&mut pipe, 400 * MS, u64::MAX - 1), (vec![], Some((700 * MS, End::Closed))));
    }

    #[test]
    fn a_timeout_of_zero_closes_when_it_is_removed_or_the_sender_ends() {
        let mut first = pipe(&[one("timeout", "{}")]);
        put(&mut first, b"data", 0);
        assert_eq!(first.next(u64::MAX - 1), Out::Empty);
        first.arrange(&[], numbered(1), 0);
        assert_eq!(first.next(0), Out::End(End::Closed));
        let mut second = pipe(&[one("timeout", "{}")]);
        second.end(End::Finished);
        assert_eq!(second.next(0), Out::End(End::Finished));
    }

    #[test]
    fn a_reset_waits_for_data_and_drops_it() {
        let mut pipe = pipe(&[one("reset_peer", r#"{"timeout":100}"#)]);
        assert_eq!(pipe.next(900 * MS), Out::Empty);
        put(&mut pipe, b"data", 950 * MS);
        assert_eq!(drain(&mut pipe, 950 * MS, u64::MAX - 1), (vec![], Some((1050 * MS, End::Reset))));
    }

    #[test]
    fn a_reset_that_has_dropped_data_is_not_taken_back() {
        let mut pipe = pipe(&[one("reset_peer", r#"{"timeout":100}"#)]);
        put(&mut pipe, b"data", 0);
        assert_eq!(pipe.next(0), Out::Wait(100 * MS));
        pipe.arrange(&[], numbered(1), MS);
        assert_eq!(pipe.next(MS), Out::End(End::Reset));
    }

    #[test]
    fn a_share_that_is_taken_back_gives_back_no_data() {
        let mut pipe = pipe(&[one("timeout", r#"{"timeout":100}"#)]);
        put(&mut pipe, b"lost", 0);
        assert_eq!(pipe.next(0), Out::Wait(100 * MS));
        pipe.arrange(
            &[acting(1, r#"{"type":"timeout","attributes":{"timeout":100},"toxicity":0}"#)],
            numbered(1),
            MS,
        );
        put(&mut pipe, b"more", MS);
        assert_eq!(drain(&mut pipe, MS, u64::MAX - 1), (vec![], Some((101 * MS, End::Closed))));
    }

    #[test]
    fn slices_are_of_the_average_size_and_the_variation_apart_by_the_delay() {
        let mut pipe = pipe(&[one("slicer", r#"{"average_size":100,"size_variation":20,"delay":10000}"#)]);
        put(&mut pipe, &[0; 10_000], 0);
        let (all, _) = drain(&mut pipe, 0, u64::MAX - 1);
        let (last, others) = all.split_last().unwrap();
        assert!(others.iter().all(|(_, data)| (80..=120).contains(&data.len())), "{:?}", sizes(&all));
        assert!(sizes(others).iter().any(|size| *size < 90) && sizes(others).iter().any(|size| *size > 110));
        assert_eq!(last.0, (all.len() as u64 - 1) * 10 * MS);
        assert_eq!(sizes(&all).iter().sum::<usize>(), 10_000);
    }

    #[test]
    fn a_rate_that_changes_is_waited_for_no_longer_than_it_has_to_be() {
        let mut pipe = pipe(&[one("bandwidth", r#"{"rate":0,"to":1000,"over":10000}"#)]);
        put(&mut pipe, &[0; 100_000], 0);
        let (all, _) = drain(&mut pipe, 0, u64::MAX - 1);
        assert_eq!(sizes(&all).iter().sum::<usize>(), 100_000);
        // Half of a rate that grows by 100,000 bytes a second each second, after the square root of 2 seconds.
        let until_ms = all.last().unwrap().0 / MS;
        assert!((1300..=1700).contains(&until_ms), "{until_ms}");
    }

    #[test]
    fn what_is_lost_comes_later_and_holds_up_what_is_behind_it() {
        let mut pipe = pipe(&[one("loss", r#"{"loss":0.2,"rto":200,"size":100}"#)]);
        put(&mut pipe, &[0; 100_000], 0);
        let (all, _) = drain(&mut pipe, 0, u64::MAX - 1);
        assert_eq!((all.len(), sizes(&all).iter().sum::<usize>()), (1000, 100_000));
        let gaps: Vec<u64> = all.windows(2).map(|w| (w[1].0 - w[0].0) / MS).filter(|gap| *gap > 0).collect();
        let twice = gaps.iter().filter(|gap| **gap >= 600).count();
        // A fifth of the packets, and a fifth of those once more: five standard deviations.
        assert!(gaps.len().abs_diff(200) < 64 && twice.abs_diff(40) < 31, "{} {twice}", gaps.len());
        assert!(gaps.iter().all(|gap| [200, 600, 1400, 3000, 6200, 12_600].contains(gap)), "{gaps:?}");
    }

    #[test]
    fn a_partition_holds_everything_and_loses_nothing() {
        let mut pipe = pipe(&[one("partition", "{}")]);
        put(&mut pipe, b"data", 0);
        assert_eq!(drain(&mut pipe, 0, u64::MAX - 1), (vec![], None));
        pipe.arrange(&[], numbered(1), 5 * MS);
        assert_eq!(sizes(&drain(&mut pipe, 5 * MS, u64::MAX - 1).0), [4]);
    }

    #[test]
    fn delays_have_the_percentiles_of_their_distribution() {
        let mut delays: Vec<u64> = (0..2000)
            .map(|connection| {
                let law = r#"{"shape":"log_normal","p50_ms":20,"p99_ms":200}"#;
                let mut pipe = Pipe::default();
                pipe.arrange(&[one("delay", law)], numbered(connection), 0);
                put(&mut pipe, b"x", 0);
                drain(&mut pipe, 0, u64::MAX).0[0].0 / 1000
            })
            .collect();
        delays.sort_unstable();
        let (p50, p99) = (delays[1000] as f64 / 20_000.0, delays[1980] as f64 / 200_000.0);
        assert!((0.9..1.1).contains(&p50) && (0.7..1.4).contains(&p99), "{p50} {p99}");
    }

    #[test]
    fn a_limit_closes_with_its_last_byte() {
        let mut pipe = pipe(&[one("limit_data", r#"{"bytes":6}"#)]);
        put(&mut pipe, b"1234", 0);
        assert_eq!(drain(&mut pipe, 0, u64::MAX - 1), (vec![(0, Bytes::from_static(b"1234"))], None));
        put(&mut pipe, b"5678", 0);
        let (all, end) = drain(&mut pipe, 0, u64::MAX - 1);
        assert_eq!((sizes(&all), end), (vec![2], Some((0, End::Closed))));
    }

    #[test]
    fn a_limit_of_zero_closes_with_the_first_data() {
        let mut pipe = pipe(&[one("limit_data", "{}")]);
        assert_eq!(pipe.next(0), Out::Empty);
        put(&mut pipe, b"1", 0);
        assert_eq!(pipe.next(0), Out::End(End::Closed));
    }

    #[test]
    fn what_a_limit_has_let_through_counts_after_a_change() {
        let mut pipe = pipe(&[one("limit_data", r#"{"bytes":6}"#)]);
        put(&mut pipe, b"1234", 0);
        drain(&mut pipe, 0, u64::MAX - 1);
        pipe.arrange(&[one("limit_data", r#"{"bytes":5}"#)], numbered(1), 0);
        put(&mut pipe, b"56", 0);
        let (all, end) = drain(&mut pipe, 0, u64::MAX - 1);
        assert_eq!((sizes(&all), end), (vec![1], Some((0, End::Closed))));
    }

    #[test]
    fn a_toxicity_of_zero_means_none_and_a_share_is_a_share() {
        let none = acting(1, r#"{"type":"reset_peer","toxicity":0}"#);
        assert!((0..10_000).all(|connection| !none.meets(numbered(connection))));
        let some = acting(1, r#"{"type":"reset_peer","toxicity":0.25}"#);
        let met = (0..10_000).filter(|connection| some.meets(numbered(*connection))).count();
        // Five standard deviations.
        assert!(met.abs_diff(2_500) < 217, "{met}");
    }

    #[test]
    fn neighbours_come_and_go_without_a_byte_lost_or_out_of_order() {
        let slow = acting(1, r#"{"type":"latency","attributes":{"latency":100}}"#);
        let other = acting(2, r#"{"type":"noop","name":"n"}"#);
        let mut pipe = pipe(&[slow]);
        put(&mut pipe, b"1", 0);
        assert_eq!(pipe.next(0), Out::Wait(100 * MS));
        pipe.arrange(&[Arc::clone(&other)], numbered(1), MS);
        put(&mut pipe, b"2", MS);
        assert_eq!(sizes(&drain(&mut pipe, MS, u64::MAX - 1).0), [1, 1]);
        pipe.arrange(&[], numbered(1), MS);
        assert!(pipe.is_plain());
        put(&mut pipe, b"3", MS);
        pipe.end(End::Finished);
        assert_eq!(drain(&mut pipe, MS, u64::MAX - 1).1, Some((MS, End::Finished)));
    }

    #[test]
    fn what_is_held_is_bounded() {
        static BLOCK: [u8; 32 * 1024] = [0; 32 * 1024];
        for block in [&BLOCK[..], &BLOCK[..1]] {
            let mut pipe = pipe(&[one("latency", r#"{"latency":60000}"#)]);
            let mut held = 0;
            while pipe.has_room() {
                put(&mut pipe, block, 0);
                held += block.len();
                assert!(matches!(pipe.next(0), Out::Wait(_)));
            }
            assert!(held <= 4 << 20 | 0xffff, "{held}");
        }
    }

    fn toxics() -> impl Strategy<Value = String> {
        prop_oneof![
            (0..50u32, 0..50u32).prop_map(|(l, j)| format!(r#""type":"latency","attributes":{{"latency":{l},"jitter":{j}}}"#)),
            (1..100u32).prop_map(|rate| format!(r#""type":"bandwidth","attributes":{{"rate":{rate}}}"#)),
            (1..100u32, 0..2000u32)
                .prop_map(|(size, delay)| format!(r#""type":"slicer","attributes":{{"average_size":{size},"size_variation":{},"delay":{delay}}}"#, size - 1)),
            (0..50u32).prop_map(|delay| format!(r#""type":"slow_close","attributes":{{"delay":{delay}}}"#)),
            Just(r#""type":"noop""#.to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn whatever_acts_and_changes_what_goes_in_comes_out(
            chains in prop::collection::vec(prop::collection::vec((toxics(), 0.0..=1.0f64), 0..4), 1..5),
            pieces in prop::collection::vec(1..2000usize, 1..20),
        ) {
            let mut pipe = Pipe::default();
            let (mut now_ns, mut next, mut id) = (0, 0u8, 0);
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            let mut pieces = pieces.iter();
            for (nth, chain) in chains.iter().enumerate() {
                let toxics: Vec<_> = chain.iter().map(|(toxic, toxicity)| {
                    id += 1;
                    acting(id, &format!(r#"{{{toxic},"name":"{id}","toxicity":{toxicity}}}"#))
                }).collect();
                pipe.arrange(&toxics, numbered(nth as u64), now_ns);
                for _ in 0..1000 {
                    match pipe.next(now_ns) {
                        Out::Piece(piece) => received.extend_from_slice(&piece.data),
                        Out::Wait(at_ns) if at_ns > now_ns => now_ns = at_ns,
                        Out::Wait(at_ns) => prop_assert!(false, "waits for {at_ns} at {now_ns}"),
                        Out::End(end) => prop_assert!(false, "{end:?}"),
                        Out::Empty => {}
                    }
                    if pipe.has_room() && let Some(size) = pieces.next() {
                        let data: Vec<u8> = (0..*size).map(|_| { next = next.wrapping_add(1); next }).collect();
                        sent.extend_from_slice(&data);
                        pipe.put(Piece { data: data.into(), at_ns: now_ns });
                    }
                }
            }
            pipe.end(End::Finished);
            let (rest, end) = drain(&mut pipe, now_ns, u64::MAX - 1);
            for (_, data) in rest {
                received.extend_from_slice(&data);
            }
            prop_assert_eq!(end.map(|(_, end)| end), Some(End::Finished));
            prop_assert!(sent == received, "{} bytes in, {} out", sent.len(), received.len());
        }
    }
}
