//! One session, running: an agent, the client's websocket, and the destinations, in one task.
//!
//! ```text
//!   websocket ──▶ inbox ──▶ ┌───────┐ ──▶ destinations
//!             ◀── held  ◀── │ Agent │ ◀──
//!                           └───────┘
//! ```
//!
//! Everything is polled in turn until nothing moves, so that what is ready together is read,
//! written and flushed together, and no message crosses a channel or a lock. Without a client
//! the agent runs on and its output is held, up to a limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::agent::{Agent, ConnectionId, DestinationEnd, End, Event, Outcome};
use super::client::{Client, Heard};
use super::clock;
use super::connection::Connection;
use super::ledger::{EndedBy, Page, Traffic};
use super::queue::Queue;
use super::service::Service;

/// What others ask of a session.
pub(super) enum Command {
    /// A client's websocket that sent the right token; it replaces the one before.
    Attach(Box<Client>),
    /// TerminateSession was called.
    Terminate,
}

/// Everything that belongs to one session.
pub(super) struct Session {
    service: Arc<Service>,
    session_id: String,
    page: Page,
    agent: Agent,
    commands: mpsc::Receiver<Command>,
    client: Option<Box<Client>>,
    /// Input that the agent does not take yet.
    inbox: Queue,
    /// Output while no client is attached.
    held: Queue,
    discarded: u64,
    addresses: Vec<SocketAddr>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Dials under way, and websockets that are being closed.
    tasks: JoinSet<Option<Dialled>>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    now: Instant,
    ended: Option<End>,
}

impl Session {
    pub(super) fn new(
        service: Arc<Service>,
        agent: Agent,
        page: Page,
        commands: mpsc::Receiver<Command>,
        addresses: Vec<SocketAddr>,
    ) -> Self {
        let now = clock::now();
        Self {
            inbox: Queue::new(service.options.gateway_inbox),
            held: Queue::new(service.options.gateway_buffer),
            service,
            session_id: String::new(),
            page,
            agent,
            commands,
            client: None,
            discarded: 0,
            addresses,
            connections: BTreeMap::new(),
            tasks: JoinSet::new(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            armed: None,
            now,
            ended: None,
        }
    }

    /// Runs until the session is over and its client was told.
    pub(super) async fn run(mut self, session_id: String) {
        self.session_id = session_id;
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.record();
        self.book_end(&end);
        self.connections.clear();
        if let Some(client) = self.client.take() {
            client.part(Some((&self.session_id, &end))).await;
        }
        self.tasks.shutdown().await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..MAX_ROUNDS {
            self.now = clock::now();
            let moved = self.poll_commands(cx)
                | self.poll_tasks(cx)
                | self.poll_input(cx)
                | self.poll_destinations(cx)
                | self.poll_output(cx)
                | self.poll_timer(cx);
            if let Some(end) = self.ended.take() {
                return Poll::Ready(end);
            }
            if !moved {
                self.record();
                return Poll::Pending;
            }
        }
        // Others may want the thread; everything that is ready is found again next time.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) else {
            return false;
        };
        match command {
            Command::Attach(client) => self.attach(client),
            Command::Terminate => self.agent.handle_channel_closed(self.now),
        }
        true
    }

