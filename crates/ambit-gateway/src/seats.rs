//! Seats at a door: so many in all, and of these so many for one holder.
//!
//! Whoever comes gets a seat. When there is none left, whoever sits idle longest of those that have most gets up: sitting
//! still keeps nobody else out, however many seats somebody takes. Whoever is answered at length, as by a stream, is not
//! idle, and gets up when nobody else is left.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The seats of one door, for holders that are told apart as `H`. Cheap to clone.
#[derive(Debug)]
pub struct Seats<H> {
    most: usize,
    /// Who is as good as one, where it is asked who has most.
    crowd: fn(&H) -> H,
    taken: Arc<Mutex<Taken<H>>>,
}

/// A seat, until it is dropped or its holder was told to get up.
#[derive(Debug)]
pub struct Seat<H: Clone + Eq + Hash> {
    seats: Seats<H>,
    number: u64,
}

/// Tells a connection that its seat is another's now.
#[derive(Clone, Debug, Default)]
pub struct Notice(Arc<Notify>);

/// A request is answered at a seat, until this is dropped.
#[derive(Debug)]
struct InUse<'a, H: Clone + Eq + Hash>(&'a Seat<H>);

/// Something goes out at a seat for as long as this lives: those who are idle get up before.
#[derive(Debug)]
pub struct Held<H: Clone + Eq + Hash>(Arc<Seat<H>>);

#[derive(Debug)]
struct Taken<H> {
    seats: BTreeMap<u64, Sitting<H>>,
    of_each: HashMap<H, usize>,
    /// Counts what happens: numbers of seats, and the order in which they became idle.
    turn: u64,
}

#[derive(Debug)]
struct Sitting<H> {
    holder: H,
    /// When a request began or ended there last. Whoever has sent half of one is idle, and whoever has just come is not.
    since: u64,
    /// How much goes out there at length.
    held: u32,
    notice: Notice,
}

impl Notice {
    /// Resolves when the seat is another's.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}

impl<H: Clone + Eq + Hash> Seats<H> {
    /// Returns `most` seats, at least one. `crowd` says who is as good as one.
    pub fn new(most: usize, crowd: fn(&H) -> H) -> Self {
        Self {
            most: most.max(1),
            crowd,
            taken: Arc::default(),
        }
    }

    /// Returns how many there are.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Returns how many are taken.
    pub fn taken(&self) -> usize {
        self.locked().seats.len()
    }

