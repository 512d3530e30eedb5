//! The command line: one file a command.

mod api_keys;
mod audit;
mod backup;
mod bench;
mod chat;
mod config;
mod doctor;
mod eval;
mod group;
mod init;
mod key;
mod models;
mod monitor;
mod options;
mod orders;
mod secrets;
mod serve;
mod unseal;
mod usage;
mod user;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use options::Common;

/// A private AI server: language models behind accounts, encryption, limits, guards and an audit
/// log, on your own machine.
#[derive(Parser)]
#[command(name = "strongroom", version, propagate_version = true)]
#[command(
    after_help = "Without a command, `strongroom` serves, and takes the options of `serve`.\n\nExit codes: 0 done, 1 failed (or `doctor` found something failing), 2 wrong usage, 3 something was found (audit verify, advisories check), 130 interrupted (chat)."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
    #[command(flatten, next_help_heading = "Options of `serve`")]
    serve: serve::Serve,
}

impl Cli {
    /// What is to be run, and with which options.
    fn chosen(self) -> Result<(Command, Common), clap::Error> {
        match self.command {
            None => Ok((Command::Serve(self.serve), self.common)),
            Some(command) if self.serve == serve::Serve::default() => Ok((command, self.common)),
            Some(_) => Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                "options of `serve` stand before a command: leave the command out, or put them behind `serve`",
            )),
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Serve people and programs.
    Serve(serve::Serve),
    /// Chat in the terminal, with a server that is running.
    Chat(chat::Chat),
    /// Make a data directory with its owner, without a browser.
    Init(init::Init),
    /// Open a sealed server that is running.
    Unseal(unseal::Unseal),
    /// Where the root key is kept, and API keys.
    Key(key::Key),
    /// People: list them, make them reset links.
    User(user::User),
    /// Verify or export the audit log.
    Audit(audit::Audit),
    /// Sum up who used which models how much, and what it cost.
    Usage(usage::Usage),
    /// Make, verify or restore a sealed backup.
    Backup(backup::Backup),
    /// List, load and unload the models of a running server.
    Models(models::Models),
    /// Measure how fair a model is, and whether it knows the language.
    Eval(eval::Eval),
    /// Measure how fast models answer on this machine.
    Bench(bench::Bench),
    /// Show the configuration in force, and where each value came from.
    Config(config::Show),
    /// Hold the server against the six practices.
    Doctor(doctor::Doctor),
    /// Print the list of crates inside this binary (CycloneDX).
    Sbom(monitor::Sbom),
    /// Hold this binary against a copy of the RustSec advisory database.
    Advisories(monitor::Advisories),
}

/// How a command ended, if it did not fail.
enum Ended {
    /// It was done.
    Done,
    /// It was done, and found what it looked for.
    Found,
    /// It was done, and something is not as it must be.
    Failing,
    /// It was not asked for in a way that can be done.
    Misused,
    /// The person has stopped it.
    Interrupted,
}

/// Runs the command line and returns the exit code of the process.
pub fn main() -> ExitCode {
    let (command, common) = Cli::parse().chosen().unwrap_or_else(|error| error.exit());
    match run(command, &common) {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Failing) => ExitCode::FAILURE,
        Ok(Ended::Misused) => ExitCode::from(2),
        Ok(Ended::Found) => ExitCode::from(3),
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            options::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, common: &Common) -> anyhow::Result<Ended> {
    harden();
    match command {
        Command::Serve(command) => command.run(common),
        Command::Chat(command) => command.run(common),
        Command::Init(command) => command.run(common),
        Command::Unseal(command) => command.run(common),
        Command::Key(command) => command.run(common),
        Command::User(command) => command.run(common),
        Command::Audit(command) => command.run(common),
        Command::Usage(command) => command.run(common),
        Command::Backup(command) => command.run(common),
        Command::Models(command) => command.run(common),
        Command::Eval(command) => command.run(common),
        Command::Bench(command) => command.run(common),
        Command::Config(command) => command.run(common),
        Command::Doctor(command) => command.run(common),
        Command::Sbom(_) => monitor::Sbom::run(),
        Command::Advisories(command) => command.run(common),
    }
}

/// Keeps keys out of core dumps, and other processes of the same user out of this one's memory. For
/// every command: which of them open the vault is not to be forgotten here.
fn harden() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() || !close_memory() {
        options::warn("core dumps could not be switched off");
    }
    std::panic::set_hook(Box::new(|panic| report_panic(panic.location())));
}

/// Keeps other processes of the same user out of this one's memory; whether that could be done.
#[cfg(target_os = "linux")]
fn close_memory() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// Elsewhere there is no such switch: who may look at another process is the system's rule, and the
/// limit on core dumps holds alone.
#[cfg(not(target_os = "linux"))]
fn close_memory() -> bool {
    true
}

