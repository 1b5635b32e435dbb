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
use hyper::body::Body as _;
use tokio::time::sleep;

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
    notice: Notice,
    seat: Mutex<Seated>,
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
        let share = origin.places(self.strangers.most(), STRANGERS_PER_ORIGIN_MAX);
        let seat = self.strangers.take(origin, share, &notice);
        Arc::new(Chair {
            seating: self.clone(),
            notice,
            seat: Mutex::new(Seated::Stranger { _seat: seat }),
        })
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
    }

    /// Resolves when the connection has to end: its seat is another's, or it has stayed a stranger's too long.
    pub(crate) async fn leaves(&self) {
        let stays_a_stranger = async {
            sleep(STRANGER_CONNECTION_TTL_MAX).await;
            if !matches!(&*self.seat(), Seated::Stranger { .. }) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.notice.heard() => {}
            () = stays_a_stranger => {}
        }
    }

    /// Carries `work` to its end as what is answered there, so that the idle get up before.
    pub(crate) async fn answers<T>(&self, work: impl Future<Output = T>) -> T {
        let seat = match &*self.seat() {
            Seated::Proved(_, seat) => Some(Arc::clone(seat)),
            Seated::Stranger { .. } | Seated::Moving => None,
        };
        let _answering = seat.as_ref().map(|it| it.answering());
        work.await
    }

    /// Keeps the seat until `work` is done, as long as others sit idle.
    pub(crate) async fn holds<T>(&self, work: impl Future<Output = T>) -> T {
        let _held = self.hold();
        work.await
    }

    /// Lets an answer that is a stream keep the seat until its end, as long as others sit idle.
    pub(crate) fn goes_out(&self, response: Response<Body>) -> Response<Body> {
        let held = match response.body().size_hint().exact() {
            Some(_) => None,
            None => self.hold(),
        };
        let Some(held) = held else {
            return response;
        };
        response.map(|body| {
            let seated = body.map_frame(move |frame| {
                let _seat = &held;
                frame
            });
            seated.boxed()
        })
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
