use super::*;
use crate::tokens::tests::with;

const ALL: [Action; 15] = [
    Action::ReadCatalog,
    Action::ReadRouting,
    Action::ReportProbes,
    Action::BeMirror,
    Action::Plan,
    Action::Promote,
    Action::DecideGate,
    Action::Withdraw,
    Action::Revert,
    Action::Reinstate,
    Action::ApplyProjects,
    Action::AuditOrigin,
    Action::ReadOperations,
    Action::ReadFleet,
    Action::ManageTokens,
];

fn metadata(authorization: &[&str]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for value in authorization {
        metadata.append("authorization", value.parse().unwrap());
    }
    metadata
}

#[tokio::test]
async fn only_loopback_peers_are_somebody_and_without_a_token_the_administrator() {
    let (_folder, tokens, _) = with(&[]).await;
    let gate = Gate::new(tokens);
    for (peer, somebody) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("10.0.0.1:1", false),
        ("[2001:db8::1]:1", false),
        ("", false),
    ] {
        for action in ALL {
            let judged = gate.judge(peer.parse().ok(), &metadata(&[]), action);
            let expected = if somebody {
                Ok(Admitted {
                    who: Principal::Loopback,
                    scope: Scope::All,
                })
            } else {
                Err(Refused::NotLoopback)
            };
            assert_eq!(judged, expected, "{peer} {action}");
        }
    }
}

#[tokio::test]
async fn a_token_has_exactly_its_roles_also_on_this_machine() {
    let roles = [
        vec![Role::Admin],
        vec![Role::View],
        vec![Role::Promote("a".into())],
        vec![Role::Promote("a".into()), Role::Promote("b".into())],
        vec![Role::Promote("a".into()), Role::Admin],
    ];
    let (_folder, tokens, secrets) = with(&roles).await;
    let gate = Gate::new(tokens);
    let own = |projects: &[&str]| {
        let projects = projects.iter().map(|&project| project.to_owned());
        Some(Scope::Projects(projects.collect()))
    };
    for (secret, view, promote, admin) in [
        (
            &secrets[0],
            Some(Scope::All),
            Some(Scope::All),
            Some(Scope::All),
        ),
        (&secrets[1], Some(Scope::All), None, None),
        (&secrets[2], Some(Scope::All), own(&["a"]), None),
        (&secrets[3], Some(Scope::All), own(&["a", "b"]), None),
        (
            &secrets[4],
            Some(Scope::All),
            Some(Scope::All),
            Some(Scope::All),
        ),
    ] {
        for action in ALL {
            let expected = match action {
                Action::ReadCatalog | Action::ReadOperations | Action::ReadFleet => &view,
                Action::Plan
                | Action::Promote
                | Action::DecideGate
                | Action::Withdraw
                | Action::Revert => &promote,
                Action::ReadRouting
                | Action::ReportProbes
                | Action::BeMirror
                | Action::Reinstate
                | Action::ApplyProjects
                | Action::AuditOrigin
                | Action::ManageTokens => &admin,
            };
            let metadata = metadata(&[&format!("Bearer {secret}")]);
            let judged = gate.judge("127.0.0.1:1".parse().ok(), &metadata, action);
            let found = judged.ok().map(|admitted| admitted.scope);
            assert_eq!(found, *expected, "{action}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_none_is_nobody_not_loopback() {
    let (_folder, tokens, secrets) = with(&[vec![Role::View]]).await;
    let gate = Gate::new(tokens);
    let good = &secrets[0];
    let (head, tail) = good.split_at(good.len() - 1);
    let other = format!("{head}{}", if tail == "0" { "1" } else { "0" });
    for bad in [
        vec![String::new()],
        vec!["Bearer".into()],
        vec!["Bearer ".into()],
        vec![format!("Basic {good}")],
        vec![good.clone()],
        vec![format!("Bearer {other}")],
        vec![format!("Bearer {good}0")],
        vec![format!("Bearer {head}")],
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
        vec!["Bearer lft__".into()],
        vec!["Bearer lft_00000000_00000000000000000000000000000000".into()],
    ] {
        let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
        let judged = gate.judge(
            "127.0.0.1:1".parse().ok(),
            &metadata(&bad),
            Action::ReadFleet,
        );
        assert_eq!(judged, Err(Refused::BadToken), "{bad:?}");
    }
    let good = metadata(&[&format!("bearer {good}")]);
    assert!(
        gate.judge("127.0.0.1:1".parse().ok(), &good, Action::ReadFleet)
            .is_ok()
    );
    let elsewhere = gate.judge("10.0.0.1:1".parse().ok(), &good, Action::ReadFleet);
    assert_eq!(elsewhere, Err(Refused::NotLoopback));
}
