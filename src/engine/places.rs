//! Places in a waiting line that nobody fills alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::request::Domain;

/// The places of a line, and whose they are. Nobody has more of them than are left for others: whoever
/// comes later finds one.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: HashMap<Domain, usize>,
}

impl Places {
    /// A line of `most` places, none of them taken.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: HashMap::new() }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.values().sum()
    }

    /// How many there are for one domain in an empty line.
    pub(super) fn for_one(&self) -> usize {
        self.most.div_ceil(2)
    }

    /// Takes one, where there is one for this domain.
    pub(super) fn take(&mut self, domain: Domain) -> bool {
        let own = self.taken.get(&domain).copied().unwrap_or_default();
        let has_place = own < self.most.saturating_sub(self.taken());
        self.add(domain, has_place)
    }

    /// Takes one of the first `part` of the line, whoever stands there.
    pub(super) fn take_among(&mut self, part: usize, domain: Domain) -> bool {
        let has_place = self.taken() < part.min(self.most);
        self.add(domain, has_place)
    }

    fn add(&mut self, domain: Domain, has_place: bool) -> bool {
        if has_place {
            *self.taken.entry(domain).or_default() += 1;
        }
        has_place
    }

    /// Gives one back.
    pub(super) fn leave(&mut self, domain: Domain) {
        if let Entry::Occupied(mut taken) = self.taken.entry(domain) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &mut Places, domain: u128) -> usize {
        (0..100).take_while(|_| places.take(Domain(domain))).count()
    }

    #[test]
    fn whoever_comes_later_finds_a_place() {
        let mut places = Places::new(16);
        assert_eq!(places.for_one(), 8);
        let taken: Vec<usize> = (1..=6).map(|domain| fill(&mut places, domain)).collect();
        assert_eq!(taken, [8, 4, 2, 1, 1, 0]);
        assert_eq!(places.taken(), 16);
        for _ in 0..8 {
            places.leave(Domain(1));
        }
        places.leave(Domain(9));
        assert_eq!((places.taken(), places.taken.len()), (8, 4));
        assert!(places.take(Domain(6)));
    }

    #[test]
    fn a_part_of_the_line_ends_where_it_does() {
        let mut places = Places::new(8);
        let taken = (0..9).take_while(|_| places.take_among(2, Domain(1))).count();
        assert_eq!(taken, 2);
        assert!(!places.take_among(2, Domain(2)) && places.take(Domain(2)));
        assert!(!Places::new(0).take_among(1, Domain(1)), "there is no line");
    }

    #[test]
    fn a_line_of_one_place_has_one_for_whoever_comes_first() {
        let mut places = Places::new(1);
        assert_eq!((places.for_one(), fill(&mut places, 1), fill(&mut places, 2)), (1, 1, 0));
    }
}
