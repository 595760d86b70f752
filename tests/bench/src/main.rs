//! Runs each function as Lambda would, beside the least that a function can be, and measures what
//! it takes: `bench BINARIES STATE [--check]`. The results go to standard output as tables, and to
//! `STATE/../bench.json`. With `--bombs` it only does what might take a function's memory, which debug
//! builds stand, too. With `--check` it measures less, and fails if a function takes much more than
//! it should.

mod bombs;
mod cases;
mod content;
mod process;
mod report;
mod runtime_api;
mod server;
mod stand_in;
mod throttle;

use std::{collections::BTreeMap, env, fs, path::PathBuf, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use crate::{
    cases::Case,
    content::Content,
    process::{AUTHORITIES, Folders, Process},
    report::{Cold, First, Operation, Report, Samples, Warm},
    stand_in::{SERVICES, StandIn},
    throttle::Throttle,
};

/// How often each thing is done.
struct Rounds {
    cold: usize,
    warm: usize,
    /// With what AWS takes in reality.
    late: usize,
    throttled: usize,
}

const ALL: Rounds = Rounds { cold: 21, warm: 1_000, late: 1_000, throttled: 15 };
const CHECK: Rounds = Rounds { cold: 15, warm: 200, late: 0, throttled: 0 };

/// What a call of AWS takes.
const LATENCY: Duration = Duration::from_millis(5);
/// Invocations that count for nothing.
const WARM_UP: usize = 20;
/// How many follow the first one at 7 % of a processor.
const AFTER_FIRST: usize = 20;

struct Bench {
    folders: Folders,
    runtime: Handle,
    aws: Handle,
}

fn main() {
    let mut arguments = env::args().skip(1);
    let mut folder = || PathBuf::from(arguments.next().expect("bench BINARIES STATE [--check]"));
    let folders = Folders { binaries: folder(), state: folder() };
    let options: Vec<String> = arguments.collect();
    let [is_check, is_bombs] =
        ["--check", "--bombs"].map(|name| options.iter().any(|it| it == name));
    let rounds = if is_check { CHECK } else { ALL };
    fs::create_dir_all(&folders.state).unwrap();
    let tls = self_signed(&folders);
    let bench =
        Bench { folders, runtime: server::thread("runtime-api"), aws: server::thread("aws") };
    if is_bombs {
        bombs::set_off(&bench);
        return;
    }
    let cases = cases::all();

    let mut report = Report { cold: bench.cold(&cases, rounds.cold), ..Default::default() };
    if rounds.throttled > 0 {
        match Throttle::new() {
            Ok(throttle) => report.first = bench.first(&cases, &tls, &throttle, rounds.throttled),
            Err(error) => eprintln!("Not measured at 7 % of a processor: {error}"),
        }
    }
    for case in cases {
        let at_once = bench.warm(&case, Duration::ZERO, rounds.warm);
        let late = (rounds.late > 0).then(|| bench.warm(&case, LATENCY, rounds.late));
        report.warm.push(Operation { case, at_once, late });
    }
    report.print();
    bombs::set_off(&bench);
    let json = bench.folders.state.with_file_name("bench.json");
    fs::write(json, format!("{:#}\n", report.to_json())).unwrap();
    let missed = report.missed(is_check);
    if !missed.is_empty() {
        println!("\nNot reached:\n{}", missed.join("\n"));
        assert!(!is_check, "a function takes more than it may");
    }
}

impl Bench {
    /// AWS, and the receiver of callbacks, which is on time.
    fn stand_ins(
        &self,
        case: &Case,
        latency: Duration,
        tls: Option<&TlsAcceptor>,
    ) -> (StandIn, StandIn) {
        let mut content = Content {
            stage: case.stage,
            result_bytes: case.result_bytes,
            callback_url: String::new(),
            output: None,
            schema: None,
        };
        let receiver =
            StandIn::start(&self.aws, &["RECEIVER"], content.clone(), Duration::ZERO, None);
        content.callback_url = format!("http://{}/callback", receiver.hosts["RECEIVER"].address);
        (StandIn::start(&self.aws, &SERVICES, content, latency, tls), receiver)
    }

    fn start(&self, case: &Case, aws: &StandIn) -> Process {
        self.start_function(case.function, aws)
    }

    fn start_function(&self, function: &str, aws: &StandIn) -> Process {
        Process::start(function, &self.folders, &self.runtime, aws)
    }

    fn aws_with(&self, content: Content, latency: Duration) -> StandIn {
        StandIn::start(&self.aws, &SERVICES, content, latency, None)
    }

    /// Cold starts, of all functions in turn, so that whatever disturbs the machine disturbs all.
    fn cold(&self, cases: &[Case], rounds: usize) -> BTreeMap<&'static str, Cold> {
        let mut colds = BTreeMap::<_, Cold>::new();
        for _ in 0..rounds {
            let mut before = "";
            for case in cases.iter().filter(|case| {
                let is_first = case.function != before;
                before = case.function;
                is_first
            }) {
                let (aws, _receiver) = self.stand_ins(case, Duration::ZERO, None);
                let process = self.start(case, &aws);
                let calls = aws.take_seen().calls.into_values().sum();
                let first = case.check(&process.api.invoke(&case.payload()));
                let cold = colds.entry(case.function).or_default();
                cold.init.push(process.init.as_secs_f64() * 1e3);
                cold.first.push(first);
                cold.cpu.push(process.cpu().as_secs_f64() * 1e3);
                cold.calls = calls;
            }
        }
        colds
    }

    /// One invocation after the other.
    fn warm(&self, case: &Case, latency: Duration, rounds: usize) -> Warm {
        let (aws, _receiver) = self.stand_ins(case, latency, None);
        let process = self.start(case, &aws);
        let event = case.payload();
        for _ in 0..WARM_UP {
            case.check(&process.api.invoke(&event));
        }
        aws.take_seen();
        let (cpu, log_bytes) = (process.cpu(), process.log_bytes());
        let mut warm = Warm::default();
        for _ in 0..rounds {
            let took = case.check(&process.api.invoke(&event));
            let seen = aws.take_seen();
            warm.took.push(took);
            warm.overhead.push(took - seen.busy.as_secs_f64() * 1e3);
            for (operation, count) in seen.calls {
                *warm.calls.entry(operation).or_default() += count;
            }
            warm.bytes += seen.bytes;
        }
        warm.rounds = rounds;
        warm.log_bytes = process.log_bytes() - log_bytes;
        warm.cpu_micros = process.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / rounds as f64;
        warm.peak_mb = process.peak_mb();
        warm
    }

    /// The first invocation and those after it over TLS, with AWS's latency and on 7 % of a processor;
    /// the start has all of it, as on Lambda.
    fn first(
        &self,
        cases: &[Case],
        tls: &TlsAcceptor,
        throttle: &Throttle,
        rounds: usize,
    ) -> Vec<(&'static str, First)> {
        let measured = |case: &Case| {
            let mut first = First { is_prepared: case.is_prepared, ..First::default() };
            for _ in 0..rounds {
                let (aws, _receiver) = self.stand_ins(case, LATENCY, Some(tls));
                let process = self.start(case, &aws);
                throttle.take(process.id()).unwrap();
                first.init.push(process.init.as_secs_f64() * 1e3);
                first.before += aws.take_seen().connections;
                let event = case.payload();
                first.earliest.push(case.check(&process.api.invoke(&event)));
                first.during += aws.take_seen().connections;
                let after: Samples =
                    (0..AFTER_FIRST).map(|_| case.check(&process.api.invoke(&event))).collect();
                first.after.push(after.median());
            }
            first
        };
        cases.iter().map(|case| (case.name, measured(case))).collect()
    }
}

/// A certificate that no authority vouches for, and the file by which the functions trust it, beside
/// those whom they trust on AWS.
fn self_signed(folders: &Folders) -> TlsAcceptor {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trusted = include_str!("../../../shared/src/aws/authorities.pem").to_owned() + &cert.pem();
    fs::write(folders.state.join(AUTHORITIES), trusted).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
