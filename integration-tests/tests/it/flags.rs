//! What the two servers are told by command line, environment and bootstrap file. That each flag is taken from the first of
//! them that has it is tested value by value in their own crates; here are the programs.

use outrigger_integration_tests::{Mesh, Process, client};

use crate::config::service;
use crate::servers::{Server, ended, flags};

/// Flags that make no sense in a file.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_file_is_named_with_file_line_field_and_the_nearest_name() {
    let mesh = Mesh::new();
    for server in Server::ALL {
        for (flag, _) in flags(server).await {
            if NOT_IN_A_FILE.contains(&flag.as_str()) {
                continue;
            }
            let (start, end) = flag.split_at(flag.len() / 2);
            let misspelt = format!("{start}x{end}");
            let unknown = format!("\n\n{misspelt} = \"1\"\n");
            let (path, said) = refused(&mesh, server, &unknown).await;
            // Nothing is near to what is so short.
            let nearest = if flag.len() > 2 { format!(", did you mean {flag:?}?") } else { ";".to_owned() };
            let expected = format!("{path}:3: unknown key {misspelt:?}{nearest}");
            assert!(said.contains(&expected), "no {expected} in {said}");
            let (path, said) = refused(&mesh, server, &format!("# nothing\n{flag} = {{}}\n")).await;
            let expected = format!("{path}:2: {flag:?} can't have such a value");
            assert!(said.contains(&expected), "no {expected} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_of_help_is_heard_as_a_variable() {
    for server in Server::ALL {
        for (flag, value) in flags(server).await {
            let variable = format!("OUTRIGGER_{}", flag.to_uppercase().replace('-', "_"));
            // What takes any text can't be wrong in itself.
            let wrong = match value.as_deref() {
                _ if flag == "help" || flag == "version" => continue,
                None => "maybe",
                Some("ADDR" | "TIME" | "N" | "HOST") => "?",
                Some("FILTER") => "cart=louder",
                Some("NAME" | "ID" | "ZONE") => "a b",
                Some("KEY") if server == Server::Proxy => "rsa:x",
                Some("FILE") if flag == "config" => "/nowhere.toml",
                Some(_) => continue,
            };
            let mut command = server.program();
            command.args(["--store", "/nowhere"]).env(&variable, wrong);
            let (code, said) = ended(command).await;
            assert_eq!(code, Some(2), "{variable}: {said}");
            let named = if flag == "config" { wrong } else { &variable };
            assert!(said.contains(named), "no {named} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_run_with_nothing_but_a_file_and_what_stands_above_it_wins() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let store = mesh.store().display().to_string();
    let text = |state: &str, more: &str| {
        let state = mesh.state(state).display().to_string();
        mesh.file(&format!("store = {store:?}\nstate-dir = {state:?}\n{more}"))
    };
    let proxy_file = text(
        "proxy",
        "service = \"file\"\nnode = \"file\"\nzone = \"file\"\noutbound = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nmetrics = \
         \"127.0.0.1:0\"\npoll = \"100ms\"\ndns-server = [\"127.0.0.1\", \"127.0.0.2\"]\nexpose-admin = false\nworkers = 1\n",
    );
    let mut command = Server::Proxy.program();
    command
        .env("OUTRIGGER_CONFIG", &proxy_file)
        .env("OUTRIGGER_SERVICE", "shop")
        .env("OUTRIGGER_NODE", "variable");
    let mut proxy = Process::start("proxy", command.args(["--node", "typed"]));
    let admin = proxy.listening("--admin").await;
    proxy.listening("--outbound").await;
    let info = client::page(admin, "/server_info").await.unwrap().json();
    assert_eq!(info["service"], "default/shop", "{info}");
    assert_eq!(info["node"], "typed", "{info}");
    assert_eq!(info["zone"], "file", "{info}");

    let file = text(
        "control-plane",
        "listen = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:1\"\ninterval = \"100ms\"\nlog = \"warn\"\n",
    );
    let mut command = Server::ControlPlane.program();
    command.arg("--config").arg(&file).env("OUTRIGGER_METRICS", "127.0.0.1:0").env("OUTRIGGER_LISTEN", "?");
    let mut control_plane = Process::start("control plane", command.args(["--listen", "127.0.0.1:0"]));
    control_plane.listening("--metrics").await;
    control_plane.listening("--listen").await;
}

/// Where the file with this text lies, and what `server` said when it ended because of it.
async fn refused(mesh: &Mesh, server: Server, text: &str) -> (String, String) {
    let path = mesh.file(text).display().to_string();
    let mut command = server.program();
    command.args(["--config", &path]);
    let (code, said) = ended(command).await;
    assert_eq!(code, Some(2), "{text}: {said}");
    (path, said)
}
