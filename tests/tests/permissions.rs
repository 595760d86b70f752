//! What each grant lets its key do, by every way in.

use e2e::{Answer, Stack, User};
use reqwest::Method;
use serde_json::{Value, json};

/// What a caller may try, on the agents `echo` and `slow`.
struct Tries {
    user: User,
    /// Runs of this user, of either agent.
    echo: String,
    slow: String,
}

impl Tries {
    async fn start(&self, agent: &str) -> u16 {
        self.user.post(&json!({"agent_name": agent, "input_message": "x"})).await.status
    }

    async fn cancel(&self, id: &str) -> Answer {
        self.user.send(Method::POST, &format!("/v1/executions/{id}/cancel"), &[], "").await
    }

    /// The agents whose runs, and which agents, a list shows.
    async fn listed(&self) -> Vec<String> {
        let runs = self.user.get("/v1/executions").await;
        let agents = self.user.get("/v1/agents").await;
        let names = |list: &Value, field: &str| -> Vec<String> {
            let names = list.as_array().unwrap().iter();
            names.map(|it| it[field].as_str().unwrap().to_owned()).collect()
        };
        let mut seen = names(&runs.body["executions"], "agent_name");
        seen.sort_unstable();
        seen.dedup();
        for agent in ["echo", "slow"] {
            let shown = names(&agents.body["agents"], "name").contains(&agent.to_owned());
            assert_eq!(shown, seen.contains(&agent.to_owned()), "{agent}: {seen:?}");
        }
        seen
    }

    /// Whether the tool's word on this run is the same by the envelope as by REST.
    async fn agrees(&self, id: &str) {
        let rest = self.user.monitor(id).await.status;
        let envelope = self.user.call("monitor_agent", json!({"execution_id": id})).await.status;
        assert_eq!(rest, envelope, "{id}");
    }
}

#[tokio::test]
async fn a_grant_reaches_its_agents_and_no_further() {
    const NOTHING: &[&str] = &[];
    let stack = Stack::connect().await;
    let owner = stack.user(&["*:*"]).await;
    let start =
        async |agent: &str| owner.start(&json!({"agent_name": agent, "input_message": "x"})).await;
    let (echo, slow) = (start("echo").await, start("slow").await);
    owner.wait_for(&echo, "completed").await;
    owner.wait_for(&slow, "running").await;

    // Grants; then the status of: start echo, start slow, view echo, view slow, cancel echo (which
    // has ended, so 409 means allowed); and the agents that are seen.
    let both: &[&str] = &["echo", "slow"];
    for (grants, expected, seen) in [
        (vec![], [403, 403, 403, 403, 403], NOTHING),
        (vec!["nonsense", "", ":", "*", "view"], [403, 403, 403, 403, 403], NOTHING),
        (vec!["view:echo"], [403, 403, 200, 403, 403], &["echo"]),
        (vec!["view:*"], [403, 403, 200, 200, 403], both),
        (vec!["execute:echo"], [202, 403, 403, 403, 403], NOTHING),
        (vec!["cancel:echo"], [403, 403, 403, 403, 409], NOTHING),
        (vec!["cancel:slow"], [403, 403, 403, 403, 403], NOTHING),
        (vec!["*:echo"], [202, 403, 200, 403, 409], &["echo"]),
        (vec!["execute:slow", "view:echo"], [403, 202, 200, 403, 403], &["echo"]),
        (vec!["execute:*", "view:*", "cancel:*"], [202, 202, 200, 200, 409], both),
        (vec!["*:*"], [202, 202, 200, 200, 409], both),
    ] {
        let key = stack.key(&owner.id, &grants, json!({})).await;
        let user = User { key, ..owner.clone() };
        let tries = Tries { user, echo: echo.clone(), slow: slow.clone() };

        let actual = [
            tries.start("echo").await,
            tries.start("slow").await,
            tries.user.monitor(&tries.echo).await.status,
            tries.user.results(&tries.slow).await.status,
            tries.cancel(&tries.echo).await.status,
        ];
        assert_eq!(actual, expected, "{grants:?}");
        assert_eq!(tries.listed().await, seen, "{grants:?}");
        tries.agrees(&tries.echo).await;
        tries.agrees(&tries.slow).await;

        // Somebody else's key with the same grants knows nothing of these runs, unless it is an
        // administrator's.
        let other = stack.user(&grants).await;
        let status = other.monitor(&tries.echo).await.status;
        assert_eq!(status, if grants == ["*:*"] { 200 } else { 404 }, "{grants:?}");
    }
    let tries = Tries { user: owner, echo, slow: slow.clone() };
    assert_eq!(tries.cancel(&slow).await.status, 202);
}
