//! The waiting line: deficit round robin between domains (Shreedhar and Varghese, 1995), by weight,
//! first come first served within one. The cost of an entry is its tokens.

use std::collections::{HashMap, VecDeque};

use crate::engine::party::{Party, Weight};
use crate::engine::request::Domain;

/// What a domain of weight one may start per round, in tokens.
const QUANTUM: usize = 512;

/// Entries that wait.
pub(in crate::engine) struct FairQueue<T> {
    lines: HashMap<Domain, Line<T>>,
    /// Domains with entries, the next to be served in front.
    turns: VecDeque<Domain>,
}

struct Line<T> {
    entries: VecDeque<(usize, T)>,
    credit: usize,
    weight: Weight,
}

impl<T> FairQueue<T> {
    /// An empty line.
    pub(in crate::engine) fn new() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new() }
    }

    /// How many wait.
    pub(in crate::engine) fn len(&self) -> usize {
        self.lines.values().map(|line| line.entries.len()).sum()
    }

    /// Adds an entry at the end of its domain's line.
    pub(in crate::engine) fn push(&mut self, party: impl Into<Party>, cost: usize, entry: T) {
        self.line(party.into()).entries.push_back((cost, entry));
    }

    /// Gives back what an entry was taken to cost and did not, so that tokens are shared as they are
    /// used and not as they were asked for. A domain that has nothing to do saves nothing up.
    pub(in crate::engine) fn give_back(&mut self, domain: Domain, cost: usize) {
        if let Some(line) = self.lines.get_mut(&domain) {
            line.credit += cost;
        }
    }

    /// Adds an entry that had its turn already, in front of its domain's line, for nothing.
    pub(in crate::engine) fn push_back_in_front(&mut self, party: impl Into<Party>, entry: T) {
        self.line(party.into()).entries.push_front((0, entry));
    }

    /// Takes the entry whose turn it is, if `fits` says that there is room for it. Where there is
    /// not, nobody else is let past it: a large request would wait for ever.
    pub(in crate::engine) fn pop_if(&mut self, fits: impl FnOnce(&T) -> bool) -> Option<T> {
        self.pop_paid_if(fits).map(|(entry, _)| entry)
    }

    /// The same, and whether the domain paid for it. Who waits alone pays nothing, and so has nothing
    /// given back: otherwise they would save up, at nobody's expense, what others then wait for.
    pub(in crate::engine) fn pop_paid_if(
        &mut self,
        fits: impl FnOnce(&T) -> bool,
    ) -> Option<(T, bool)> {
        let is_alone = self.lines.values().filter(|line| !line.entries.is_empty()).count() == 1;
        loop {
            let domain = *self.turns.front()?;
            let line = self.lines.get_mut(&domain)?;
            let Some((cost, entry)) = line.entries.front() else {
                // A domain that has nothing to do saves nothing up.
                self.turns.pop_front();
                self.lines.remove(&domain);
                continue;
            };
            if *cost > line.credit && !is_alone {
                line.credit += QUANTUM * line.weight.get();
                self.turns.rotate_left(1);
                continue;
            }
            if !fits(entry) {
                return None;
            }
            let cost = if is_alone { 0 } else { *cost };
            line.credit -= cost;
            return line.entries.pop_front().map(|(_, entry)| (entry, cost > 0));
        }
    }

    /// Does something to every entry.
    pub(in crate::engine) fn each(&mut self, act: impl FnMut(&mut T)) {
        let lines = self.lines.values_mut();
        lines.flat_map(|line| line.entries.iter_mut().map(|(_, entry)| entry)).for_each(act);
    }

    /// Takes out all entries of which `leave` says so.
    pub(in crate::engine) fn take_where(&mut self, mut leave: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.lines.values_mut() {
            if line.entries.iter().any(|(_, entry)| leave(entry)) {
                let entries = std::mem::take(&mut line.entries);
                for (cost, entry) in entries {
                    if leave(&entry) {
                        taken.push(entry);
                    } else {
                        line.entries.push_back((cost, entry));
                    }
                }
            }
        }
        taken
    }

    /// The line of a domain; the weight that was told last holds.
    fn line(&mut self, Party { domain, weight }: Party) -> &mut Line<T> {
        let turns = &mut self.turns;
        let line = self.lines.entry(domain).or_insert_with(|| {
            turns.push_back(domain);
            Line { entries: VecDeque::new(), credit: 0, weight }
        });
        if line.entries.is_empty() {
            // A domain that had nothing to do has saved nothing up.
            line.credit = 0;
        }
        line.weight = weight;
        line
    }
}

