//! What each key does.

use super::{Command, Confirmation, Model, Page};
use crate::cli::top::keys::Key;

impl Model {
    /// Handles a key, and returns what is to be done outside.
    pub(crate) fn handle_key(&mut self, key: Key) -> Option<Command> {
        if let Key::Control(letter) = key {
            return controlled(letter);
        }
        if let Some(asked) = self.confirmation.take() {
            return confirmed(asked, key);
        }
        if std::mem::take(&mut self.shows_help) {
            return (key == Key::Char('q')).then_some(Command::Quit);
        }
        match key {
            Key::Char('q') => return Some(Command::Quit),
            Key::Char('?') => self.shows_help = true,
            Key::Escape | Key::Left | Key::Backspace | Key::Char('h') => return self.back(key),
            Key::Enter | Key::Right | Key::Char('l') => self.open(),
            Key::Char('s') => self.sort_by_next(),
            Key::Char('r') => self.reverse(),
            Key::Char('x') | Key::Delete => self.ask_to_close(),
            Key::Char(_)
            | Key::Control(_)
            | Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => self.move_selection(key),
        }
        None
    }

    /// Returns to the list of forwards. There, Escape ends the program.
    fn back(&mut self, key: Key) -> Option<Command> {
        match &self.page {
            Page::Connections(_) => {
                self.leave_connections();
                None
            }
            Page::Forwards => (key == Key::Escape).then_some(Command::Quit),
        }
    }

    fn open(&mut self) {
        if self.page != Page::Forwards {
            return;
        }
        let names = self.names();
        if let Some(name) = names.get(self.selected_forward.index(&names)) {
            self.page = Page::Connections(name.clone());
        }
    }

    fn sort_by_next(&mut self) {
        match self.page {
            Page::Forwards => self.forward_order.advance(),
            Page::Connections(_) => self.connection_order.advance(),
        }
    }

    fn reverse(&mut self) {
        match self.page {
            Page::Forwards => self.forward_order.is_reversed ^= true,
            Page::Connections(_) => self.connection_order.is_reversed ^= true,
        }
    }

    fn ask_to_close(&mut self) {
        let connections = self.connections();
        let selected = connections.get(self.connection_index());
        let pid = self.status.as_ref().map(|status| status.pid);
        let is_current = self.failure.is_none();
        self.confirmation =
            selected
                .zip(pid)
                .filter(|_| is_current)
                .map(|(one, pid)| Confirmation {
                    connection: one.id,
                    peer: one.peer.clone(),
                    pid,
                });
    }

    fn move_selection(&mut self, key: Key) {
        match self.page {
            Page::Forwards => {
                let names = self.names();
                let index = self.selected_forward.index(&names);
                let index = moved(key, index, self.page_rows);
                self.selected_forward.select(&names, index);
            }
            Page::Connections(_) => {
                let ids: Vec<u64> = self.connections().iter().map(|one| one.id).collect();
                let index = self.selected_connection.index(&ids);
                let index = moved(key, index, self.page_rows);
                self.selected_connection.select(&ids, index);
            }
        }
    }
}

/// Returns the command of a letter with the control key. It does not answer a question.
fn controlled(letter: char) -> Option<Command> {
    match letter {
        'c' => Some(Command::Quit),
        'z' => Some(Command::Suspend),
        'l' => Some(Command::Redraw),
        _ => None,
    }
}

fn confirmed(asked: Confirmation, key: Key) -> Option<Command> {
    (key == Key::Char('y')).then_some(Command::Close {
        connection: asked.connection,
        pid: asked.pid,
    })
}

/// Returns the index to which a key moves the selection; beyond the end, the last one is meant.
fn moved(key: Key, index: usize, page_rows: usize) -> usize {
    match key {
        Key::Up | Key::Char('k') => index.saturating_sub(1),
        Key::Down | Key::Char('j') => index.saturating_add(1),
        Key::PageUp => index.saturating_sub(page_rows),
        Key::PageDown => index.saturating_add(page_rows),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => usize::MAX,
        Key::Char(_)
        | Key::Control(_)
        | Key::Left
        | Key::Right
        | Key::Delete
        | Key::Enter
        | Key::Backspace
        | Key::Escape => index,
    }
}
