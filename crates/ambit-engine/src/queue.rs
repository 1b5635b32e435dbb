//! The way to the sequencer: what somebody waits for stands in a queue, what nobody waits for stands beside it.
//!
//! A turn that nobody waits for starts no batch while others may come: it goes with the next turn that somebody
//! waits for, and stands before it; after [`ASIDE_WAIT`] at the latest it goes alone. So at moderate load one commit
//! carries what took two.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::{self, Thread},
    time::Duration,
};

use ambit_core::limits::{RECORDS_ASIDE_MAX, SEQUENCER_QUEUE_MAX};
use tokio::sync::mpsc;

use crate::desk::Turn;

/// How long a turn that nobody waits for waits for company.
const ASIDE_WAIT: Duration = Duration::from_millis(5);

/// Makes the two ends of the way.
pub(crate) fn queue() -> (Turns, Queue) {
    let (sender, receiver) = mpsc::channel(SEQUENCER_QUEUE_MAX);
    let aside = Arc::new(Aside::default());
    let turns = Turns {
        sender,
        wake: Wake(aside.clone()),
    };
    (turns, Queue { receiver, aside })
}

/// The end of those who hand turns over.
#[derive(Clone)]
pub(crate) struct Turns {
    // Dropped before the sequencer is woken: it must find that nobody is left.
    sender: mpsc::Sender<Turn>,
    wake: Wake,
}

/// The sequencer's end.
pub(crate) struct Queue {
    receiver: mpsc::Receiver<Turn>,
    aside: Arc<Aside>,
}

/// What comes next.
pub(crate) enum Next {
    /// A turn that somebody waits for.
    Awaited(Turn),
    /// Only turns that nobody waits for.
    Aside,
    /// Nothing.
    Idle,
    /// Nothing any more: everybody is gone.
    Over,
}

#[derive(Default)]
struct Aside {
    turns: Mutex<Waiters>,
    /// The thread that waits, when there is one.
    sequencer: OnceLock<Thread>,
    /// Whether it sleeps, or is about to: waking one that works would only keep it from its next sleep.
    sleeps: AtomicBool,
}

#[derive(Default)]
struct Waiters {
    turns: Vec<Turn>,
    /// Nobody takes any more.
    over: bool,
}

#[derive(Clone)]
struct Wake(Arc<Aside>);

impl Turns {
    /// Hands a turn over that somebody waits for.
    pub(crate) fn try_send(&self, turn: Turn) -> Result<(), mpsc::error::TrySendError<Turn>> {
        self.sender.try_send(turn)?;
        self.wake.0.wake();
        Ok(())
    }

    /// Hands a turn over that nobody waits for and that writes one record at most. Waits while there is no room.
    pub(crate) async fn later(&self, turn: Turn) -> Result<(), mpsc::error::SendError<Turn>> {
        if let Err(turn) = self.aside(turn) {
            self.sender.send(turn).await?;
            self.wake.0.wake();
        }
        Ok(())
    }

    /// The same, given up when there is no room.
    pub(crate) fn try_later(&self, turn: Turn) {
        if let Err(turn) = self.aside(turn) {
            let _ = self.try_send(turn);
        }
    }

    fn aside(&self, turn: Turn) -> Result<(), Turn> {
        let mut aside = self.wake.0.lock();
        if aside.over || aside.turns.len() >= RECORDS_ASIDE_MAX {
            return Err(turn);
        }
        aside.turns.push(turn);
        let is_first = aside.turns.len() == 1;
        drop(aside);
        if is_first {
            self.wake.0.wake();
        }
        Ok(())
    }
}

impl Queue {
    /// Returns what comes next, and waits for it. Must be called on one thread only.
    pub(crate) fn wait(&mut self) -> Next {
        let _ = self.aside.sequencer.set(thread::current());
        let next = self.look_and_sleep();
        self.aside.sleeps.store(false, Ordering::SeqCst);
        next
    }

