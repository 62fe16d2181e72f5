use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use outrigger_certs::authority::{Authority, make_root};
use outrigger_certs::request::NewKey;
use outrigger_snapshot::identity::TrustDomain;
use outrigger_store::Store;
use tower::ServiceExt;

use super::*;
use crate::server::Peer;
use crate::state::{ControlPlane, Settings};

const DAY: Duration = Duration::from_secs(86_400);

fn domain() -> TrustDomain {
    "mesh.test".parse().unwrap()
}

fn later(now: UnixTime, by: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().checked_add_signed(by).unwrap()))
}

/// A root in `folder`, made at `now`.
fn root(folder: &Path, now: UnixTime) -> Authority {
    let root = make_root(&domain(), 1_000 * DAY, now).unwrap();
    std::fs::write(folder.join("root.crt"), &root.certificate).unwrap();
    std::fs::write(folder.join("mesh.yaml"), "spec:\n  trustDomain: mesh.test\n").unwrap();
    Authority::load(root.certificate.as_bytes(), root.key.as_bytes(), "it", now).unwrap()
}

/// An intermediate of it, in place of one that may be there.
fn renew(root: &Authority, folder: &Path, lifetime: Duration, now: UnixTime) {
    let made = root.make_intermediate(&domain(), lifetime, now).unwrap();
    std::fs::write(folder.join("ca.key"), made.key.as_str()).unwrap();
    std::fs::write(folder.join("ca.crt"), &made.certificate).unwrap();
}

fn is_valid(enrolment: &Enrolment, now: UnixTime) -> bool {
    enrolment.current().own_facts.check_time(now).is_ok()
}

#[test]
fn its_own_certificate_follows_the_clock_in_both_directions() {
    let (folder, now) = (tempfile::tempdir().unwrap(), UnixTime::now());
    renew(&root(folder.path(), later(now, -86_400)), folder.path(), 900 * DAY, later(now, -86_400));
    let enrolment = Enrolment::open(folder.path().to_owned(), DAY, now).unwrap();
    let serial = || enrolment.current().own_facts.serial.clone();
    let first = serial();
    enrolment.look(later(now, 3_600)).unwrap();
    assert_eq!(serial(), first, "nothing is due");
    // Further back than certificates are dated back.
    let before = later(now, -3_600);
    enrolment.look(before).unwrap();
    assert!(is_valid(&enrolment, before), "the clock was set back by an hour");
    let ahead = later(now, 40 * 86_400);
    enrolment.look(ahead).unwrap();
    assert!(is_valid(&enrolment, ahead), "the clock was set forward by forty days");
    // So far that not even the authority's time has come: nothing can be made, until the clock is right again.
    assert!(matches!(
        enrolment.look(later(now, -100 * 86_400)),
        Err(EnrolError::Untimely { problem: Problem::NotYetValid, .. })
    ));
    enrolment.look(now).unwrap();
    assert!(is_valid(&enrolment, now));
}

#[test]
fn an_authority_that_has_ended_is_said_and_a_new_one_taken_as_it_comes() {
    let (folder, now) = (tempfile::tempdir().unwrap(), UnixTime::now());
    let root = root(folder.path(), later(now, -7_200));
    renew(&root, folder.path(), Duration::from_secs(3_600), later(now, -7_200));
    let enrolment = Enrolment::open(folder.path().to_owned(), DAY, now).unwrap();
    let told = enrolment.told();
    assert!(told.trouble.as_ref().is_some_and(|trouble| trouble.contains("certs renew")), "{told:?}");
    let roles: Vec<&str> = told.certificates.iter().map(|one| one.role.as_str()).collect();
    assert_eq!(roles, ["server", "intermediate", "root"]);
    assert!(enrolment.render().contains("authority_ready 0\n"), "{}", enrolment.render());
    let own = enrolment.current().own_facts.serial.clone();
    assert!(matches!(enrolment.look(now), Err(EnrolError::Untimely { problem: Problem::Expired, .. })));
    assert_eq!(enrolment.current().own_facts.serial, own, "no key is made every two seconds");
    // A key without its certificate is no new authority.
    std::fs::write(folder.path().join("ca.key"), "half").unwrap();
    assert!(matches!(enrolment.look(now), Err(EnrolError::Folder(_))));
    renew(&root, folder.path(), DAY, now);
    enrolment.look(now).unwrap();
    assert_eq!(enrolment.told().trouble, None);
    assert!(enrolment.render().contains("authority_ready 1\n"));
    assert!(is_valid(&enrolment, now));
    // And it ends while it is in force.
    assert!(matches!(
        enrolment.look(later(now, 2 * 86_400)),
        Err(EnrolError::Untimely { problem: Problem::Expired, .. })
    ));
}

/// A control plane that has read its store, and the authority in `ca` below `folder`.
async fn control_plane(folder: &Path, now: UnixTime) -> (Arc<ControlPlane>, Arc<Enrolment>) {
    let enrolment = Arc::new(Enrolment::open(folder.join("ca"), DAY, now).unwrap());
    let store = folder.join("store");
    std::fs::create_dir(&store).unwrap();
    let settings = Settings {
        store: Store::open(store.to_str().unwrap()).unwrap(),
        interval: Duration::from_secs(1),
        signing_key: None,
        trusted: Vec::new(),
        memory: None,
        single_writer: false,
        enrolment: Some(enrolment.clone()),
    };
    outrigger_store::write::keyfile::create(&folder.join("store.key")).unwrap();
    let control_plane = ControlPlane::with(settings).await.unwrap();
    control_plane.turn().await;
    (Arc::new(control_plane), enrolment)
}

