//! Where a connection to the gateway sits: among strangers of its origin, until it has proved who it is, and among the
//! connections of that instance from then on.

use std::{
    fmt, mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_core::{SpiffeId, origin::Origin};
use http::Response;
use http_body_util::BodyExt;
use tokio::{sync::Notify, time::sleep};

use crate::{
    body::Body,
    limits::{
        CONNECTIONS_MAX, CONNECTIONS_PER_INSTANCE_MAX, STRANGER_CONNECTION_TTL_MAX, STRANGERS_MAX,
        STRANGERS_PER_ORIGIN_MAX,
    },
    seats::{Held, Notice, Seat, Seats},
};

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// Of those that have not proved who they are.
    pub strangers: usize,
    /// Of those that have.
    pub proved: usize,
}

/// All seats of a gateway.
#[derive(Clone)]
pub(crate) struct Seating {
    strangers: Seats<Origin>,
    proved: Seats<SpiffeId>,
}

/// The seat of one connection.
pub(crate) struct Chair {
    seating: Seating,
    origin: Origin,
    notice: Notice,
    seat: Mutex<Seated>,
    moved: Notify,
}

enum Seated {
    Stranger {
        _seat: Seat<Origin>,
    },
    Proved(SpiffeId, Arc<Seat<SpiffeId>>),
    /// Between two seats.
    Moving,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            strangers: STRANGERS_MAX,
            proved: CONNECTIONS_MAX,
        }
    }
}

impl Seating {
    pub(crate) fn new(room: Room) -> Self {
        Self {
            strangers: Seats::new(room.strangers, Origin::crowd),
            proved: Seats::new(room.proved, SpiffeId::clone),
        }
    }

    /// Gives a connection from `peer` its first seat.
    pub(crate) fn take(&self, peer: SocketAddr) -> Arc<Chair> {
        let (origin, notice) = (Origin::of(peer), Notice::default());
        Arc::new(Chair {
            seating: self.clone(),
            origin,
            seat: Mutex::new(self.for_stranger(origin, &notice)),
            notice,
            moved: Notify::new(),
        })
    }

    fn for_stranger(&self, origin: Origin, notice: &Notice) -> Seated {
        let share = origin.places(self.strangers.most(), STRANGERS_PER_ORIGIN_MAX);
        let seat = self.strangers.take(origin, share, notice);
        Seated::Stranger { _seat: seat }
    }
}

impl Chair {
    /// Moves the connection among those of `id`, who has proved to be at its other end.
    pub(crate) fn belongs_to(&self, id: &SpiffeId) {
        let mut seat = self.seat();
        if matches!(&*seat, Seated::Proved(of, _) if of == id) {
            return;
        }
        // The old seat is free before the new one is taken.
        drop(mem::replace(&mut *seat, Seated::Moving));
        let proved = &self.seating.proved;
        let taken = proved.take(id.clone(), CONNECTIONS_PER_INSTANCE_MAX, &self.notice);
        *seat = Seated::Proved(id.clone(), Arc::new(taken));
        self.moved.notify_one();
    }

    /// Moves the connection back among strangers: what proved who is at its other end stands no more.
    pub(crate) fn belongs_to_nobody(&self) {
        let mut seat = self.seat();
        if !matches!(&*seat, Seated::Proved(..)) {
            return;
        }
        drop(mem::replace(&mut *seat, Seated::Moving));
        *seat = self.seating.for_stranger(self.origin, &self.notice);
        self.moved.notify_one();
    }

    /// Resolves when the connection has to end at once: its seat is another's.
    pub(crate) async fn leaves(&self) {
        self.notice.heard().await;
    }

    /// Resolves when the connection has stayed a stranger's for too long.
    pub(crate) async fn stays_a_stranger(&self) {
        loop {
            let is_stranger = matches!(&*self.seat(), Seated::Stranger { .. });
            tokio::select! {
                () = sleep(STRANGER_CONNECTION_TTL_MAX), if is_stranger => return,
                () = self.moved.notified() => {}
            }
        }
    }

