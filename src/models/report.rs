//! Tells of a load while it goes on: a line in the log now and then, and where somebody sits at a
//! terminal, one line there that moves.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::LoadProgress;

/// How often the terminal's line is drawn.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The log is told of every step of so many percent.
const STEP_PERCENT: u8 = 25;

/// Goes on until it is dropped.
pub(super) struct Report {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Report {
    /// Begins to tell of a load.
    pub(super) fn begin(name: &str, progress: &LoadProgress) -> Self {
        let (end, ended) = channel();
        let (name, progress) = (name.to_owned(), progress.clone());
        let tell = move || {
            let mut steps = Steps::default();
            let mut terminal = Terminal::open();
            loop {
                let state = line(&name, &progress);
                terminal.draw(&state);
                if let Some(percent) = progress.percent().filter(|percent| steps.is_new(*percent)) {
                    let (bytes, of_bytes) = progress.bytes();
                    tracing::info!(model = name, percent, bytes, of_bytes, "model is being read");
                }
                match ended.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            terminal.clear();
        };
        // Without the thread nobody is told, and the model is loaded all the same.
        let thread = std::thread::Builder::new().name("models".into()).spawn(tell).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which steps were told.
#[derive(Default)]
struct Steps {
    told: Option<u8>,
}

impl Steps {
    fn is_new(&mut self, percent: u8) -> bool {
        let step = percent / STEP_PERCENT;
        let is_new = self.told.is_none_or(|told| step > told);
        if is_new {
            self.told = Some(step);
        }
        is_new
    }
}

fn line(name: &str, progress: &LoadProgress) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let (bytes, of) = progress.bytes();
    match progress.percent() {
        Some(percent) => {
            format!("  loading   {name}   {percent} %   {} of {} MiB", mib(bytes), mib(of))
        }
        None => format!("  loading   {name}"),
    }
}

/// The terminal, if standard error is one.
struct Terminal {
    is_there: bool,
    is_drawn: bool,
}

impl Terminal {
    fn open() -> Self {
        Self { is_there: std::io::stderr().is_terminal(), is_drawn: false }
    }

    fn draw(&mut self, line: &str) {
        if self.is_there {
            self.is_drawn = true;
            // A terminal that takes no words is no reason not to load.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&mut self) {
        if self.is_drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_in_steps_and_of_each_once() {
        let mut steps = Steps::default();
        let told: Vec<u8> = (0..=100).filter(|percent| steps.is_new(*percent)).collect();
        assert_eq!(told, [0, 25, 50, 75, 100]);
        let mut steps = Steps::default();
        let told: Vec<u8> = [3, 80, 81, 100].into_iter().filter(|it| steps.is_new(*it)).collect();
        assert_eq!(told, [3, 80, 100]);
    }

    #[test]
    fn a_report_ends_with_the_load() {
        let report = Report::begin("m", &LoadProgress::new());
        drop(report);
    }
}
