//! The demo's estate, compiled in, with whoever runs the demo and the ports that were free.

use std::net::SocketAddr;

use ambit_control::{
    check::{Checked, check_files},
    estate::{EstateFiles, EstateProblem},
};
use ambit_core::estate::PersonRole;

/// The tools of the ticket server.
pub(crate) const TICKETS_TOOLS: &str =
    include_str!("../../../../estates/demo/servers/tickets.tools.json");
/// The tools of the mail server.
pub(crate) const MAIL_TOOLS: &str =
    include_str!("../../../../estates/demo/servers/mail.tools.json");

const TICKETS: &str = include_str!("../../../../estates/demo/servers/tickets.toml");
const MAIL: &str = include_str!("../../../../estates/demo/servers/mail.toml");
const FILES: [(&str, &str); 6] = [
    (
        "estate.toml",
        include_str!("../../../../estates/demo/estate.toml"),
    ),
    (
        "agents/support-bot.toml",
        include_str!("../../../../estates/demo/agents/support-bot.toml"),
    ),
    (
        "templates/answer-ticket.toml",
        include_str!("../../../../estates/demo/templates/answer-ticket.toml"),
    ),
    (
        "tests/answer-ticket.toml",
        include_str!("../../../../estates/demo/tests/answer-ticket.toml"),
    ),
    ("servers/tickets.tools.json", TICKETS_TOOLS),
    ("servers/mail.tools.json", MAIL_TOOLS),
];

/// The ports that the files name.
const TICKETS_PLACE: &str = "127.0.0.1:8931";
const MAIL_PLACE: &str = "127.0.0.1:8932";

/// Returns the demo's estate, checked, for the local user `uid`.
pub(crate) fn checked(
    uid: u32,
    tickets: SocketAddr,
    mail: SocketAddr,
) -> Result<Checked, Vec<EstateProblem>> {
    let tickets = TICKETS.replace(TICKETS_PLACE, &tickets.to_string());
    let mail = MAIL.replace(MAIL_PLACE, &mail.to_string());
    let files = EstateFiles::from_texts(FILES)?
        .with_file("servers/tickets.toml", &tickets)
        .with_file("servers/mail.toml", &mail)
        .with_person("you", uid, &PersonRole::ALL);
    check_files(&files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_s_estate_is_sound_for_anybody() {
        let place = SocketAddr::from(([127, 0, 0, 1], 4000));
        let checked = checked(12_345, place, place).unwrap();
        assert!(checked.cases() > 5);
        assert!(TICKETS.contains(TICKETS_PLACE) && MAIL.contains(MAIL_PLACE));
    }
}
