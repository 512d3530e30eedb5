//! Orders from the command line: to the server that runs on the data directory, or carried out here
//! under the lock where none does.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::secrets::open_home;
use crate::app::{Operator, Order, is_served, send_order};
use crate::config::Settings;

/// What carries orders out.
pub(super) enum Hand {
    /// The server that runs on this data directory.
    Server(PathBuf),
    /// This process, which holds the data directory.
    Here(Box<Operator>),
}

impl Hand {
    /// Finds one. `passphrase_file` opens a sealed vault where no server runs; without it the
    /// passphrase is asked for.
    pub(super) fn reach(settings: &Settings, passphrase_file: Option<&PathBuf>) -> Result<Self> {
        let data = &settings.server.data_dir;
        if is_served(data) {
            return Ok(Self::Server(data.clone()));
        }
        let (home, _) = open_home(settings, passphrase_file)?;
        Ok(Self::Here(Box::new(Operator::open(home, settings)?)))
    }

    /// Has an order carried out.
    pub(super) fn perform(&self, order: Order) -> Result<Value> {
        match self {
            Self::Server(data) => send_order(data, &order)?.context("the server has stopped"),
            Self::Here(operator) => operator.perform(order),
        }
    }
}

/// Has one order carried out.
pub(super) fn carry_out(
    settings: &Settings,
    passphrase_file: Option<&PathBuf>,
    order: Order,
) -> Result<Value> {
    Hand::reach(settings, passphrase_file)?.perform(order)
}
