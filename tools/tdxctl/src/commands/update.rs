// SPDX-License-Identifier: GPL-2.0

//! `tdxctl update`: replaces the running TDX module.
//!
//! Waiting for TD builds is done here, by asking the driver again, and not by the driver, which can
//! do it too. That way there is something to show meanwhile, Ctrl-C ends it, no other update is
//! kept off, and it is the same with and without the ioctl. It costs a line in the kernel log for
//! every attempt, of which there is at most one a second after a while.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::{self, Exit};
use crate::commands::check::Checks;
use crate::device::{canceled, catch_signals, text, Device, DEVICE};
use crate::facts::{version, Facts, Interface, LastUpdate, State, SYSFS};
use crate::firmware::{self, in_format_0x200, Uploaded, CLASS};
use crate::host::Host;
use crate::image::Image;
use crate::output::{self, Verdict};
use crate::sigstruct::Sigstruct;
use crate::status::{Failure as CallFailure, Leaf, Status};
use crate::{evidence, uapi, Failure};

/// The first pause between attempts, and the longest. Each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How the update ended, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub update: LastUpdate,
    /// Why there was no update, in words.
    pub message: Option<String>,
    /// How long was waited for TD builds.
    pub waited_ms: u64,
    /// What the program exits with.
    pub exit_status: u8,
}

impl Ended {
    /// Whether trying again soon may help, without anybody doing something else first.
    fn may_pass(&self) -> bool {
        let another_update = self.update.step == "start";
        self.update.result == "refused"
            && self.update.errno == -libc::EBUSY
            && (self.update.reason.is_some() || another_update)
    }

    /// What to wait for.
    fn obstacle(&self) -> String {
        match (self.update.reason.as_deref(), self.update.count) {
            (Some("td-build"), 0) => "TDs are being built".to_owned(),
            (Some("td-build"), 1) => "1 TD is being built".to_owned(),
            (Some("td-build"), count) => format!("{count} TDs are being built"),
            (Some("migration"), 0) => "the migrations of TDs were interrupted".to_owned(),
            (Some("migration"), 1) => "the migration of 1 TD was interrupted".to_owned(),
            (Some("migration"), count) => {
                format!("the migrations of {count} TDs were interrupted")
            }
            (Some(_), 0) => "operations run that an update would break".to_owned(),
            (Some(_), count) => format!("{count} operations run that an update would break"),
            (None, _) => "another update is running".to_owned(),
        }
    }

    fn exit(&self, state: Option<State>) -> Exit {
        match (self.update.result.as_str(), -self.update.errno) {
            ("updated", _) => Exit::Ok,
            ("lost", _) => Exit::Lost,
            ("interrupted", _) => Exit::Interrupted,
            (_, libc::EBUSY | libc::ETIMEDOUT) => Exit::Busy,
            (_, libc::ECANCELED) => Exit::Canceled,
            _ => match state {
                Some(State::Lost) => Exit::Lost,
                Some(State::Interrupted) => Exit::Interrupted,
                _ => Exit::Failed,
            },
        }
    }
}

/// The command.
pub fn run(host: &Host, arguments: &cli::Update, json: bool) -> Result<Exit, Failure> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !arguments.yes && !can_ask {
        return Err(Failure::new(
            Exit::Usage,
            "there is no terminal to ask on: --yes updates without asking",
        ));
    }
    update(host, arguments, json).map_err(|failure| failure.in_state(state_of(host)))
}

impl Failure {
    /// A failure that has changed nothing, on a host whose TDs are in danger as before.
    fn in_state(self, state: Option<State>) -> Self {
        let exit = match (self.exit, state) {
            (Exit::Failed, Some(State::Interrupted)) => Exit::Interrupted,
            (Exit::Failed, Some(State::Lost)) => Exit::Lost,
            _ => return self,
        };
        let meaning = state.map_or("", State::meaning);
        Self::new(exit, format!("{}; {meaning}", self.message))
    }
}

fn state_of(host: &Host) -> Option<State> {
    Facts::read(host).ok()?.state.ok()
}

