//! Handshakes in memory: two ends of rustls and the bytes between them.

use std::{io, sync::Arc};

use ambit_core::Timestamp;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};

use super::{
    HOUR, NOW, authority, gateway_key, gateway_svid, instance_id, instance_key, instance_svid,
    whole,
};
use crate::{
    Authority, Clients, Svid, SvidKey, TlsClock, identify_instance,
    tls::{ALPN_HTTP_1_1, gateway_config, identity_error, runner_config, server_name},
};

pub(super) fn clock(now: Timestamp) -> TlsClock {
    TlsClock::new(move || now)
}

fn ends(
    gateway: (&Authority, &Svid, &SvidKey),
    runner: (&Authority, &Svid, &SvidKey),
    now: Timestamp,
) -> (Connection, Connection) {
    let bundle = |of: &Authority| Arc::new(of.bundle().clone());
    let server = gateway_config(
        (gateway.1, gateway.2),
        bundle(gateway.0),
        Clients::WithSvid,
        clock(now),
    )
    .unwrap();
    let client = runner_config(runner.1, runner.2, bundle(runner.0), clock(now)).unwrap();
    let client = ClientConnection::new(Arc::new(client), server_name()).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    (server.into(), client.into())
}

/// Carries bytes both ways until nothing moves.
pub(super) fn shake(server: &mut Connection, client: &mut Connection) -> Result<(), rustls::Error> {
    loop {
        let moved = carry(client, server)? + carry(server, client)?;
        if moved == 0 {
            return Ok(());
        }
    }
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<usize, rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut unread = io::Cursor::new(&bytes);
    while unread.position() < bytes.len() as u64 {
        to.read_tls(&mut unread).unwrap();
        to.process_new_packets()?;
    }
    Ok(bytes.len())
}

/// Expects `part` in the refusal; an empty `part` expects none.
fn check(part: &str, ends: (Connection, Connection)) {
    let (mut server, mut client) = ends;
    match shake(&mut server, &mut client) {
        Ok(()) => assert_eq!(part, "", "the handshake went through"),
        Err(error) => {
            let cause = identity_error(&error);
            let text = cause.map_or_else(|| whole(&error), |it| whole(it));
            assert!(
                !part.is_empty() && text.contains(part),
                "`{part}` not in `{text}`"
            );
        }
    }
}

#[test]
fn both_sides_know_each_other_by_spiffe_id() {
    let authority = authority(9);
    let (gateway, runner) = (gateway_svid(&authority), instance_svid(&authority));
    let (gateway_key, runner_key) = (gateway_key(), instance_key());
    let gateway = (&authority, &gateway, &gateway_key);
    let runner = (&authority, &runner, &runner_key);
    for _ in 0..2 {
        let (mut server, mut client) = ends(gateway, runner, NOW);
        shake(&mut server, &mut client).unwrap();
        let chain = server.peer_certificates().unwrap();
        let caller = identify_instance(chain, authority.bundle(), NOW).unwrap();
        assert_eq!(caller.spiffe_id(), &instance_id());
        assert_eq!(server.alpn_protocol(), Some(ALPN_HTTP_1_1));
        assert_eq!(
            server.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn nothing_is_ever_resumed() {
    let authority = authority(9);
    let bundle = Arc::new(authority.bundle().clone());
    let svids = (gateway_svid(&authority), instance_svid(&authority));
    let server = gateway_config(
        (&svids.0, &gateway_key()),
        Arc::clone(&bundle),
        Clients::WithSvid,
        clock(NOW),
    )
    .unwrap();
    let client = runner_config(&svids.1, &instance_key(), bundle, clock(NOW)).unwrap();
    let (server, client) = (Arc::new(server), Arc::new(client));
    for _ in 0..3 {
        let mut from = ClientConnection::new(Arc::clone(&client), server_name())
            .unwrap()
            .into();
        let mut to = ServerConnection::new(Arc::clone(&server)).unwrap().into();
        shake(&mut to, &mut from).unwrap();
        assert_eq!(from.handshake_kind(), Some(HandshakeKind::Full));
        let Connection::Client(from) = from else {
            panic!("a client");
        };
        assert_eq!(from.tls13_tickets_received(), 0);
    }
}

#[test]
fn every_other_peer_is_refused() {
    let (ours, theirs) = (authority(9), authority(10));
    let (gateway, runner) = (gateway_svid(&ours), instance_svid(&ours));
    let (gateway_key, runner_key) = (gateway_key(), instance_key());
    let good_gateway = (&ours, &gateway, &gateway_key);
    let good_runner = (&ours, &runner, &runner_key);
    check("", ends(good_gateway, good_runner, NOW));
    check(
        "expired at",
        ends(good_gateway, good_runner, NOW.plus(HOUR)),
    );
    let (their_gateway, their_runner) = (gateway_svid(&theirs), instance_svid(&theirs));
    // A gateway of another authority; a runner of another authority that trusts ours.
    check(
        "no root",
        ends((&ours, &their_gateway, &gateway_key), good_runner, NOW),
    );
    check(
        "no root",
        ends(good_gateway, (&ours, &their_runner, &runner_key), NOW),
    );
    // An instance that poses as the gateway; a gateway that acts as an agent.
    check(
        "is not spiffe://example.org/ambit/gateway",
        ends((&ours, &runner, &runner_key), good_runner, NOW),
    );
    check(
        "is not an agent's instance",
        ends(good_gateway, (&ours, &gateway, &gateway_key), NOW),
    );
}

#[test]
fn a_client_without_certificate_is_refused() {
    let authority = authority(9);
    let bundle = Arc::new(authority.bundle().clone());
    let svid = gateway_svid(&authority);
    let server = gateway_config(
        (&svid, &gateway_key()),
        Arc::clone(&bundle),
        Clients::WithSvid,
        clock(NOW),
    )
    .unwrap();
    let mut client = runner_config(
        &instance_svid(&authority),
        &instance_key(),
        bundle,
        clock(NOW),
    )
    .unwrap();
    client.client_auth_cert_resolver = Arc::new(Nobody);
    let client = ClientConnection::new(Arc::new(client), server_name()).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    check("no certificates", (server.into(), client.into()));
}

#[test]
fn a_key_of_another_svid_is_refused() {
    let authority = authority(9);
    let bundle = Arc::new(authority.bundle().clone());
    let error = gateway_config(
        (&gateway_svid(&authority), &instance_key()),
        bundle,
        Clients::WithSvid,
        clock(NOW),
    );
    let error = whole(&error.unwrap_err());
    assert!(
        error.contains("spiffe://example.org/ambit/gateway"),
        "{error}"
    );
}

#[derive(Debug)]
struct Nobody;

impl rustls::client::ResolvesClientCert for Nobody {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
