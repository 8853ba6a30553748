//! A running session: an agent, the client's websocket, and the destinations, in one task.
//!
//! ```text
//!   websocket ──▶ to_agent  ──▶ inbox ──▶ ┌───────┐ ──▶ destinations
//!             ◀── to_client ◀── held  ◀── │ Agent │ ◀──
//!                   (paths)               └───────┘
//! ```
//!
//! All parts are polled in turn until none makes progress, so that whatever is ready together is
//! read, written and flushed together, and no message passes through a channel or a lock. Without a
//! client the agent continues and its output is held, up to a limit. `message_io` moves the
//! messages, `faults` injects faults, `recording` updates the record of the session.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::agent::{Agent, ConnectionId, End, Event};
use super::alarm;
use super::client_websocket::Client;
use super::connection::Connection;
use super::fault_rules::{FaultyPath, Rate};
use super::faults::{Direction, Faults, Join};
use super::one_off_fault::ScheduledFault;
use super::queue::MessageQueue;
use super::records::SharedRecord;
use super::service::Service;
use super::session_spec::{Command, SessionSpec, StartedSession};
use crate::clock;

mod faults;
mod message_io;
mod recording;

/// State of one session.
pub(super) struct Session {
    service: Arc<Service>,
    spec: SessionSpec,
    record: SharedRecord,
    agent: Agent,
    /// Whether the agent waits for the first websocket before it joins.
    is_waiting: bool,
    /// Closed by TerminateSession.
    commands: Option<mpsc::Receiver<Command>>,
    client: Option<Box<Client>>,
    faults: Faults,
    fault_version: u64,
    to_agent: FaultyPath,
    to_client: FaultyPath,
    rate: Rate,
    /// When StartSession was called.
    start: Instant,
    /// Scheduled faults that are not due yet, in order of time.
    pending: VecDeque<ScheduledFault>,
    /// Scheduled faults that were injected.
    injected: Vec<ScheduledFault>,
    /// When the websocket breaks.
    break_at: Option<Instant>,
    /// When the agent's own websocket is connected again.
    back_at: Option<Instant>,
    /// The agent reads one more message although its websocket is down.
    amid_message: bool,
    /// When the idle timeout expires, and the number of messages up to now.
    idle_at: Option<Instant>,
    messages_before: u64,
    /// Input that the agent does not accept yet.
    inbox: MessageQueue,
    /// Output held while no client is attached.
    held: MessageQueue,
    discarded: u64,
    /// Input kept while the agent's own websocket is down.
    kept: MessageQueue,
    discarded_in: u64,
    /// Number of client messages of a type that only Session Manager may send.
    unexpected: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Dials in progress and websockets being closed.
    tasks: JoinSet<Option<Dialled>>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    alarm_at: Option<Instant>,
    now: Instant,
    ended: Option<End>,
}

impl Session {
    /// The agent joins at once, unless [`Faults::join`] delays it.
    pub(super) fn new(service: Arc<Service>, started: StartedSession) -> Self {
        let StartedSession {
            spec,
            record,
            commands,
        } = started;
        let now = clock::now();
        let faults = service.faults();
        let mut session = Self {
            agent: join(&service, &spec, now),
            is_waiting: faults.join == Join::AtConnect,
            record,
            commands: Some(commands),
            client: None,
            to_agent: FaultyPath::new(Direction::ToAgent, spec.seed),
            to_client: FaultyPath::new(Direction::ToClient, !spec.seed),
            rate: Rate::new(now),
            start: now,
            pending: VecDeque::new(),
            injected: Vec::new(),
            break_at: None,
            back_at: None,
            amid_message: false,
            idle_at: None,
            messages_before: 0,
            inbox: MessageQueue::new(service.options.gateway_inbox),
            held: MessageQueue::new(service.options.gateway_buffer),
            discarded: 0,
            kept: MessageQueue::new(service.options.gateway_input_buffer),
            discarded_in: 0,
            unexpected: 0,
            connections: BTreeMap::new(),
            tasks: JoinSet::new(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            armed: None,
            alarm_at: None,
            now,
            ended: None,
            fault_version: 0,
            faults,
            spec,
            service,
        };
        session.load_faults();
        session
    }

    /// Runs until the session has ended and its client was notified.
    pub(super) async fn run(mut self) {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.record();
        self.record_end(&end);
        self.connections.clear();
        let client = self.client.take();
        if let Some(client) = client.and_then(|client| self.usable_client(client)) {
            client
                .close_normally(Some((&self.spec.session_id, &end)))
                .await;
        }
        self.tasks.shutdown().await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..MAX_ROUNDS {
            self.now = clock::now();
            let moved = self.poll_commands(cx) | self.poll_all(cx);
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            if !moved {
                self.record();
                return Poll::Pending;
            }
        }
        // Yields to other tasks; whatever is ready is found again in the next poll.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_waiting {
            return self.poll_timer(cx);
        }
        self.poll_tasks(cx)
            | self.poll_input(cx)
            | self.poll_destinations(cx)
            | self.poll_output(cx)
            | self.poll_timer(cx)
            // Any call of an agent may add an event, including `poll_transmit`.
            | self.run_agent_events()
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        if self.fault_version != self.service.fault_version() {
            self.load_faults();
        }
        let Some(commands) = &mut self.commands else {
            return false;
        };
        let Poll::Ready(command) = commands.poll_recv(cx) else {
            return false;
        };
        match command {
            Some(Command::Attach(client)) => self.attach(client),
            Some(Command::ReloadFaults) => {}
            Some(Command::Inject(fault)) => self.apply_fault(fault),
            None => {
                self.commands = None;
                self.is_waiting = false;
                self.agent.handle_channel_closed(self.now);
            }
        }
        true
    }