fn update(host: &Host, arguments: &cli::Update, json: bool) -> Result<Exit, Failure> {
    let path = &arguments.image;
    let bytes = evidence::read(path)?;
    let image = evidence::parse(path, &bytes)?;
    let facts = Facts::read(host).map_err(|unknown| {
        Failure::new(
            Exit::Failed,
            format!("{unknown}, there is nothing to update with: \"tdxctl ok\" says what to do"),
        )
    })?;
    if let Ok(State::Lost) = facts.state {
        return Err(Failure::new(Exit::Lost, State::Lost.meaning()));
    }
    let checks = Checks::make(host, Ok(&facts), path, &bytes, &image)?;
    // That another update runs is no reason not to try: it may be over then, or is waited for.
    if let Some(obstacle) = checks
        .obstacle(facts.state.as_ref().ok())
        .filter(|_| !checks.only_fails("no-other-update"))
    {
        return Err(obstacle);
    }
    if !may_update(host) {
        return Err(Failure::new(
            Exit::Failed,
            "only root may update the TDX module",
        ));
    }
    // With --yes there is nobody to ask, but the log of a script should have it.
    output::complain(&output::table(&checks.rows(true)));
    if !arguments.yes && !agreed(&facts, &image)? {
        return Err(Failure::new(Exit::Failed, "not updated"));
    }

    catch_signals();
    let mut driver: Box<dyn Driver> = match Device::open(host) {
        Ok(Some(device)) if facts.interface == Interface::Ioctl => Box::new(Ioctl {
            device,
            image: &bytes,
        }),
        _ => Box::new(Upload {
            host,
            image: match facts.interface {
                Interface::Mainline => in_format_0x200(&bytes, &image),
                _ => Cow::Borrowed(&bytes),
            },
            interface: facts.interface,
        }),
    };
    let mut spinner = Spinner::new(json);
    let mut ended = persist(&mut *driver, arguments.wait, &mut spinner)?;
    spinner.clear();

    let exit = ended.exit(state_of(host));
    ended.exit_status = exit as u8;
    tell(&ended, exit, json);
    Ok(exit)
}

/// Whether the caller may, which is to be told before asking anything.
fn may_update(host: &Host) -> bool {
    match Device::open(host) {
        Ok(Some(_)) => true,
        Ok(None) => firmware::may_upload(host),
        Err(error) => error.kind() != io::ErrorKind::PermissionDenied,
    }
}

