//! Signals, and what they ask for.

use std::process::ExitCode;

use tokio::signal::unix::{self, SignalKind, signal};

use crate::failure::Failure;

/// The signals that are listened to.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    ends_on_hang_up: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    /// To end.
    End(Exit),
    /// To look at the manifests again.
    Reload,
}

/// Which signal asked to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    Terminate,
    Interrupt,
    HangUp,
}

impl Exit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }

    /// As shells show a program that the signal killed.
    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::HangUp => 128 + 1,
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        })
    }
}

impl Signals {
    /// From here on they do not kill the process any more.
    pub(crate) fn listen(ends_on_hang_up: bool) -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("signals cannot be heard: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            ends_on_hang_up,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End(Exit::Terminate),
            _ = self.interrupt.recv() => Signal::End(Exit::Interrupt),
            _ = self.hang_up.recv() => match self.ends_on_hang_up {
                true => Signal::End(Exit::HangUp),
                false => Signal::Reload,
            },
        }
    }

    /// Waits for one that asks to end. Cancel safe.
    pub(crate) async fn end(&mut self) -> Exit {
        loop {
            if let Signal::End(exit) = self.next().await {
                return exit;
            }
        }
    }
}