/// Says where a part of the program broke off. The words of a panic can quote the text at hand, which
/// may be somebody's prompt: they are left out.
fn report_panic(place: Option<&std::panic::Location<'_>>) {
    let place = place.map_or_else(String::new, ToString::to_string);
    if tracing::dispatcher::has_been_set() {
        tracing::error!(place, "a part of the program broke off");
    } else {
        options::warn(&format!("a part of the program broke off at {place}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Command, Common), clap::Error> {
        Cli::try_parse_from(line.split(' ')).and_then(Cli::chosen)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_promised_command_lines_are_read() {
        for line in [
            "strongroom",
            "strongroom serve --data-dir D --listen 127.0.0.1:1 --model a.gguf --model b.gguf",
            "strongroom --data-dir D serve",
            "strongroom --data-dir D --listen 127.0.0.1:1 --model a.gguf --model b.gguf",
            "strongroom --plain-http --passphrase-file /dev/fd/3 --data-dir D",
            "strongroom chat",
            "strongroom chat Summarise this",
            "strongroom chat -m guide -s Brief. --plain --no-history --key-file K --ca C hello",
            "strongroom chat --server https://ai.example.org/v1 --keep-key",
            "strongroom chat --forget-key --data-dir D",
            "strongroom init --data-dir D --owner olivia --password-file F --api-key-file OUT",
            "strongroom audit verify --data-dir D",
            "strongroom audit export --data-dir D --format csv",
            "strongroom unseal --data-dir D",
            "strongroom serve --passphrase-file /dev/fd/3",
            "strongroom key rotate --passphrase-file F",
            "strongroom key passphrase --passphrase-file F --new-passphrase-file G",
            "strongroom audit verify --fingerprint F --head 1:2",
            "strongroom audit verify --public-key F",
            "strongroom user reset ada",
            "strongroom user group list --json --passphrase-file F",
            "strongroom user group create research --tokens-per-month 1000000 --add ada --add bo",
            "strongroom user group change research --no-limits --remove ada --rename science",
            "strongroom key create --user ada --out K --tokens-per-day 1000 --requests-per-minute 9",
            "strongroom key create --user ada --out K --network 10.0.0.0/8 --network 2001:db8::1",
            "strongroom key create --user ada --out K --scope usage.read --expires-in-days 90",
            "strongroom key list --user ada --json --passphrase-file F",
            "strongroom key networks KEY --network 10.0.0.0/8 --network 2001:db8::1",
            "strongroom key networks KEY --everywhere",
            "strongroom key revoke KEY",
            "strongroom models list --json --data-dir D",
            "strongroom models load qwen3-4b",
            "strongroom models scan",
            "strongroom backup restore B.data --keep-keys",
            "strongroom backup create --data-dir D --to B",
            "strongroom backup restore B.data --keys B.keys --root-key K --data-dir D --replace",
            "strongroom advisories check --db DIR",
            "strongroom doctor --json --data-dir D",
            "strongroom eval fairness --model guide --suite crows-pairs --data D --data-dir E --json",
            "strongroom eval fairness --out report.html",
            "strongroom bench",
            "strongroom bench --model a.gguf --threads 2 --json --streams 1,8 --prompts 512",
            "strongroom bench --shape 1b --type q8_0 --layers 4 --write b.gguf",
            "strongroom bench --model a.gguf --text t.txt --kv q8_0 --json",
            "strongroom config --set server.workers=2",
            "strongroom usage --from 2026-01-01 --to 2026-01-31 --by person,model --csv",
            "strongroom usage --json --passphrase-file F",
        ] {
            assert!(read(line).is_ok(), "{line}");
        }
        for line in [
            "strongroom chat --server http://ai.example.org",
            "strongroom chat --keep-key --forget-key",
            "strongroom chat --key sr-1",
            "strongroom key networks KEY",
            "strongroom key networks KEY --network 10.0.0.0/8 --everywhere",
            "strongroom key networks --everywhere",
            "strongroom usage --json --csv",
            "strongroom --listen 127.0.0.1:1 serve",
            "strongroom --model a.gguf chat",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_options_of_serve_are_those_without_a_command_and_no_other_command_s() {
        let Ok((Command::Serve(serve), _)) = read("strongroom --data-dir D --listen 127.0.0.1:1")
        else {
            panic!("it serves")
        };
        assert!(serve != serve::Serve::default());
        let Err(error) = read("strongroom --listen 127.0.0.1:1 models list") else {
            panic!("nothing listens there")
        };
        assert!(error.to_string().contains("options of `serve`"), "{error}");
    }
}