/// Says what is about to happen, and asks.
fn agreed(facts: &Facts, image: &Image<'_>) -> Result<bool, Failure> {
    let sigstruct = Sigstruct::new(image.sigstruct());
    let running = match &facts.module_version {
        Ok(version) => format!("TDX module {version} runs."),
        Err(_) => "No TDX module runs, an update was interrupted.".to_owned(),
    };
    let cpus = match &facts.cpus_online {
        Ok(cpus) => format!("All {cpus} CPUs"),
        Err(_) => "All CPUs".to_owned(),
    };
    output::complain(&format!(
        "{running}\n\
         The image has SVN {} and was signed on {}.\n\
         {cpus} stop for a moment. TDs go on afterwards.\n\
         Should the firmware fail in the middle, TDs whose vCPUs run then are lost.\n\
         Replace the TDX module? [y/N] ",
        sigstruct.svn(),
        super::show::date(sigstruct.date()),
    ));

    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Says how it ended. Nothing that goes wrong here changes that, or the exit status.
fn tell(ended: &Ended, exit: Exit, json: bool) {
    let text = in_words(ended, exit);
    let printed = match (json, exit) {
        (true, _) => output::print_json(ended),
        (false, Exit::Ok) => output::print(&format!("{text}\n")),
        (false, _) => {
            output::complain(&format!("tdxctl: {text}\n"));
            Ok(())
        }
    };
    if let Err(error) = printed {
        let why = crate::words(&error);
        output::complain(&format!(
            "tdxctl: {text} (standard output cannot be written: {why})\n"
        ));
    }
}

/// How it ended, in a coloured sentence.
fn in_words(ended: &Ended, exit: Exit) -> String {
    let LastUpdate {
        from, to, attempts, ..
    } = &ended.update;
    if exit == Exit::Ok {
        let from = from.as_deref().unwrap_or("the interrupted one");
        let to = to.as_deref().unwrap_or("another one");
        let mut text = format!("TDX module updated from {from} to {to}");
        if let Some(us) = ended.update.blackout_us {
            text += &format!(", all CPUs stopped for {us} us");
        }
        if *attempts > 1 {
            text += &format!(
                ", attempt {attempts} after {}",
                seconds(Duration::from_millis(ended.waited_ms))
            );
        }
        let style = output::style(Verdict::Pass);
        return format!("{style}{text}{style:#}");
    }
    let message = match (&ended.message, ended.may_pass()) {
        (_, true) => ended.obstacle(),
        (Some(message), false) => message.clone(),
        (None, false) => "the driver does not say why".to_owned(),
    };
    let outcome = match exit {
        Exit::Lost => "update failed, TDX is lost until the next reboot",
        Exit::Interrupted => {
            "update interrupted, TDs that do not run can be saved: leave them alone and update with \
             a good image"
        }
        Exit::Busy => "not updated, try again later",
        Exit::Canceled => "not updated, canceled",
        _ => "not updated",
    };
    let style = output::style(Verdict::Fail);
    format!("{style}{outcome}{style:#}: {message}")
}

/// What can be asked for an update.
trait Driver {
    /// Asks once.
    fn attempt(&mut self) -> Result<Ended, Failure>;
}

/// Asks until the update ends in another way than for what may pass, or the time is up.
fn persist(
    driver: &mut dyn Driver,
    wait: Duration,
    spinner: &mut Spinner,
) -> Result<Ended, Failure> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0u32;
    loop {
        let mut ended = driver.attempt()?;
        attempts = attempts.saturating_add(ended.update.attempts);
        ended.update.attempts = attempts;
        ended.waited_ms = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);

        let left = wait.saturating_sub(began.elapsed());
        if !ended.may_pass() || wait.is_zero() {
            return Ok(ended);
        }
        if left.is_zero() {
            ended.update.errno = -libc::ETIMEDOUT;
            ended.message = Some(format!("{}, and the time to wait is up", ended.obstacle()));
            return Ok(ended);
        }
        if !spinner.pause(pause.min(left), began, &ended) {
            ended.update.errno = -libc::ECANCELED;
            ended.message = Some(ended.obstacle());
            return Ok(ended);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The driver's ioctl.
struct Ioctl<'a> {
    device: Device,
    image: &'a [u8],
}

impl Driver for Ioctl<'_> {
    fn attempt(&mut self) -> Result<Ended, Failure> {
        let update = self.device.update(self.image).map_err(|error| {
            Failure::new(Exit::Failed, format!("{DEVICE}: {}", crate::words(&error)))
        })?;
        Ok(Ended::from(&update))
    }
}

impl From<&uapi::Update> for Ended {
    fn from(update: &uapi::Update) -> Self {
        let call = (update.leaf != 0).then(|| CallFailure {
            leaf: Leaf::from_rax(update.leaf),
            status: Status::new(update.status),
        });
        let some_version = |it: &uapi::Version| {
            let is_none = (it.major, it.minor, it.update) == (0, 0, 0);
            (!is_none).then(|| version(it))
        };
        let said = text(&update.text);
        Self {
            update: LastUpdate {
                result: match update.outcome {
                    uapi::OUTCOME_UPDATED => "updated",
                    uapi::OUTCOME_INTERRUPTED => "interrupted",
                    uapi::OUTCOME_LOST => "lost",
                    _ => "refused",
                }
                .to_owned(),
                step: uapi::STEPS
                    .get(update.step as usize)
                    .map_or_else(|| update.step.to_string(), |&step| step.to_owned()),
                errno: update.error,
                leaf: call.map(|call| call.leaf.to_string()),
                status: call.map(|call| call.status.raw()),
                status_name: call.map(|call| call.status_name().to_owned()),
                reason: match update.reason {
                    uapi::REASON_NONE => None,
                    uapi::REASON_TD_BUILD => Some("td-build".to_owned()),
                    uapi::REASON_MIGRATION => Some("migration".to_owned()),
                    _ => Some("other".to_owned()),
                },
                count: update.count,
                from: some_version(&update.from),
                to: some_version(&update.to),
                attempts: update.attempts,
                blackout_us: Some(update.blackout_ns / 1000),
                cpu: update.cpu.try_into().ok(),
            },
            message: (!said.is_empty()).then_some(said),
            waited_ms: 0,
            exit_status: 0,
        }
    }
}

