//! A program that is run on the stack, as an operator runs it.

use std::process::Stdio;

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// By its path. The environment of the tests tells it which stack there is.
#[derive(Debug, Clone, Copy)]
pub struct Tool(pub &'static str);

/// What it said, and whether it was content.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub text: String,
    pub notes: String,
}

impl Said {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Tool {
    pub async fn run(self, arguments: &[&str]) -> Said {
        self.with(arguments, "", &[]).await
    }

    /// The same, where nothing may go wrong.
    pub async fn told(self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert!(said.ok, "{arguments:?}: {said:?}");
        said.text
    }

    /// With this at its standard input, and these variables in its environment.
    pub async fn with(self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Said {
        let mut child = Command::new(self.0)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // It may end without reading, and close its end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        let output = child.wait_with_output().await.unwrap();
        Said {
            ok: output.status.success(),
            text: String::from_utf8(output.stdout).unwrap().trim_end().to_owned(),
            notes: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