/// Shares `rows` among those who need some, who stand in the order of their age. The domains share by
/// weight, and what one does not need goes to the others; within a domain the older comes first. So
/// a long prompt delays a short one of somebody else by a step or two.
pub(in crate::engine) fn share(rows: usize, needs: &[(Party, usize)]) -> Vec<usize> {
    let mut parties: Vec<(Party, usize)> = Vec::new();
    for (party, need) in needs.iter().filter(|(_, need)| *need > 0) {
        match parties.iter_mut().find(|(known, _)| known.domain == party.domain) {
            Some((known, needed)) => {
                known.weight = known.weight.max(party.weight);
                *needed = needed.saturating_add(*need);
            }
            None => parties.push((*party, *need)),
        }
    }
    // Who needs the least for their weight comes first, so that what is left over is known to the
    // others.
    parties.sort_by(|(one, need), (other, needed)| {
        let cross = |need: usize, weight: Weight| need.saturating_mul(weight.get());
        cross(*need, other.weight).cmp(&cross(*needed, one.weight))
    });
    let mut weights: usize = parties.iter().map(|(party, _)| party.weight.get()).sum();
    let (mut shares, mut left) = (vec![0; needs.len()], rows);
    for (place, (party, needed)) in parties.iter().enumerate() {
        // A row stays for each of those behind, where there are as many.
        let behind = parties.len() - place - 1;
        let most = left.saturating_sub(behind).max(1).min(left);
        let mut of_domain = (left * party.weight.get()).div_ceil(weights).min(*needed).min(most);
        weights -= party.weight.get();
        left -= of_domain;
        let own = shares.iter_mut().zip(needs).filter(|(_, one)| one.0.domain == party.domain);
        for (share, (_, need)) in own {
            *share = of_domain.min(*need);
            of_domain -= *share;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_does_not_take_the_rows_of_a_short_one() {
        for (rows, needs, shares) in [
            (256, vec![(ANNA, 60_000), (BERT, 20)], vec![236, 20]),
            (256, vec![(ANNA, 60_000), (BERT, 60_000)], vec![128, 128]),
            (256, vec![(ANNA, 200), (ANNA, 200), (BERT, 200)], vec![128, 0, 128]),
            (256, vec![(ANNA, 0), (BERT, 300), (ANNA, 7)], vec![0, 249, 7]),
            (1, vec![(ANNA, 5), (BERT, 5)], vec![1, 0]),
            (256, vec![(ANNA, 0)], vec![0]),
            (256, vec![], vec![]),
        ] {
            let parties: Vec<(Party, usize)> =
                needs.iter().map(|(domain, need)| ((*domain).into(), *need)).collect();
            assert_eq!(share(rows, &parties), shares, "{needs:?}");
        }
    }

    const ANNA: Domain = Domain(1);
    const BERT: Domain = Domain(2);

    fn party(domain: Domain, weight: u8) -> Party {
        Party { domain, weight: Weight::new(weight) }
    }

    #[test]
    fn rows_are_shared_by_weight_and_what_is_left_over_goes_to_the_others() {
        for (weights, needs, shares) in [
            ((3, 1), (60_000, 60_000), [192, 64]),
            ((3, 1), (10, 60_000), [10, 246]),
            ((3, 1), (60_000, 10), [246, 10]),
            ((100, 1), (60_000, 60_000), [254, 2]),
            ((0, 255), (60_000, 60_000), [2, 254]),
        ] {
            let needs = [(party(ANNA, weights.0), needs.0), (party(BERT, weights.1), needs.1)];
            let made = share(256, &needs);
            // Rounding goes to whoever comes first.
            assert!(made.iter().sum::<usize>() == 256, "{needs:?}: {made:?}");
            assert!(
                made.iter().zip(shares).all(|(a, b)| a.abs_diff(b) <= 1),
                "{needs:?}: {made:?}"
            );
        }
    }

    #[test]
    fn nobody_is_left_without_a_row_for_their_weight() {
        for (rows, heavy) in [(256, Weight::MAX), (16, 10), (4, Weight::MAX)] {
            let mut needs: Vec<(Party, usize)> =
                (1..4).map(|number| (party(Domain(number), heavy), 4_000)).collect();
            needs.push((party(Domain(4), 1), 2_000));
            let made = share(rows, &needs);
            assert!(made.iter().all(|rows| *rows > 0), "{made:?}");
            assert_eq!(made.iter().sum::<usize>(), rows);
        }
    }

    /// Tokens that each of two domains of these weights has started by the time that the first of
    /// them has nothing left.
    fn started(weights: (u8, u8), costs: (usize, usize)) -> (usize, usize) {
        let mut queue = FairQueue::new();
        let all = 400_000;
        for _ in 0..all / costs.0 {
            queue.push(party(ANNA, weights.0), costs.0, ANNA);
        }
        for _ in 0..all / costs.1 {
            queue.push(party(BERT, weights.1), costs.1, BERT);
        }
        let (mut anna, mut bert) = (0, 0);
        while let Some(domain) = queue.pop_if(|_| true) {
            match domain {
                ANNA => anna += costs.0,
                _ => bert += costs.1,
            }
            if anna / costs.0 == all / costs.0 || bert / costs.1 == all / costs.1 {
                break;
            }
        }
        (anna, bert)
    }

    #[test]
    fn tokens_are_started_in_the_proportion_of_the_weights_whatever_a_request_costs() {
        for weights in [(1, 1), (2, 1), (1, 4), (10, 1)] {
            for costs in [(300, 300), (2_000, 100), (100, 2_000), (700, 5_000)] {
                let (anna, bert) = started(weights, costs);
                let (a, b) = (f64::from(weights.0), f64::from(weights.1));
                let off = (anna as f64 / a - bert as f64 / b).abs();
                // A round and a request of each, at most.
                let bound = 2.0 * (QUANTUM + costs.0 + costs.1) as f64;
                assert!(off <= bound, "{weights:?} {costs:?}: {anna} and {bert}");
            }
        }
    }

    #[test]
    fn whoever_asks_for_more_than_they_need_gets_as_much_as_the_others() {
        let mut queue = FairQueue::new();
        // Each needs a hundred; one asks for twenty times as much, by a bound that is never reached.
        for _ in 0..1_000 {
            queue.push(ANNA, 2_000, ANNA);
            queue.push(BERT, 100, BERT);
        }
        let (mut anna, mut bert) = (0_i64, 0_i64);
        let mut at_work = VecDeque::new();
        while anna.max(bert) < 800 {
            let domain = queue.pop_if(|_| true).expect("both wait");
            let unneeded = if domain == ANNA {
                anna += 1;
                1_900
            } else {
                bert += 1;
                0
            };
            at_work.push_back((domain, unneeded));
            // Eight are worked on at a time.
            if at_work.len() == 8 {
                let (domain, unneeded) = at_work.pop_front().expect("eight");
                queue.give_back(domain, unneeded);
            }
        }
        // What eight have taken and not given back, and a round.
        assert!((anna - bert).abs() * 100 <= 8 * 2_000 + QUANTUM as i64, "{anna} and {bert}");
    }

    #[test]
    fn what_is_given_back_to_a_domain_without_a_line_is_gone() {
        let mut queue = FairQueue::new();
        queue.give_back(ANNA, 1_000_000);
        queue.push(ANNA, 100, ANNA);
        assert_eq!(queue.pop_if(|_| true), Some(ANNA));
        queue.give_back(ANNA, 1_000_000);
        for _ in 0..20 {
            queue.push(ANNA, 512, ANNA);
            queue.push(BERT, 512, BERT);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_if(|_| true)).take(10).collect();
        assert_eq!(order.iter().filter(|one| **one == ANNA).count(), 5, "{order:?}");
    }

    #[test]
    fn whoever_waits_alone_saves_nothing_up_for_when_others_come() {
        let mut queue = FairQueue::new();
        // Eight with a bound that none of them reaches, while nobody else waits.
        for _ in 0..10 {
            queue.push(ANNA, 30_000, ANNA);
        }
        let paid: Vec<bool> = (0..8)
            .filter_map(|_| queue.pop_paid_if(|_| true))
            .map(|(_, is_paid)| is_paid)
            .collect();
        assert_eq!(paid, [false; 8]);
        for _ in 0..50 {
            queue.push(BERT, 100, BERT);
        }
        for is_paid in paid {
            queue.give_back(ANNA, if is_paid { 30_000 } else { 0 });
        }
        // Neither of Anna's is begun before Bert had as many tokens.
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_if(|_| true)).take(50).collect();
        assert!(order.iter().all(|one| *one == BERT), "{order:?}");
        queue.push(BERT, 100, BERT);
        assert_eq!(queue.pop_paid_if(|_| true), Some((BERT, true)), "beside others one pays");
    }

    #[test]
    fn the_least_weight_beside_the_greatest_waits_and_does_not_starve() {
        let mut queue = FairQueue::new();
        for _ in 0..10_000 {
            queue.push(party(ANNA, Weight::MAX), 1_000, ANNA);
        }
        queue.push(party(BERT, 1), 8_000, BERT);
        let place = std::iter::from_fn(|| queue.pop_if(|_| true)).position(|one| one == BERT);
        // Sixteen rounds of a hundred quanta.
        let most = 17 * QUANTUM * usize::from(Weight::MAX) / 1_000;
        assert!(place.is_some_and(|place| place <= most), "{place:?} of {most}");
    }

    #[test]
    fn one_domain_cannot_keep_another_waiting() {
        let mut queue = FairQueue::new();
        for i in 0..20 {
            queue.push(ANNA, 300, ("anna", i));
        }
        queue.push(BERT, 300, ("bert", 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_if(|_| true)).collect();
        assert_eq!(order.len(), 21);
        let bert = order.iter().position(|(name, _)| *name == "bert").unwrap();
        assert!(bert <= 3, "{order:?}");
        let anna: Vec<_> =
            order.iter().filter(|(name, _)| *name == "anna").map(|(_, i)| *i).collect();
        assert_eq!(anna, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn tokens_are_shared_not_requests() {
        let mut queue = FairQueue::new();
        for _ in 0..40 {
            queue.push(ANNA, 2000, 'a');
            queue.push(BERT, 100, 'b');
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_if(|_| true)).take(21).collect();
        let anna = order.iter().filter(|&&x| x == 'a').count();
        assert!((1..=2).contains(&anna), "{order:?}");
    }

    #[test]
    fn nobody_gets_past_the_one_whose_turn_it_is() {
        let mut queue = FairQueue::new();
        queue.push(ANNA, 10, 1);
        queue.push(ANNA, 10, 2);
        assert_eq!(queue.pop_if(|_| false), None);
        assert_eq!(queue.pop_if(|_| true), Some(1));
        queue.push_back_in_front(ANNA, 1);
        assert_eq!(queue.pop_if(|_| true), Some(1));
        assert_eq!(queue.take_where(|&x| x == 2), vec![2]);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.pop_if(|_| true), None);
    }
}