/// The firmware class, of this project's driver or of the C driver.
struct Upload<'a> {
    host: &'a Host,
    image: Cow<'a, [u8]>,
    interface: Interface,
}

impl Driver for Upload<'_> {
    fn attempt(&mut self) -> Result<Ended, Failure> {
        let version = || self.host.read(&format!("{SYSFS}/version")).ok();
        let from = version();
        let logged = self.host.log("").map(|lines| lines.len());
        let uploaded = firmware::upload(self.host, &self.image).map_err(|error| {
            Failure::new(Exit::Failed, format!("{CLASS}: {}", crate::words(&error)))
        })?;
        let to = version();
        let Uploaded::Ended(error) = uploaded else {
            return Ok(Ended::by_class(from, to, Some("device-busy"), "start"));
        };

        let last = self.host.read(&format!("{SYSFS}/last_update")).ok();
        let last = last.and_then(|line| LastUpdate::parse(&line));
        let mut ended = Ended::by_class(from, to, error.as_deref(), "");
        match last {
            // Otherwise it is about another update, which kept this one off.
            Some(last) if last.errno == ended.update.errno => ended.update = last,
            Some(_) => ended.update.step = "start".to_owned(),
            None => {
                if error.is_some() && ended.update.to.is_none() && ended.update.from.is_some() {
                    // The C driver has no way back from a TDX module that it has shut down.
                    ended.update.result = "lost".to_owned();
                }
            }
        }
        if let (Some(error), Ok(logged)) = (error, logged) {
            let who = match self.interface {
                Interface::Mainline => "the C driver",
                _ => "the driver",
            };
            let news = self.host.log("").unwrap_or_default();
            let said = news.get(logged..).unwrap_or_default().iter();
            let said = said
                .rev()
                .find(|line| line.contains("tdx") || line.contains("seamldr"));
            ended.message = Some(match said {
                Some(line) => format!("{who} says \"{error}\", and the kernel log \"{line}\""),
                None => format!("{who} says \"{error}\" and no more"),
            });
        }
        Ok(ended)
    }
}

impl Ended {
    /// What the firmware class says of an upload.
    fn by_class(from: Option<String>, to: Option<String>, error: Option<&str>, step: &str) -> Self {
        let errno = match error {
            None => 0,
            Some("device-busy") => libc::EBUSY,
            Some("timeout") => libc::ETIMEDOUT,
            Some("user-abort") => libc::ECANCELED,
            Some("flash-wearout") => libc::ENOSPC,
            Some("firmware-invalid" | "invalid-file-size") => libc::EINVAL,
            Some(_) => libc::EIO,
        };
        Self {
            update: LastUpdate {
                result: if errno == 0 { "updated" } else { "refused" }.to_owned(),
                step: if errno == 0 { "done" } else { step }.to_owned(),
                errno: -errno,
                leaf: None,
                status: None,
                status_name: None,
                reason: None,
                count: 0,
                from,
                to,
                attempts: 1,
                blackout_us: None,
                cpu: None,
            },
            message: error.map(|error| format!("the firmware class says \"{error}\"")),
            waited_ms: 0,
            exit_status: 0,
        }
    }
}

/// Says on a terminal what is waited for.
struct Spinner {
    shown: bool,
    turns: usize,
}

impl Spinner {
    const TURN: Duration = Duration::from_millis(100);

    fn new(json: bool) -> Self {
        Self {
            shown: !json && io::stderr().is_terminal(),
            turns: 0,
        }
    }

