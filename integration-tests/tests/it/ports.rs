//! An address that someone has already.

use std::net::{SocketAddr, TcpListener, TcpStream};

use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Process, Proxy, port};

use crate::config::service;
use crate::servers::{Server, ended, flags};

/// Not listened on: the servers ask there.
const ASKED: &str = "dns-server";

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_another_program_has_is_named_with_its_flag() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for server in Server::ALL {
        for flag in server.listeners() {
            for wildcard in [false, true] {
                let address = if wildcard { "0.0.0.0:0" } else { "127.0.0.1:0" };
                let holder = TcpListener::bind(address).expect("there is a free port");
                let port = holder.local_addr().expect("it is bound").port();
                refuses(server, flag, SocketAddr::from(([127, 0, 0, 1], port)), &mesh).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_second_outrigger_has_is_named_with_its_flag() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let app = "127.0.0.1:9".parse().expect("an address");
    let mut proxy = Proxy::start(&mesh, Sidecar::beside("shop").node("first").inbound_to(app)).await;
    let held = [
        ("--outbound", proxy.outbound),
        ("--inbound", proxy.inbound.expect("asked for above")),
        ("--admin", proxy.admin),
        ("--metrics", proxy.metrics),
    ];
    for (flag, address) in held {
        refuses(Server::Proxy, flag, address, &mesh).await;
    }
    assert!(proxy.process.is_running());
    let mut control_plane = mesh.control_plane("other").await;
    let metrics = control_plane.process.listening("--metrics").await;
    for (flag, address) in [("--listen", control_plane.api), ("--metrics", metrics)] {
        refuses(Server::ControlPlane, flag, address, &mesh).await;
    }
    assert!(control_plane.process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_flags_of_one_server_cannot_have_one_address() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for server in Server::ALL {
        let flags = server.listeners();
        for (one, other) in flags.iter().zip(&flags[1..]) {
            let address = port::free().to_string();
            let (code, said) = ended(server.on(&mesh, "second", &[one, &address, other, &address])).await;
            assert_eq!(code, Some(2), "{one} {other}: {said}");
            for part in [*one, *other, &address] {
                assert!(said.contains(part), "no {part} in {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_0_picks_a_free_one_and_says_which() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for server in Server::ALL {
        let mut process = Process::start(server.name(), &mut server.on(&mesh, server.name(), &[]));
        let mut ports = Vec::new();
        for flag in server.listeners() {
            let address = process.listening(flag).await;
            assert!(TcpStream::connect(address).is_ok(), "{flag} {address}");
            ports.push(address.port());
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), server.listeners().len(), "{}", process.log());
        assert!(!ports.contains(&0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_control_plane_go_elsewhere_if_nobody_chose_their_address() {
    let mesh = Mesh::new();
    let default: SocketAddr = "127.0.0.1:15314".parse().expect("an address");
    // If that fails, another program has it, which is all that is wanted.
    let _holder = TcpListener::bind(default);
    let mut command = Server::ControlPlane.program();
    command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state("one"));
    command.args(["--listen", "127.0.0.1:0"]);
    let mut process = Process::start("control plane", &mut command);
    let picked = process.listening("--metrics").await;
    assert_ne!(picked, default);
    assert!(process.log().contains("127.0.0.1:15314: the port is taken"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listening_flag_is_forgotten_here() {
    for server in Server::ALL {
        let listed: Vec<String> = flags(server)
            .await
            .into_iter()
            .filter(|(flag, value)| value.as_deref() == Some("ADDR") && flag != ASKED)
            .map(|(flag, _)| format!("--{flag}"))
            .collect();
        assert_eq!(listed, server.listeners(), "{server:?}");
    }
}

/// The server ends at once, in one line that says what to do.
async fn refuses(server: Server, flag: &str, address: SocketAddr, mesh: &Mesh) {
    let address = address.to_string();
    let (code, said) = ended(server.on(mesh, "second", &[flag, &address])).await;
    let expected = match server {
        Server::Proxy => 4,
        Server::ControlPlane => 1,
    };
    assert_eq!(code, Some(expected), "{flag}: {said}");
    for part in [address.as_str(), flag, "port", "another", "0", "free"] {
        assert!(said.contains(part), "{server:?} {flag}: no {part:?} in {said}");
    }
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}