    fn attach(&mut self, client: Box<Client>) {
        if let Some(former) = self.client.replace(client) {
            self.tasks.spawn(async move {
                former.part(None).await;
                None
            });
        }
        let at = self.service.ledger.micros(self.now);
        let mut record = self.page.lock();
        record.attached += 1;
        record.connected_us.get_or_insert(at);
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some(done)) = self.tasks.poll_join_next(cx) else {
            return false;
        };
        let Ok(Some(Dialled {
            id,
            connection,
            began,
        })) = done
        else {
            return true;
        };
        let took = super::ledger::micros(self.now - began);
        self.page.lock().first_dial_us.get_or_insert(took);
        match connection {
            Some(connection) => {
                let _none: Option<Connection> = self.connections.insert(id, connection);
                self.agent.handle_dialled(self.now, id);
            }
            None => self.agent.handle_dial_failed(self.now, id),
        }
        self.obey();
        true
    }

    /// Carries messages from the client to the agent, or to the inbox while it reads none.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..MAX_MESSAGES {
            if self.agent.wants_input()
                && let Some(frame) = self.inbox.pop()
            {
                self.agent.handle_message(self.now, frame);
            } else if !self.listen(cx) {
                break;
            }
            self.obey();
            moved = true;
        }
        moved
    }

    /// Takes one message from the client; false if there is none, or no room for it.
    fn listen(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(client) = self.client.as_mut().filter(|_| self.inbox.has_room()) else {
            return false;
        };
        match client.poll_heard(cx) {
            Poll::Ready(Heard::Message(frame)) if self.agent.wants_input() => {
                self.agent.handle_message(self.now, frame);
            }
            Poll::Ready(Heard::Message(frame)) => self.inbox.push(frame),
            Poll::Ready(Heard::Control) => {}
            Poll::Ready(Heard::Gone) => self.client = None,
            Poll::Pending => return false,
        }
        true
    }

    fn poll_destinations(&mut self, cx: &mut Context<'_>) -> bool {
        let Self {
            agent,
            connections,
            now,
            ..
        } = self;
        let mut moved = false;
        for (id, connection) in connections.iter_mut() {
            let written = connection.poll_write(cx);
            moved |= written.is_ready();
            match written {
                Poll::Ready(Ok(len)) => agent.handle_written(*now, *id, len),
                Poll::Ready(Err(_)) => agent.handle_ended(*now, *id, DestinationEnd::Broken),
                Poll::Pending => {}
            }
            if !agent.wants_read(*id) {
                continue;
            }
            match connection.poll_read(cx) {
                Poll::Ready(Ok(data)) if data.is_empty() => {
                    agent.handle_ended(*now, *id, DestinationEnd::Finished);
                }
                Poll::Ready(Ok(data)) => agent.handle_read(*id, data),
                Poll::Ready(Err(_)) => agent.handle_ended(*now, *id, DestinationEnd::Broken),
                Poll::Pending => continue,
            }
            moved = true;
        }
        self.obey();
        moved
    }

    /// Carries messages from the agent to the client, in one batch, or to what is held.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..MAX_MESSAGES {
            if self
                .client
                .as_mut()
                .is_some_and(|client| !client.has_room(cx))
            {
                break;
            }
            let held = self.client.as_ref().and_then(|_| self.held.pop());
            let Some(frame) = held.or_else(|| self.agent.poll_transmit(self.now)) else {
                break;
            };
            match &mut self.client {
                Some(client) => client.feed(frame),
                None if self.held.fits(&frame) => self.held.push(frame),
                None => self.discarded += 1,
            }
            moved = true;
        }
        if let Some(client) = &mut self.client {
            client.flush(cx);
        }
        moved
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.agent.poll_timeout() else {
            return false;
        };
        if deadline <= self.now {
            self.agent.handle_timeout(self.now);
            self.obey();
            return true;
        }
        // A timer that fires early costs one idle round; moving it for each message costs more.
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

    /// Does what the agent asks for, but for the end.
    fn obey(&mut self) {
        while let Some(event) = self.agent.poll_event() {
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
    }

    fn dial(&mut self, id: ConnectionId) {
        let addresses = self.addresses.clone();
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

impl Session {
    fn book_end(&self, end: &End) {
        let at = self.service.ledger.micros(self.now);
        let how = match end.outcome {
            Outcome::Success if self.agent.is_terminated_by_flag() => EndedBy::Flag,
            Outcome::Success => EndedBy::Agent,
            Outcome::Failed => EndedBy::AgentFailure,
        };
        self.page.end(at, how, &end.output);
        self.service.close(&self.session_id);
    }

    /// Copies what the agent knows into the ledger.
    fn record(&self) {
        let (stats, timeline) = (self.agent.stats(), self.agent.timeline());
        let micros = |at: Option<Instant>| at.map(|at| self.service.ledger.micros(at));
        let mut record = self.page.lock();
        record.handshake_us = micros(timeline.complete);
        record.ready_us = micros(timeline.ready);
        record.first_input_us = micros(timeline.first_input);
        record.readiness_us = timeline.readiness().map(super::ledger::micros);
        if record.handshake_version.is_empty() {
            self.agent
                .client_version()
                .clone_into(&mut record.handshake_version);
        }
        if !stats.violations.is_empty() {
            let violations = stats.violations.iter();
            record.violations = violations.map(|(v, n)| (v.to_string(), *n)).collect();
        }
        record.traffic = Traffic {
            messages_in: stats.messages_in,
            bytes_in: stats.bytes_in,
            duplicates_in: stats.duplicates_in,
            early_in: stats.early_in,
            acknowledgements_in: stats.acknowledgements_in,
            messages_out: stats.messages_out,
            bytes_out: stats.bytes_out,
            retransmitted: stats.retransmitted,
            unacknowledged: count(self.agent.unacknowledged()),
            dials: stats.dials,
            dials_failed: stats.dials_failed,
            open_connections: count(self.connections.len()),
            discarded: self.discarded,
        };
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A dial that has ended.
struct Dialled {
    id: ConnectionId,
    connection: Option<Connection>,
    began: Instant,
}

/// Rounds before other tasks get their turn.
const MAX_ROUNDS: usize = 16;
/// Messages of one direction before the other gets its turn.
const MAX_MESSAGES: usize = 256;
