//! The clean end of an engine.

use super::{Handle, Turn};

impl Handle {
    /// Lets no further act begin, cuts tunnels, and resolves when no act is under way. How they ended waits to be written.
    pub async fn land(&self) {
        self.shared.flights.close();
        let now = (self.shared.clock)().now;
        self.shared.flights.cut_tunnels(now);
        self.shared.flights.all_landed().await;
    }

    /// Has the sequencer take what waits now, and end, whoever still holds a handle. What comes later is refused.
    pub fn finish(&self) {
        self.shared.finish();
        // Wakes it. A queue that is full wakes it as well.
        let nothing: Turn = Box::new(|_| Box::new(|_| ()));
        let _ = self.turns.try_send(nothing);
    }
}