    /// Carries `work` to its end as what is answered there, so that the idle get up before.
    pub(crate) async fn answers<T>(&self, work: impl Future<Output = T>) -> T {
        let seat = match &*self.seat() {
            Seated::Proved(_, seat) => Some(Arc::clone(seat)),
            Seated::Stranger { .. } | Seated::Moving => None,
        };
        match seat {
            Some(seat) => seat.answers(work).await,
            None => work.await,
        }
    }

    /// Keeps the seat until `work` is done, as long as others sit idle.
    pub(crate) async fn holds<T>(&self, work: impl Future<Output = T>) -> T {
        let _held = self.hold();
        work.await
    }

    /// Lets an answer that is a stream keep the seat until its end, as long as others sit idle.
    pub(crate) fn goes_out(&self, response: Response<Body>) -> Response<Body> {
        match &*self.seat() {
            Seated::Proved(_, seat) => seat.goes_out(response).map(BodyExt::boxed),
            Seated::Stranger { .. } | Seated::Moving => response,
        }
    }

    fn hold(&self) -> Option<Held<SpiffeId>> {
        match &*self.seat() {
            Seated::Proved(_, seat) => Some(seat.hold()),
            Seated::Stranger { .. } | Seated::Moving => None,
        }
    }

    fn seat(&self) -> MutexGuard<'_, Seated> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Chair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chair")
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    const SHARE: u32 = STRANGERS_PER_ORIGIN_MAX as u32;

    /// Comes from the address with this number, all of which are far from one another.
    fn come(seating: &Seating, address: u32) -> Arc<Chair> {
        let bytes = [11 + u8::try_from(address).unwrap(), 0, 0, 1];
        seating.take(SocketAddr::from((bytes, 1)))
    }

    fn run(number: u32) -> SpiffeId {
        let id = format!("spiffe://example.org/agent/clerk/inst_{number}");
        id.parse().unwrap()
    }

    fn told(chairs: &[Arc<Chair>]) -> usize {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut is_told = |it: &Arc<Chair>| pin!(it.leaves()).poll(&mut context).is_ready();
        chairs.iter().filter(|it| is_told(it)).count()
    }

    #[test]
    fn strangers_have_so_many_seats_and_so_many_of_one_address() {
        let seating = Seating::new(Room::default());
        let origins = u32::try_from(STRANGERS_MAX).unwrap() / SHARE;
        let mut chairs = Vec::new();
        for origin in 0..origins {
            chairs.extend((0..SHARE).map(|_| come(&seating, origin)));
        }
        assert_eq!(chairs.len(), STRANGERS_MAX);
        assert_eq!(told(&chairs), 0);
        // One more of an address costs that address a seat, and one more at all somebody who has most.
        chairs.push(come(&seating, 1));
        assert_eq!(
            told(&chairs[STRANGERS_PER_ORIGIN_MAX..=STRANGERS_PER_ORIGIN_MAX]),
            1
        );
        chairs.push(come(&seating, origins));
        assert_eq!(told(&chairs), 1);
        assert_eq!(seating.strangers.taken(), STRANGERS_MAX);
    }

    #[test]
    fn the_proved_have_so_many_seats_and_so_many_of_one_instance() {
        let seating = Seating::new(Room::default());
        let instances = u32::try_from(CONNECTIONS_MAX / CONNECTIONS_PER_INSTANCE_MAX).unwrap();
        let mut chairs = Vec::new();
        let prove = |number| {
            let chair = come(&seating, 0);
            chair.belongs_to(&run(number));
            chair
        };
        for number in 0..instances {
            chairs.extend((0..CONNECTIONS_PER_INSTANCE_MAX).map(|_| prove(number)));
        }
        assert_eq!(chairs.len(), CONNECTIONS_MAX);
        assert_eq!(told(&chairs), 0);
        chairs.push(prove(1));
        let own = CONNECTIONS_PER_INSTANCE_MAX;
        assert_eq!(told(&chairs[own..=own]), 1);
        chairs.push(prove(instances));
        assert_eq!(told(&chairs), 1);
        assert_eq!(seating.proved.taken(), CONNECTIONS_MAX);
        assert_eq!(seating.strangers.taken(), 0);
    }
}