/// The same, with an authority that is in order.
async fn in_order() -> (tempfile::TempDir, Arc<ControlPlane>, Arc<Enrolment>) {
    let (folder, now) = (tempfile::tempdir().unwrap(), UnixTime::now());
    let ca = folder.path().join("ca");
    std::fs::create_dir(&ca).unwrap();
    renew(&root(&ca, now), &ca, DAY, now);
    let (control_plane, enrolment) = control_plane(folder.path(), now).await;
    (folder, control_plane, enrolment)
}

fn request(token: Option<&str>, body: Body) -> Request<Body> {
    let mut request = Request::post("/v1/certificates");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let mut request = request.body(body).unwrap();
    let address = "10.0.0.1:1000".parse().unwrap();
    request.extensions_mut().insert(Peer { address, certificates: Arc::default() });
    request
}

async fn code(answer: axum::response::Response) -> (StatusCode, String) {
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn without_an_authority_everything_else_goes_on_and_tokens_are_not_used_up() {
    let (folder, now) = (tempfile::tempdir().unwrap(), UnixTime::now());
    let ca = folder.path().join("ca");
    std::fs::create_dir(&ca).unwrap();
    let root = root(&ca, later(now, -7_200));
    renew(&root, &ca, Duration::from_secs(3_600), later(now, -7_200));
    let (control_plane, enrolment) = control_plane(folder.path(), now).await;
    assert_eq!(control_plane.trouble(), None);
    assert!(control_plane.status().authority.is_some_and(|authority| authority.trouble.is_some()));
    let service = outrigger_snapshot::name::ServiceName::new("default", "cart").unwrap();
    let (_, token) = control_plane.create_token(service.clone(), DAY, false).await.unwrap();
    let ask = async || {
        let id = SpiffeId::of_service(&domain(), &service);
        let wanted = NewKey::generate().unwrap().request(&id).unwrap();
        let router = router(control_plane.clone(), enrolment.clone());
        code(router.oneshot(request(Some(&token), wanted.into())).await.unwrap()).await
    };
    for _ in 0..2 {
        assert_eq!(ask().await, (StatusCode::SERVICE_UNAVAILABLE, "authority".to_owned()));
    }
    renew(&root, &ca, DAY, now);
    enrolment.look(now).unwrap();
    assert_eq!(ask().await.0, StatusCode::OK, "by the same token, and another key");
}

/// Neither used nor taken back, as far as an empty store says.
#[tokio::test]
async fn a_token_that_the_store_does_not_know_is_good_for_nothing() {
    let (folder, control_plane, enrolment) = in_order().await;
    let service = outrigger_snapshot::name::ServiceName::new("default", "cart").unwrap();
    let (_, token) = control_plane.create_token(service.clone(), DAY, true).await.unwrap();
    let wanted = NewKey::generate().unwrap().request(&SpiffeId::of_service(&domain(), &service)).unwrap();
    let ask = async || {
        let router = router(control_plane.clone(), enrolment.clone());
        code(router.oneshot(request(Some(&token), wanted.clone().into())).await.unwrap()).await
    };
    assert_eq!(ask().await.0, StatusCode::OK);
    let (tokens, away) = (folder.path().join("store/tokens"), folder.path().join("away"));
    std::fs::rename(&tokens, &away).unwrap();
    assert_eq!(ask().await, (StatusCode::FORBIDDEN, "token_unknown".to_owned()));
    std::fs::rename(&away, &tokens).unwrap();
    assert_eq!(ask().await.0, StatusCode::OK);
}

/// What cannot be read is counted and audited as everything else, too.
#[tokio::test]
async fn a_body_that_is_no_text_or_too_long_is_a_refusal_like_others() {
    let (_folder, control_plane, enrolment) = in_order().await;
    let service = outrigger_snapshot::name::ServiceName::new("default", "cart").unwrap();
    let (_, token) = control_plane.create_token(service, DAY, true).await.unwrap();
    for body in [vec![b'x'; 1 << 20], vec![0xff; 10], Vec::new()] {
        for (token, refusal) in [(None, (401, "no_proof")), (Some(&token), (422, "request"))] {
            let router = router(control_plane.clone(), enrolment.clone());
            let asked = request(token.map(String::as_str), body.clone().into());
            let (status, code) = code(router.oneshot(asked).await.unwrap()).await;
            assert_eq!((status.as_u16(), code.as_str()), refusal);
        }
    }
    for counted in ["reason=\"no_proof\"} 3", "reason=\"request\"} 3"] {
        assert!(enrolment.render().contains(counted), "{counted}: {}", enrolment.render());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_and_not_for_long() {
    let (_folder, control_plane, enrolment) = in_order().await;
    let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let asked = tokio::time::Instant::now();
    let answer =
        router(control_plane, enrolment).oneshot(request(None, Body::from_stream(never))).await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!(answer.headers()[header::CONNECTION], "close");
    assert_eq!(code(answer).await, (StatusCode::GATEWAY_TIMEOUT, "timeout".to_owned()));
}
