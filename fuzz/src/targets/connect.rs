//! Targets of CONNECT: a host and a port, spelled in one way.

use ambit_gateway::reading;

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "connect",
    run,
    seeds,
    words: &[
        "api.example.com",
        ":443",
        "[::1]",
        "user@",
        "http://",
        "%2e",
        ":00443",
        "0x7f.1",
    ],
};

fn run(bytes: &[u8]) {
    let Some((host, port)) = reading::connect_target(bytes) else {
        return;
    };
    assert!(
        !host.is_empty() && host == host.to_ascii_lowercase(),
        "{host:?}"
    );
    assert!(
        !host.contains(['@', '/', '?', '#', ' ', '[', ']']),
        "{host:?}"
    );
    let spelled = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    assert_eq!(
        reading::connect_target(spelled.as_bytes()),
        Some((host, port))
    );
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "api.example.com:443",
        "[::1]:8443",
        "API.Example.COM:1",
        "user@a:1",
        "http://a:1/",
        "a:99999",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}
