//! Certificates that clients show, and sessions that are taken up again.

use rcgen::{CertificateParams, SanType};

use super::*;

/// What asks clients for certificates of the authority that `clients` names.
fn asking(mode: &str) -> String {
    let authorities = "caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]";
    format!("{SHOWN}, validation: {{{authorities}, mode: {mode}}}")
}

async fn site(mode: &str, clients: &Authority) -> Site {
    let (policy, resources) = (format!("tls: {{{}}}", asking(mode)), [clients.config_map("clients")]);
    Site::with(&policy, &resources, Sidecar::beside("cart")).await
}

fn has_expired(params: &mut CertificateParams) {
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
}

type Pair = (String, String);

/// What a client may show that proves nothing, and the word for it.
fn worthless(clients: &Authority) -> [(Option<Pair>, &'static str); 3] {
    [
        (None, "missing"),
        (Some(Authority::new().certify(&["partner.test"], |_| {})), "unknown_issuer"),
        (Some(clients.certify(&["partner.test"], has_expired)), "expired"),
    ]
}

#[tokio::test]
async fn clients_that_must_prove_themselves_do_and_the_workload_is_told_who_they_are() {
    let clients = Authority::new();
    let site = site("AllowValidOnly", &clients).await;
    let pair = clients.certify(&["partner.test"], |_| {});
    let said = site.call(Some(&pair), &["--header", "x-forwarded-client-cert: Hash=00"]).await;
    assert!(said.contains("HTTP/2 200"), "{said}");
    let told = site.told("x-forwarded-client-cert").unwrap();
    assert!(
        told.starts_with("Hash=") && told.ends_with(";Subject=\"CN=someone\";DNS=partner.test"),
        "{told}"
    );
    assert!(!told.contains("Hash=00;") && told.len() > 64, "{told}");
    for (pair, reason) in worthless(&clients) {
        let said = site.call(pair.as_ref(), &[]).await;
        assert!(!said.contains("HTTP/"), "{reason}: {said}");
        let counted = ["outrigger_tls_handshakes_total", &format!("result=\"{reason}\"")];
        assert_eq!(site.counts(&counted).await, 1, "{reason}");
    }
    assert_eq!(site.app.requests(), 1);
}

#[tokio::test]
async fn clients_that_need_not_prove_themselves_count_as_nobody_unless_they_do() {
    let clients = Authority::new();
    let site = site("AllowInsecureFallback", &clients).await;
    let proves = (Some(clients.certify(&["partner.test"], |_| {})), "");
    for (pair, reason) in worthless(&clients).into_iter().chain([proves]) {
        let said = site.call(pair.as_ref(), &["--header", "x-forwarded-client-cert: Hash=00"]).await;
        assert!(said.contains("HTTP/2 200"), "{reason}: {said}");
        assert_eq!(site.told("x-forwarded-client-cert").is_some(), reason.is_empty(), "{reason}");
    }
}

/// The authorities of others give nobody an identity of the mesh, not even in what the workload is told.
#[tokio::test]
async fn a_certificate_of_an_outsider_names_nobody_of_the_mesh() {
    let of = |clients: &Authority, uri: &'static str| {
        clients.certify(&["partner.test"], |params| {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        })
    };
    for (mode, says, reason) in
        [("AllowValidOnly", "", "name_constraint"), ("AllowInsecureFallback", "HTTP/2 200", "ok")]
    {
        let (clients, of_mesh) = (Authority::new(), Authority::new());
        let policy = format!("tls: {{{}}}", asking(mode));
        let resources = [clients.config_map("clients"), of_mesh.mesh("Disabled")];
        let site = Site::with(&policy, &resources, Sidecar::beside("cart")).await;
        for uri in ["spiffe://mesh.test/ns/default/svc/admin", "SPIFFE://MESH.TEST/ns/default/svc/admin"] {
            let said = site.call(Some(&of(&clients, uri)), &[]).await;
            assert!(said.contains(says) && said.contains("HTTP/2 200") != says.is_empty(), "{mode}: {said}");
            assert_eq!(site.told("x-forwarded-client-cert"), None, "{mode}");
        }
        assert_eq!(
            site.counts(&["outrigger_tls_handshakes_total", &format!("result=\"{reason}\"")]).await,
            2
        );
        let said = site.call(Some(&of(&clients, "spiffe://partner.test/a")), &[]).await;
        assert!(said.contains("HTTP/2 200"), "{mode}: {said}");
        let told = site.told("x-forwarded-client-cert").unwrap();
        assert!(told.contains(";URI=spiffe://partner.test/a"), "{told}");
    }
}

/// A session that was taken up again would let a client in whose authority is believed no more.
#[tokio::test]
async fn sessions_are_taken_up_again_only_where_nobody_proves_anything() {
    let open = Site::new(SHOWN).await;
    for version in ["-tls1_3", "-tls1_2"] {
        assert!(resumes(&open.mesh, open.address(), HOST, None, version).await, "{version}");
    }
    drop(open);
    let clients = Authority::new();
    let pair = clients.certify(&["partner.test"], |_| {});
    for mode in ["AllowValidOnly", "AllowInsecureFallback"] {
        let site = site(mode, &clients).await;
        for version in ["-tls1_3", "-tls1_2"] {
            let resumed = resumes(&site.mesh, site.address(), HOST, Some(&pair), version).await;
            assert!(!resumed, "{mode} {version}");
        }
        if mode == "AllowValidOnly" {
            let policy = format!("tls: {{{}}}", asking(mode));
            publish(&site.mesh, &policy, &[Authority::new().config_map("clients")], site.address());
            eventually(DEADLINE, "the authority is believed no more", async || {
                (!site.call(Some(&pair), &[]).await.contains("HTTP/")).then_some(())
            })
            .await;
        }
    }
}