    /// Waits for `pause`. Returns whether to go on, rather than to give up.
    fn pause(&mut self, pause: Duration, began: Instant, ended: &Ended) -> bool {
        let end = Instant::now() + pause;
        loop {
            if canceled() {
                self.clear();
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            self.show(&format!(
                "{}, attempt {}, waiting for {} (Ctrl-C cancels)",
                ended.obstacle(),
                ended.update.attempts,
                seconds(began.elapsed()),
            ));
            std::thread::sleep(left.min(Self::TURN));
        }
    }

    fn show(&mut self, text: &str) {
        const TURNS: [char; 4] = ['|', '/', '-', '\\'];
        if self.shown {
            let turn = TURNS[self.turns % TURNS.len()];
            output::complain(&format!("\r\x1b[K{turn} {text}"));
            self.turns += 1;
        }
    }

    fn clear(&mut self) {
        if self.shown && self.turns != 0 {
            output::complain("\r\x1b[K");
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Answers what it is told to, the last answer again and again.
    struct Fake(VecDeque<Ended>);

    impl Driver for Fake {
        fn attempt(&mut self) -> Result<Ended, Failure> {
            Ok(match self.0.len() {
                1 => self.0[0].clone(),
                _ => self.0.pop_front().unwrap(),
            })
        }
    }

    fn busy(count: u32) -> Ended {
        let mut ended = Ended::by_class(None, None, Some("device-busy"), "shutdown");
        ended.update.reason = Some("td-build".to_owned());
        ended.update.count = count;
        ended
    }

    fn done() -> Ended {
        Ended::by_class(Some("1.5.26".into()), Some("1.5.27".into()), None, "")
    }

    fn ask(answers: impl Into<VecDeque<Ended>>, wait_ms: u64) -> Ended {
        let mut spinner = Spinner::new(true);
        persist(
            &mut Fake(answers.into()),
            Duration::from_millis(wait_ms),
            &mut spinner,
        )
        .unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    #[test]
    fn without_a_wait_there_is_one_attempt() {
        let ended = ask([busy(1), done()], 0);
        assert_eq!(
            (ended.update.errno, ended.update.attempts),
            (-libc::EBUSY, 1)
        );
        assert_eq!(ended.exit(Some(State::Ready)), Exit::Busy);
    }

    #[test]
    fn builds_are_waited_for() {
        let ended = ask([busy(2), busy(1), done()], 60_000);
        assert_eq!((ended.update.errno, ended.update.attempts), (0, 3));
        assert!((30..5000).contains(&ended.waited_ms), "{}", ended.waited_ms);
        assert_eq!(ended.exit(Some(State::Ready)), Exit::Ok);
    }

    #[test]
    fn another_update_is_waited_for() {
        let other = Ended::by_class(None, None, Some("device-busy"), "start");
        assert_eq!(ask([other, done()], 1000).update.errno, 0);
    }

    #[test]
    fn the_time_comes_to_an_end() {
        let ended = ask([busy(3)], 100);
        assert_eq!(ended.update.errno, -libc::ETIMEDOUT);
        // After 0, 10, 30, 70 and 100 ms.
        assert!((3..=5).contains(&ended.update.attempts));
        assert!((100..1000).contains(&ended.waited_ms));
        assert_eq!(
            ended.message.as_deref(),
            Some("3 TDs are being built, and the time to wait is up")
        );
        assert_eq!(ended.exit(Some(State::Ready)), Exit::Busy);
    }

    #[test]
    fn what_does_not_pass_is_not_waited_for() {
        let offline = Ended::by_class(None, None, Some("device-busy"), "preflight");
        for other in [
            offline,
            Ended::by_class(None, None, Some("firmware-invalid"), "image"),
        ] {
            assert_eq!(ask([other, done()], 60_000).update.attempts, 1);
        }
    }

    #[test]
    fn exit_statuses() {
        let ended = |result: &str, error| {
            let mut ended = Ended::by_class(None, None, error, "");
            ended.update.result = result.to_owned();
            ended
        };
        for (result, error, state, exit) in [
            ("updated", None, Some(State::Ready), Exit::Ok),
            (
                "refused",
                Some("firmware-invalid"),
                Some(State::Ready),
                Exit::Failed,
            ),
            ("refused", Some("firmware-invalid"), None, Exit::Failed),
            (
                "refused",
                Some("device-busy"),
                Some(State::Ready),
                Exit::Busy,
            ),
            ("refused", Some("timeout"), Some(State::Ready), Exit::Busy),
            (
                "refused",
                Some("user-abort"),
                Some(State::Ready),
                Exit::Canceled,
            ),
            ("refused", Some("hw-error"), Some(State::Lost), Exit::Lost),
            (
                "refused",
                Some("firmware-invalid"),
                Some(State::Interrupted),
                Exit::Interrupted,
            ),
            (
                "interrupted",
                Some("hw-error"),
                Some(State::Interrupted),
                Exit::Interrupted,
            ),
            ("lost", Some("hw-error"), Some(State::Lost), Exit::Lost),
        ] {
            assert_eq!(ended(result, error).exit(state), exit, "{result} {error:?}");
        }
    }
}
