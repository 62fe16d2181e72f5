//! `outrigger top` on a terminal.

use std::time::Duration;

use outrigger_integration_tests::{App, Mesh, Terminal, binaries, client, eventually, port};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);

/// The last thing drawn, if it fits.
fn fitting(terminal: &Terminal, (width, height): (usize, usize)) -> Option<Vec<String>> {
    let frame = terminal.frames().pop()?;
    let fits = frame.len() < height && frame.iter().all(|line| line.chars().count() <= width);
    fits.then_some(frame)
}

#[tokio::test(flavor = "multi_thread")]
async fn top_fills_a_terminal_of_any_size_and_leaves_it_as_it_was() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let endpoints: Vec<_> = std::iter::repeat_with(port::free).take(30).chain([app.addr]).collect();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr]), service("many", &endpoints)]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let admin = shop.admin.to_string();
    for key in ["q", "\x03"] {
        let arguments = ["top", "--interval", "1", "--proxy", &admin];
        let mut terminal = Terminal::start(binaries::outrigger(), &arguments, (80, 24));
        eventually(DEADLINE, "requests are shown", async || {
            client::fetch(shop.outbound, "cart", "/").await.ok()?;
            let row = |line: &String| line.starts_with(" default/cart:80") && line.contains("outbound");
            fitting(&terminal, (80, 24)).filter(|frame| frame.iter().any(row))
        })
        .await;
        let drawn = terminal.frames().len();
        let large = eventually(DEADLINE, "it is drawn twice more", async || {
            (terminal.frames().len() >= drawn + 2).then(|| fitting(&terminal, (80, 24)))?
        })
        .await;
        assert_eq!(large.len(), 23, "all but the last row: {large:#?}");
        assert!(large.iter().any(|line| line.chars().count() > 40), "{large:#?}");
        terminal.resize((40, 12));
        let small = eventually(DEADLINE, "it fits again", async || fitting(&terminal, (40, 12))).await;
        for part in ["ROUTE", "ENDPOINT", "default/cart:80"] {
            assert!(small.iter().any(|line| line.contains(part)), "{part}: {small:#?}");
        }
        assert!(!terminal.said().contains("\x1b[?1049l"), "it is there still");
        terminal.press("x");
        terminal.press(key);
        eventually(DEADLINE, "it ends", async || terminal.said().contains("ended ").then_some(())).await;
        let said = terminal.said();
        let (drawn, after) = said.rsplit_once("\x1b[J").unwrap();
        let between: Vec<_> =
            drawn.split("\x1b[J").skip(1).filter(|next| !next.starts_with("\x1b[H")).collect();
        assert!(between.is_empty(), "keys are not shown: {between:?}");
        assert!(drawn.starts_with("\x1b[?1049h\x1b[?25l"), "the cursor is hidden, on a screen of its own");
        assert!(after.starts_with("\x1b[?25h\x1b[?1049l"), "both are put right: {after:?}");
        assert!(after.ends_with("ended 0 same\r\n"), "{after:?}");
    }
}
