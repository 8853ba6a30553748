//! Fault injection in a session.

use std::time::{Duration, Instant};

use super::super::messages;
use super::super::one_off_fault::{DisconnectKind, OneOffFault};
use super::super::records::EndedBy;
use super::Session;
use crate::wire::message::MessageType;

impl Session {
    /// Loads the current faults of the service.
    pub(super) fn load_faults(&mut self) {
        self.fault_version = self.service.fault_version();
        self.faults = self.service.faults();
        self.schedule();
        self.set_paths();
    }

    /// Applies the message rules and link conditions of the faults to both paths.
    fn set_paths(&mut self) {
        let faults = &self.faults;
        self.to_agent.set(&faults.messages, faults.to_agent);
        self.to_client.set(&faults.messages, faults.to_client);
        let attached = self.client.is_some();
        self.break_at = faults
            .break_every
            .filter(|_| attached)
            .map(|fault| self.now + fault.every);
    }

    /// Schedules the scheduled faults that were not injected yet, in order of time.
    fn schedule(&mut self) {
        let mut pending = self.faults.scheduled.clone();
        self.injected.retain(|injected| {
            let known = pending.iter().position(|scheduled| scheduled == injected);
            known.map(|known| pending.remove(known)).is_some()
        });
        pending.sort_by_key(|scheduled| scheduled.after);
        self.pending = pending.into();
    }

    /// Returns when the next scheduled fault is due.
    pub(super) fn next_scheduled(&self) -> Option<Instant> {
        self.pending.front().map(|next| self.start + next.after)
    }

    /// Injects the scheduled faults that are due.
    pub(super) fn inject_scheduled(&mut self) {
        let age = self.now - self.start;
        while let Some(next) = self.pending.pop_front_if(|next| next.after <= age) {
            self.injected.push(next);
            self.apply_fault(next.fault);
        }
    }

    /// Injects a one-off fault.
    pub(super) fn apply_fault(&mut self, fault: OneOffFault) {
        match fault {
            OneOffFault::Break(manner) => self.break_websocket(manner),
            OneOffFault::PauseClient => {
                self.feed(messages::publication(MessageType::PausePublication));
            }
            OneOffFault::StartClient => {
                self.feed(messages::publication(MessageType::StartPublication));
            }
            OneOffFault::PauseAgent => self.send_to_agent(MessageType::PausePublication),
            OneOffFault::StartAgent => self.send_to_agent(MessageType::StartPublication),
            OneOffFault::KillAgent => self.agent.handle_crash(self.now),
            OneOffFault::AgentAway(span) => self.disconnect_agent(span),
            OneOffFault::AgentAwayAmidMessage(span) => {
                self.disconnect_agent(span);
                self.amid_message = true;
            }
        }
    }

    /// Disconnects the agent's own websocket; it reconnects after `span`.
    fn disconnect_agent(&mut self, span: Duration) {
        self.agent.handle_disconnected(self.now);
        self.back_at = Some(self.now + span);
    }

    /// Reconnects the agent's own websocket. Input kept for it is delivered before anything else.
    pub(super) fn reconnect_agent(&mut self) {
        self.back_at = None;
        self.agent.handle_connected(self.now);
    }

    fn send_to_agent(&mut self, kind: MessageType) {
        self.agent
            .handle_message(self.now, messages::publication(kind));
    }

    /// Breaks the client's websocket; the session continues.
    pub(super) fn break_websocket(&mut self, manner: DisconnectKind) {
        let Some(mut client) = self.client.take() else {
            self.break_at = None;
            return;
        };
        self.cut_paths();
        if manner == DisconnectKind::BlackHole {
            client.blackhole();
            self.client = Some(client);
            return;
        }
        self.record_lost();
        self.tasks.spawn(async move {
            client.disconnect(manner).await;
            None
        });
    }

    /// Handles the loss of the client's websocket.
    pub(super) fn handle_client_lost(&mut self) {
        self.client = None;
        self.cut_paths();
        self.record_lost();
    }

    pub(super) fn cut_paths(&mut self) {
        self.break_at = None;
        self.to_agent.cut();
        self.to_client.cut();
    }

    /// Restarts the idle timeout if stream data was received or sent since the last call.
    pub(super) fn restart_idle_timer(&mut self) {
        let Some(timeout) = self.faults.idle_timeout else {
            self.idle_at = None;
            return;
        };
        let stats = self.agent.stats();
        let messages = stats.messages_in + stats.messages_out;
        if messages != self.messages_before || self.idle_at.is_none() {
            self.messages_before = messages;
            self.idle_at = Some(self.now + timeout);
        }
    }

    /// Terminates the session after the idle timeout.
    pub(super) fn terminate_idle(&mut self) {
        let at = self.service.ledger.micros(self.now);
        self.record.end(at, EndedBy::Idle, "");
        self.service.close(&self.spec.session_id);
        self.is_waiting = false;
        self.agent.handle_channel_closed(self.now);
        self.faults.idle_timeout = None;
        self.idle_at = None;
        self.run_agent_events();
    }

    /// Returns true, and breaks the websocket, if a message exceeds a limit of Session Manager.
    pub(super) fn violates_limits(&mut self, frame: &[u8]) -> bool {
        let is_data = frame
            .get(4..36)
            .is_some_and(|kind| kind.starts_with(b"input_stream_data"));
        let rate = if is_data {
            self.rate.count(self.now)
        } else {
            0
        };
        let code = if self
            .faults
            .max_message
            .is_some_and(|most| frame.len() > most)
        {
            TOO_BIG
        } else if self.faults.max_rate.is_some_and(|most| rate > most) {
            TOO_MANY
        } else {
            return false;
        };
        self.record_cut_off();
        self.break_websocket(DisconnectKind::Close(code));
        true
    }
}

/// Close code for a message that is too long; the code that AWS sends is unknown.
const TOO_BIG: u16 = 1009;
/// Close code for too many messages; the code that AWS sends is unknown.
const TOO_MANY: u16 = 1008;
