//! One process of a function, run as Lambda runs it, and what the kernel says of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{runtime_api::RuntimeApi, server::Server, stand_in::StandIn};

/// The file of whom the functions are to trust, beside the logs.
pub(crate) const AUTHORITIES: &str = "authorities.pem";

/// Where the binaries are, and where what is measured is put.
#[derive(Clone)]
pub(crate) struct Folders {
    pub(crate) binaries: PathBuf,
    pub(crate) state: PathBuf,
}

pub(crate) struct Process {
    child: Child,
    log: File,
    pub(crate) api: RuntimeApi,
    /// From the call that creates the process to its first request for an event.
    pub(crate) init: Duration,
}

impl Process {
    /// Starts a function and waits until it is ready for its first event.
    pub(crate) fn start(
        function: &str,
        folders: &Folders,
        runtime: &Handle,
        aws: &StandIn,
    ) -> Self {
        let api = RuntimeApi::start(runtime);
        let log = File::create(folders.state.join(format!("{function}.log"))).unwrap();
        let mut command = Command::new(folders.binaries.join(function));
        command
            .env_clear()
            .envs(environment(aws, &folders.state))
            .env("AWS_LAMBDA_RUNTIME_API", api.server.address.to_string())
            .env("AWS_SDK_UA_APP_ID", function)
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log.try_clone().unwrap());
        let began = Instant::now();
        let child = command.spawn().unwrap();
        let init = api.ready().duration_since(began);
        Self { child, log, api, init }
    }

    /// What it has logged until now.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log.metadata().unwrap().len()
    }

    /// The most memory that it has had at one time, in MB.
    pub(crate) fn peak_mb(&self) -> f64 {
        let status = fs::read_to_string(self.proc().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes / 1024.0
    }

    /// The processor time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(self.proc().join("task")).unwrap();
        let nanos = threads.map(|thread| {
            let schedstat = fs::read_to_string(thread.unwrap().path().join("schedstat"));
            let schedstat = schedstat.unwrap_or_default();
            schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What Lambda and the template set; each function takes what it knows.
fn environment(aws: &StandIn, state: &Path) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<_, _> = [
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        (
            "AWS_SESSION_TOKEN",
            "a-token-as-long-as-those-of-a-role-which-are-some-hundreds-of-characters",
        ),
        ("AGENTS_TABLE", "agents"),
        ("API_KEYS_TABLE", "api_keys"),
        ("CALLBACK_ALLOW", "127.0.0.1,localhost"),
        ("CONSOLE_OAUTH_AUTHORIZE_URL", ""),
        ("CONSOLE_OAUTH_CLIENT_ID", ""),
        ("CONSOLE_OAUTH_TOKEN_URL", ""),
        ("HOST_DELIVERY_LIMIT", "30000"),
        ("STACK_ID", "bench"),
        ("USER_DELIVERY_LIMIT", "30000"),
        ("DELIVERY_LEASE_SECONDS", "60"),
        ("DELIVERY_OVERDUE_SECONDS", "60"),
        ("DESCRIBE_BUDGET", "400"),
        ("EVENT_BUS_NAME", "bus"),
        ("EXECUTIONS_TABLE", "executions"),
        ("KEY_OVERLAP_DAYS", "7"),
        ("KEY_ROTATION_DAYS", "30"),
        ("LAUNCH_OVERDUE_SECONDS", "60"),
        ("MAX_WAITERS", "20"),
        ("MCP_HOSTS", ""),
        ("MCP_ORIGINS", ""),
        ("NEWS_OVERDUE_SECONDS", "300"),
        ("OAUTH_ADMINS", "false"),
        ("OAUTH_AUDIENCES", ""),
        ("OAUTH_ISSUERS", ""),
        ("OAUTH_RATE_LIMIT", "60"),
        ("API_URL", "https://api.example.com/live"),
        ("PUBLIC_URL", ""),
        ("QUEUE_TIMEOUT_SECONDS", "86400"),
        ("RETENTION_DAYS", "7"),
        ("RETRY_SCHEDULE", "1,2,4,8,15,60,300,900,3600,10800,21600,43200,86400,86400"),
        ("STACK_NAME", "bench"),
        ("WEBHOOK_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:webhook"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    // A certificate names a host.
    let scheme = if aws.is_tls { "https" } else { "http" };
    let endpoint = |host: &Server| format!("{scheme}://localhost:{}", host.address.port());
    for (service, host) in &aws.hosts {
        variables.insert(format!("AWS_ENDPOINT_URL_{service}"), endpoint(host));
    }
    for (name, queue) in [("LAUNCH_QUEUE_URL", "launch"), ("WEBHOOK_QUEUE_URL", "webhook")] {
        variables.insert(name.to_owned(), format!("{}/{queue}", endpoint(&aws.hosts["SQS"])));
    }
    if aws.is_tls {
        variables.insert("AWS_CA_BUNDLE".to_owned(), state.join(AUTHORITIES).display().to_string());
    }
    variables
}
