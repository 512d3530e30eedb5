//! The waiting line: deficit round robin between domains (Shreedhar and Varghese, 1995), first come
//! first served within one. The cost of an entry is its tokens.

use std::collections::{HashMap, VecDeque};

use crate::engine::request::Domain;

/// What a domain may start per round, in tokens.
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
    pub(in crate::engine) fn push(&mut self, domain: Domain, cost: usize, entry: T) {
        self.line(domain).entries.push_back((cost, entry));
    }

    /// Adds an entry that had its turn already, in front of its domain's line, for nothing.
    pub(in crate::engine) fn push_back_in_front(&mut self, domain: Domain, entry: T) {
        self.line(domain).entries.push_front((0, entry));
    }

    /// Takes the entry whose turn it is, if `fits` says that there is room for it. Where there is
    /// not, nobody else is let past it: a large request would wait for ever.
    pub(in crate::engine) fn pop_if(&mut self, fits: impl FnOnce(&T) -> bool) -> Option<T> {
        loop {
            let domain = *self.turns.front()?;
            let line = self.lines.get_mut(&domain)?;
            let Some((cost, entry)) = line.entries.front() else {
                // A domain that has nothing to do saves nothing up.
                self.turns.pop_front();
                self.lines.remove(&domain);
                continue;
            };
            if *cost > line.credit {
                line.credit += QUANTUM;
                self.turns.rotate_left(1);
                continue;
            }
            if !fits(entry) {
                return None;
            }
            line.credit -= cost;
            return line.entries.pop_front().map(|(_, entry)| entry);
        }
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

    fn line(&mut self, domain: Domain) -> &mut Line<T> {
        let turns = &mut self.turns;
        self.lines.entry(domain).or_insert_with(|| {
            turns.push_back(domain);
            Line { entries: VecDeque::new(), credit: 0 }
        })
    }
}

/// Shares `rows` among those who need some, who stand in the order of their age. The domains share
/// evenly, and what one does not need goes to the others; within a domain the older comes first. So
/// a long prompt delays a short one of somebody else by a step or two.
pub(in crate::engine) fn share(rows: usize, needs: &[(Domain, usize)]) -> Vec<usize> {
    let mut domains: Vec<(Domain, usize)> = Vec::new();
    for (domain, need) in needs.iter().filter(|(_, need)| *need > 0) {
        match domains.iter_mut().find(|(known, _)| known == domain) {
            Some((_, needed)) => *needed = needed.saturating_add(*need),
            None => domains.push((*domain, *need)),
        }
    }
    // Who needs the least comes first, so that what is left over is known to the others.
    domains.sort_by_key(|(_, needed)| *needed);
    let (mut shares, mut left) = (vec![0; needs.len()], rows);
    for (place, (domain, needed)) in domains.iter().enumerate() {
        let mut of_domain = left.div_ceil(domains.len() - place).min(*needed);
        left -= of_domain;
        for (share, (_, need)) in shares.iter_mut().zip(needs).filter(|(_, one)| one.0 == *domain) {
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
            assert_eq!(share(rows, &needs), shares, "{needs:?}");
        }
    }

    const ANNA: Domain = Domain(1);
    const BERT: Domain = Domain(2);

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