    fn look_and_sleep(&mut self) -> Next {
        let mut told = false;
        loop {
            match self.next() {
                Next::Awaited(turn) => return Next::Awaited(turn),
                Next::Over => return Next::Over,
                Next::Aside if self.receiver.is_closed() => return Next::Aside,
                Next::Idle | Next::Aside if !told => {
                    // Whoever comes from now on wakes this thread; whoever came before is seen at the next look.
                    self.aside.sleeps.store(true, Ordering::SeqCst);
                    fence(Ordering::SeqCst);
                    told = true;
                }
                Next::Idle => thread::park(),
                Next::Aside => {
                    thread::park_timeout(ASIDE_WAIT);
                    // Whatever woke it early, they may go: that is never wrong.
                    match self.next() {
                        Next::Idle => {}
                        next @ (Next::Awaited(_) | Next::Aside | Next::Over) => return next,
                    }
                }
            }
        }
    }

    /// Returns what comes next.
    pub(crate) fn next(&mut self) -> Next {
        match self.receiver.try_recv() {
            Ok(turn) => Next::Awaited(turn),
            Err(error) => {
                let mut aside = self.aside.lock();
                if !aside.turns.is_empty() {
                    return Next::Aside;
                }
                match error {
                    mpsc::error::TryRecvError::Empty => Next::Idle,
                    mpsc::error::TryRecvError::Disconnected => {
                        aside.over = true;
                        Next::Over
                    }
                }
            }
        }
    }

    /// Takes no further turn in; those that wait are taken still.
    pub(crate) fn close(&mut self) {
        self.receiver.close();
    }

    /// Returns the next turn that somebody waits for, when there is one.
    pub(crate) fn awaited(&mut self) -> Option<Turn> {
        self.receiver.try_recv().ok()
    }

    /// Takes the turns that nobody waits for: at most [`RECORDS_ASIDE_MAX`], in their order.
    pub(crate) fn take_aside(&self) -> Vec<Turn> {
        std::mem::take(&mut self.aside.lock().turns)
    }
}

impl Aside {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // What was handed over is there before this look at the flag.
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst)
            && let Some(sequencer) = self.sequencer.get()
        {
            sequencer.unpark();
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> Turn {
        Box::new(|_| Box::new(|_| ()))
    }

    #[test]
    fn what_nobody_waits_for_ends_at_its_maximum_and_is_not_lost() {
        let (turns, mut queue) = queue();
        for _ in 0..RECORDS_ASIDE_MAX {
            turns.try_later(turn());
        }
        assert!(matches!(queue.next(), Next::Aside));
        // One beyond stands in the queue, and so wakes at once.
        turns.try_later(turn());
        assert!(matches!(queue.next(), Next::Awaited(_)));
        assert_eq!(queue.take_aside().len(), RECORDS_ASIDE_MAX);
        assert!(matches!(queue.next(), Next::Idle));
    }

    #[test]
    fn nothing_is_put_aside_for_a_sequencer_that_has_gone() {
        let (turns, mut queue) = queue();
        turns.try_later(turn());
        queue.close();
        assert!(matches!(queue.next(), Next::Aside));
        assert_eq!(queue.take_aside().len(), 1);
        assert!(matches!(queue.next(), Next::Over));
        turns.try_later(turn());
        assert!(turns.try_send(turn()).is_err());
        assert!(queue.take_aside().is_empty());
    }

    #[test]
    fn what_nobody_waits_for_comes_alone_after_a_while() {
        let (turns, mut queue) = queue();
        turns.try_later(turn());
        assert!(matches!(queue.wait(), Next::Aside));
    }

    #[test]
    fn whoever_hands_over_wakes_the_sequencer_and_so_does_the_last_who_leaves() {
        let (turns, mut queue) = queue();
        let waiting = thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                match queue.wait() {
                    Next::Awaited(_) => seen.push("awaited"),
                    Next::Aside => seen.extend(queue.take_aside().iter().map(|_| "aside")),
                    Next::Idle => seen.push("idle"),
                    Next::Over => return seen,
                }
            }
        });
        assert!(turns.try_send(turn()).is_ok());
        turns.try_later(turn());
        drop(turns.clone());
        drop(turns);
        let seen = waiting.join().unwrap();
        assert_eq!(seen, ["awaited", "aside"]);
    }
}
