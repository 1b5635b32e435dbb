//! Which local user is at the other end of a connection within this machine: the kernel's table of sockets says it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, SocketAddr},
};

/// How many sockets of the machine are looked through for one connection; with more of them nobody is known.
const SOCKETS_MAX: usize = 65_536;
/// The tables: one of each version of IP. A socket for both versions is in the second, whatever it speaks.
const TABLES: [(&str, Version); 2] = [
    ("/proc/net/tcp", Version::Four),
    ("/proc/net/tcp6", Version::Six),
];

/// Why nobody is known at the other end.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoOwner {
    /// The table can't be read.
    #[error("the kernel's table of sockets can't be read")]
    Unreadable(#[source] io::Error),
    /// The machine has too many sockets.
    #[error("this machine has more than {SOCKETS_MAX} sockets, which are not looked through")]
    TooMany,
    /// It has no process any more, or is on another machine.
    #[error("no process of this machine has the other end")]
    Nobody,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    Four,
    Six,
}

/// Returns the local user who has the socket at `there` of the connection whose end of ours is `here`.
///
/// # Errors
/// [`NoOwner`], also when the socket was closed meanwhile: what nobody holds any more is nobody's.
pub(super) fn owner((there, here): (SocketAddr, SocketAddr)) -> Result<u32, NoOwner> {
    for (path, version) in TABLES {
        let table = match File::open(path) {
            Ok(file) => BufReader::new(file),
            // A machine may speak one version alone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(NoOwner::Unreadable(error)),
        };
        match owner_in(table, (text(version, there), text(version, here))) {
            Err(NoOwner::Nobody) => {}
            found => return found,
        }
    }
    Err(NoOwner::Nobody)
}

/// Looks through one table (`proc_net_tcp`): local address, remote address and state, six columns on the user, and the inode.
fn owner_in(table: impl BufRead, (there, here): (String, String)) -> Result<u32, NoOwner> {
    for (count, line) in table.lines().skip(1).enumerate() {
        if count >= SOCKETS_MAX {
            return Err(NoOwner::TooMany);
        }
        let line = line.map_err(NoOwner::Unreadable)?;
        let mut columns = line.split_ascii_whitespace().skip(1);
        if columns.next() != Some(&there) || columns.next() != Some(&here) {
            continue;
        }
        let user = columns.nth(4).and_then(|it| it.parse().ok());
        let inode = columns.nth(1);
        // Without an inode no process has it, and the user may be anybody's.
        return match (user, inode) {
            (Some(user), Some(inode)) if inode != "0" => Ok(user),
            (Some(_) | None, Some(_) | None) => Err(NoOwner::Nobody),
        };
    }
    Err(NoOwner::Nobody)
}

/// Writes an address as the tables do: words of 32 bits as they lie in memory, in hexadecimal.
fn text(version: Version, address: SocketAddr) -> String {
    let word = |it: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(it));
    let ip = match (version, address.ip()) {
        (Version::Four, IpAddr::V4(ip)) => word(ip.octets()),
        // Of no table of this version.
        (Version::Four, IpAddr::V6(_)) => String::new(),
        (Version::Six, ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let octets = ip.octets();
            let (words, _) = octets.as_chunks::<4>();
            words.iter().map(|it| word(*it)).collect()
        }
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Cursor, Read},
        net::{Ipv6Addr, TcpListener, TcpStream},
    };

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn row(there: &str, here: &str, user: u32, inode: u32) -> String {
        format!(
            "   0: {there} {here} 01 00000000:00000000 00:00000000 00000000  {user}        0 {inode} 1 0 20 4 30 10 -1\n"
        )
    }

    #[test]
    fn a_socket_is_its_users() {
        let wanted = ("0100007F:0001".to_owned(), "0100007F:0002".to_owned());
        let check = |rows: &[String], user: Option<u32>| {
            let table = format!("{HEAD}{}", rows.concat());
            let found = owner_in(Cursor::new(table), wanted.clone());
            assert_eq!(found.ok(), user, "{rows:?}");
        };
        let ours = row(&wanted.1, &wanted.0, 7, 5);
        let theirs = row(&wanted.0, &wanted.1, 1000, 6);
        check(&[], None);
        // Our own end says nothing of theirs.
        check(std::slice::from_ref(&ours), None);
        check(&[ours, theirs.clone()], Some(1000));
        // Closed, and not yet forgotten: the table says 0, which is root's number.
        check(&[row(&wanted.0, &wanted.1, 0, 0)], None);
        check(&["x\n".to_owned(), "\n".to_owned()], None);
        check(&[theirs.replace("1000", "many")], None);
        let others = |count: usize| vec![row("0100007F:0003", &wanted.1, 1, 1); count];
        check(
            &[others(SOCKETS_MAX - 1), vec![theirs.clone()]].concat(),
            Some(1000),
        );
        check(&[others(SOCKETS_MAX), vec![theirs]].concat(), None);
    }

    #[test]
    fn the_kernel_says_whose_connection_it_is() {
        let own = rustix::process::getuid().as_raw();
        let check = |place: SocketAddr, to: fn(u16) -> SocketAddr| {
            let Ok(listener) = TcpListener::bind(place) else {
                // Not every machine speaks IPv6.
                return;
            };
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect(to(port)).unwrap();
            let (mut accepted, peer) = listener.accept().unwrap();
            let here = accepted.local_addr().unwrap();
            assert_eq!(owner((peer, here)).unwrap(), own, "{peer}");
            // The other way round it is ours, which is this user's here.
            let ends = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
            assert_eq!(owner(ends).unwrap(), own);
            drop(stream);
            accepted.read_to_end(&mut Vec::new()).unwrap();
            assert!(matches!(owner((peer, here)), Err(NoOwner::Nobody)));
        };
        check(SocketAddr::from(([127, 0, 0, 1], 0)), |port| {
            SocketAddr::from(([127, 0, 0, 1], port))
        });
        check(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), |port| {
            SocketAddr::from((Ipv6Addr::LOCALHOST, port))
        });
    }
}