    fn attach(&mut self, client: Box<Client>) {
        if std::mem::take(&mut self.is_waiting) {
            self.agent = join(&self.service, &self.spec, self.now);
        }
        if let Some(former) = self.client.replace(client) {
            self.cut_paths();
            if let Some(former) = self.usable_client(former) {
                self.tasks.spawn(async move {
                    former.close_normally(None).await;
                    None
                });
            }
        }
        self.break_at = self.faults.break_every.map(|fault| self.now + fault.every);
        self.record_attached();
    }

    /// Returns the websocket unless it is a black hole, which a task keeps until the client closes.
    fn usable_client(&self, client: Box<Client>) -> Option<Box<Client>> {
        if !client.is_black_hole() {
            return Some(client);
        }
        self.service.spawn(client.hold_open());
        None
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(done)) = self.tasks.poll_join_next(cx) else {
            return false;
        };
        let Ok(Some(dialled)) = done else {
            return true;
        };
        self.record_dial(self.now - dialled.began);
        match dialled.connection {
            Some(connection) => {
                let _none: Option<Connection> = self.connections.insert(dialled.id, connection);
                self.agent.handle_dialled(self.now, dialled.id);
            }
            None => self.agent.handle_dial_failed(self.now, dialled.id),
        }
        self.run_agent_events();
        true
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        self.restart_idle_timer();
        let moved = self.handle_deadlines();
        let now = self.now;
        let deadline = self
            .deadlines()
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min();
        let Some(deadline) = deadline.filter(|_| !moved) else {
            return moved;
        };
        // A timer that fires early costs one idle round, less than resetting it for every message.
        if alarm::is_near(deadline - now) {
            let alarm_at = self.alarm_at.filter(|at| *at > now && *at <= deadline);
            if alarm_at.is_none() {
                self.service.alarm.wake_at(deadline, cx.waker().clone());
                self.alarm_at = Some(deadline);
            }
            return false;
        }
        if self.armed.is_none_or(|armed| armed > deadline) {
            self.timer.as_mut().reset(deadline.into());
            self.armed = Some(deadline);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.armed = None;
        true
    }

    /// Handles the deadlines that are due. Returns true if any deadline changed: data that is due
    /// but not accepted by the client stays due and must not cause a busy loop.
    fn handle_deadlines(&mut self) -> bool {
        let before = self.deadlines();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let [agent, _, _, scheduled, break_at, back_at, idle_at] = before.map(is_due);
        if agent {
            self.agent.handle_timeout(self.now);
            self.run_agent_events();
        }
        if scheduled {
            self.inject_scheduled();
        }
        if break_at && let Some(fault) = self.faults.break_every {
            self.break_websocket(fault.manner);
        }
        if back_at {
            self.reconnect_agent();
        }
        if idle_at {
            self.terminate_idle();
        }
        before != self.deadlines()
    }

    fn deadlines(&self) -> [Option<Instant>; 7] {
        let is_there = |_: &Instant| !self.is_waiting;
        [
            self.agent.poll_timeout().filter(is_there),
            self.to_agent.next_arrival(),
            self.to_client.next_arrival(),
            self.next_scheduled().filter(is_there),
            self.break_at,
            self.back_at,
            self.idle_at,
        ]
    }

    /// Handles the agent's events; `Ended` is kept for the end of the round. True if any occurred.
    fn run_agent_events(&mut self) -> bool {
        let mut handled = false;
        while let Some(event) = self.agent.poll_event() {
            handled = true;
            match event {
                Event::Dial(id) => self.dial(id),
                Event::Write(id, data) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.push(data);
                    }
                }
                Event::Close(id) => drop(self.connections.remove(&id)),
                Event::Ended(end) => self.ended = Some(end),
            }
        }
        handled
    }

    fn dial(&mut self, id: ConnectionId) {
        let addresses = self.spec.addresses.clone();
        let began = self.now;
        self.tasks.spawn(async move {
            let connection = Connection::dial(&addresses).await.ok();
            Some(Dialled {
                id,
                connection,
                began,
            })
        });
    }
}

/// Result of a dial.
struct Dialled {
    id: ConnectionId,
    connection: Option<Connection>,
    began: Instant,
}

/// Creates the agent of a session, which sends the handshake request after its process start time.
fn join(service: &Service, spec: &SessionSpec, now: Instant) -> Agent {
    let options = service.options.agent.clone();
    Agent::new(now, clock::wall(), spec.seed, options, spec.job.clone())
}

/// Maximum number of rounds before the task yields.
const MAX_ROUNDS: usize = 16;
