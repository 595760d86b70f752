//! Every command that a page shows is run here as it stands, or says itself that it needs AWS, or
//! is listed below with the reason why not.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{
    Stack, User,
    page::{Block, Page, root},
    tool::Tool,
};
use serde_json::Value;

/// How a block begins that needs what is not here.
const NEEDS_MORE: [&str; 2] = ["# needs an AWS account\n", "# needs an n8n\n"];

/// How commands begin that are not run here, and why.
const NOT_HERE: [(&str, &str); 6] = [
    ("make demo", "`.ci/run` does it"),
    ("make test", "it runs this"),
    ("make up", "the tests have a stack of their own"),
    ("cargo install --path infra/relayctl", "it is built already"),
    ("claude mcp add", "it needs Claude Code"),
    ("npx @modelcontextprotocol/inspector", "it needs a newer Node.js than the tests do"),
];

/// What a page makes up: a port, and a machine of the reader's own.
const A_PORT: &str = "5678";
const A_MACHINE: &str = "arn:aws:states:eu-west-1:111122223333:stateMachine:researcher";

/// How long all commands of a page may take together.
const PATIENCE: Duration = Duration::from_mins(3);

/// A failed command ends the script, and so does a request that is refused (`Folder::new`).
const BEFORE: &str = "
set -euo pipefail
shopt -s expand_aliases
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
cd \"$FOLDER\"
";

/// Stands between the outputs of two blocks.
const MARK: &str = "--- line ";

/// What a page is run in: a folder that looks like the repository after `make up`.
struct Folder {
    path: PathBuf,
    user: User,
}

impl Folder {
    fn new(name: &str, user: User) -> Self {
        let path = env::temp_dir().join(format!("{name}-{}", ulid::Ulid::generate()));
        fs::create_dir_all(path.join(".local")).unwrap();
        std::os::unix::fs::symlink(root().join("infra"), path.join("infra")).unwrap();
        let (url, key) = (&user.stack.url, &user.key);
        let variables = format!("RELAY_URL='{url}'\nRELAY_API_KEY='{key}'\n");
        fs::write(path.join(".local/stack.env"), variables).unwrap();
        fs::write(path.join(".curlrc"), "fail-with-body\n").unwrap();
        Self { path, user }
    }

    /// Runs the blocks in one shell; returns what each has put out.
    async fn run(&self, page: &Path, blocks: &[&Block]) -> Vec<String> {
        let mut script = format!("{BEFORE}{}", stand_ins());
        for Block { line, code, .. } in blocks {
            script.extend(["echo '", MARK, &line.to_string(), "'\n", code]);
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = script
            .replace(A_PORT, &port.to_string())
            .replace(A_MACHINE, self.user.stack.output("EchoMachineArn"));
        fs::write(self.path.join("script"), script).unwrap();
        let folder = self.path.to_str().unwrap();
        let file = format!("{folder}/script");
        let variables = [
            ("FOLDER", folder),
            ("CURL_HOME", folder),
            ("PATH", &search_path()),
            ("RELAY_API_KEY", &self.user.key),
        ];
        let arguments = [file.as_str()];
        let said = Tool("bash").with(&arguments, "", &variables);
        let said = tokio::time::timeout(PATIENCE, said).await;
        let said = said.unwrap_or_else(|_| panic!("{} takes too long", page.display()));
        assert!(said.ok, "{}:\n{}\n{}", page.display(), said.text, said.notes);
        let outputs = said.text.split(MARK).skip(1);
        outputs.map(|it| it.split_once('\n').map_or("", |(_, output)| output).to_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where programs are looked for: first where relayctl is, beside the folder with the tests.
fn search_path() -> String {
    let tests = env::current_exe().unwrap();
    let programs = tests.ancestors().nth(2).unwrap().display();
    format!("{programs}:{}", env::var("PATH").unwrap())
}

/// Has the shell do nothing for what is not run here, and refuse what else these programs may do.
fn stand_ins() -> String {
    let known = NOT_HERE.map(|(command, _)| format!("'{command} '*")).join("|");
    let programs = NOT_HERE.map(|(command, _)| command.split(' ').next().unwrap());
    let functions = programs.map(|it| format!("{it}() {{ not_here {it} \"$@\"; }}\n")).concat();
    format!(
        "{functions}not_here() {{ case \"$* \" in {known}) ;; *) echo \"not listed: $*\" >&2; return 1 ;; esac; }}\n"
    )
}

#[tokio::test]
async fn every_command_of_every_page_works() {
    let stack = Stack::connect().await;
    let pages = Page::all();
    let mut run = 0;
    for page in &pages {
        let blocks = page.blocks();
        let shell: Vec<_> = blocks.iter().filter(|it| is_shell(it)).collect();
        let needs_more = |it: &&Block| NEEDS_MORE.iter().any(|need| it.code.starts_with(need));
        let here: Vec<_> = shell.iter().copied().filter(|it| !needs_more(it)).collect();
        if here.is_empty() {
            continue;
        }
        let user = stack.user(&["execute:*", "view:*", "cancel:*", "manage:*"]).await;
        let outputs = Folder::new("page", user).run(&page.path, &here).await;
        assert_eq!(outputs.len(), here.len(), "{}", page.path.display());
        for (block, output) in here.iter().zip(&outputs) {
            let place = format!("{}:{}", page.path.display(), block.line);
            if let Some(shown) = answer_of(&blocks, block) {
                let given = serde_json::from_str(output);
                let given: Value = given.unwrap_or_else(|_| panic!("{place}: {output}"));
                assert_eq!(fields(&shown), fields(&given), "{place}");
            }
        }
        run += here.len();
    }
    assert!(run > 10, "{run}");
}

/// The JSON that a page shows directly below a block, as its answer.
fn answer_of(blocks: &[Block], block: &Block) -> Option<Value> {
    let next = blocks.iter().find(|it| it.line > block.line)?;
    let is_answer = next.follows && next.language == "json";
    is_answer.then(|| serde_json::from_str(&next.code).unwrap())
}

fn fields(answer: &Value) -> Vec<&String> {
    answer.as_object().unwrap().keys().collect()
}

fn is_shell(block: &Block) -> bool {
    ["sh", "bash", "shell", "console", ""].contains(&block.language.as_str())
}

#[tokio::test]
async fn commands_within_the_text_are_ones_that_there_are() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut seen = 0;
    for page in Page::all() {
        for span in page.spans() {
            let words: Vec<_> = span.split_whitespace().collect();
            let known = match words[..] {
                ["make", target] => makefile.contains(&format!("\n{target}:")),
                ["relayctl", ref arguments @ ..] if !arguments.is_empty() => knows(arguments).await,
                // As the README lists them: `keys create, list`.
                [group @ ("keys" | "agents" | "runs" | "dead-letters"), ref commands @ ..] => {
                    let mut all = true;
                    for command in commands {
                        all &= knows(&[group, command.trim_end_matches(',')]).await;
                    }
                    all
                }
                _ => continue,
            };
            assert!(known, "{}: {span}", page.path.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Whether relayctl has this command, with these flags; what else is said to it may be made up.
async fn knows(arguments: &[&str]) -> bool {
    let is_flag = |word: &&&str| word.starts_with("--");
    let is_name = |word: &&&str| word.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
    let command = arguments.iter().take_while(|it| is_name(it) && !is_flag(it)).take(2).copied();
    let asked: Vec<_> = command.chain(["--help"]).collect();
    let help = Tool("relayctl").with(&asked, "", &[("PATH", &search_path())]).await;
    help.ok && arguments.iter().filter(is_flag).all(|flag| help.text.contains(flag))
}