    /// Takes a seat for `holder`, who may have `share` of them. Who must get up for it hears so by its notice, and is
    /// counted no more.
    pub fn take(&self, holder: H, share: usize, notice: &Notice) -> Seat<H> {
        let mut taken = self.locked();
        let has = taken.of_each.get(&holder).copied().unwrap_or(0);
        if has >= share.max(1) {
            taken.free_one(|it| *it == holder);
        } else if taken.seats.len() >= self.most {
            taken.free_any(&holder, self.crowd);
        }
        *taken.of_each.entry(holder.clone()).or_insert(0) += 1;
        let number = taken.next_turn();
        let sitting = Sitting {
            holder,
            since: number,
            held: 0,
            notice: notice.clone(),
        };
        taken.seats.insert(number, sitting);
        drop(taken);
        Seat {
            seats: self.clone(),
            number,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Taken<H>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Clone + Eq + Hash> Taken<H> {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Frees the seat of whoever is idle longest of those that have most, with the one that `holder` is to have.
    fn free_any(&mut self, holder: &H, crowd: fn(&H) -> H) {
        let mut counted: HashMap<H, usize> = HashMap::new();
        for (holder, count) in &self.of_each {
            *counted.entry(crowd(holder)).or_insert(0) += count;
        }
        if let Some(own) = counted.get_mut(&crowd(holder)) {
            *own += 1;
        }
        let most = counted.values().max().copied().unwrap_or(0);
        let has_less = |it: &H| counted.get(&crowd(it)).is_none_or(|it| *it < most);
        let seats = self.seats.iter();
        let idlest = seats.min_by_key(|(_, it)| (it.held > 0, has_less(&it.holder), it.since));
        self.tell(idlest.map(|(number, _)| *number));
    }

    fn free_one(&mut self, of: impl Fn(&H) -> bool) {
        let theirs = self.seats.iter().filter(|(_, it)| of(&it.holder));
        let idlest = theirs.min_by_key(|(_, it)| (it.held > 0, it.since));
        self.tell(idlest.map(|(number, _)| *number));
    }

    /// Tells whoever sits there to get up.
    fn tell(&mut self, number: Option<u64>) {
        if let Some(notice) = number.and_then(|it| self.remove(it)) {
            notice.0.notify_one();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Notice> {
        let sitting = self.seats.remove(&number)?;
        if let Some(count) = self.of_each.get_mut(&sitting.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_each.remove(&sitting.holder);
            }
        }
        Some(sitting.notice)
    }
}

impl<H: Clone + Eq + Hash> Seat<H> {
    /// Says that a request is answered here as long as the value lives.
    fn answering(&self) -> InUse<'_, H> {
        self.touch();
        InUse(self)
    }

    /// Carries `work` to its end as what is answered here, so that whoever was idle before gets up first.
    pub async fn answers<T>(&self, work: impl Future<Output = T>) -> T {
        let _answering = self.answering();
        work.await
    }

    /// Says that something goes out here as long as the value lives.
    pub fn hold(self: &Arc<Self>) -> Held<H> {
        self.change(|it| it.held += 1);
        Held(Arc::clone(self))
    }

    fn touch(&self) {
        self.change(|_| {});
    }

    fn change(&self, change: impl FnOnce(&mut Sitting<H>)) {
        let mut taken = self.seats.locked();
        let turn = taken.next_turn();
        if let Some(sitting) = taken.seats.get_mut(&self.number) {
            sitting.since = turn;
            change(sitting);
        }
    }
}

impl<H> Clone for Seats<H> {
    fn clone(&self) -> Self {
        Self {
            most: self.most,
            crowd: self.crowd,
            taken: Arc::clone(&self.taken),
        }
    }
}

impl<H> Default for Taken<H> {
    fn default() -> Self {
        Self {
            seats: BTreeMap::new(),
            of_each: HashMap::new(),
            turn: 0,
        }
    }
}

impl<H: Clone + Eq + Hash> Drop for Seat<H> {
    fn drop(&mut self) {
        self.seats.locked().remove(self.number);
    }
}

impl<H: Clone + Eq + Hash> Drop for InUse<'_, H> {
    fn drop(&mut self) {
        self.0.touch();
    }
}

impl<H: Clone + Eq + Hash> Drop for Held<H> {
    fn drop(&mut self) {
        self.0.change(|it| it.held = it.held.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    /// Holders of ten are one crowd.
    fn seats(most: usize) -> Seats<u32> {
        Seats::new(most, |it| it / 10 * 10)
    }

    struct Guest(Arc<Seat<u32>>, Notice);

    fn sit(seats: &Seats<u32>, holder: u32, share: usize) -> Guest {
        let notice = Notice::default();
        Guest(Arc::new(seats.take(holder, share, &notice)), notice)
    }

    impl Guest {
        fn is_told(&self) -> bool {
            let mut context = Context::from_waker(std::task::Waker::noop());
            pin!(self.1.heard()).poll(&mut context).is_ready()
        }
    }

    fn told(guests: &[Guest]) -> Vec<usize> {
        let told = guests.iter().enumerate().filter(|(_, it)| it.is_told());
        told.map(|(index, _)| index).collect()
    }

    #[test]
    fn one_beyond_the_share_has_the_holder_s_own_idlest_get_up() {
        let seats = seats(10);
        let mut guests: Vec<_> = [1, 1, 2].map(|it| sit(&seats, it, 2)).into();
        assert!(told(&guests).is_empty());
        // What was answered there last is idle for the shortest time.
        drop(guests[0].0.answering());
        guests.push(sit(&seats, 1, 2));
        assert_eq!(told(&guests), [1]);
        assert_eq!(seats.taken(), 3);
    }

    /// ASI08: a crowd of newcomers ends no stream while anybody is idle, in however many seats.
    #[test]
    fn asi08_who_is_answered_at_length_gets_up_last() {
        let seats = seats(3);
        let mut guests: Vec<_> = [1, 1, 21].map(|it| sit(&seats, it, 2)).into();
        let stream = guests[0].0.hold();
        // Though it is the oldest, of the holder that has most.
        guests.push(sit(&seats, 31, 2));
        assert_eq!(told(&guests), [1]);
        // Nor do those go who have as many, and more than one.
        let other = guests[2].0.hold();
        guests.push(sit(&seats, 41, 2));
        assert_eq!(told(&guests), [3]);
        // Once it is over it is idle from then on.
        drop(other);
        guests.push(sit(&seats, 51, 2));
        assert_eq!(told(&guests), [4]);
        guests.push(sit(&seats, 61, 2));
        assert_eq!(told(&guests), [2]);
        // Where all go out, the oldest ends: whoever comes gets a seat.
        let last = [5, 6].map(|it: usize| guests[it].0.hold());
        guests.push(sit(&seats, 71, 2));
        assert_eq!(told(&guests), [0]);
        drop((stream, last));
    }

    #[test]
    fn one_beyond_all_seats_has_the_idlest_of_the_busiest_get_up() {
        let seats = seats(4);
        // 11 and 12 are of one crowd.
        let mut guests: Vec<_> = [21, 11, 12, 31].map(|it| sit(&seats, it, 4)).into();
        guests.push(sit(&seats, 41, 4));
        assert_eq!(told(&guests), [1]);
        // One more of those who have most costs them a seat, and nobody else.
        guests.push(sit(&seats, 12, 4));
        assert_eq!(told(&guests), [2]);
        // Where all are answered, somebody still makes room.
        let busy: Vec<_> = guests.iter().map(|it| it.0.answering()).collect();
        assert_eq!(seats.taken(), 4);
        let last = sit(&seats, 51, 4);
        assert_eq!(told(&guests).len(), 1);
        drop((busy, last));
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let seats = seats(2);
        let guests: Vec<_> = (0..9).map(|it| sit(&seats, it, 2)).collect();
        assert_eq!(seats.taken(), 2);
        drop(guests);
        let taken = seats.locked();
        assert!(taken.seats.is_empty() && taken.of_each.is_empty());
    }
}
